//! Conditions over real sockets: charges that a request tells, routes that tenants are told apart by, and what cannot be told.

use serde_json::{Value, json};

use crate::support::{
    admin::TOKEN,
    client::{Ask, Reply, Wire, ask, get},
    process::{Gateway, Setup},
    upstream::Upstream,
};

const FEATURES: &str = "features: { chat: {}, export: {} }\nlimits: { seats: {} }\n\
    meters: { requests: {}, ai_tokens: {} }\n\
    attributes:\n  region: { values: [eu, us, ca] }\n  level: { type: number }\n";

const ROUTES: &str = r#"unmatched: deny
defaults: { charge: { requests: 1 } }
routes:
  - { match: "POST /v1/ai", charge: { requests: 1, ai_tokens: { cel: "int(request.headers['x-n']) * 2" } } }
  - { match: "GET /v1/files/{id}", when: "tenant.region == 'eu'", charge: { requests: 3 } }
  - { match: "GET /v1/files/{id}", when: "tenant.region == 'us'", features: [export] }
  - { match: "GET /v1/{*rest}", charge: {} }
  - { match: "GET /v2/{name}", charge: { requests: { units: 5, when: "request.params.name == 'dear' || request.query.size == 'xl'" } } }
  - { match: "GET /v3", public: true, when: "request.query.key == 'open sesame'" }
  - { match: "GET /v3", when: "has(request.query.key) || request.headers['x-level'] == 'low'" }
  - { match: "POST /v4", charge: { requests: { reserve: 10, from: { header: x-usage }, when: "'x-big' in request.headers" } } }
  - { match: "GET /v5", when: "client.address.inCidr('127.0.0.0/8') && tenant.level >= 5" }
"#;

async fn started(change: impl FnOnce(Setup) -> Setup) -> (Upstream, Setup, Gateway, String) {
    let upstream = Upstream::start().await;
    let setup = change(Setup::before(&upstream));
    setup.policy("features.yaml", FEATURES);
    setup.policy("routes.yaml", ROUTES);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    (upstream, setup, gateway, key)
}

async fn attributes(gateway: &Gateway, attributes: Value) -> Value {
    gateway.admin.ok("PUT", "/v1/tenants/acme", json!({ "attributes": attributes })).await
}

fn ai(key: &str, n: &str) -> Ask {
    ask("POST", "/v1/ai").key(key).with("x-n", n).json(&json!({}))
}

#[track_caller]
fn failed(reply: &Reply, part: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (403, "condition-failed"), "{}", reply.text());
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(part), "{detail}");
}

