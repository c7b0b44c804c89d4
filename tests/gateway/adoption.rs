//! What a team with customers needs to begin (issue: Adoption): observing, tenants made from tokens, proxies in front,
//! the load balancer's probe, browsers, and an upstream behind TLS.

use serde_json::{Value, json};

use super::tokens::{claims, with_keys};
use crate::{
    signer::Signer,
    support::{
        admin::TOKEN,
        client::{Ask, Reply, ask, get},
        process::{Gateway, Setup, eventually},
        tls,
        upstream::Upstream,
    },
};

fn messages() -> Ask {
    get("/v1/messages")
}

async fn metrics(gateway: &Gateway) -> String {
    get("/metrics").bearer(TOKEN).send(gateway.admin.0).await.text()
}

/// How often requests had this outcome and code, on any plan.
async fn counted(gateway: &Gateway, outcome: &str, code: &str) -> u64 {
    let (outcome, code) = (format!("outcome=\"{outcome}\""), format!("code=\"{code}\""));
    let text = metrics(gateway).await;
    text.lines()
        .filter(|line| line.starts_with("plangate_requests_total{"))
        .filter(|line| line.contains(&outcome) && line.contains(&code))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn observing_counts_and_logs_what_it_lets_pass() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).with("/mode", "observe").start().await;
    let admin = gateway.admin;
    let (small, slow) = (admin.tenant("acme", "small").await, admin.tenant("slow", "slow").await);
    let suspended = admin.tenant("late", "big").await;
    admin.ok("POST", "/v1/tenants/late/suspend", Value::Null).await;
    admin.ok("PUT", "/v1/tenants/bare", json!({})).await;
    let bare = admin.key("bare").await;
    let forged = format!("{}x", &small[..small.len() - 1]);
    for _ in 0..5 {
        assert_eq!(messages().key(&small).send(gateway.data).await.status, 200);
    }
    for _ in 0..2 {
        assert_eq!(messages().key(&slow).send(gateway.data).await.status, 200);
    }
    assert_eq!(admin.used("acme", "requests").await, 5, "what is allowed is charged as ever");

    for (ask, code) in [
        (messages(), "credential-missing"),
        (messages().key(&forged), "credential-invalid"),
        (messages().key(&small).bearer(&small), "credential-ambiguous"),
        (get("/v1/export/x").key(&small), "feature-not-in-plan"),
        (messages().key(&small), "quota-exhausted"),
        (messages().key(&slow), "rate-limited"),
        (get("/nowhere").key(&small), "route-not-covered"),
        (messages().key(&suspended), "tenant-suspended"),
        (messages().key(&bare), "subscription-inactive"),
    ] {
        let before = upstream.count();
        let reply = ask.send(gateway.data).await;
        assert_eq!(reply.status, 200, "{code}: {}", reply.text());
        assert_eq!(upstream.count(), before + 1, "{code}");
        let seen = upstream.last();
        assert!(!format!("{seen:?}").contains("pgk_"), "{code}: {seen:?}");
        assert_eq!(seen.header("x-plangate-tenant").is_some(), !code.starts_with("credential"), "{code}");
        assert_eq!(counted(&gateway, "observed", code).await, 1, "{code}");
        assert_eq!(counted(&gateway, "refused", code).await, 0, "{code}");
        let id = reply.header("x-request-id").unwrap().to_owned();
        let told = |line: &str| line.contains("would have been refused") && line.contains(&id);
        eventually("it is logged", async || {
            gateway.log().lines().any(|line| told(line) && line.contains(code))
        })
        .await;
    }
    assert_eq!(admin.used("acme", "requests").await, 5, "what would have been refused costs nothing");
}

#[tokio::test]
async fn observing_leaves_customers_own_keys_alone_until_they_are_imported() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).with("/mode", "observe").start().await;
    gateway.admin.tenant("acme", "small").await;
    let theirs = "q7Xv2LkP9sRt4WzB8nJc6HdF3gYm5TaQ";
    assert_eq!(messages().key(theirs).send(gateway.data).await.status, 200);
    assert_eq!(upstream.last().header("x-api-key"), Some(theirs), "only the upstream knows it");
    assert_eq!(counted(&gateway, "observed", "credential-invalid").await, 1);

    gateway.admin.ok("POST", "/v1/tenants/acme/keys", json!({ "import": theirs })).await;
    for wanted in ["acme", "acme"] {
        assert_eq!(messages().key(theirs).send(gateway.data).await.status, 200);
        assert_eq!(upstream.last().header("x-api-key"), None, "now it is Plangate's");
        assert_eq!(upstream.last().header("x-plangate-tenant"), Some(wanted));
    }
}

