//! What passes between a client and the upstream, and that it is charged once: heads, both bodies, and every ending.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    codes::{token_of, with_tokens},
    support::{
        client::{Reply, Wire, ask, get},
        origin::Origin,
        process::{Gateway, Setup, eventually},
        upstream::Upstream,
    },
};

/// A gateway in front of `origin`, and a key of the tenant `acme`.
async fn before(origin: &Origin, plan: &str) -> (Setup, Gateway, String) {
    let setup = Setup::at(&origin.url());
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", plan).await;
    (setup, gateway, key)
}

async fn used(gateway: &Gateway) -> u64 {
    gateway.admin.used("acme", "requests").await
}

/// What is left of the month, as the answer has it.
fn left(reply: &Reply) -> &str {
    let limit = reply.header("ratelimit").unwrap();
    limit.strip_prefix("\"requests\";r=").unwrap().split_once(';').unwrap().0
}

#[tokio::test]
async fn headers_to_the_upstream() {
    let origin = Origin::recording().await;
    let setup = with_tokens(Setup::at(&origin.url()));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let forged = |ask: crate::support::client::Ask| {
        ask.with("Host", "shop.example:8443")
            .with("X-Forwarded-For", "1.2.3.4")
            .with("X-Forwarded-Proto", "https")
            .with("X-Forwarded-Host", "evil.example")
            .with("X-Forwarded-Prefix", "/evil")
            .with("X_Forwarded_For", "1.2.3.4")
            .with("Forwarded", "for=1.2.3.4")
            .with("X-Real-IP", "1.2.3.4")
            .with("X-Request-Id", "mine")
            .with("Keep-Alive", "timeout=5")
            .with("Proxy-Authorization", "Basic x")
            .with("Proxy-Connection", "close")
            .with("TE", "gzip")
            .with("Upgrade", "h2c")
            .with("HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA")
            .with("Connection", "X-Hop, upgrade")
            .with("X-Hop", "1")
            .with("Accept-Encoding", "gzip;q=0.5")
            .with("Cookie", "a=b; c=d")
            .with("X-Odd", "  inner  space \t")
    };
    let reply = forged(get("/v1/messages?q=1").key(&key)).send(gateway.data).await;
    let seen = origin.last();
    assert_eq!(seen.line(), "GET /v1/messages?q=1 HTTP/1.1");
    for (name, value) in [
        ("host", "shop.example:8443"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.example:8443"),
        ("x-plangate-tenant", "acme"),
        ("x-plangate-plan", "small"),
        ("accept-encoding", "gzip;q=0.5"),
        ("cookie", "a=b; c=d"),
        ("x-odd", "inner  space"),
    ] {
        assert_eq!(seen.one(name), Some(value), "{}", seen.head);
    }
    for gone in [
        "x-forwarded-prefix",
        "x_forwarded_for",
        "forwarded",
        "x-real-ip",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
        "http2-settings",
        "connection",
        "x-hop",
        "x-api-key",
        "authorization",
        "content-length",
        "transfer-encoding",
    ] {
        assert_eq!(seen.all(gone), Vec::<&str>::new(), "{gone}: {}", seen.head);
    }
    let id = seen.one("x-request-id").unwrap();
    assert!(id != "mine" && id.len() >= 32, "{id}");
    assert_eq!(reply.header("x-request-id"), Some(id));
    let again = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_ne!(again.header("x-request-id"), Some(id), "each has its own");

    // A key of ours stays here, however it came and wherever it goes; a token is the upstream's business, too.
    let token = format!("Bearer {}", token_of("acme"));
    for (ask, authorization) in [
        (get("/v1/me").bearer(&key), None),
        (get("/v1/me").key(&key).with("authorization", "Basic dTpw"), Some("Basic dTpw")),
        (get("/v1/me").with("authorization", &token), Some(token.as_str())),
        (get("/healthz").key(&key), None),
        (get("/healthz").bearer(&key), None),
        (get("/healthz").with("authorization", "Bearer of-another-kind"), Some("Bearer of-another-kind")),
    ] {
        assert_eq!(ask.send(gateway.data).await.status, 200);
        let seen = origin.last();
        assert_eq!(seen.one("authorization"), authorization, "{}", seen.head);
        assert!(!seen.head.contains("pgk_"), "{}", seen.head);
    }
}

#[tokio::test]
async fn trusted_proxies_are_believed_and_extended() {
    let origin = Origin::recording().await;
    let setup = Setup::at(&origin.url()).with("/trusted_proxies", json!(["127.0.0.0/8"]));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let reply = get("/v1/me")
        .key(&key)
        .with("X-Forwarded-For", "1.2.3.4, 5.6.7.8")
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-Host", "shop.example")
        .with("X-Request-Id", "of-the-proxy")
        .with("X-Plangate-Tenant", "evil")
        .send(gateway.data)
        .await;
    assert_eq!(reply.header("x-request-id"), Some("of-the-proxy"));
    let seen = origin.last();
    for (name, value) in [
        ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-request-id", "of-the-proxy"),
        ("x-plangate-tenant", "acme"),
    ] {
        assert_eq!(seen.one(name), Some(value), "{}", seen.head);
    }
    let refused = get("/v1/me").with("X-Request-Id", "of-the-proxy").send(gateway.data).await;
    assert_eq!(
        (refused.code().as_str(), &refused.json()["request_id"]),
        ("credential-missing", &json!("of-the-proxy"))
    );
}

/// One item per quota and rate that applied, with the sizes and ends of its window; the upstream's own are replaced.
#[tokio::test]
async fn limits_are_shown() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy(
        "plans/many.yaml",
        "plan: many\nfeatures: [chat]\nquotas:\n  requests: { limit: 1000, hour: 100, day: 200, week: 300 }\n  ai_tokens: { limit: unlimited, day: 50 }\nrates:\n  requests: { limit: 30, per: 1m, burst: 60 }\n  ai_tokens: { limit: 10, per: 1s, burst: 20 }\n",
    );
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "many").await;
    let reply = ask("POST", "/v1/ai/chat").key(&key).with("x-want-ratelimit", "1").send(gateway.data).await;
    assert_eq!(reply.status, 200);
    for name in ["ratelimit", "ratelimit-policy"] {
        assert_eq!(reply.headers.iter().filter(|(n, _)| n == name).count(), 1, "{reply:?}");
    }
    let period = gateway.admin.get("/v1/tenants/acme/rights").await["period"].clone();
    let instant = |name: &str| period[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let month = instant("end") - instant("start");
    assert!((28 * 86_400..=31 * 86_400).contains(&month), "{period}");
    let policy = format!(
        "\"requests\";q=1000;w={month}, \"requests-week\";q=300;w=604800, \"requests-day\";q=200;w=86400, \
         \"requests-hour\";q=100;w=3600, \"requests-rate\";q=30;w=60, \"ai_tokens-day\";q=50;w=86400, \"ai_tokens-rate\";q=10;w=1"
    );
    let sorted = |text: &str| {
        let mut items: Vec<String> = text.split(", ").map(str::to_owned).collect();
        items.sort();
        items
    };
    assert_eq!(sorted(reply.header("ratelimit-policy").unwrap()), sorted(&policy));
    let limits = sorted(reply.header("ratelimit").unwrap());
    let items: Vec<(&str, u64, i64)> = limits
        .iter()
        .map(|item| {
            let mut parts = item.split(';');
            let name = parts.next().unwrap();
            let mut number =
                |prefix: &str| parts.next().unwrap().strip_prefix(prefix).unwrap().parse::<i64>().unwrap();
            (name, u64::try_from(number("r=")).unwrap(), number("t="))
        })
        .collect();
    let most = [
        ("\"ai_tokens-day\"", 45, 86_400),
        ("\"ai_tokens-rate\"", 15, 1),
        ("\"requests\"", 999, month),
        ("\"requests-day\"", 199, 86_400),
        ("\"requests-hour\"", 99, 3600),
        ("\"requests-rate\"", 59, 2),
        ("\"requests-week\"", 299, 604_800),
    ];
    assert_eq!(items.len(), most.len(), "{items:?}");
    for ((name, remaining, resets), (wanted, full, within)) in items.into_iter().zip(most) {
        assert_eq!(name, wanted);
        // A rate refills while the request is under way.
        let refilled = if name.ends_with("-rate\"") { 5 } else { 0 };
        assert!((full..=full + refilled).contains(&remaining), "{name}: {remaining}");
        assert!((0..=within).contains(&resets), "{name}: {resets}");
    }
    // What costs nothing shows nothing, not even the upstream's own; a public route is none of ours.
    let free = get("/v1/me").key(&key).with("x-want-ratelimit", "1").send(gateway.data).await;
    assert_eq!((free.header("ratelimit"), free.header("ratelimit-policy")), (None, None));
    let public = get("/healthz").with("x-want-ratelimit", "1").send(gateway.data).await;
    assert_eq!(public.header("ratelimit"), Some("\"mine\";r=1;t=1"));
    assert!(public.header("x-request-id").is_some());
}

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