async fn errors(gateway: &Gateway, route: &str) -> u64 {
    let text = get("/metrics").bearer(TOKEN).send(gateway.admin.0).await.text();
    let name = format!("plangate_condition_errors_total{{route=\"{route}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn what_a_header_says_is_charged_to_the_unit() {
    let (upstream, _setup, gateway, key) = started(|setup| setup).await;
    let used = async || {
        (gateway.admin.used("acme", "requests").await, gateway.admin.used("acme", "ai_tokens").await)
    };
    // A day of 20 tokens under a month of 100: two each are one, four are eight, nothing is nothing.
    let (mut requests, mut tokens) = (0, 0);
    for n in [1, 4, 0, 2] {
        assert_eq!(ai(&key, &n.to_string()).send(gateway.data).await.status, 200);
        (requests, tokens) = (requests + 1, tokens + 2 * n);
        assert_eq!(used().await, (requests, tokens));
        assert_eq!(upstream.count() as u64, requests);
    }
    let over = ai(&key, "4").send(gateway.data).await;
    assert_eq!(over.code(), "quota-exhausted");
    assert_eq!(ai(&key, "3").send(gateway.data).await.status, 200, "six are left");
    assert_eq!(used().await, (5, 20));

    // What cannot be told denies, and costs nothing; nothing of it is shown.
    let count = upstream.count();
    for (n, why) in [
        ("", "no whole number"),
        ("secret", "no whole number"),
        ("1.5", "no whole number"),
        ("-1", "below 0"),
        ("99999999999999999999", "no whole number"),
        ("9223372036854775807", "too large"),
        ("4503599627370496", "below 0 or above"),
    ] {
        let reply = ai(&key, n).send(gateway.data).await;
        failed(&reply, why);
        assert!(!reply.text().contains("secret") && reply.json()["meter"] == "ai_tokens", "{}", reply.text());
        assert_eq!(reply.json()["route"], "POST /v1/ai");
    }
    failed(
        &ask("POST", "/v1/ai").key(&key).json(&json!({})).send(gateway.data).await,
        "`request.headers['x-n']` is missing",
    );
    failed(&ai(&key, "1").with("x-n", "2").send(gateway.data).await, "no whole number");
    assert_eq!((used().await, upstream.count()), ((5, 20), count));
    assert_eq!(errors(&gateway, "POST /v1/ai").await, 9);
}

#[tokio::test]
async fn hostile_headers_are_only_headers() {
    let (upstream, _setup, gateway, key) = started(|setup| setup).await;
    let raw = async |lines: &[u8]| {
        let mut wire = Wire::to(gateway.data).await;
        let mut request =
            format!("POST /v1/ai HTTP/1.1\r\nHost: a\r\nX-Api-Key: {key}\r\nContent-Length: 0\r\n")
                .into_bytes();
        request.extend_from_slice(lines);
        request.extend_from_slice(b"\r\n");
        wire.send(request).await;
        wire.until("\r\n\r\n").await
    };
    let long = format!("X-N: {}\r\n", "1".repeat(9000));
    for lines in [
        &b"X-N: \xff\xfe\r\n"[..],
        long.as_bytes(),
        b"X-N: 1 + 1\r\n",
        b"X_N: 1\r\n",
        b"Connection: x-n\r\nX-N: 1\r\n",
    ] {
        let head = raw(lines).await;
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    }
    assert_eq!((upstream.count(), gateway.admin.used("acme", "requests").await), (0, 0));
    assert!(raw(b"x-N:   1  \r\n").await.starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.admin.used("acme", "ai_tokens").await, 2);
}

#[tokio::test]
async fn attributes_tell_tenants_apart_at_once() {
    let (_upstream, _setup, gateway, key) = started(|setup| setup).await;
    let file = async || get("/v1/files/7").key(&key).send(gateway.data).await;
    failed(&file().await, "`tenant.region` is missing");
    let put = attributes(&gateway, json!({ "region": "eu", "level": 3 })).await;
    assert_eq!(put["attributes"], json!({ "region": "eu", "level": 3 }));
    assert_eq!(file().await.status, 200);
    assert_eq!(gateway.admin.used("acme", "requests").await, 3);
    attributes(&gateway, json!({ "region": "us" })).await;
    assert_eq!(file().await.status, 200);
    assert_eq!(gateway.admin.used("acme", "requests").await, 4, "the other route has the default charge");
    // No condition holds: no other route is tried, though `/v1/{*rest}` covers the path.
    attributes(&gateway, json!({ "region": "ca" })).await;
    assert_eq!(file().await.code(), "route-not-covered");
    assert_eq!(get("/v1/other/7").key(&key).send(gateway.data).await.status, 200);
    // Absent is as it is, null is none.
    gateway.admin.ok("PUT", "/v1/tenants/acme", json!({ "name": "Acme" })).await;
    assert_eq!(gateway.admin.get("/v1/tenants/acme").await["attributes"], json!({ "region": "ca" }));
    attributes(&gateway, Value::Null).await;
    assert_eq!(gateway.admin.get("/v1/tenants/acme").await["attributes"], json!({}));
    failed(&file().await, "`tenant.region` is missing");

    let level = async || get("/v5").key(&key).send(gateway.data).await.status;
    for (value, status) in [(4, 404), (5, 200), (-5, 404)] {
        attributes(&gateway, json!({ "level": value })).await;
        assert_eq!(level().await, status, "{value}");
    }
    let audit = gateway.admin.get("/v1/audit?cursor=0&limit=500").await;
    let last = audit["items"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["kind"], &last["detail"]["attributes"]),
        (&json!("tenant.put"), &json!({ "level": -5 }))
    );
}

#[tokio::test]
async fn attributes_that_cannot_be_are_refused() {
    let (_upstream, _setup, gateway, _key) = started(|setup| setup).await;
    for (attributes, status, pointer) in [
        (json!([]), 400, "/attributes"),
        (json!("eu"), 400, "/attributes"),
        (json!({ "Region": "eu" }), 400, "/attributes/Region"),
        (json!({ "plan": "eu" }), 400, "/attributes/plan"),
        (json!({ "a": null }), 400, "/attributes/a"),
        (json!({ "a": 1.5 }), 400, "/attributes/a"),
        (json!({ "a": { "b": 1 } }), 400, "/attributes/a"),
        (json!({ "a": "x".repeat(257) }), 422, "/attributes/a"),
        (json!({ "a": 9_007_199_254_740_992_u64 }), 422, "/attributes/a"),
        ((0..33).map(|n| (format!("a{n}"), json!(n))).collect(), 422, "/attributes"),
    ] {
        let reply = gateway.admin.call("PUT", "/v1/tenants/acme", json!({ "attributes": attributes })).await;
        assert_eq!((reply.status, &reply.json()["pointer"]), (status, &json!(pointer)), "{}", reply.text());
    }
    assert_eq!(gateway.admin.get("/v1/tenants/acme").await["attributes"], json!({}));
}

