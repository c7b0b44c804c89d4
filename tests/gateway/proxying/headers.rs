//! Headers on their way to the upstream and back.

use serde_json::json;

use crate::{
    codes::{token_of, with_tokens},
    support::{
        client::{ask, get},
        origin::Origin,
        process::Setup,
        upstream::Upstream,
    },
};

#[tokio::test]
async fn headers_to_the_upstream() {
    let origin = Origin::recording().await;
    let setup = Setup::at(&origin.url());
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
}

/// However a key came and wherever it goes, it stays here; a token is the upstream's business, too.
#[tokio::test]
async fn keys_are_not_forwarded() {
    let origin = Origin::recording().await;
    let setup = with_tokens(Setup::at(&origin.url()));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
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
async fn headers_to_the_client() {
    let origin = Origin::scripted(|_, mut wire| async move {
        while wire.request().await.is_some() {
            wire.send(
                "HTTP/1.1 200 Fine\r\ncontent-length: 2\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
                 upgrade: h2c\r\nproxy-authenticate: Basic\r\nx-request-id: theirs\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
                 x-plain: kept\r\n\r\nok",
            )
            .await;
        }
    })
    .await;
    let setup = Setup::at(&origin.url());
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    // No issuer of tokens is configured: a Bearer token is not ours to judge.
    let ask = get("/v1/messages").key(&key).with("authorization", "Bearer of-the-upstream");
    let reply = ask.send(gateway.data).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    for gone in ["x-hop", "keep-alive", "upgrade", "proxy-authenticate"] {
        assert_eq!(reply.header(gone), None, "{reply:?}");
    }
    let all = |name: &str| -> Vec<&str> {
        reply.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!((all("set-cookie"), all("x-plain")), (vec!["a=1", "b=2"], vec!["kept"]));
    assert!(all("x-request-id").len() == 1 && all("x-request-id") != ["theirs"], "{reply:?}");
}
