//! A port that leads to a server: which one may change, and the way may be cut or fall silent.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The port. It lives on the runtime of its test, which must have more than one thread where the test blocks.
pub struct Forwarder {
    pub port: u16,
    way: Arc<Way>,
    task: JoinHandle<()>,
}

struct Way {
    /// `None`: whoever connects is turned away.
    target: watch::Sender<Option<u16>>,
    /// Connections stay, and nothing moves on them.
    silent: watch::Sender<bool>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarder {
    #[allow(clippy::disallowed_methods, reason = "a test's server lives as long as the test")]
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let way =
            Arc::new(Way { target: watch::Sender::new(Some(target)), silent: watch::Sender::new(false) });
        let task = tokio::spawn(accept(listener, Arc::clone(&way)));
        Self { port, way, task }
    }

    /// Ends all connections; new ones lead to another server.
    pub fn lead_to(&self, target: u16) {
        self.way.target.send_replace(Some(target));
    }

    /// Ends all connections; new ones lead to the same server.
    pub fn cut(&self) {
        self.way.target.send_modify(|_| {});
    }

    /// Ends all connections, and lets nobody in.
    pub fn close(&self) {
        self.way.target.send_replace(None);
    }

    /// Holds back what is sent on connections old and new, or lets it go on its way.
    pub fn silence(&self, silent: bool) {
        self.way.silent.send_replace(silent);
    }
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        connections.spawn(forward(near, Arc::clone(&way)));
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(near: TcpStream, way: Arc<Way>) {
    let mut target = way.target.subscribe();
    let Some(port) = *target.borrow_and_update() else { return };
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pump(near_read, far_write, way.silent.subscribe()) => {}
        () = pump(far_read, near_write, way.silent.subscribe()) => {}
        _ = target.changed() => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut silent: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if silent.wait_for(|silent| !silent).await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
