//! The customer's own view, and refusals in the customer's language.

use std::time::Duration;

use serde_json::{Value, json};

use super::tokens::{claims, with_keys};
use crate::{
    signer::Signer,
    support::{
        client::{Reply, Wire, ask, get},
        cluster::shell,
        origin::Origin,
        process::{Gateway, Setup},
        upstream::Upstream,
    },
};

const VIEW: &str = "/.plangate/usage";

async fn look(gateway: &Gateway, key: &str) -> Value {
    let reply = get(VIEW).key(key).send(gateway.data).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("private, no-store"));
    for absent in ["ratelimit", "ratelimit-policy", "retry-after"] {
        assert_eq!(reply.header(absent), None);
    }
    reply.json()
}

fn quota<'v>(view: &'v Value, meter: &str, window: &str) -> &'v Value {
    let quotas = view["quotas"].as_array().unwrap();
    quotas
        .iter()
        .find(|quota| (&quota["meter"], &quota["window"]) == (&json!(meter), &json!(window)))
        .unwrap()
}

#[tokio::test]
async fn a_look_costs_nothing_and_shows_the_tenants_own_numbers_alone() {
    let (upstream, signer) = (Upstream::start().await, Signer::ed());
    let setup = with_keys(&upstream, &[signer.jwk("a")]);
    let gateway = setup.start().await;
    let acme = gateway.admin.tenant("acme", "big").await;
    let other = gateway.admin.tenant("other", "small").await;
    let chat = ask("POST", "/v1/ai/chat").key(&acme);
    assert_eq!(chat.send(gateway.data).await.status, 200);
    for _ in 0..4 {
        assert_eq!(get("/v1/messages").key(&other).send(gateway.data).await.status, 200);
    }
    let before = upstream.count();

    let view = look(&gateway, &acme).await;
    assert_eq!(
        (&view["tenant"], &view["plan"], &view["state"]),
        (&json!("acme"), &json!("big"), &json!("active"))
    );
    let day = quota(&view, "ai_tokens", "day");
    assert_eq!((&day["used"], &day["limit"], &day["remaining"]), (&json!(5), &json!(20), &json!(15)));
    assert_eq!((&day["share"], &day["unit"], &day["uncertain"]), (&json!(25), &json!("token"), &json!(0)));
    assert_eq!(quota(&view, "ai_tokens", "month")["used"], 5);
    assert_eq!(quota(&view, "requests", "month")["used"], 1);
    assert_eq!(view["nearest"], view["quotas"][0]);
    assert!(view["message"].as_str().unwrap().ends_with('.'), "{view}");
    assert!(view["period"]["start"].as_str().unwrap() < view["period"]["end"].as_str().unwrap());

    let theirs = look(&gateway, &other).await;
    assert_eq!((&theirs["tenant"], &theirs["plan_title"]), (&json!("other"), &json!("Small")));
    assert_eq!(quota(&theirs, "requests", "month")["used"], 4);
    assert!(!theirs.to_string().contains("acme") && !view.to_string().contains("other"));

    let token = signer.token("a", &claims("acme"));
    let by_token = get(VIEW).bearer(&token).send(gateway.data).await;
    assert_eq!((by_token.status, by_token.json()["tenant"].as_str()), (200, Some("acme")));
    let forged = get(VIEW).key(&other).with("x-plangate-tenant", "acme").send(gateway.data).await;
    assert_eq!(forged.json()["tenant"], "other");

    let anonymous = get(VIEW).send(gateway.data).await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "credential-missing"));
    let both = get(VIEW).key(&acme).bearer(&token).send(gateway.data).await;
    assert_eq!((both.status, both.code().as_str()), (400, "credential-ambiguous"));
    let written = ask("POST", VIEW).key(&acme).send(gateway.data).await;
    assert_eq!((written.status, written.code().as_str()), (405, "method-not-allowed"));
    assert_eq!(written.header("allow"), Some("GET, HEAD"));
    assert_eq!(ask("HEAD", VIEW).key(&acme).send(gateway.data).await.status, 200);
    assert_eq!(upstream.count(), before, "nothing was forwarded");
    assert_eq!(gateway.admin.used("acme", "requests").await, 1);
    let (code, seen, error) = shell(gateway.admin, &["usage", "show", "acme", "--output", "json"]).await;
    assert_eq!(code, 0, "{error}");
    let (seen, own): (Value, Value) = (serde_json::from_str(&seen).unwrap(), look(&gateway, &acme).await);
    // All but what depends on the very instant.
    let names = |view: &Value| view.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&seen), names(&own), "an admin sees just that");
    for name in ["tenant", "plan", "state", "period", "rates", "cost", "spend_cap"] {
        assert_eq!(seen[name], own[name], "{name}");
    }
    for (meter, window) in [("ai_tokens", "day"), ("ai_tokens", "month"), ("requests", "month")] {
        let used = |view: &Value| quota(view, meter, window)["used"].clone();
        assert_eq!(used(&seen), used(&own), "{meter} {window}");
    }
    assert!(error.contains("plan big (active): ") && error.contains('.'), "{error}");
    let (code, said, _) = shell(gateway.admin, &["explain", "--tenant", "acme", VIEW]).await;
    assert_eq!(
        (code, said.lines().next()),
        (0, Some("ALLOW 200, answered by Plangate itself, charges nothing"))
    );
    assert_eq!(gateway.admin.used("other", "requests").await, 4);
}

