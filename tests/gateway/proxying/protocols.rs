//! WebSockets, HTTP/2 clients and CORS preflights.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use super::{before, used};
use crate::support::{
    client::{Wire, ask, get},
    origin::Origin,
    process::Setup,
};

#[tokio::test]
async fn a_websocket_is_charged_once() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let setup = Setup::at(&format!("http://{address}"));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let echo = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    };
    let client = async {
        let mut request = format!("ws://{}/v1/messages", gateway.data).into_client_request().unwrap();
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        let (mut socket, answer) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(answer.status(), 101);
        assert!(answer.headers().contains_key("x-request-id"));
        assert!(answer.headers()["ratelimit"].to_str().unwrap().starts_with("\"requests\";r=4;"));
        for n in 0..50 {
            let message = Message::binary(vec![n; usize::from(n) * 1000]);
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
        socket.close(None).await.unwrap();
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    };
    let both = async { tokio::join!(echo, client) };
    tokio::time::timeout(Duration::from_secs(15), both).await.unwrap();
    assert_eq!(used(&gateway).await, 1);

    // One that is refused is refused before it switches.
    let refused = get("/v1/export/ws")
        .key(&key)
        .with("Connection", "Upgrade")
        .with("Upgrade", "websocket")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut wire = Wire::to(gateway.data).await;
    assert_eq!(refused.send_on(&mut wire, gateway.data).await.code(), "feature-not-in-plan");
    assert_eq!(used(&gateway).await, 1);
}

#[tokio::test]
async fn preflights_need_no_identity_and_cost_nothing() {
    let origin = Origin::recording().await;
    let setup = Setup::at(&origin.url());
    setup.policy(
        "routes.yaml",
        "unmatched: deny\ndefaults: { charge: { requests: 1 } }\nroutes:\n  - { match: \"POST /v1/messages\" }\n  - { match: \"PUT /.{*rest}\" }\n"
            .replace("/.{*rest}", "/{x}/readyz")
            .as_str(),
    );
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let preflight = |path: &str| {
        ask("OPTIONS", path)
            .with("Origin", "https://app.example")
            .with("Access-Control-Request-Method", "POST")
    };
    assert_eq!(preflight("/v1/messages").send(gateway.data).await.status, 200);
    assert_eq!(origin.last().line(), "OPTIONS /v1/messages HTTP/1.1");
    assert_eq!(origin.last().one("x-plangate-tenant"), None);
    assert_eq!(preflight("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    assert!(!origin.last().head.contains("pgk_"), "{}", origin.last().head);
    for refused in [
        preflight("/v1/nowhere"),
        preflight("/.plangate/readyz"),
        ask("OPTIONS", "/v1/messages").with("Origin", "https://app.example"),
        ask("OPTIONS", "/v1/messages").with("Access-Control-Request-Method", "POST"),
        ask("POST", "/v1/messages")
            .with("Origin", "https://app.example")
            .with("Access-Control-Request-Method", "POST"),
    ] {
        assert_eq!(refused.send(gateway.data).await.code(), "credential-missing");
    }
    assert_eq!(preflight("/v1//messages").send(gateway.data).await.code(), "path-ambiguous");
    assert_eq!(origin.seen().len(), 2);
    assert_eq!(used(&gateway).await, 0);
}

#[tokio::test]
async fn a_client_of_http2() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let origin = Origin::recording().await;
    let (_setup, gateway, key) = before(&origin, "small").await;
    let stream = tokio::net::TcpStream::connect(gateway.data).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let ask = async |method: &str, path: &str, fields: &[(&str, &str)], body: &'static str| {
        let uri = format!("http://shop.example{path}");
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = sender.clone().send_request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    };
    let calls = async {
        let mine = [
            ("x-api-key", key.as_str()),
            ("x-plangate-tenant", "evil"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
        ];
        let (head, body) = ask("POST", "/v1/mess%61ges?a=%2f", &mine, "hello").await;
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"ok"[..]));
        assert!(head.headers["ratelimit"].to_str().unwrap().starts_with("\"requests\";r=4;"));
        let seen = origin.last();
        assert_eq!(seen.line(), "POST /v1/messages?a=%2f HTTP/1.1");
        assert_eq!((seen.one("host"), seen.one("x-plangate-tenant")), (Some("shop.example"), Some("acme")));
        assert_eq!((seen.one("cookie"), seen.body.as_slice()), (Some("a=b; c=d"), &b"hello"[..]));
        assert_eq!((seen.one("x-api-key"), seen.one("x-forwarded-host")), (None, Some("shop.example")));

        let own = [("x-api-key", key.as_str())];
        for (method, path, fields, status, code) in [
            ("GET", "/v1//messages", &own[..], 400, "path-ambiguous"),
            ("GET", "/v1/free/%2e%2e/export", &own[..], 400, "path-ambiguous"),
            ("TRACE", "/v1/messages", &own[..], 400, "request-malformed"),
            ("GET", "/v1/messages", &[], 401, "credential-missing"),
            ("GET", "/v1/nowhere", &own[..], 404, "route-not-covered"),
            ("POST", "/v1/export/x", &own[..], 403, "feature-not-in-plan"),
        ] {
            let (head, body) = ask(method, path, fields, if method == "POST" { "unread" } else { "" }).await;
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((head.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{path}");
        }
        let long = "x".repeat(70_000);
        let (head, _) = ask("GET", "/v1/messages", &[own[0], ("x-long", &long)], "").await;
        assert_eq!(head.status, 431);
        let (head, body) = ask("HEAD", "/v1/export/x", &own, "").await;
        assert_eq!((head.status.as_u16(), body.len()), (403, 0));
        let (head, _) = ask("HEAD", "/v1/messages", &own, "").await;
        assert_eq!(head.status, 200);
    };
    tokio::select! {
        ended = connection => panic!("the connection ended: {ended:?}"),
        called = tokio::time::timeout(Duration::from_secs(15), calls) => called.unwrap(),
    }
    assert_eq!(origin.seen().len(), 2);
    assert_eq!(used(&gateway).await, 2);
    assert!(!gateway.log().contains("panicked"));
}
