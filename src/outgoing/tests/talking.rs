//! Requests that are allowed: over TLS and without, with whatever comes back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::task::TaskTracker;

use super::{
    super::{HttpOutgoing, Rule},
    guarding::Names,
};
use crate::{
    ports::{Outgoing, OutgoingAnswer, OutgoingError, OutgoingRequest},
    tls,
};

fn loopback() -> Rule {
    Rule { allow: vec!["127.0.0.0/8".parse().unwrap()], http: true }
}

fn request(url: &str) -> OutgoingRequest {
    let headers = vec![("content-type", "application/json".to_owned()), ("webhook-id", "evt_1".to_owned())];
    OutgoingRequest { url: url.to_owned(), headers, body: Bytes::from_static(b"{\"a\":1}") }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &[u8]) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while !seen.ends_with(b"{\"a\":1}") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(n) => seen.extend_from_slice(&chunk[..n]),
        }
    }
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    String::from_utf8(seen).unwrap()
}

/// Answers one request with this; returns what it saw, and what came of the request.
async fn exchange(answer: Vec<u8>) -> (String, Result<OutgoingAnswer, OutgoingError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/hook?a=b", listener.local_addr().unwrap().port());
    let served = TaskTracker::new().spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        converse(stream, &answer).await
    });
    let outgoing = HttpOutgoing::new(loopback()).unwrap().within(Duration::from_secs(5));
    let got = outgoing.post(request(&url)).await;
    (served.await.unwrap(), got)
}

#[tokio::test]
async fn a_request_is_one_post() {
    let answer = b"HTTP/1.1 503 x\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nlate".to_vec();
    let (seen, got) = exchange(answer).await;
    let got = got.unwrap();
    assert_eq!((got.status, &got.body[..]), (503, &b"late"[..]));
    assert_eq!(got.retry_after, Some(Duration::from_secs(7)));
    assert!(seen.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{seen}");
    for line in ["webhook-id: evt_1", "content-length: 7", "user-agent: plangate/", "host: 127.0.0.1:"] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = other.local_addr().unwrap();
    let answer = format!("HTTP/1.1 302 x\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n");
    let (_, got) = exchange(answer.into_bytes()).await;
    assert_eq!(got.unwrap().status, 302);
    let nobody = tokio::time::timeout(Duration::from_millis(50), other.accept()).await;
    assert!(nobody.is_err(), "nobody went there");
}

#[tokio::test]
async fn what_comes_back_is_bounded() {
    let mut long = b"HTTP/1.1 200 x\r\nretry-after: tomorrow\r\n\r\n".to_vec();
    long.extend(vec![b'x'; 1024 * 1024]);
    let got = exchange(long).await.1.unwrap();
    assert_eq!((got.status, got.body.len(), got.retry_after), (200, 64 * 1024, None));
    let mut head = b"HTTP/1.1 200 x\r\nx: ".to_vec();
    head.extend(vec![b'x'; 256 * 1024]);
    assert!(matches!(exchange(head).await.1, Err(OutgoingError::Failed(_))));
    for broken in [&b""[..], b"nonsense\r\n\r\n", b"HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\nx"] {
        let got = exchange(broken.to_vec()).await.1;
        assert!(matches!(got, Err(OutgoingError::Failed(_))), "{got:?}");
    }
}

#[tokio::test]
async fn nobody_waits_for_a_silent_endpoint() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let outgoing = HttpOutgoing::new(loopback()).unwrap().within(Duration::from_millis(30));
    let error = outgoing.post(request(&url)).await.unwrap_err();
    assert!(error.to_string().contains("no complete answer"), "{error}");
    drop(listener);
    let error = outgoing.post(request(&url)).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn tls_is_verified_against_the_name() {
    let issued = rcgen::generate_simple_self_signed(["hooks.example".to_owned()]).unwrap();
    let certificate = issued.cert.der().clone();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        for _ in 0..3 {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            converse(stream, b"HTTP/1.1 204 x\r\n\r\n").await;
        }
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let names = Names::answering(&[&["127.0.0.1"]]);
    let client = async {
        let post = async |host: &str, tls: ClientConfig| {
            let outgoing = HttpOutgoing::with(loopback(), names.clone(), tls);
            outgoing.post(request(&format!("https://{host}:{port}/"))).await
        };
        let stranger = post("hooks.example", tls::usual().unwrap()).await.unwrap_err();
        assert!(stranger.to_string().contains("certificate"), "{stranger}");
        let other_name = post("other.example", trusting.clone()).await.unwrap_err();
        assert!(other_name.to_string().contains("certificate"), "{other_name}");
        assert_eq!(post("hooks.example", trusting).await.unwrap().status, 204);
    };
    tokio::join!(server, client);
}
