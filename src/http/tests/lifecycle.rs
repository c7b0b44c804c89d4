//! How long connections live, how many there may be, and how they end.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::ports::Readiness;

const SHORT: Duration = Duration::from_millis(150);

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::with(upstream.address, |s| {
            s.timeouts.request_head = SHORT;
            s.timeouts.idle = SHORT * 8;
        });
        // Nothing at all, a bit of a head, a head that never ends.
        assert_eq!(gateway.exchange("").await, "");
        assert_eq!(gateway.exchange("GET / HTTP/1.1\r\nHost:").await, "");
        assert_eq!(gateway.exchange("PRI * HTTP/2.0\r\n").await, "");
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.until("GET / HTTP/1.1").await;
        tokio::time::sleep(SHORT).await;
        client.send("GET /again HTTP/1.1\r\n").await;
        let began = tokio::time::Instant::now();
        assert_eq!(client.rest().await, "");
        assert!(began.elapsed() >= SHORT / 2);
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.until("GET / HTTP/1.1").await;
        assert_eq!(client.rest().await, "");
        assert_eq!(gateway.settings.connections.load(Relaxed), 0);
    });
}

#[test]
fn a_stalled_body_is_cut_and_a_moving_one_is_not() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::with(upstream.address, |s| s.timeouts.stream_idle = SHORT * 6);
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n").await;
        for byte in ["a", "b", "c", "d"] {
            tokio::time::sleep(SHORT * 2).await;
            client.send(byte).await;
        }
        client.until("POST / HTTP/1.1").await;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nab").await;
        assert_eq!(client.rest().await, "");
    });
}

#[test]
fn beyond_the_cap_clients_are_told() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::with(upstream.address, |s| s.caps.connections = 1);
        let mut first = gateway.connect().await;
        first.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        first.until("GET / HTTP/1.1").await;
        let text = gateway.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("retry-after: 1\r\n"), "{text}");
        assert!(
            text.contains("application/problem+json") && text.contains("\"code\":\"overloaded\""),
            "{text}"
        );
        drop(first);
        while gateway.settings.connections.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut next = gateway.connect().await;
        next.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        next.until("200 OK").await;
    });
}

#[test]
fn the_probe_is_answered_here_and_only_the_probe() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::with(upstream.address, |s| {
            s.readiness = Arc::new(|| Readiness::no("the database is away"));
        });
        let ask = |line: &str| format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let text = gateway.exchange(ask("GET /.plangate/readyz")).await;
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert!(text.ends_with(r#"{"reason":"the database is away","status":"not-ready"}"#), "{text}");
        assert!(gateway.exchange(ask("HEAD /.plangate/readyz")).await.ends_with("\r\n\r\n"));
        for other in ["GET /.plangate/readyz?x", "POST /.plangate/readyz", "GET /.plangate/readyz/"] {
            assert_eq!(statuses(&gateway.exchange(ask(other)).await), ["200"], "{other}");
        }
        assert_eq!(upstream.seen().len(), 3);
        let ready = Gateway::before(upstream.address);
        let text = ready.exchange(ask("GET /.plangate/readyz")).await;
        assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with(r#"{"status":"ready"}"#), "{text}");
    });
}

#[test]
fn stopping_waits_for_what_is_under_way() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            while c.request().await.is_some() {
                tokio::time::sleep(SHORT * 2).await;
                c.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").await;
            }
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut idle = gateway.connect().await;
        idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        idle.until("late").await;
        let mut busy = gateway.connect().await;
        busy.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        tokio::time::sleep(SHORT).await;
        gateway.shutdown.cancel();
        assert_eq!(idle.rest().await, "");
        let text = busy.rest().await;
        assert!(text.ends_with("\r\n\r\nlate") && text.contains("connection: close"), "{text}");
        gateway.stopped().await;
        assert!(TcpStream::connect(gateway.address).await.is_err());
    });
}

#[test]
fn stopping_does_not_wait_for_ever() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.rest().await;
        })
        .await;
        let gateway = Gateway::with(upstream.address, |s| s.timeouts.drain = SHORT);
        let mut busy = gateway.connect().await;
        busy.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        tokio::time::sleep(SHORT).await;
        gateway.shutdown.cancel();
        tokio::time::timeout(PATIENCE, gateway.stopped()).await.unwrap();
        let text = busy.rest().await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 502 "), "{text}");
    });
}
