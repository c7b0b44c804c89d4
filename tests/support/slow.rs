//! An upstream that takes its time: it holds answers back until it is told, streams events without end, and echoes on
//! WebSockets.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(15);

/// By the last part of the path: `stream` and `socket` go on for ever, anything else waits for [`SlowUpstream::release`].
pub struct SlowUpstream {
    pub address: SocketAddr,
    arrived: watch::Sender<usize>,
    ended: watch::Sender<usize>,
    released: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Doors {
    arrived: watch::Sender<usize>,
    ended: watch::Sender<usize>,
    released: watch::Receiver<bool>,
}

impl SlowUpstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, ended, released) =
            (watch::Sender::new(0), watch::Sender::new(0), watch::Sender::new(false));
        let doors = Doors { arrived: arrived.clone(), ended: ended.clone(), released: released.subscribe() };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, doors.clone()));
            }
        });
        Self { address, arrived, ended, released, _serving: serving }
    }

    /// Lets all held requests be answered.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// Waits until so many requests have arrived in all.
    pub async fn arrived(&self, requests: usize) {
        let mut arrived = self.arrived.subscribe();
        timeout(PATIENCE, arrived.wait_for(|count| *count >= requests))
            .await
            .expect("no request came")
            .unwrap();
    }

    /// How many requests have arrived.
    pub fn count(&self) -> usize {
        *self.arrived.borrow()
    }

    /// Waits until so many exchanges are over, answered or broken off.
    pub async fn ended(&self, exchanges: usize) {
        let mut ended = self.ended.subscribe();
        timeout(PATIENCE, ended.wait_for(|count| *count >= exchanges)).await.expect("no end").unwrap();
    }
}

async fn serve(mut stream: TcpStream, mut doors: Doors) {
    while let Some(head) = head(&mut stream).await {
        doors.arrived.send_modify(|count| *count += 1);
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let going_on = match target.rsplit('/').next() {
            Some("stream") => events(&mut stream).await,
            Some("socket") => echo(&mut stream).await,
            _ => held(&mut stream, &mut doors).await,
        };
        doors.ended.send_modify(|count| *count += 1);
        if going_on.is_none() {
            return;
        }
    }
}

async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

async fn held(stream: &mut TcpStream, doors: &mut Doors) -> Option<()> {
    doors.released.wait_for(|released| *released).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.ok()
}

async fn events(stream: &mut TcpStream) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    loop {
        stream.write_all(b"9\r\ndata: x\n\n\r\n").await.ok()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn echo(stream: &mut TcpStream) -> Option<()> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes).await.ok()? {
            0 => return None,
            read => stream.write_all(&bytes[..read]).await.ok()?,
        }
    }
}