#[tokio::test]
async fn bodies_are_not_collected() {
    let go_on = Arc::new(Notify::new());
    let waiting = Arc::clone(&go_on);
    let origin = Origin::scripted(move |_, mut wire| {
        let waiting = Arc::clone(&waiting);
        async move {
            let head = wire.until("\r\n\r\n").await;
            if head.starts_with("GET") {
                wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
                for event in ["7\r\ndata: 1\r\n", "7\r\ndata: 2\r\n"] {
                    wire.send(event).await;
                    waiting.notified().await;
                }
                wire.send("0\r\n\r\n").await;
            } else {
                // Answers what it has of the body before the rest is sent.
                wire.until("first").await;
                wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n").await;
                wire.until("second").await;
                wire.send("4\r\nlate\r\n0\r\n\r\n").await;
            }
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "small").await;
    let mut wire = Wire::to(gateway.data).await;
    wire.send(get("/v1/messages").key(&key).bytes(gateway.data, true)).await;
    let head = wire.head().await;
    assert_eq!((head.header("content-type"), left(&head)), (Some("text/event-stream"), "4"));
    wire.until("data: 1").await;
    go_on.notify_one();
    wire.until("data: 2").await;
    go_on.notify_one();
    wire.until("0\r\n\r\n").await;

    let mut wire = Wire::to(gateway.data).await;
    wire.send(format!(
        "POST /v1/messages HTTP/1.1\r\nHost: h\r\nx-api-key: {key}\r\nContent-Length: 11\r\n\r\nfirst"
    ))
    .await;
    wire.until("early").await;
    wire.send("second").await;
    wire.until("late").await;
    assert_eq!(used(&gateway).await, 2);
}

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
async fn a_client_that_asks_before_it_sends() {
    let origin = Origin::recording().await;
    let (_setup, gateway, key) = before(&origin, "small").await;
    let asks = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nx-api-key: {key}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut wire = Wire::to(gateway.data).await;
    wire.send(asks("/v1/messages")).await;
    assert_eq!(wire.head().await.status, 100);
    wire.send("hello").await;
    assert_eq!(wire.reply().await.status, 200);
    let seen = origin.last();
    assert_eq!((seen.body.as_slice(), seen.one("expect")), (&b"hello"[..], None));
    let mut wire = Wire::to(gateway.data).await;
    wire.send(asks("/v1/export/x")).await;
    let refused = wire.reply().await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "feature-not-in-plan"), "instead of 100");
    assert!(wire.is_closed().await, "nobody knows whether the body comes");
    assert_eq!(used(&gateway).await, 1);
}

