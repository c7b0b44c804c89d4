//! An identity provider in this process that counts how often its keys are fetched.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// What it answers.
#[derive(Debug, Clone)]
pub(in crate::credentials) enum Reply {
    Document(String),
    Status(u16),
    Redirect(String),
    Endless,
    Silence,
}

/// The provider.
pub(in crate::credentials) struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    reply: Mutex<Reply>,
    fetches: AtomicU32,
    tasks: TaskTracker,
}

impl Server {
    pub(in crate::credentials) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            reply: Mutex::new(reply),
            fetches: AtomicU32::new(0),
            tasks: TaskTracker::new(),
        });
        let serving = Arc::clone(&state);
        state.tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                serving.tasks.spawn(async move { state.answer(stream).await });
            }
        });
        Self { address, state }
    }

    pub(in crate::credentials) fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    pub(in crate::credentials) fn fetches(&self) -> u32 {
        self.state.fetches.load(Ordering::SeqCst)
    }

    pub(in crate::credentials) fn reply(&self, reply: Reply) {
        *self.state.reply.lock().unwrap() = reply;
    }
}

impl State {
    async fn answer(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let reply = self.reply.lock().unwrap().clone();
        let text = match reply {
            Reply::Document(body) => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }
            Reply::Status(status) => format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"),
            Reply::Redirect(to) => {
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            }
            Reply::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while stream.write_all(&[b' '; 65_536]).await.is_ok() {}
                return;
            }
            Reply::Silence => return std::future::pending().await,
        };
        let _ = stream.write_all(text.as_bytes()).await;
    }
}