#[tokio::test]
async fn observing_still_refuses_what_has_no_one_meaning() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).with("/mode", "observe").start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    for path in ["/v1/../admin", "/v1//messages", "/v1/%2e%2e/x", "/v1/a%2fb", "/v1/a;b", "/v1/%zz"] {
        let reply = get(path).key(&key).send(gateway.data).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "path-ambiguous"), "{path}");
    }
    let trace = ask("TRACE", "/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!((trace.status, trace.code().as_str()), (400, "request-malformed"));
    let two = messages().key(&key).with("host", "a").with("Host", "b").send(gateway.data).await;
    assert_eq!((two.status, two.code().as_str()), (400, "request-malformed"));
    for path in ["/.plangate/secret", "/.plangate", "/%2eplangate/readyz/x"] {
        let reply = get(path).key(&key).send(gateway.data).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "route-not-covered"), "{path}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn tenants_are_made_once_from_their_first_tokens() {
    let (upstream, signer) = (Upstream::start().await, Signer::ed());
    let setup = with_keys(&upstream, &[signer.jwk("k")]).with("/tenants/unknown", json!({ "plan": "big" }));
    let gateway = setup.start().await;
    let (token, data) = (signer.token("k", &claims("newcomer")), gateway.data);
    let mut first = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let ask = messages().bearer(&token);
        first.spawn(async move { ask.send(data).await.status });
    }
    assert_eq!(first.join_all().await, [200; 20]);
    let admin = gateway.admin;
    assert_eq!(admin.used("newcomer", "requests").await, 20, "each was counted");
    assert_eq!(admin.get("/v1/tenants/newcomer/rights").await["plan"], "big");
    let audit = admin.get("/v1/audit").await;
    let made: Vec<&Value> =
        audit["items"].as_array().unwrap().iter().filter(|row| row["tenant"] == "newcomer").collect();
    assert_eq!(made.len(), 1, "{audit}");
    assert_eq!((&made[0]["actor"], &made[0]["source"]), (&json!("system"), &json!("jwt")));

    // What an administrator did to it is not undone by its next token.
    admin.ok("POST", "/v1/tenants/newcomer/suspend", Value::Null).await;
    let reply = messages().bearer(&token).send(data).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "tenant-suspended"));
    // A token that does not verify makes nobody.
    let forged = Signer::ed().token("k", &claims("intruder"));
    assert_eq!(messages().bearer(&forged).send(data).await.status, 401);
    assert_eq!(admin.call("GET", "/v1/tenants/intruder", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_key_makes_no_tenant_and_by_default_nothing_does() {
    let (upstream, signer) = (Upstream::start().await, Signer::ed());
    let setup = with_keys(&upstream, &[signer.jwk("k")]).with("/tenants/unknown", json!({ "plan": "big" }));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("gone", "small").await;
    assert_eq!(messages().key(&key).send(gateway.data).await.status, 200);
    gateway.admin.ok("DELETE", "/v1/tenants/gone", Value::Null).await;
    let reply = messages().key(&key).send(gateway.data).await;
    assert!([401, 403].contains(&reply.status), "{reply:?}");
    assert_eq!(gateway.admin.call("GET", "/v1/tenants/gone", Value::Null).await.status, 404);

    let gateway = with_keys(&upstream, &[signer.jwk("k")]).start().await;
    let before = upstream.count();
    let reply = messages().bearer(&signer.token("k", &claims("newcomer"))).send(gateway.data).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "tenant-unknown"));
    assert_eq!(reply.json()["tenant"], "newcomer");
    assert_eq!(gateway.admin.call("GET", "/v1/tenants/newcomer", Value::Null).await.status, 404);
    assert_eq!(upstream.count(), before);
}

fn forged() -> Ask {
    messages()
        .with("x-forwarded-for", "203.0.113.7")
        .with("x-forwarded-proto", "https")
        .with("x-forwarded-host", "shop.example")
        .with("x-request-id", "from-outside")
        .with("x-plangate-tenant", "other")
        .with("X_Plangate_Plan", "open")
        .with("host", "api.example")
}

