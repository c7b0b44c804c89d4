//! An identity provider: it publishes keys over HTTP and counts how often they are fetched.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// The provider. It has its address from the start on, and refuses connections until it is opened.
pub struct Provider {
    pub address: SocketAddr,
    socket: Option<TcpSocket>,
    state: Arc<Mutex<State>>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// `None` answers 500.
    document: Option<String>,
    fetches: usize,
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Provider {
    /// One that is not there yet.
    pub fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { address, socket: Some(socket), state: Arc::default(), task: None }
    }

    /// One that publishes a document.
    pub fn open(document: &str) -> Self {
        let mut provider = Self::closed();
        provider.begin(document);
        provider
    }

    #[allow(clippy::disallowed_methods, reason = "a test's server lives as long as the test")]
    pub fn begin(&mut self, document: &str) {
        self.publish(Some(document));
        let listener = self.socket.take().unwrap().listen(64).unwrap();
        self.task = Some(tokio::spawn(serve(listener, Arc::clone(&self.state))));
    }

    /// Another document; `None` answers 500 from now on.
    pub fn publish(&self, document: Option<&str>) {
        self.state.lock().unwrap().document = document.map(str::to_owned);
    }

    pub fn fetches(&self) -> usize {
        self.state.lock().unwrap().fetches
    }

    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        answer(stream, &state).await;
    }
}

async fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let document = {
        let mut state = state.lock().unwrap();
        state.fetches += 1;
        state.document.clone()
    };
    let (status, body) = document.map_or(("500 No", String::new()), |document| ("200 OK", document));
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes()).await;
}
