//! Where a request ends: whatever is doubtful is refused, answered by the stack, and nothing after it is served.

use proptest::prelude::*;

use super::*;

#[test]
fn doubtful_framing_is_refused_and_nothing_behind_it_is_served() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        for fields in [
            "Host: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            "Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n",
            "Host: h\r\nContent-Length: 0\r\nContent-Length: 44\r\n",
            "Host: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
            "Host: h\r\nContent-Length: 0, 44\r\n",
            "Host: h\r\nContent-Length: +0\r\n",
            "Host: h\r\nTransfer-Encoding: chunked, identity\r\n",
            "Host: h\r\nTransfer-Encoding: xchunked\r\n",
            "Host: h\r\nTransfer-Encoding : chunked\r\n",
            "Host: h\r\nX: y\r\n Transfer-Encoding: chunked\r\n",
            "Host: h\r\nX: y\nTransfer-Encoding: chunked\r\n",
            "Host: h\r\nX: y\rTransfer-Encoding: chunked\r\n",
            "Host: h\r\nHost: i\r\n",
            "Host: h i\r\n",
            "X: no host\r\n",
            "Host: h\r\nX: \0\r\n",
        ] {
            let text = gateway.exchange(format!("POST /x HTTP/1.1\r\n{fields}\r\n0\r\n\r\n{smuggled}")).await;
            assert_eq!(statuses(&text), ["400"], "{fields:?}: {text}");
            assert!(text.contains("malformed: ") && text.contains("connection: close"), "{fields:?}: {text}");
        }
        for line in ["GET http://h/ HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /\" HTTP/1.1", "GET /a?\" HTTP/1.1"]
        {
            let text = gateway.exchange(format!("{line}\r\nHost: h\r\n\r\n{smuggled}")).await;
            assert_eq!(statuses(&text), ["400"], "{line}: {text}");
            assert!(text.contains("ambiguous: "), "{line}: {text}");
        }
        for line in ["TRACE / HTTP/1.1", "CONNECT h:80 HTTP/1.1", "GET / HTTP/3.0", "nonsense", "\u{16}\u{3}"]
        {
            let text = gateway.exchange(format!("{line}\r\nHost: h\r\n\r\n")).await;
            assert_eq!(statuses(&text), ["400"], "{line}: {text}");
        }
        assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    });
}

#[test]
fn bad_chunks_end_the_request_and_the_connection() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        for body in
            ["5\nhello\r\n0\r\n\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "0x5\r\n"]
        {
            let text = gateway
                .exchange(format!(
                    "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /s HTTP/1.1\r\nHost: h\r\n\r\n"
                ))
                .await;
            assert_eq!(statuses(&text), ["400"], "{body:?}: {text}");
            assert!(text.contains("client body"), "{text}");
        }
        assert!(!upstream.seen().iter().any(|r| r.contains("/s ")), "{:?}", upstream.seen());
    });
}

#[test]
fn the_head_cap() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::with(upstream.address, |s| s.caps.request_head = 8 * 1024);
        let head = |n: usize| {
            format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n", "y".repeat(n))
        };
        let most = 8 * 1024 - head(0).len();
        assert_eq!(statuses(&gateway.exchange(head(most)).await), ["200"]);
        assert_eq!(statuses(&gateway.exchange(head(most + 1)).await), ["431"]);
        assert_eq!(statuses(&gateway.exchange(head(200_000)).await), ["431"]);
        let most = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{}\r\n", "X: y\r\n".repeat(98));
        assert_eq!(statuses(&gateway.exchange(most).await), ["200"]);
        let many = format!("HEAD / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(100));
        let text = gateway.exchange(many).await;
        assert_eq!(statuses(&text), ["431"]);
        assert!(text.ends_with("\r\n\r\n"), "an answer to HEAD has no body: {text}");
    });
}

#[test]
fn a_head_byte_by_byte_and_after_empty_lines() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        for byte in b"\r\n\r\nGET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert!(client.rest().await.ends_with("GET /slow HTTP/1.1"));
        let text = gateway.exchange(format!("{}GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n".repeat(5))).await;
        assert_eq!(statuses(&text), ["400"]);
    });
}

