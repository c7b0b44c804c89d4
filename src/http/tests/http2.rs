//! Clients that speak HTTP/2 from the first byte.

use ::http::{Request, Version};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{
    body::Frame,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

async fn connect<B>(gateway: &Gateway) -> SendRequest<B>
where
    B: ::http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let handshake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    TaskTracker::new().spawn_local(connection);
    sender
}

#[test]
fn requests_become_http1() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        let mut sender = connect::<Empty<Bytes>>(&gateway).await;
        let request = Request::builder()
            .method("POST")
            .uri("http://api.example/x?y=1")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Empty::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "POST /x?y=1 HTTP/1.1");
        let seen = upstream.seen().remove(0);
        for field in ["host: api.example\r\n", "cookie: a=1; b=2\r\n", "content-length: 0\r\n"] {
            assert!(seen.contains(field), "{field}: {seen}");
        }
    });
}

#[test]
fn bodies_and_trailers_stream() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("transfer-encoding: chunked\r\n").await;
            c.until("first").await;
            c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
            c.until("second").await;
            c.send("0\r\nX-Out: 9\r\n\r\n").await;
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let (pieces, mut sent) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
        let body = StreamBody::new(futures_util::stream::poll_fn(move |cx| {
            sent.poll_recv(cx).map(|piece| piece.map(|p| Ok::<_, Infallible>(Frame::data(Bytes::from(p)))))
        }));
        let mut sender = connect(&gateway).await;
        pieces.send("first").unwrap();
        let request = Request::builder().method("POST").uri("http://h/").body(body).unwrap();
        let mut answer = sender.send_request(request).await.unwrap().into_body();
        let first: Frame<Bytes> = answer.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "one");
        pieces.send("second").unwrap();
        let last = answer.frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap()["x-out"], "9");
    });
}

#[test]
fn refusals_are_the_stacks_and_the_connection_goes_on() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::with(upstream.address, |s| s.caps.request_head = 4 * 1024);
        let mut sender = connect::<Empty<Bytes>>(&gateway).await;
        let big = "y".repeat(5_000);
        for (method, uri, field, status) in [
            ("TRACE", "http://h/", "a", 400),
            ("GET", "http://u@h/", "a", 400),
            ("GET", "http://h/", big.as_str(), 431),
            ("GET", "http://h/ok", "a", 200),
            ("GET", "http://h/.plangate/readyz", "a", 200),
        ] {
            let request = Request::builder().method(method).uri(uri).header("x", field).body(Empty::new());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), status, "{method} {uri}");
        }
        assert_eq!(upstream.seen().len(), 1);
    });
}
