//! Every ending of an answer, and of a request without one.

use std::sync::Arc;

use tokio::{net::TcpListener, sync::Notify};

use super::*;
use crate::support::client::Wire;

const OPEN: &str =
    "HTTP/1.1 200 OK\r\nx-usage-ai-tokens: 7\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";

#[tokio::test]
async fn a_reserve_counts_while_its_answer_streams() {
    let finish = Arc::new(Notify::new());
    let finishing = Arc::clone(&finish);
    let origin = Origin::scripted(move |number, mut wire| {
        let finishing = Arc::clone(&finishing);
        async move {
            // Only the first answer of all waits.
            let mut waits = number == 1;
            while wire.request().await.is_some() {
                wire.send(OPEN).await;
                if std::mem::take(&mut waits) {
                    finishing.notified().await;
                }
                wire.send("3\r\ntwo\r\n0\r\n\r\n").await;
            }
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "windows").await;
    let mut wire = Wire::to(gateway.data).await;
    wire.send(get("/v1/ai/chat").key(&key).bytes(gateway.data, true)).await;
    let head = wire.head().await;
    assert_eq!((head.header("x-usage-ai-tokens"), left(&head, "ai_tokens-day")), (Some("7"), 20));
    assert!(wire.until("one").await.ends_with("one"));
    assert_eq!(used(&gateway).await, (1, 40), "its cost is known, and not yet final");
    assert_eq!(chat(&key).send(gateway.data).await.code(), EXHAUSTED, "twenty are left of the day");
    finish.notify_one();
    wire.until("0\r\n\r\n").await;
    assert_eq!(used(&gateway).await, (1, 7));
    let reply = chat(&key).send(gateway.data).await;
    assert_eq!((reply.text().as_str(), left(&reply, "ai_tokens-day")), ("onetwo", 13));
    assert_eq!((used(&gateway).await, tokens(&gateway).await), ((2, 14), [80, 66, 0]));
}

#[tokio::test]
async fn answers_without_a_body_and_answers_of_any_status() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "endless").await;
    let (mut requests, mut spent) = (0, 0);
    for (method, status) in [
        ("HEAD", "200"),
        ("HEAD", "404"),
        ("GET", "204"),
        ("GET", "304"),
        ("POST", "200"),
        ("DELETE", "400"),
        ("POST", "429"),
        ("GET", "500"),
        ("PUT", "502"),
        ("POST", "503"),
    ] {
        for told in [true, false] {
            let mut asked = ask(method, "/v1/ai/chat").key(&key).with("x-want-status", status);
            if told {
                asked = asked.with("x-want-header", "x-usage-ai-tokens: 3");
            }
            let reply = asked.send(gateway.data).await;
            assert_eq!(reply.status.to_string(), status, "{method}");
            (requests, spent) = (requests + 1, spent + if told { 3 } else { 40 });
            assert_eq!(used(&gateway).await, (requests, spent), "{method} {status} {told}");
        }
    }
    assert_eq!(kept(&gateway).await, (10, 0));
}

#[tokio::test]
async fn a_client_that_leaves_pays_what_the_head_said_or_the_reserve() {
    let (arrived, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arriving, going) = (Arc::clone(&arrived), Arc::clone(&gone));
    let origin = Origin::scripted(move |_, mut wire| {
        let (arriving, going) = (Arc::clone(&arriving), Arc::clone(&going));
        async move {
            let Some(request) = wire.request().await else { return };
            match request.target() {
                "/v1/ai/chat?told" => wire.send(OPEN).await,
                "/v1/ai/chat?untold" => {
                    wire.send(OPEN.replace("x-usage-ai-tokens: 7\r\n", "")).await;
                }
                _ => {}
            }
            arriving.notify_one();
            while wire.piece().await.is_some() {}
            going.notify_one();
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "endless").await;
    let mut spent = 0;
    for (n, (way, cost)) in [("told", 7), ("untold", 40), ("headless", 40)].into_iter().enumerate() {
        let mut wire = Wire::to(gateway.data).await;
        wire.send(get(&format!("/v1/ai/chat?{way}")).key(&key).bytes(gateway.data, true)).await;
        arrived.notified().await;
        if way != "headless" {
            wire.until("one").await;
        }
        drop(wire);
        gone.notified().await;
        spent += cost;
        assert_eq!(used(&gateway).await, (n as u64 + 1, spent), "{way}");
    }
    assert_eq!(kept(&gateway).await, (1, 0), "an answer that never came could not tell anything");
    assert_eq!(tokens(&gateway).await, [120, 33, 0]);
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_believed_as_far_as_it_came() {
    let origin = Origin::scripted(|_, mut wire| async move {
        let Some(request) = wire.request().await else { return };
        wire.send(match request.target() {
            "/v1/ai/chat?body" => {
                "HTTP/1.1 200 OK\r\nx-usage-ai-tokens: 7\r\ncontent-length: 10\r\n\r\nhello"
            }
            "/v1/ai/chat?chunk" => {
                "HTTP/1.1 200 OK\r\nx-usage-ai-tokens: 50\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello"
            }
            "/v1/ai/chat?untold" => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello",
            // Half a head is no answer.
            _ => "HTTP/1.1 200 OK\r\nx-usage-ai-tokens: 7\r\ncontent-le",
        })
        .await;
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "endless").await;
    let mut spent = 0;
    for (n, (way, cost)) in [("body", 7), ("chunk", 50), ("untold", 40), ("head", 40)].into_iter().enumerate()
    {
        let mut wire = Wire::to(gateway.data).await;
        wire.send(get(&format!("/v1/ai/chat?{way}")).key(&key).bytes(gateway.data, true)).await;
        let head = wire.head().await;
        if way == "head" {
            assert_eq!(head.status, 502);
            assert_eq!(head.header("x-usage-ai-tokens"), None);
        } else {
            assert_eq!(head.status, 200);
            wire.rest().await;
        }
        spent += cost;
        assert_eq!(used(&gateway).await, (n as u64 + 1, spent), "{way}");
    }
    assert_eq!((kept(&gateway).await, tokens(&gateway).await), ((1, 0), [160, 33, 10]));
}

#[tokio::test]
async fn what_the_upstream_did_not_get_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let setup = with_policies(Setup::at(&format!("http://{address}")));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "rated").await;
    for _ in 0..5 {
        let reply = chat(&key).send(gateway.data).await;
        assert_eq!(reply.code(), "upstream-unreachable", "more often than the rate would bear");
    }
    assert_eq!((used(&gateway).await, tokens(&gateway).await), ((0, 0), [200, 200, 0]));
    assert_eq!(kept(&gateway).await, (0, 0));
}

#[tokio::test]
async fn a_websocket_is_settled_when_it_begins() {
    let origin = Origin::scripted(|_, mut wire| async move {
        while wire.request().await.is_some() {
            wire.send(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 x-usage-ai-tokens: 7\r\n\r\nhello",
            )
            .await;
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "windows").await;
    let asked = get("/v1/ai/chat")
        .key(&key)
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut wire = Wire::to(gateway.data).await;
    wire.send(asked.bytes(gateway.data, true)).await;
    let head = wire.head().await;
    assert_eq!((head.status, head.header("x-usage-ai-tokens")), (101, Some("7")));
    wire.until("hello").await;
    assert_eq!((used(&gateway).await, tokens(&gateway).await), ((1, 7), [40, 33, 0]), "while it is open");
    drop(wire);
    assert_eq!(chat(&key).send(gateway.data).await.status, 502, "nobody asked for this switch");
    assert_eq!(used(&gateway).await, (2, 47));
}
