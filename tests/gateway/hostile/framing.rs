//! Where requests end: heads, chunks, unread bodies, sizes.

use std::fmt::Write as _;

use super::{Walls, statuses};
use crate::support::client::Wire;

#[tokio::test]
async fn heads_that_two_servers_would_end_differently() {
    let walls = Walls::stand().await;
    let plain = "Content-Length: 4\r\n";
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: +4\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551617\r\n",
        "Content-Length : 4\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\0z\r\n",
        "X\0: y\r\n",
        "X y: z\r\n",
        "no colon\r\n",
        ": nameless\r\n",
        "Host: h\r\n",
        "Host: other\r\n",
        "HOST: other\r\n",
    ] {
        let attack = walls.head("POST /v1/messages HTTP/1.1", fields) + "0\r\n\r\n" + &walls.loot();
        let answer = walls.exchange(attack).await;
        assert_eq!(statuses(&answer), [400], "{fields:?}: {answer}");
        assert!(answer.contains("\"request-malformed\""), "{fields:?}: {answer}");
    }
    for host in [
        "", " ", "a b", "a,b", "a/b", "u@h", "h:x", "h:70000", "h:1:2", "[::1", "[x]", "::1", "h\\x", "h?x",
        "http://h", "h\u{e9}",
    ] {
        let attack = format!("GET /v1/messages HTTP/1.1\r\nHost: {host}\r\nx-api-key: {}\r\n\r\n", walls.key);
        let answer = walls.exchange(attack + &walls.loot()).await;
        assert_eq!(statuses(&answer), [400], "{host:?}: {answer}");
        assert!(answer.contains("\"request-malformed\""), "{host:?}: {answer}");
    }
    for line in [
        "GET /v1/messages HTTP/1.0\r\nTransfer-Encoding: chunked",
        "GET /v1/messages HTTP/1.2",
        "GET /v1/messages HTTP/2.0",
        "GET /v1/messages HTTP/0.9",
        "GET /v1/messages http/1.1",
        "GET /v1/messages",
        "GET  /v1/messages HTTP/1.1",
        "GET /v1/messages HTTP/1.1 ",
        "GET /v1/messages x HTTP/1.1",
        "G T /v1/messages HTTP/1.1",
        "(GET) /v1/messages HTTP/1.1",
        "TRACE /v1/messages HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
    ] {
        let answer = walls.exchange(walls.head(line, plain) + "abcd" + &walls.loot()).await;
        assert_eq!(statuses(&answer), [400], "{line:?}: {answer}");
    }
    walls.hold(0, "heads").await;
    walls.uncharged().await;
}

#[tokio::test]
async fn chunks_that_two_servers_would_end_differently() {
    let walls = Walls::stand().await;
    for body in [
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\n X: a\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "ffffffffffffffff\r\n",
        "10000000000000000\r\n",
        "1;\0\r\na\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        ";\r\n0\r\n\r\n",
        "0\r\n\rX",
    ] {
        let attack = walls.head("POST /v1/free/chunks HTTP/1.1", "Transfer-Encoding: chunked\r\n");
        let answer = walls.exchange(attack + body + &walls.loot()).await;
        let answers = statuses(&answer);
        assert!(answers.is_empty() || answers == [400], "{body:?}: {answer}");
    }
    walls.hold(0, "chunks").await;
    // What is well-formed ends where it says, and what is behind it is a request of its own.
    let whole = walls.head("POST /v1/free/whole HTTP/1.1", "Transfer-Encoding: chunked\r\n");
    let after = walls.head("GET /v1/free/after HTTP/1.1", "Connection: close\r\n");
    let answer = walls.exchange(whole + "00003;x=\"y\"\r\n0\r\n\r\n0;end\r\nX-Sum: 1\r\n\r\n" + &after).await;
    assert_eq!(statuses(&answer), [200, 200], "{answer}");
    let seen = walls.origin.seen();
    assert_eq!(seen[1].body, b"0\r\n");
    assert_eq!(seen[2].target(), "/v1/free/after");
    walls.hold(3, "whole chunks").await;
    walls.uncharged().await;
}

#[tokio::test]
async fn the_unread_body_of_a_refused_request_is_never_a_request() {
    let walls = Walls::stand().await;
    let loot = walls.loot();
    let chunked = format!("{:x}\r\n{loot}\r\n0\r\n\r\n", loot.len());
    let long = loot.repeat(200);
    for (fields, body) in [
        (format!("Content-Length: {}\r\n", loot.len()), loot.clone()),
        (format!("Content-Length: {}\r\n", long.len()), long.clone()),
        (format!("Content-Length: {}\r\n", loot.len() * 100), loot.clone()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), chunked.clone()),
        (format!("Content-Length: {}\r\nExpect: 100-continue\r\n", loot.len()), loot.clone()),
    ] {
        let head = walls.head("POST /v1/export/x HTTP/1.1", &fields);
        // All at once, and the body only after the refusal was read.
        let answer = walls.exchange(format!("{head}{body}")).await;
        assert_eq!(statuses(&answer), [403], "{fields}: {answer}");
        let mut wire = Wire::to(walls.gateway.data).await;
        wire.send(&head).await;
        let refused = wire.reply().await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "feature-not-in-plan"));
        wire.try_send(&body).await;
        let rest = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(statuses(&rest).is_empty(), "{fields}: {rest}");
    }
    // The same of one that has no identity, and of one that has no valid head.
    let anonymous =
        format!("POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{long}", long.len());
    assert_eq!(statuses(&walls.exchange(anonymous).await), [401]);
    let broken = format!("POST /v1//x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{loot}", loot.len());
    let answers = statuses(&walls.exchange(broken).await);
    assert_eq!(answers, [400]);
    walls.hold(0, "unread bodies").await;
    walls.uncharged().await;
}

#[tokio::test]
async fn sizes() {
    let walls = Walls::stand().await;
    let with_fields = |count: usize| {
        let fields = (0..count).fold(String::new(), |mut all, n| {
            let _ = write!(all, "X-{n}: y\r\n");
            all
        });
        walls.head("GET /v1/free/x HTTP/1.1", &(fields + "Connection: close\r\n"))
    };
    // Host, the key and Connection are three of the hundred.
    assert_eq!(statuses(&walls.exchange(with_fields(97)).await), [200]);
    assert_eq!(statuses(&walls.exchange(with_fields(98)).await), [431]);
    let with_length = |length: usize| {
        let bare = walls.head("GET /v1/free/x HTTP/1.1", "Connection: close\r\nX: \r\n").len();
        let field = format!("Connection: close\r\nX: {}\r\n", "y".repeat(length - bare));
        walls.head("GET /v1/free/x HTTP/1.1", &field)
    };
    assert_eq!(statuses(&walls.exchange(with_length(64 * 1024)).await), [200]);
    assert_eq!(statuses(&walls.exchange(with_length(64 * 1024 + 1)).await), [431]);
    let line = format!("GET /v1/free/{} HTTP/1.1", "x".repeat(70_000));
    let answer = walls.exchange(walls.head(&line, "")).await;
    assert_eq!(statuses(&answer), [431]);
    assert!(answer.contains("\"head-too-large\""), "{answer}");
    for endless in ["GET /v1/free/x HTTP/1.1\r\nX: ".to_owned() + &"y".repeat(1 << 20), "y".repeat(1 << 20)] {
        let mut wire = Wire::to(walls.gateway.data).await;
        wire.try_send(endless).await;
        assert_eq!(wire.reply().await.code(), "head-too-large", "no end is waited for");
    }
    walls.hold(2, "sizes").await;
    walls.uncharged().await;
}