#[tokio::test]
async fn only_trusted_proxies_say_where_a_request_came_from() {
    let upstream = Upstream::start().await;
    for (proxies, trusted) in
        [(json!([]), false), (json!(["10.0.0.0/8", "::1"]), false), (json!(["127.0.0.0/8"]), true)]
    {
        let gateway = Setup::before(&upstream).with("/trusted_proxies", proxies).start().await;
        let key = gateway.admin.tenant("acme", "big").await;
        let reply = forged().key(&key).send(gateway.data).await;
        assert_eq!(reply.status, 200);
        let seen = upstream.last();
        let expected = if trusted {
            ["203.0.113.7, 127.0.0.1", "https", "shop.example"]
        } else {
            ["127.0.0.1", "http", "api.example"]
        };
        let names = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
        assert_eq!(names.map(|name| seen.all(name).join(" | ")), expected);
        let id = reply.header("x-request-id").unwrap();
        assert_eq!(seen.all("x-request-id"), [id], "both sides hear the same");
        assert_eq!(id == "from-outside", trusted);
        // Whom a request is for is nobody's to say, not even a trusted proxy's.
        assert_eq!((seen.all("x-plangate-tenant"), seen.all("x-plangate-plan")), (vec!["acme"], vec!["big"]));
        assert!(!seen.headers.iter().any(|(name, _)| name.contains('_')), "{seen:?}");
        // A refusal is named the same way.
        let refused = forged().send(gateway.data).await;
        assert_eq!(refused.json()["request_id"] == "from-outside", trusted);
        assert_eq!(refused.json()["request_id"], refused.header("x-request-id").unwrap());
    }
}

#[tokio::test]
async fn the_probe_is_answered_where_it_is_configured() {
    let upstream = Upstream::start().await;
    let ready = async |gateway: &Gateway, path: &str| {
        let reply = get(path).send(gateway.data).await;
        (reply.status, reply.status == 200 && reply.json()["status"] == "ready")
    };
    let gateway = Setup::before(&upstream).start().await;
    assert_eq!(ready(&gateway, "/.plangate/readyz").await, (200, true));
    let head = ask("HEAD", "/.plangate/readyz").send(gateway.data).await;
    assert_eq!(head.status, 200);
    assert_eq!(ready(&gateway, "/.plangate/other").await.0, 401, "an anonymous request to an unknown route");

    let gateway = Setup::before(&upstream).with("/probe", "/lb").start().await;
    assert_eq!(ready(&gateway, "/lb").await, (200, true));
    assert_eq!(ready(&gateway, "/.plangate/readyz").await.0, 401);

    let gateway = Setup::before(&upstream).with("/probe", "").start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let own = get("/.plangate/readyz").key(&key).send(gateway.data).await;
    assert_eq!((own.status, own.code().as_str()), (404, "route-not-covered"));
    assert_eq!(upstream.count(), 0, "none of it is the upstream's");
}

#[tokio::test]
async fn the_gateways_own_paths_are_never_forwarded() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy("routes.yaml", "unmatched: allow\ndefaults: { charge: { requests: 1 } }\nroutes: []\n");
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    assert_eq!(get("/anything").key(&key).send(gateway.data).await.status, 200);
    let preflight = |path: &str| {
        ask("OPTIONS", path).with("origin", "https://a.example").with("access-control-request-method", "GET")
    };
    for ask in [
        get("/.plangate/x").key(&key),
        get("/.plangate").key(&key),
        get("/.plangate/readyz?x=1").key(&key),
        get("/%2Eplangate/readyz/deeper").key(&key),
        ask("POST", "/.plangate/readyz").key(&key),
        preflight("/.plangate/x").key(&key),
    ] {
        let reply = ask.send(gateway.data).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "route-not-covered"), "{ask:?}");
    }
    assert_eq!(preflight("/.plangate/x").send(gateway.data).await.status, 401);
    assert_eq!(get("/.plangatex").key(&key).send(gateway.data).await.status, 200, "another name");
    assert_eq!(upstream.count(), 2);
    assert_eq!(gateway.admin.used("acme", "requests").await, 2);
}

