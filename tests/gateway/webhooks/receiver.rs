//! Somebody who is told: keeps every message, and answers as the test says.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use plangate::wire::signed_message::{SigningKey, verify};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: Vec<u8>,
}

impl Message {
    pub fn kind(&self) -> String {
        self.json()["type"].as_str().unwrap().to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether one of its signatures is by a secret, at the time at which it was sent.
    pub fn is_by(&self, secret: &str) -> bool {
        let key = SigningKey::parse(secret).unwrap();
        let now = self.timestamp.parse().unwrap();
        verify(&key, (&self.id, &self.timestamp, &self.signature), &self.body, now).is_ok()
    }
}

#[derive(Default)]
struct State {
    seen: Vec<Message>,
    answers: VecDeque<u16>,
    usual: u16,
}

pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An answer that never comes.
pub const SILENCE: u16 = 0;

impl Receiver {
    #[allow(clippy::disallowed_methods, reason = "a test's server lives as long as the test")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { usual: 204, ..State::default() }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, state, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers the next requests so, one each, and then as usual.
    pub fn next(&self, answers: &[u16]) {
        self.state.lock().unwrap().answers = answers.iter().copied().collect();
    }

    /// Answers so where nothing else was said.
    pub fn usually(&self, status: u16) {
        self.state.lock().unwrap().usual = status;
    }

    /// Everything of a kind and about a tenant.
    pub fn told(&self, kind: &str, tenant: &str) -> Vec<Message> {
        let seen = self.state.lock().unwrap().seen.clone();
        seen.into_iter().filter(|one| one.kind() == kind && one.json()["data"]["tenant"] == tenant).collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(Full::default()).unwrap());
    };
    let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let message = Message {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: body.to_bytes().to_vec(),
    };
    let status = {
        let mut state = state.lock().unwrap();
        state.seen.push(message);
        let usual = state.usual;
        state.answers.pop_front().unwrap_or(usual)
    };
    if status == SILENCE {
        std::future::pending::<()>().await;
    }
    Ok(Response::builder().status(status).body(Full::new(Bytes::from_static(b"said"))).unwrap())
}
