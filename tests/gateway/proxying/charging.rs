//! Every ending of a request, and what it costs.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::{net::TcpListener, sync::Notify};

use super::{before, left, used};
use crate::support::{
    client::{Wire, ask, get},
    origin::Origin,
    process::Setup,
    upstream::Upstream,
};

#[tokio::test]
async fn the_upstreams_own_errors_are_paid_for() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    for (n, status) in ["500", "503", "404", "429", "304"].into_iter().enumerate() {
        let reply = get("/v1/messages").key(&key).with("x-want-status", status).send(gateway.data).await;
        assert_eq!(reply.status.to_string(), status);
        assert_eq!(left(&reply), (4 - n).to_string());
        assert!(reply.header("x-request-id").is_some());
    }
    assert_eq!(used(&gateway).await, 5);
}

#[tokio::test]
async fn what_the_upstream_did_not_get_is_given_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let setup = Setup::at(&format!("http://{address}"));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    for _ in 0..7 {
        let reply = ask("POST", "/v1/messages").key(&key).body("x").send(gateway.data).await;
        assert_eq!(reply.code(), "upstream-unreachable", "more often than the quota has units");
    }
    assert_eq!(used(&gateway).await, 0);
    let origin = Origin::on(TcpListener::bind(address).await.unwrap(), |_, mut wire| async move {
        while wire.request().await.is_some() {
            wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let reply = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!((reply.status, left(&reply)), (204, "4"));
    assert_eq!((origin.connections(), used(&gateway).await), (1, 1));
}

#[tokio::test]
async fn what_the_upstream_may_have_got_is_paid_for_and_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    // Ends in as many ways: no answer, half a head, no HTTP, a protocol nobody asked for, half a body.
    let origin = Origin::scripted(move |_, mut wire| {
        let count = Arc::clone(&count);
        async move {
            let Some(request) = wire.request().await else { return };
            count.fetch_add(1, SeqCst);
            wire.send(match request.target() {
                "/v1/messages?half" => "HTTP/1.1 200 OK\r\ncontent-le",
                "/v1/messages?noise" => "220 mail.example ESMTP\r\n\r\n",
                "/v1/messages?switch" => {
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
                }
                "/v1/messages?cut" => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
                _ => "",
            })
            .await;
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "small").await;
    for (n, way) in ["nothing", "half", "noise", "switch"].into_iter().enumerate() {
        let reply = get(&format!("/v1/messages?{way}")).key(&key).send(gateway.data).await;
        assert_eq!((reply.status, reply.code().as_str()), (502, "upstream-unreachable"), "{way}");
        assert_eq!(left(&reply), (4 - n).to_string(), "{way}: a metered answer");
    }
    let mut wire = Wire::to(gateway.data).await;
    wire.send(get("/v1/messages?cut").key(&key).bytes(gateway.data, true)).await;
    let head = wire.head().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert_eq!(wire.rest().await, b"hello", "the client sees that it is not whole");
    assert_eq!((requests.load(SeqCst), origin.connections()), (5, 5));
    assert_eq!(used(&gateway).await, 5);
}

#[tokio::test]
async fn a_client_that_leaves_has_paid_once() {
    let (arrived, left) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arriving, leaving) = (Arc::clone(&arrived), Arc::clone(&left));
    let origin = Origin::scripted(move |_, mut wire| {
        let (arriving, leaving) = (Arc::clone(&arriving), Arc::clone(&leaving));
        async move {
            let head = wire.until("\r\n\r\n").await;
            if head.starts_with("GET") {
                wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
            } else {
                wire.until("half").await;
            }
            arriving.notify_one();
            while wire.piece().await.is_some() {}
            leaving.notify_one();
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "small").await;
    let head = format!("POST /v1/messages HTTP/1.1\r\nHost: h\r\nx-api-key: {key}\r\n");
    for (n, body) in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
        .into_iter()
        .enumerate()
    {
        let mut wire = Wire::to(gateway.data).await;
        wire.send(format!("{head}{body}")).await;
        arrived.notified().await;
        drop(wire);
        left.notified().await;
        assert_eq!(used(&gateway).await, n as u64 + 1, "{body}");
    }
    let mut wire = Wire::to(gateway.data).await;
    wire.send(get("/v1/messages").key(&key).bytes(gateway.data, true)).await;
    wire.until("one").await;
    drop(wire);
    left.notified().await;
    assert_eq!(used(&gateway).await, 3, "in the middle of an answer");
    assert_eq!(origin.connections(), 3);
    assert!(!gateway.log().contains("panicked"));
}
