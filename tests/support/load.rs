//! Many clients at once, on kept connections, and what became of each of their requests.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::client::Ask;

const PATIENCE: Duration = Duration::from_secs(15);

/// What became of requests: by the code of a refusal, `passed`, or `broken` where there was no whole answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, usize>);

impl Tally {
    pub fn passed(&self) -> usize {
        self.of("passed")
    }

    pub fn of(&self, outcome: &str) -> usize {
        self.0.get(outcome).copied().unwrap_or(0)
    }

    pub fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Asserts that nothing else happened.
    pub fn is_only(&self, outcomes: &[(&str, usize)]) {
        let expected = outcomes.iter().filter(|(_, count)| *count > 0);
        let expected: BTreeMap<_, _> = expected.map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(self.0, expected);
    }

    fn add(&mut self, other: Self) {
        for (outcome, count) in other.0 {
            *self.0.entry(outcome).or_default() += count;
        }
    }
}

/// Sends `requests` of them, by `clients` at once, each to one of `nodes`.
pub async fn volley(ask: &Ask, nodes: &[SocketAddr], clients: usize, requests: usize) -> Tally {
    let left = Arc::new(AtomicUsize::new(requests));
    let load = Load::begin(ask, nodes, clients, move || {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    });
    load.ended().await
}

/// Clients that go on until they are stopped.
pub struct Load {
    clients: JoinSet<Tally>,
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
}

impl Load {
    pub fn on(ask: &Ask, nodes: &[SocketAddr], clients: usize) -> Self {
        Self::begin(ask, nodes, clients, || true)
    }

    fn begin(
        ask: &Ask,
        nodes: &[SocketAddr],
        clients: usize,
        go_on: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Self {
        let (over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut all = JoinSet::new();
        for client in 0..clients {
            let (ask, node, go_on) = (ask.clone(), nodes[client % nodes.len()], go_on.clone());
            let (over, answers) = (Arc::clone(&over), Arc::clone(&answers));
            all.spawn(async move {
                let (mut tally, mut connection) = (Tally::default(), None);
                while !over.load(Ordering::SeqCst) && go_on() {
                    let outcome = exchange(&mut connection, &ask, node).await;
                    if outcome.is_none() {
                        // Nobody may be there to connect to.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    *tally.0.entry(outcome.unwrap_or_else(|| "broken".to_owned())).or_default() += 1;
                    answers.fetch_add(1, Ordering::SeqCst);
                }
                tally
            });
        }
        Self { clients: all, over, answers }
    }

    /// Waits until so many requests have been answered.
    pub async fn until(&self, answers: usize) {
        super::process::eventually("the load gets its answers", async || {
            self.answers.load(Ordering::SeqCst) >= answers
        })
        .await;
    }

    /// Lets each client finish its request.
    pub async fn stop(self) -> Tally {
        self.over.store(true, Ordering::SeqCst);
        self.ended().await
    }

    async fn ended(mut self) -> Tally {
        let mut tally = Tally::default();
        while let Some(one) = self.clients.join_next().await {
            tally.add(one.unwrap());
        }
        tally
    }
}

/// One request and its whole answer; `None` where the connection did not hold.
async fn exchange(connection: &mut Option<TcpStream>, ask: &Ask, node: SocketAddr) -> Option<String> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => TcpStream::connect(node).await.ok()?,
    };
    let _ = stream.set_nodelay(true);
    let (status, close, body) = timeout(PATIENCE, attempt(&mut stream, ask, node)).await.ok()??;
    if !close {
        *connection = Some(stream);
    }
    if status < 400 {
        return Some("passed".to_owned());
    }
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    Some(problem["code"].as_str().map_or_else(|| status.to_string(), str::to_owned))
}

async fn attempt(stream: &mut TcpStream, ask: &Ask, node: SocketAddr) -> Option<(u16, bool, Vec<u8>)> {
    stream.write_all(&ask.bytes(node, true)).await.ok()?;
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            break String::from_utf8_lossy(&std::mem::replace(&mut bytes, rest)).to_ascii_lowercase();
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = header("content-length:").unwrap_or("0").parse().ok()?;
    while bytes.len() < length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    Some((status, header("connection:") == Some("close"), bytes))
}
