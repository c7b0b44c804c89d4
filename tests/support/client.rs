//! Clients: one that speaks bytes, for hostile and exact input, and one that reads answers.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(15);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's code, checked to be a whole problem document that agrees with its status.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        let code = body["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!(body["type"], format!("urn:plangate:problem:{code}"));
        assert_eq!(body["status"], self.status);
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        code
    }
}

/// A connection that sends what it is told.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// A connection that somebody else has made, or that was accepted.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Ends this side of the connection; the other may go on.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Whatever comes next, `None` at the end.
    pub async fn piece(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() && self.fill().await == 0 {
            return None;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    /// Exactly so many bytes, or what came before the end.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.fill().await > 0 {}
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    /// Bytes up to and with `end`; `None` if the other side closes before.
    pub async fn try_until(&mut self, end: &str) -> Option<String> {
        while find(&self.buffer, end.as_bytes()).is_none() {
            if self.fill().await == 0 {
                return None;
            }
        }
        Some(self.until(end).await)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends what the other side may already have refused to read.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    async fn fill(&mut self) -> usize {
        let mut chunk = [0; 16 * 1024];
        let read =
            timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("no answer in time").unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..read]);
        read
    }

    /// Everything until the other side closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the other side closes without a further byte.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().await == 0
    }

    /// Bytes up to and with `end`.
    pub async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = find(&self.buffer, end.as_bytes()) {
                let taken: Vec<u8> = self.buffer.drain(..at + end.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            let read = self.fill().await;
            assert!(read > 0, "closed before {end:?}: {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    /// The next answer's status and headers; its body is left.
    pub async fn head(&mut self) -> Reply {
        let head = self.until("\r\n\r\n").await;
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Reply { status, headers, body: Vec::new() }
    }

    /// The next answer as a whole (its request was not HEAD).
    pub async fn reply(&mut self) -> Reply {
        let mut reply = self.head().await;
        if reply.status < 200 || reply.status == 204 || reply.status == 304 {
            return reply;
        }
        if let Some(length) = reply.header("content-length").map(|length| length.parse::<usize>().unwrap()) {
            while self.buffer.len() < length {
                assert!(self.fill().await > 0, "the body broke off: {reply:?}");
            }
            reply.body = self.buffer.drain(..length).collect();
        } else if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.until("\r\n").await;
                let size = usize::from_str_radix(size.trim().split(';').next().unwrap(), 16).unwrap();
                if size == 0 {
                    while self.until("\r\n").await != "\r\n" {}
                    break;
                }
                while self.buffer.len() < size + 2 {
                    assert!(self.fill().await > 0, "the body broke off: {reply:?}");
                }
                reply.body.extend(self.buffer.drain(..size));
                self.buffer.drain(..2);
            }
        } else {
            reply.body = self.rest().await;
        }
        reply
    }
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}

/// A request to be sent on a connection of its own.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// `GET` unless told otherwise.
pub fn get(target: &str) -> Ask {
    ask("GET", target)
}

pub fn ask(method: &str, target: &str) -> Ask {
    Ask { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
}

impl Ask {
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With an API key.
    pub fn key(self, key: &str) -> Self {
        self.with("x-api-key", key)
    }

    pub fn bearer(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.with("content-type", "application/json").body(body.to_string())
    }

    /// The request's bytes.
    pub fn bytes(&self, address: SocketAddr, keep: bool) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {address}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || matches!(self.method.as_str(), "POST" | "PUT") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if !keep {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        [head.into_bytes(), self.body.clone()].concat()
    }

    /// Sends it on a new connection and reads the answer.
    pub async fn send(&self, address: SocketAddr) -> Reply {
        let mut wire = Wire::to(address).await;
        wire.try_send(self.bytes(address, false)).await;
        if self.method == "HEAD" { wire.head().await } else { wire.reply().await }
    }

    /// Sends it on a connection that stays.
    pub async fn send_on(&self, wire: &mut Wire, address: SocketAddr) -> Reply {
        wire.send(self.bytes(address, true)).await;
        if self.method == "HEAD" { wire.head().await } else { wire.reply().await }
    }
}
