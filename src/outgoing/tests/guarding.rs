//! No spelling of an address leads to where nobody may go: a listener waits there, and must see no connection.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{HttpOutgoing, Resolver, Rule};
use crate::{
    ports::{Outgoing, OutgoingError, OutgoingRequest},
    tls,
};

/// Names for tests: each answer is given once, the last one for ever.
#[derive(Default)]
pub struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub asked: AtomicUsize,
}

impl Names {
    pub fn answering(answers: &[&[&str]]) -> Arc<Self> {
        let read = |all: &&[&str]| all.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self { answers: Mutex::new(answers.iter().map(read).collect()), asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let last = answers.len() <= 1;
        let answer = if last { answers.front().cloned() } else { answers.pop_front() };
        answer.ok_or_else(|| io::Error::other("no such name"))
    }
}

/// Listens on every address of this machine, and counts who comes.
struct Trap {
    port: u16,
    seen: Arc<AtomicUsize>,
    end: CancellationToken,
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Trap {
    async fn new() -> Self {
        let listener = match TcpListener::bind("[::]:0").await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind("0.0.0.0:0").await.unwrap(),
        };
        let (port, seen, end) =
            (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default(), CancellationToken::new());
        let (count, ended) = (Arc::clone(&seen), end.clone());
        TaskTracker::new().spawn(ended.run_until_cancelled_owned(async move {
            loop {
                if listener.accept().await.is_ok() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            }
        }));
        Self { port, seen, end }
    }
}

fn request(url: &str) -> OutgoingRequest {
    let headers = vec![("content-type", "application/json".to_owned())];
    OutgoingRequest { url: url.to_owned(), headers, body: Bytes::from_static(b"{}") }
}

/// Spellings of this machine, of networks that are nobody's business, and of what only looks like a URL. `P` is the
/// listener's port.
const SPELLINGS: [&str; 66] = [
    "https://127.0.0.1:P/",
    "https://127.1:P/",
    "https://127.0.1:P/",
    "https://127.000.000.001:P/",
    "https://0177.0.0.1:P/",
    "https://0x7f.0.0.1:P/",
    "https://0x7f000001:P/",
    "https://0X7F000001:P/",
    "https://2130706433:P/",
    "https://017700000001:P/",
    "https://127.0.0.1.:P/",
    "https://127.0.0.1%2e:P/",
    "https://127.0.0.0x1:P/",
    "https://0:P/",
    "https://0.0.0.0:P/",
    "https://0x0:P/",
    "https://00.0.0.0:P/",
    "https://127.255.255.254:P/",
    "https://4294967297:P/",
    "https://[::1]:P/",
    "https://[::]:P/",
    "https://[0:0:0:0:0:0:0:1]:P/",
    "https://[::127.0.0.1]:P/",
    "https://[::ffff:127.0.0.1]:P/",
    "https://[::ffff:7f00:1]:P/",
    "https://[::ffff:0:127.0.0.1]:P/",
    "https://[::ffff:169.254.169.254]:P/",
    "https://[64:ff9b::127.0.0.1]:P/",
    "https://[64:ff9b:1::7f00:1]:P/",
    "https://[2002:7f00:1::]:P/",
    "https://[2001:0:7f00:1::]:P/",
    "https://[fe80::1]:P/",
    "https://[fe80::1%25lo]:P/",
    "https://[fd00:ec2::254]:P/",
    "https://[ff02::1]:P/",
    "https://10.0.0.1:P/",
    "https://172.16.0.1:P/",
    "https://192.168.0.1:P/",
    "https://100.64.0.1:P/",
    "https://169.254.169.254:P/latest/meta-data/",
    "https://198.18.0.1:P/",
    "https://224.0.0.1:P/",
    "https://255.255.255.255:P/",
    "https://localhost:P/",
    "https://LOCALHOST:P/",
    "https://localhost.:P/",
    "https://x.localhost:P/",
    "https://user@127.0.0.1:P/",
    "https://user:word@hooks.example:P/",
    "https://8.8.8.8@127.0.0.1:P/",
    "https://127.0.0.1:P@8.8.8.8/",
    "https://8.8.8.8#@127.0.0.1:P/",
    "https://8.8.8.8\\@127.0.0.1:P/",
    "https:\\\\127.0.0.1:P/",
    "https:/127.0.0.1:P/",
    "https:127.0.0.1:P",
    "//127.0.0.1:P/",
    "http://127.0.0.1:P/",
    "ftp://127.0.0.1:P/",
    "file:///etc/passwd",
    "https://%31%32%37.0.0.1:P/",
    "https://127%2e0%2e0%2e1:P/",
    "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1:P/",
    "https://\u{2460}\u{2461}\u{2466}.0.0.1:P/",
    "https://127\u{3002}0\u{3002}0\u{3002}1:P/",
    "https://127.0.0.1\t:P/",
];

#[tokio::test]
async fn no_spelling_leads_to_this_machine() {
    let trap = Trap::new().await;
    // Whatever is taken for a name leads here, too.
    let names = Names::answering(&[&["127.0.0.1"]]);
    let outgoing = HttpOutgoing::with(Rule::default(), names.clone(), tls::usual().unwrap());
    for spelling in SPELLINGS {
        let url = spelling.replace(":P", &format!(":{}", trap.port));
        assert!(outgoing.check(&url).is_err(), "{url} is taken");
        let answer = outgoing.post(request(&url)).await;
        let refused = matches!(answer, Err(OutgoingError::Url { .. } | OutgoingError::Forbidden { .. }));
        assert!(refused, "{url}: {answer:?}");
    }
    assert_eq!(trap.seen.load(Ordering::SeqCst), 0);
    assert_eq!(names.asked.load(Ordering::SeqCst), 0, "nobody was asked for a name");
    // The trap works.
    drop(tokio::net::TcpStream::connect(("127.0.0.1", trap.port)).await.unwrap());
    for _ in 0..100 {
        if trap.seen.load(Ordering::SeqCst) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the listener saw nobody at all");
}

#[tokio::test]
async fn names_lead_nowhere_else_either() {
    let trap = Trap::new().await;
    let url = format!("https://hooks.example:{}/", trap.port);
    for addresses in [
        &["127.0.0.1"][..],
        &["::1"],
        &["0.0.0.0"],
        &["::ffff:127.0.0.1"],
        &["10.0.0.1"],
        &["169.254.169.254"],
        &["fd00::1"],
        &["fe80::1"],
        &["64:ff9b::7f00:1"],
        // One that is not public is reason to distrust the others.
        &["8.8.8.8", "127.0.0.1"],
        &["127.0.0.1", "8.8.8.8"],
    ] {
        let names = Names::answering(&[addresses]);
        let outgoing = HttpOutgoing::with(Rule::default(), names.clone(), tls::usual().unwrap());
        outgoing.check(&url).unwrap();
        let answer = outgoing.post(request(&url)).await;
        assert!(matches!(answer, Err(OutgoingError::Forbidden { .. })), "{addresses:?}: {answer:?}");
        assert_eq!(names.asked.load(Ordering::SeqCst), 1);
    }
    assert_eq!(trap.seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_asked_once() {
    let trap = Trap::new().await;
    // Public first (of a network that nobody routes to here, or that refuses), then this machine.
    let names = Names::answering(&[&["2606:4700:ffff:ffff::1"], &["127.0.0.1"]]);
    let outgoing = HttpOutgoing::with(Rule::default(), names.clone(), tls::usual().unwrap())
        .within(Duration::from_millis(300));
    let url = format!("https://rebinding.example:{}/", trap.port);
    let first = outgoing.post(request(&url)).await.unwrap_err();
    assert!(matches!(first, OutgoingError::Failed(_)), "{first:?}");
    assert_eq!(names.asked.load(Ordering::SeqCst), 1, "the address that was judged is the one that is used");
    let second = outgoing.post(request(&url)).await.unwrap_err();
    assert!(matches!(second, OutgoingError::Forbidden { .. }), "{second:?}");
    assert_eq!(trap.seen.load(Ordering::SeqCst), 0);
}
