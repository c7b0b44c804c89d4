//! Bodies stream both ways with the framing that they came with.

use super::*;

#[test]
fn request_bodies_stream() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("\r\n\r\n").await;
            c.until("first").await;
            c.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
                .await;
            c.until("second").await;
            c.until("0\r\n\r\n").await;
            c.send("3\r\ntwo\r\n0\r\n\r\n").await;
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        // The upstream answers while the client has not sent all: the answer is passed on meanwhile.
        let head = client.until("one").await;
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("transfer-encoding: chunked"), "{head}");
        assert!(!head.contains("103"));
        client.send("6\r\nsecond\r\n0\r\n\r\n").await;
        client.until("two\r\n0\r\n\r\n").await;
    });
}

#[test]
fn server_sent_events_pass_one_by_one() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("\r\n\r\n").await;
            c.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
            for n in 0..3 {
                c.send(format!("data: {n}\n\n")).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n").await;
        for n in 0..3 {
            let piece = client.until(&format!("data: {n}\n\n")).await;
            assert_eq!(piece.matches("data: ").count(), 1, "{piece}");
        }
        client.until("0\r\n\r\n").await;
    });
}

#[test]
fn a_client_that_leaves_frees_the_upstream() {
    run(async {
        let (left, mut gone) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::scripted(move |_, mut c| {
            let left = left.clone();
            async move {
                c.until("\r\n\r\n").await;
                c.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").await;
                c.rest().await;
                left.send(()).unwrap();
            }
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.until("data: 1").await;
        drop(client);
        tokio::time::timeout(PATIENCE, gone.recv()).await.unwrap().unwrap();
    });
}

#[test]
fn a_client_that_closes_its_sending_half_still_gets_its_answer() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("\r\n\r\n").await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.stream.shutdown().await.unwrap();
        assert!(client.rest().await.ends_with("\r\n\r\nhi"));
    });
}

#[test]
fn framing_is_kept() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        for (request, sent) in [
            ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", None),
            ("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", Some("content-length: 0\r\n")),
            ("PUT /c HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", Some("content-length: 3\r\n")),
            (
                "GET /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                Some("transfer-encoding: chunked\r\n"),
            ),
            (
                "DELETE /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                Some("transfer-encoding: chunked\r\n"),
            ),
        ] {
            let line = request.lines().next().unwrap();
            client.send(request).await;
            client.until(&format!("\r\n\r\n{line}")).await;
            let seen = upstream.seen().pop().unwrap();
            match sent {
                Some(sent) => assert!(seen.contains(sent), "{seen}"),
                None => assert!(!seen.contains("content-length") && !seen.contains("transfer-"), "{seen}"),
            }
            let body = request.split_once("\r\n\r\n").unwrap().1;
            assert_eq!(seen.split_once("\r\n\r\n").unwrap().1, body);
        }
        assert_eq!(upstream.connections.get(), 1, "connections are kept and used again");
    });
}

#[test]
fn expect_is_answered_when_the_body_is_wanted() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
        assert_eq!(client.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("hi").await;
        assert!(client.until("POST /e HTTP/1.1").await.starts_with("HTTP/1.1 200 OK"));
        assert!(!upstream.seen()[0].contains("expect"));
    });
}

#[test]
fn bodiless_answers() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            while let Some(request) = c.request().await {
                let answer = match request.split(' ').nth(1).unwrap() {
                    "/204" => "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
                    "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 7\r\n\r\n",
                    _ => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
                };
                c.send(answer).await;
            }
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(client.until("\r\n\r\n").await.contains("content-length: 12345\r\n"));
        for status in ["204", "304"] {
            client.send(format!("GET /{status} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
            let head = client.until("\r\n\r\n").await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}")) && !head.contains("content-length"),
                "{head}"
            );
        }
        client.send("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        assert!(client.rest().await.ends_with("\r\n\r\n"));
        assert_eq!(upstream.connections.get(), 1);
    });
}

#[test]
fn old_clients_get_an_end_that_they_understand() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("\r\n\r\n").await;
            c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let text = gateway.exchange("GET / HTTP/1.0\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with("\r\n\r\nhi"), "{text}");
        assert!(!text.contains("chunked"));
    });
}

#[test]
fn an_answer_that_says_its_length_twice_has_one_end() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("\r\n\r\n").await;
            c.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let text = client.until("2\r\nhi\r\n0\r\n\r\n").await;
        assert!(
            !text.contains("content-length") && !text.contains("x-hop") && !text.contains("keep-alive"),
            "{text}"
        );
    });
}

#[test]
fn trailers_pass_both_ways() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            let head = c.until("\r\n\r\n").await;
            assert!(head.contains("te: trailers\r\n") && head.contains("trailer: x-sum, x-plangate-tenant\r\n"), "{head}");
            let body = c.until("x-sum: 7\r\n\r\n").await;
            assert!(!body.contains("plangate"), "{body}");
            c.send("HTTP/1.1 200 OK\r\nTrailer: x-out\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Out: 9\r\n\r\n")
                .await;
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTrailer: x-sum, x-plangate-tenant\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Plangate-Tenant: evil\r\nX-Sum: 7\r\n\r\n").await;
        client.until("2\r\nhi\r\n0\r\nx-out: 9\r\n\r\n").await;
    });
}