#[tokio::test]
async fn who_looks_all_the_time_is_told_to_wait_and_nobody_else() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/workers", 1);
    let gateway = setup.start().await;
    let (acme, other) =
        (gateway.admin.tenant("acme", "small").await, gateway.admin.tenant("other", "small").await);
    let mut wire = Wire::to(gateway.data).await;
    let mut refused = Vec::new();
    for _ in 0..30 {
        let reply = get(VIEW).key(&acme).send_on(&mut wire, gateway.data).await;
        if reply.status != 200 {
            refused.push(reply);
        }
    }
    assert!((20..=25).contains(&refused.len()), "{}", refused.len());
    for reply in refused {
        assert_eq!((reply.status, reply.code().as_str()), (429, "rate-limited"));
        assert_eq!((reply.header("retry-after"), reply.header("ratelimit")), (Some("1"), None));
        assert_eq!(reply.json()["tenant"], "acme");
    }
    look(&gateway, &other).await;
    assert_eq!(get("/v1/messages").key(&acme).send(gateway.data).await.status, 200, "requests are not looks");
}

#[tokio::test]
async fn the_view_is_there_when_nothing_else_is() {
    let upstream = Upstream::start().await;
    let mut setup = Setup::before(&upstream);
    setup.set("/mode", "enforce");
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    for _ in 0..5 {
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    }
    let refused = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!(refused.code(), "quota-exhausted");
    let view = look(&gateway, &key).await;
    assert_eq!((&view["nearest"]["remaining"], &view["nearest"]["share"]), (&json!(0), &json!(100)));
    assert_eq!(view["nearest"]["resets_at"], refused.json()["resets_at"]);
    assert!(view["message"].as_str().unwrap().contains("used up"), "{view}");

    let at = "2040-01-01T00:00:00Z";
    let later = json!({ "plan": "big", "at": at });
    gateway.admin.ok("PUT", "/v1/tenants/acme/subscription", later).await;
    let view = look(&gateway, &key).await;
    assert_eq!(view["scheduled"], json!({ "at": at, "change": "plan", "plan": "big" }));

    gateway.admin.ok("POST", "/v1/tenants/acme/subscription/pause", json!({})).await;
    let view = look(&gateway, &key).await;
    assert_eq!(
        (&view["state"], &view["plan"], &view["quotas"]),
        (&json!("paused"), &json!("small"), &json!([]))
    );
    assert_eq!(view["nearest"], Value::Null);
    gateway.admin.ok("POST", "/v1/tenants/acme/suspend", json!({})).await;
    let chinese = get(VIEW).key(&key).with("accept-language", "zh").send(gateway.data).await;
    assert_eq!((chinese.status, &chinese.json()["state"]), (200, &json!("suspended")));
    assert_eq!(chinese.json()["message"], "该账户已被停用。");

    gateway.admin.ok("PUT", "/v1/tenants/fresh", json!({})).await;
    let fresh = gateway.admin.key("fresh").await;
    let view = look(&gateway, &fresh).await;
    assert_eq!(
        (&view["state"], &view["plan"], &view["period"]),
        (&json!("none"), &Value::Null, &Value::Null)
    );
    let trial = json!({ "plan": "big", "trial_days": 14 });
    gateway.admin.ok("PUT", "/v1/tenants/fresh/subscription", trial).await;
    let view = look(&gateway, &fresh).await;
    assert_eq!(view["state"], "trialing");
    assert!(view["trial_ends_at"].is_string(), "{view}");
    gateway.admin.ok("DELETE", "/v1/tenants/fresh/subscription?at=now", Value::Null).await;
    assert_eq!(look(&gateway, &fresh).await["state"], "canceled");
}

