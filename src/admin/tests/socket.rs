//! The listener, over real sockets.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{TOKEN, fakes::World};
use crate::admin::{
    router,
    serve::{Bounds, ServeError, serve_within},
};

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), ServeError>>,
    world: std::sync::Arc<World>,
}

async fn start(bounds: Bounds) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (world, stop) = (World::new(), CancellationToken::new());
    let router = router(world.state(Some(TOKEN)));
    let ended = TaskTracker::new().spawn(serve_within(listener, router, stop.clone(), bounds));
    Server { address, stop, ended, world }
}

fn quick() -> Bounds {
    Bounds { connections: 2, head: Duration::from_millis(150), drain: Duration::from_secs(5) }
}

const PATIENCE: Duration = Duration::from_secs(10);

async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    // A reset counts as an end: the server may close on bytes that it did not read.
    let _ = timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the server closes");
    text
}

async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read_all(&mut stream).await
}

#[tokio::test]
async fn a_write_over_a_socket_records_the_peer() {
    let server = start(Bounds::default()).await;
    let request = format!(
        "PUT /v1/tenants/acme HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    let answer = exchange(server.address, &request).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(answer.contains(r#""tenant":"acme""#));
    assert_eq!(server.world.last().1.source, "127.0.0.1");
    let refused =
        exchange(server.address, "GET /v1/nodes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    server.stop.cancel();
    timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn slow_and_silent_clients_are_let_go() {
    let server = start(quick()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
    // Both places are taken: this one waits until they are let go.
    let waiting =
        exchange(server.address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(waiting.starts_with("HTTP/1.1 200 "), "{waiting}");
    for stream in [&mut silent, &mut slow] {
        let text = read_all(stream).await;
        assert!(!text.contains(" 200 "), "{text}");
    }
    server.stop.cancel();
    timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn stopping_closes_idle_connections_and_the_listener() {
    let server = start(Bounds::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop.cancel();
    timeout(PATIENCE, server.ended).await.unwrap().unwrap().unwrap();
    read_all(&mut idle).await;
    assert!(TcpStream::connect(server.address).await.is_err());
}
