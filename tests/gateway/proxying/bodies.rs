//! Bodies and connections: streamed, never collected, ended where they end.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::sync::Notify;

use super::{before, left, used};
use crate::support::{
    client::{Wire, ask, get},
    origin::Origin,
    process::{Gateway, eventually},
};

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
    // The kernel reckons the peak from counters of each core, which may be read a little lower the second time.
    let grown = peak(&gateway).saturating_sub(before);
    assert!(grown < BOUND, "{grown} KiB for 100 MiB");
    assert_eq!(used(&gateway).await, 4);
}