#[test]
fn requests_before_a_bad_one_are_answered_first() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let good = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let post = "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let bad = "GET /d HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n";
        let text = gateway.exchange([&good("/a"), post, &good("/c"), bad, &good("/e")].concat()).await;
        assert_eq!(statuses(&text), ["200", "200", "200", "400"], "{text}");
        assert_eq!(upstream.seen().len(), 3);
        assert!(upstream.seen()[1].ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{:?}", upstream.seen());
        assert_eq!(upstream.connections.get(), 1, "one kept connection is enough");
    });
}

#[test]
fn the_rest_of_a_refused_body_is_never_a_request() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        let next = "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        // At hand and small: read over, and the connection is kept.
        let head = format!("POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", inner.len());
        let text = gateway.exchange([&head, inner, next].concat()).await;
        assert_eq!(statuses(&text), ["403", "200"], "{text}");
        // Not at hand, too long or of unknown length: the connection ends, and says so.
        for head in [
            "Content-Length: 1000000\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\nContent-Length: 38\r\n",
        ] {
            let mut client = gateway.connect().await;
            client.send(format!("POST /refused HTTP/1.1\r\nHost: h\r\n{head}\r\n")).await;
            let answer = client.until("refused").await;
            assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("connection: close"), "{answer}");
            let _ = client.stream.write_all([inner, next].concat().as_bytes()).await;
            assert_eq!(client.rest().await, "");
        }
        let seen = upstream.seen();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with("GET /next "), "{seen:?}");
    });
}

#[test]
fn a_client_reads_its_refusal_though_it_is_still_sending() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n").await;
        client.send(vec![b'x'; 3_000_000]).await;
        assert_eq!(statuses(&client.until("refused").await), ["403"]);
    });
}

/// Requests with a few bytes of them replaced, doubled or lost.
fn spoilt() -> impl Strategy<Value = Vec<u8>> {
    let requests = prop::sample::select(vec![
        "GET /a?b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ]);
    let byte = prop_oneof![prop::sample::select(b"\r\n :;,/%0\0".to_vec()), any::<u8>()];
    let change = (any::<prop::sample::Index>(), 0..3_u8, byte);
    (requests, prop::collection::vec(change, 0..4)).prop_map(|(request, changes)| {
        let mut bytes = request.as_bytes().to_vec();
        for (place, kind, byte) in changes {
            let place = place.index(bytes.len());
            match kind {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => drop(bytes.remove(place)),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn whatever_comes_there_is_an_answer_or_an_end(requests in prop::collection::vec(spoilt(), 12)) {
        run(async {
            let upstream = Upstream::echo().await;
            let gateway = Gateway::with(upstream.address, |s| {
                s.timeouts.request_head = Duration::from_millis(30);
                s.timeouts.stream_idle = Duration::from_millis(30);
                s.timeouts.idle = Duration::from_millis(30);
            });
            let all = requests.iter().map(async |request| {
                let mut client = gateway.connect().await;
                client.send(request).await;
                let mut answer = Vec::new();
                let reading = client.stream.read_to_end(&mut answer);
                let ended = tokio::time::timeout(PATIENCE, reading).await;
                assert!(ended.is_ok(), "no end of {:?}: {:?}", request.escape_ascii().to_string(), answer.escape_ascii().to_string());
                if answer.starts_with(b"HTTP/1.") {
                    let text = String::from_utf8_lossy(&answer).into_owned();
                    assert!(["200", "400", "431", "502"].contains(&&text[9..12]), "{request:?}: {text}");
                }
            });
            futures_util::future::join_all(all).await;
            for seen in upstream.seen() {
                let head = seen.split_once("\r\n\r\n").unwrap().0;
                assert_eq!(head.matches("\r\nhost: ").count(), 1, "{seen}");
                assert!(!(head.contains("\r\ncontent-length:") && head.contains("\r\ntransfer-encoding:")), "{seen}");
            }
            let good = gateway.exchange("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
            assert_eq!(statuses(&good), ["200"]);
        });
    }
}
