//! An upstream that plays a script, byte by byte: for what a well-behaved server would never do or show.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::client::Wire;

/// A request as its bytes came: the head with its empty line, and the body without its chunks.
#[derive(Debug, Clone)]
pub struct Raw {
    pub head: String,
    pub body: Vec<u8>,
    pub trailers: String,
}

impl Raw {
    /// Method, target and version.
    pub fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap()
    }

    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    /// All values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The only value of a header.
    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} twice: {}", self.head);
        all.first().copied()
    }
}

/// An upstream that plays a script on each connection.
pub struct Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Raw>>>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Plays `script` on each connection, which it gets with its number, from 1.
    pub async fn scripted<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Wire) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// The same on a listener that exists.
    #[allow(clippy::disallowed_methods, reason = "a test's server lives as long as the test")]
    pub fn on<F, Fut>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(usize, Wire) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream: TcpStream = stream;
                let _ = stream.set_nodelay(true);
                let number = count.fetch_add(1, SeqCst) + 1;
                tokio::spawn(script(number, Wire::over(stream)));
            }
        });
        Self { address, connections, requests: Arc::default(), task }
    }

    /// Answers every request with 200 and `ok`, and remembers its bytes.
    pub async fn recording() -> Self {
        let requests: Arc<Mutex<Vec<Raw>>> = Arc::default();
        let log = Arc::clone(&requests);
        let mut origin = Self::scripted(move |_, mut wire| {
            let log = Arc::clone(&log);
            async move {
                while let Some(request) = wire.request().await {
                    let body = if request.line().starts_with("HEAD ") { "" } else { "ok" };
                    log.lock().unwrap().push(request);
                    if !wire.try_send(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}")).await {
                        return;
                    }
                }
            }
        })
        .await;
        origin.requests = requests;
        origin
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// What [`Origin::recording`] has seen.
    pub fn seen(&self) -> Vec<Raw> {
        self.requests.lock().unwrap().clone()
    }

    pub fn last(&self) -> Raw {
        self.requests.lock().unwrap().last().expect("the upstream saw nothing").clone()
    }
}

impl Wire {
    /// Reads one whole request, as an upstream; `None` at the end or where it breaks off.
    pub async fn request(&mut self) -> Option<Raw> {
        let head = self.try_until("\r\n\r\n").await?;
        let mut raw = Raw { head, body: Vec::new(), trailers: String::new() };
        if raw.one("transfer-encoding").is_some() {
            loop {
                let size = self.try_until("\r\n").await?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                if size == 0 {
                    break;
                }
                let chunk = self.exactly(size + 2).await;
                raw.body.extend(chunk.strip_suffix(b"\r\n")?);
            }
            loop {
                let line = self.try_until("\r\n").await?;
                if line == "\r\n" {
                    break;
                }
                raw.trailers.push_str(&line);
            }
        } else if let Some(length) = raw.one("content-length").and_then(|length| length.parse().ok()) {
            raw.body = self.exactly(length).await;
            if raw.body.len() < length {
                return None;
            }
        }
        Some(raw)
    }
}
