//! What becomes of a request when the upstream does not do its part, and that none is ever sent twice.

use super::*;

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

#[test]
fn a_refused_connection_was_not_seen() {
    run(async {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let gateway = Gateway::before(free);
        let text = gateway.exchange(GET).await;
        assert_eq!(statuses(&text), ["502"]);
        assert!(text.contains("seen: false"), "{text}");
    });
}

#[test]
fn silence_is_a_time_out_counted_from_the_bodys_end() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.rest().await;
        })
        .await;
        let gateway =
            Gateway::with(upstream.address, |s| s.timeouts.response_head = Duration::from_millis(150));
        let text = gateway.exchange(GET).await;
        assert_eq!(statuses(&text), ["504"]);
        assert!(text.contains("seen: true"), "{text}");
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\na").await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.send("b").await;
        assert_eq!(statuses(&client.rest().await), ["504"]);
    });
}

#[test]
fn a_connection_lost_after_the_request_is_not_tried_again() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.request().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let text = gateway.exchange(GET).await;
        assert_eq!(statuses(&text), ["502"]);
        assert!(text.contains("seen: true"), "{text}");
        assert_eq!(upstream.connections.get(), 1);
    });
}

#[test]
fn a_kept_connection_that_has_died_is_replaced_unnoticed() {
    run(async {
        let served: Rc<Cell<usize>> = Rc::default();
        let count = Rc::clone(&served);
        let upstream = Upstream::scripted(move |_, mut c| {
            let count = Rc::clone(&count);
            async move {
                if c.request().await.is_some() {
                    count.set(count.get() + 1);
                    c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
                }
            }
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        for round in 1..=3 {
            client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab").await;
            client.until("\r\n\r\nhi").await;
            assert_eq!((served.get(), upstream.connections.get()), (round, round));
        }
    });
}

#[test]
fn a_kept_connection_that_dies_with_the_request_in_it_is_not_replaced() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.request().await;
            c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
            c.request().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
        client.until("\r\n\r\nhi").await;
        client.send(GET).await;
        assert_eq!(statuses(&client.rest().await), ["502"]);
        assert_eq!(upstream.connections.get(), 1);
    });
}

#[test]
fn an_early_answer_is_passed_on() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.until("\r\n\r\n").await;
            c.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
                .await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc").await;
        assert_eq!(statuses(&client.until("\r\n\r\nbig").await), ["413"]);
    });
}

#[test]
fn a_client_that_breaks_off_its_body_is_named() {
    run(async {
        let upstream = Upstream::scripted(|_, mut c| async move {
            c.rest().await;
        })
        .await;
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.stream.shutdown().await.unwrap();
        assert!(client.rest().await.ends_with("client body"));
    });
}

#[test]
fn headers_as_the_contract_has_them() {
    run(async {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::before(upstream.address);
        gateway
            .exchange(
                "GET /x?q=%2e%2E HTTP/1.1\r\nHost: api.example:81\r\nConnection: close, x-mine, host\r\nX-Mine: 1\r\n\
                 X-Plangate-Tenant: evil\r\nX-Forwarded-For: 1.1.1.1\r\nProxy: evil\r\nAccept: */*\r\n\r\n",
            )
            .await;
        let seen = upstream.seen().remove(0);
        let mut lines: Vec<&str> = seen.trim_end().lines().collect();
        assert_eq!(lines.remove(0), "GET /x?q=%2e%2E HTTP/1.1");
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "accept: */*",
                "host: api.example:81",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: api.example:81",
                "x-forwarded-proto: http",
                "x-request-id: test-id",
            ]
        );
    });
}

#[test]
fn https_upstreams() {
    run(async {
        let named = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = named.cert.der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(named.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let upstream = Upstream::scripted(move |_, c| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(c.stream).await else { return };
                let mut piece = [0; 4096];
                while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntls").await.unwrap();
                }
            }
        })
        .await;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let trusting = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let settings =
            Settings::new(format!("https://localhost:{}", upstream.address.port()).parse().unwrap());
        let shutdown = CancellationToken::new();
        let tasks = Tasks::new(&shutdown);
        let proxy = Proxy::with_tls(&settings, &tasks, trusting).unwrap();
        let gateway = Gateway::over(proxy, settings.clone(), shutdown.clone(), tasks.clone());
        assert!(gateway.exchange(GET).await.ends_with("\r\n\r\ntls"));
        // An authority that nobody vouches for.
        let doubting = Proxy::new(&settings, &tasks).unwrap();
        let gateway = Gateway::over(doubting, settings, shutdown, tasks);
        let text = gateway.exchange(GET).await;
        assert!(text.contains("seen: false") && text.contains("certificate"), "{text}");
    });
}

#[test]
fn upstreams_that_are_none() {
    let tasks = Tasks::new(&CancellationToken::new());
    for uri in ["ftp://h", "/x", "h:80", "http://u:p@h"] {
        let settings = Settings::new(uri.parse().unwrap());
        assert!(Proxy::<ServerBody>::new(&settings, &tasks).is_err(), "{uri}");
    }
}
