//! Many clients at once, on kept connections, and what became of each of their requests.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
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
pub struct Tally {
    outcomes: BTreeMap<String, usize>,
    unanswered: usize,
}

/// Where a node is: at another address after each start.
#[derive(Debug, Clone)]
pub struct Place(Arc<Mutex<SocketAddr>>);

impl Place {
    pub fn at(address: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(address)))
    }

    pub fn address(&self) -> SocketAddr {
        *self.0.lock().unwrap()
    }

    pub fn moved(&self, address: SocketAddr) {
        *self.0.lock().unwrap() = address;
    }
}

/// Why there was no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Nobody was there to connect to.
    Absent,
    /// The request was sent, wholly or in part: nobody knows what became of it.
    Unanswered,
}

impl Tally {
    pub fn passed(&self) -> usize {
        self.of("passed")
    }

    pub fn of(&self, outcome: &str) -> usize {
        self.outcomes.get(outcome).copied().unwrap_or(0)
    }

    pub fn total(&self) -> usize {
        self.outcomes.values().sum()
    }

    /// Asserts that nothing else happened.
    pub fn is_only(&self, outcomes: &[(&str, usize)]) {
        let expected = outcomes.iter().filter(|(_, count)| *count > 0);
        let expected: BTreeMap<_, _> = expected.map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(self.outcomes, expected);
    }

    /// Requests that were sent and not wholly answered: what was in flight when a node ended, at most.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Notes what became of one request.
    pub fn note(&mut self, outcome: Result<String, Broken>) {
        self.unanswered += usize::from(outcome == Err(Broken::Unanswered));
        *self.outcomes.entry(outcome.unwrap_or_else(|_| "broken".to_owned())).or_default() += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.unanswered += other.unanswered;
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
    }
}

/// Sends `requests` of them, by `clients` at once, each to one of `nodes`.
pub async fn volley(ask: &Ask, nodes: &[SocketAddr], clients: usize, requests: usize) -> Tally {
    let left = Arc::new(AtomicUsize::new(requests));
    let load = Load::begin(ask, &fixed(nodes), clients, move || {
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
        Self::begin(ask, &fixed(nodes), clients, || true)
    }

    /// On nodes that may be started again elsewhere meanwhile.
    pub fn on_places(ask: &Ask, nodes: &[Place], clients: usize) -> Self {
        Self::begin(ask, nodes, clients, || true)
    }

    fn begin(
        ask: &Ask,
        nodes: &[Place],
        clients: usize,
        go_on: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Self {
        let (over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut all = JoinSet::new();
        for client in 0..clients {
            let (ask, node, go_on) = (ask.clone(), nodes[client % nodes.len()].clone(), go_on.clone());
            let (over, answers) = (Arc::clone(&over), Arc::clone(&answers));
            all.spawn(async move {
                let (mut tally, mut connection) = (Tally::default(), None);
                while !over.load(Ordering::SeqCst) && go_on() {
                    let outcome = exchange(&mut connection, &ask, node.address()).await;
                    if outcome.is_err() {
                        // Nobody may be there to connect to.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    tally.note(outcome);
                    answers.fetch_add(1, Ordering::SeqCst);
                }
                tally
            });
        }
        Self { clients: all, over, answers }
    }

    /// How many requests have come to an end so far.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have been answered from now on.
    pub async fn more(&self, answers: usize) {
        self.until(self.answers() + answers).await;
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

/// Nodes that stay where they are.
fn fixed(nodes: &[SocketAddr]) -> Vec<Place> {
    nodes.iter().copied().map(Place::at).collect()
}

/// One request and its whole answer, by the code of a refusal or `passed`.
pub async fn exchange(
    connection: &mut Option<TcpStream>,
    ask: &Ask,
    node: SocketAddr,
) -> Result<String, Broken> {
    // A node that was started again is somewhere else.
    let mut stream = match connection.take().filter(|stream| stream.peer_addr().ok() == Some(node)) {
        Some(stream) => stream,
        None => TcpStream::connect(node).await.map_err(|_| Broken::Absent)?,
    };
    let _ = stream.set_nodelay(true);
    let answer = timeout(PATIENCE, attempt(&mut stream, ask, node)).await;
    let (status, close, body) = answer.ok().flatten().ok_or(Broken::Unanswered)?;
    if !close {
        *connection = Some(stream);
    }
    if status < 400 {
        return Ok("passed".to_owned());
    }
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(problem["code"].as_str().map_or_else(|| status.to_string(), str::to_owned))
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