#[tokio::test]
async fn preflights_of_covered_paths_pass_without_identity_or_charge() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let options = |path: &str| ask("OPTIONS", path);
    let preflight = |path: &str| {
        options(path).with("origin", "https://app.example").with("access-control-request-method", "POST")
    };
    for path in ["/v1/messages", "/v1/messages/7", "/v1/export/all", "/v1/ai/chat", "/healthz"] {
        let before = upstream.count();
        assert_eq!(preflight(path).send(gateway.data).await.status, 200, "{path}");
        assert_eq!(upstream.count(), before + 1);
        assert_eq!(upstream.last().method, "OPTIONS");
        assert_eq!(upstream.last().header("x-plangate-tenant"), None);
    }
    let before = upstream.count();
    for no_preflight in [
        preflight("/nowhere"),
        options("/v1/messages"),
        options("/v1/messages").with("origin", "https://app.example"),
        options("/v1/messages").with("access-control-request-method", "POST"),
        messages().with("origin", "https://app.example").with("access-control-request-method", "POST"),
    ] {
        let reply = no_preflight.send(gateway.data).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "credential-missing"), "{no_preflight:?}");
    }
    assert_eq!(upstream.count(), before);
    assert_eq!(preflight("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);
}

const ALLOWED: [&str; 3] =
    ["access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers"];

fn cors(reply: &Reply) -> [Option<&str>; 3] {
    ALLOWED.map(|name| reply.header(name))
}

#[tokio::test]
async fn refusals_can_be_read_by_listed_origins_only() {
    let upstream = Upstream::start().await;
    let listed = json!(["https://app.example", "http://127.0.0.1:3000"]);
    let gateway = Setup::before(&upstream).with("/cors/origins", listed).start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let from = |origin: &str| messages().with("origin", origin);
    for origin in ["https://app.example", "http://127.0.0.1:3000"] {
        let reply = from(origin).send(gateway.data).await;
        assert_eq!(reply.status, 401);
        let [allowed, credentials, exposed] = cors(&reply);
        assert_eq!((allowed, credentials), (Some(origin), Some("true")));
        for name in ["RateLimit", "RateLimit-Policy", "Retry-After"] {
            assert!(exposed.unwrap().split(", ").any(|shown| shown == name), "{exposed:?}");
        }
        assert_eq!(reply.header("vary"), Some("Origin"));
    }
    for origin in ["https://evil.example", "https://app.example.evil", "https://APP.example", "null", "*"] {
        let reply = from(origin).send(gateway.data).await;
        assert_eq!((reply.status, cors(&reply)), (401, [None; 3]), "{origin}");
        assert_eq!(reply.header("vary"), Some("Origin"), "caches must not mix them up");
    }
    for _ in 0..5 {
        let passed = from("https://app.example").key(&key).send(gateway.data).await;
        assert_eq!((passed.status, cors(&passed)), (200, [None; 3]), "the upstream's answers are its own");
    }
    let refused = from("https://app.example").key(&key).send(gateway.data).await;
    assert_eq!(refused.status, 429);
    assert_eq!(cors(&refused)[0], Some("https://app.example"));
    assert!(refused.header("ratelimit").is_some() && refused.header("retry-after").is_some());

    let open = Setup::before(&upstream).with("/cors/origins", json!(["*"])).start().await;
    let reply = from("https://anyone.example").send(open.data).await;
    assert_eq!(cors(&reply)[..2], [Some("https://anyone.example"), None], "without cookies");
    let off = Setup::before(&upstream).start().await;
    let reply = from("https://app.example").send(off.data).await;
    assert_eq!((cors(&reply), reply.header("vary")), ([None; 3], Some("Accept-Language")));
}

#[tokio::test]
async fn an_upstream_behind_tls_is_verified() {
    let upstream = tls::Upstream::start("localhost").await;
    let address = format!("https://localhost:{}", upstream.address.port());
    let mut setup = Setup::at(&address);
    let authority = setup.path("ca.pem");
    std::fs::write(&authority, &upstream.authority).unwrap();
    setup.environment.push(("SSL_CERT_FILE".into(), authority.display().to_string()));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let reply = messages().key(&key).send(gateway.data).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "over TLS"), "{reply:?}");
    assert_eq!(upstream.heads().len(), 1);
    let head = upstream.heads().remove(0).to_ascii_lowercase();
    assert!(head.contains("x-plangate-tenant: acme") && !head.contains(&key.to_ascii_lowercase()), "{head}");

    // Another authority's word is not enough, and what the upstream never saw is not charged.
    let stranger = tls::Upstream::start("localhost").await;
    let mut setup = Setup::at(&format!("https://localhost:{}", stranger.address.port()));
    setup.environment.push(("SSL_CERT_FILE".into(), authority.display().to_string()));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let reply = messages().key(&key).send(gateway.data).await;
    assert_eq!((reply.status, reply.code().as_str()), (502, "upstream-unreachable"));
    assert!(!reply.text().contains("ertificate"), "clients are not told of the inside: {}", reply.text());
    eventually("operators are told", async || gateway.log().contains("certificate")).await;
    assert_eq!(stranger.heads().len(), 0);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);
    // Nor is the right authority's word for another name.
    let mut setup = Setup::at(&format!("https://127.0.0.1:{}", upstream.address.port()));
    setup.environment.push(("SSL_CERT_FILE".into(), authority.display().to_string()));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    assert_eq!(messages().key(&key).send(gateway.data).await.status, 502);
}