#[tokio::test]
async fn charges_and_public_routes_depend_on_the_request() {
    let (upstream, _setup, gateway, key) = started(|setup| setup).await;
    let used = async || gateway.admin.used("acme", "requests").await;
    for (path, sum) in
        [("/v2/cheap?size=s", 0), ("/v2/dear", 5), ("/v2/d%65ar", 10), ("/v2/cheap?size=xl", 15)]
    {
        assert_eq!(get(path).key(&key).send(gateway.data).await.status, 200, "{path}");
        assert_eq!(used().await, sum, "{path}");
    }
    failed(&get("/v2/cheap").key(&key).send(gateway.data).await, "`request.query['size']` is missing");
    assert_eq!(used().await, 15);

    // A reserve that is not made is not settled either.
    let big = |ask: Ask| ask.key(&key).with("x-want-header", "x-usage: 4").json(&json!({}));
    assert_eq!(big(ask("POST", "/v4")).send(gateway.data).await.status, 200);
    assert_eq!(used().await, 15);
    assert_eq!(big(ask("POST", "/v4").with("x-big", "")).send(gateway.data).await.status, 200);
    assert_eq!(used().await, 19);

    // The public one is asked first; where it does not hold, or cannot be told, an identity is needed.
    assert_eq!(get("/v3?key=open+sesame").send(gateway.data).await.status, 200);
    assert_eq!(get("/v3?key=closed").send(gateway.data).await.code(), "credential-missing");
    assert_eq!(get("/v3").send(gateway.data).await.code(), "credential-missing");
    assert_eq!(errors(&gateway, "GET /v3").await, 1);
    assert_eq!(get("/v3?key=closed").key(&key).send(gateway.data).await.status, 200);
    assert_eq!(used().await, 20);
    failed(&get("/v3").key(&key).send(gateway.data).await, "`request.headers['x-level']` is missing");
    assert_eq!(errors(&gateway, "GET /v3").await, 3);
    let low = get("/v3").key(&key).with("x-level", "high").send(gateway.data).await;
    assert_eq!(low.code(), "route-not-covered");
    // A preflight on a covered path goes through, whatever conditions say.
    let count = upstream.count();
    let preflight = ask("OPTIONS", "/v1/files/7")
        .with("origin", "https://a.example")
        .with("access-control-request-method", "GET");
    assert_eq!(preflight.send(gateway.data).await.status, 200);
    assert_eq!(upstream.count(), count + 1);
}

#[tokio::test]
async fn a_gateway_that_only_observes_lets_pass_what_cannot_be_told() {
    let (upstream, _setup, gateway, key) = started(|setup| setup.with("/mode", "observe")).await;
    assert_eq!(ai(&key, "many").send(gateway.data).await.status, 200);
    assert_eq!(get("/v1/files/7").key(&key).send(gateway.data).await.status, 200);
    assert_eq!((upstream.count(), gateway.admin.used("acme", "requests").await), (2, 0));
    assert_eq!((errors(&gateway, "POST /v1/ai").await, errors(&gateway, "GET /v1/files/{id}").await), (1, 1));
    let text = get("/metrics").bearer(TOKEN).send(gateway.admin.0).await.text();
    assert!(text.contains("outcome=\"observed\",code=\"condition-failed\""), "{text}");
}

#[tokio::test]
async fn a_request_that_nobody_sends_is_decided_alike() {
    let (_upstream, _setup, gateway, _key) = started(|setup| setup).await;
    attributes(&gateway, json!({ "region": "us", "level": 9 })).await;
    let check = async |body: Value| {
        let mut whole = json!({ "tenant": "acme", "method": "GET" });
        whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        gateway.admin.ok("POST", "/v1/check", whole).await
    };
    let charged = check(json!({ "method": "POST", "path": "/v1/ai", "headers": { "X-N": "4" } })).await;
    assert_eq!(
        (&charged["allow"], &charged["charge"]),
        (&json!(true), &json!({ "ai_tokens": 8, "requests": 1 }))
    );
    let too_much = check(json!({ "method": "POST", "path": "/v1/ai", "headers": { "x-n": "11" } })).await;
    assert_eq!((&too_much["code"], &too_much["quotas"][0]["needs"]), (&json!("quota-exhausted"), &json!(22)));
    let missing = check(json!({ "method": "POST", "path": "/v1/ai" })).await;
    assert_eq!((&missing["code"], &missing["status"]), (&json!("condition-failed"), &json!(403)));
    assert_eq!(missing["steps"].as_array().unwrap().last().unwrap()["step"], "route");
    let query = check(json!({ "path": "/v2/cheap?size=xl" })).await;
    assert_eq!(query["charge"], json!({ "requests": 5 }));
    let open = check(json!({ "path": "/v3?key=open%20sesame" })).await;
    assert_eq!((&open["allow"], open["steps"].as_array().unwrap().len()), (&json!(true), 2));
    let inside = check(json!({ "path": "/v5", "client": "127.0.0.9" })).await;
    assert_eq!(inside["allow"], true, "{inside}");
    let outside = check(json!({ "path": "/v5", "client": "192.0.2.1" })).await;
    assert_eq!(outside["code"], "route-not-covered");
    let hidden = json!({ "tenant": "acme", "method": "GET", "path": "/v5", "client": "here" });
    let reply = gateway.admin.call("POST", "/v1/check", hidden).await;
    assert_eq!((reply.status, &reply.json()["pointer"]), (400, &json!("/client")));
}
