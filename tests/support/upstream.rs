//! The product behind the gateway: it answers, and counts what it saw.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }
}

/// An upstream that answers every request with what it saw of it, as JSON. `x-want-status` sets the status;
/// `x-want-ratelimit` makes it send rate limit headers of its own, each `x-want-header` a header such as `x-cost: 7`.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Upstream {
    #[allow(clippy::disallowed_methods, reason = "a test's server lives as long as the test")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&log)));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, seen, task }
    }

    /// Everything seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests were seen so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The newest request.
    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().expect("the upstream saw nothing").clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(Full::default()).unwrap());
    };
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let seen = Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers,
        body: body.to_bytes().to_vec(),
    };
    let status = seen.header("x-want-status").and_then(|status| status.parse().ok()).unwrap_or(200);
    let body = json!({ "method": seen.method, "target": seen.target, "body": seen.body.len() });
    let mut response = Response::builder().status(status).header("content-type", "application/json");
    if seen.header("x-want-ratelimit").is_some() {
        response =
            response.header("ratelimit", "\"mine\";r=1;t=1").header("ratelimit-policy", "\"mine\";q=1;w=1");
    }
    for header in seen.all("x-want-header") {
        let (name, value) = header.split_once(':').unwrap();
        response = response.header(name, value.trim());
    }
    log.lock().unwrap().push(seen);
    Ok(response.body(Full::new(Bytes::from(body.to_string()))).unwrap())
}