#[tokio::test]
async fn heads_trailers_and_old_clients() {
    let origin = Origin::scripted(|_, mut wire| async move {
        while let Some(request) = wire.request().await {
            let answer = match request.line().split(' ').next().unwrap() {
                "HEAD" => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"x\"\r\n\r\n".to_owned(),
                "POST" => format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n2\r\nok\r\n0\r\nx-end: {}\r\n\r\n",
                    request.trailers.trim().replace(": ", "=")
                ),
                _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
            };
            wire.send(answer).await;
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "small").await;
    // HEAD costs what GET does, and says what GET would.
    let mut wire = Wire::to(gateway.data).await;
    let head = ask("HEAD", "/v1/messages/7").key(&key).send_on(&mut wire, gateway.data).await;
    assert_eq!((head.status, head.header("content-length"), left(&head)), (200, Some("1234"), "4"));
    let next = get("/v1/me").key(&key).send_on(&mut wire, gateway.data).await;
    assert_eq!(next.text(), "hello", "the connection goes on behind an answer without a body");

    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: h\r\nx-api-key: {key}\r\nTE: trailers\r\nConnection: TE\r\n\
         Transfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 42\r\n\r\n"
    );
    wire.send(request).await;
    assert_eq!(wire.head().await.header("trailer"), Some("x-end"));
    assert!(wire.until("\r\n\r\n").await.ends_with("0\r\nx-end: x-sum=42\r\n\r\n"));
    assert_eq!(used(&gateway).await, 2);

    // A client of 1.0 knows no chunks: its answer ends with the connection.
    let mut wire = Wire::to(gateway.data).await;
    wire.send(format!("GET /v1/messages HTTP/1.0\r\nx-api-key: {key}\r\n\r\n")).await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    assert_eq!(used(&gateway).await, 3);
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::recording().await;
    let (_setup, gateway, key) = before(&origin, "big").await;
    let mut wire = Wire::to(gateway.data).await;
    for n in 0..20 {
        let body = "x".repeat(n * 100);
        let reply = ask("POST", "/v1/messages").key(&key).body(body).send_on(&mut wire, gateway.data).await;
        assert_eq!(reply.status, 200);
    }
    let refused = ask("POST", "/v1/nowhere").key(&key).body("x").send_on(&mut wire, gateway.data).await;
    assert_eq!(refused.status, 404, "a small body of a refused request is taken in");
    assert_eq!(get("/v1/me").key(&key).send_on(&mut wire, gateway.data).await.status, 200);
    // Ten at once, in order.
    let many: String = (0..10)
        .map(|n| format!("GET /v1/messages/{n} HTTP/1.1\r\nHost: h\r\nx-api-key: {key}\r\n\r\n"))
        .collect();
    wire.send(many).await;
    for _ in 0..10 {
        assert_eq!(wire.reply().await.status, 200);
    }
    let targets: Vec<String> = origin.seen()[21..].iter().map(|raw| raw.target().to_owned()).collect();
    assert_eq!(targets, (0..10).map(|n| format!("/v1/messages/{n}")).collect::<Vec<_>>());
    assert_eq!(origin.connections(), 1);
    assert_eq!(used(&gateway).await, 30);
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

/// The most memory that the process ever had, in KiB.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

const LARGE: usize = 50 << 20;
/// What 50 MiB may cost while nobody takes them from the gateway.
const BOUND: u64 = 12 << 10;

/// Waits until a count stands still: whoever counts waits for somebody else now.
async fn stalls(count: &AtomicUsize) -> usize {
    let (mut last, mut still) = (0, 0);
    eventually("nothing moves any more", async || {
        let now = count.load(SeqCst);
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        still > 10
    })
    .await;
    last
}

async fn pour(wire: &mut Wire, size: usize, poured: &AtomicUsize) {
    let piece = vec![b'x'; 64 << 10];
    for _ in 0..size / piece.len() {
        wire.send(&piece).await;
        poured.fetch_add(piece.len(), SeqCst);
    }
}

async fn drain(wire: &mut Wire, mut open: usize) {
    while open > 0 {
        open -= wire.piece().await.expect("it broke off").len();
    }
}

#[tokio::test]
async fn large_bodies_wait_for_the_slower_side() {
    let (poured, go_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (pouring, waiting) = (Arc::clone(&poured), Arc::clone(&go_on));
    let origin = Origin::scripted(move |_, mut wire| {
        let (pouring, waiting) = (Arc::clone(&pouring), Arc::clone(&waiting));
        async move {
            while let Some(head) = wire.try_until("\r\n\r\n").await {
                let size = head.split(['?', ' ']).nth(2).unwrap().parse().unwrap();
                if head.starts_with("GET") {
                    wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")).await;
                    pour(&mut wire, size, &pouring).await;
                } else {
                    waiting.notified().await;
                    drain(&mut wire, size).await;
                    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
            }
        }
    })
    .await;
    let (_setup, gateway, key) = before(&origin, "big").await;
    let mut wire = Wire::to(gateway.data).await;
    let mut round = async |size: usize| {
        poured.store(0, SeqCst);
        wire.send(get(&format!("/v1/messages?{size}")).key(&key).bytes(gateway.data, true)).await;
        assert_eq!(wire.head().await.status, 200);
        let down = stalls(&poured).await;
        drain(&mut wire, size).await;

        poured.store(0, SeqCst);
        let fields = format!("Host: h\r\nx-api-key: {key}\r\nContent-Length: {size}\r\n");
        wire.send(format!("POST /v1/messages?{size} HTTP/1.1\r\n{fields}\r\n")).await;
        let watch = async {
            let up = stalls(&poured).await;
            go_on.notify_one();
            up
        };
        let ((), up) = tokio::join!(pour(&mut wire, size, &poured), watch);
        assert_eq!(wire.reply().await.text(), "ok");
        (down, up)
    };
    // The first round brings the code itself into memory.
    round(256 << 10).await;
    let before = peak(&gateway);
    let (down, up) = round(LARGE).await;
    assert!(down < LARGE && up < LARGE, "both senders were held back: {down} {up}");
    let grown = peak(&gateway) - before;
    assert!(grown < BOUND, "{grown} KiB for 100 MiB");
    assert_eq!(used(&gateway).await, 4);
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