fn in_chinese(reply: &Reply, code: &str) {
    assert_eq!(reply.code(), code);
    assert_eq!(reply.header("content-language"), Some("zh-Hans"));
    assert!(
        reply.headers.iter().any(|(name, value)| name == "vary" && value == "Accept-Language"),
        "{reply:?}"
    );
    let problem = reply.json();
    for member in ["title", "detail"] {
        let text = problem[member].as_str().unwrap();
        assert!(text.chars().any(|letter| matches!(letter, '\u{4e00}'..='\u{9fff}')), "{problem}");
    }
}

#[tokio::test]
async fn refusals_are_told_in_chinese_to_who_asks_for_it() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let refused = async |ask: crate::support::client::Ask| {
        ask.with("accept-language", "zh-CN,zh;q=0.9,en;q=0.8").send(gateway.data).await
    };
    in_chinese(&refused(get("/v1/messages")).await, "credential-missing");
    in_chinese(&refused(get("/v1/nowhere").key(&key)).await, "route-not-covered");
    in_chinese(&refused(get("/v1//messages").key(&key)).await, "path-ambiguous");
    in_chinese(&refused(get("/v1/export/all").key(&key)).await, "feature-not-in-plan");
    in_chinese(&refused(ask("TRACE", "/v1/messages").key(&key)).await, "request-malformed");
    // As far as its lines were read.
    let long = get("/v1/messages").with("accept-language", "zh").with("x-long", &"x".repeat(70_000));
    in_chinese(&long.send(gateway.data).await, "head-too-large");
    in_chinese(&refused(ask("PUT", VIEW)).await, "method-not-allowed");
    let english =
        get("/v1/nowhere").key(&key).with("accept-language", "en, zh;q=0.9").send(gateway.data).await;
    assert_eq!(english.header("content-language"), Some("en"));
    assert_eq!(english.json()["title"], "Not found");
    for hostile in ["zh;q=9", ";;;,,,=", "\u{1}zh", &"zh-".repeat(2000), &"*,".repeat(5000)] {
        let reply = get("/v1/nowhere").key(&key).with("accept-language", hostile).send(gateway.data).await;
        assert!(matches!(reply.status, 404 | 400), "{hostile:?} {reply:?}");
    }
    assert_eq!(
        get("/v1/messages").key(&key).with("accept-language", "zh").send(gateway.data).await.status,
        200
    );
    drop(upstream);
}

#[tokio::test]
async fn an_upstream_that_is_away_is_told_of_in_chinese() {
    let setup = Setup::at("http://127.0.0.1:9");
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let reply = get("/v1/messages").key(&key).with("accept-language", "zh").send(gateway.data).await;
    in_chinese(&reply, "upstream-unreachable");
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn the_same_over_http2() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let origin = Origin::recording().await;
    let setup = Setup::at(&format!("http://{}", origin.address));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let stream = tokio::net::TcpStream::connect(gateway.data).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let ask = async |method: &str, path: &str, key: Option<&str>| {
        let request = http::Request::builder().method(method).uri(format!("http://shop.example{path}"));
        let request = request.header("accept-language", "fr, zh;q=0.5");
        let request = key.into_iter().fold(request, |request, key| request.header("x-api-key", key));
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let (parts, body) = sender.clone().send_request(request).await.unwrap().into_parts();
        (parts, body.collect().await.unwrap().to_bytes())
    };
    let calls = async {
        let (head, body) = ask("GET", VIEW, Some(&key)).await;
        let view: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((head.status.as_u16(), &view["tenant"]), (200, &json!("acme")));
        assert_eq!(head.headers["content-language"], "zh-Hans");
        assert!(view["message"].as_str().unwrap().contains("本月"), "{view}");
        let (head, body) = ask("HEAD", VIEW, Some(&key)).await;
        assert_eq!((head.status.as_u16(), body.len()), (200, 0));
        for (method, path, key, status, title) in [
            ("GET", VIEW, None, 401, "缺少凭证"),
            ("GET", "/v1/nowhere", Some(key.as_str()), 404, "未找到"),
            ("GET", "/v1/export/x", Some(&key), 403, "套餐不包含此功能"),
            ("TRACE", "/v1/messages", Some(&key), 400, "请求格式错误"),
            ("DELETE", VIEW, Some(&key), 405, "不支持该请求方法"),
        ] {
            let (head, body) = ask(method, path, key).await;
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((head.status.as_u16(), problem["title"].as_str()), (status, Some(title)), "{path}");
            assert_eq!(head.headers["content-language"], "zh-Hans");
        }
    };
    tokio::select! {
        ended = connection => panic!("the connection ended: {ended:?}"),
        called = tokio::time::timeout(Duration::from_secs(15), calls) => called.unwrap(),
    }
    assert!(origin.seen().is_empty());
}
