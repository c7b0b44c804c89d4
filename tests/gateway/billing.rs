//! Stripe's webhooks from outside: over a socket, on one node with SQLite and on three with PostgreSQL.

use std::net::SocketAddr;

use plangate::clock::SystemClock;
use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Reply, ask, get},
    cluster::{Cluster, node, shell},
    postgres::Postgres,
    process::{Gateway, POLICIES, Setup, eventually},
    python::python,
    stripe::{START, checkout, event, invoice, signature, subscription, with},
    upstream::Upstream,
};

const SECRET: &str = "whsec_of_these_tests";
const OLD_SECRET: &str = "whsec_of_earlier_tests";
const BILLING: &str = "/v1/tenants/acme/billing";
const UPDATED: &str = "customer.subscription.updated";
const STRIPE: &str = "prices:\n  price_small: { plan: small }\nlookup_keys:\n  big_monthly: { plan: big }\n";

fn with_stripe(setup: Setup) -> Setup {
    let setup =
        setup.with("/stripe", json!({ "listen": "127.0.0.1:0", "webhook_secrets": [SECRET, OLD_SECRET] }));
    setup.policy("stripe.yaml", STRIPE);
    setup
}

/// Where a node takes Stripe's webhooks.
fn inbox(gateway: &Gateway) -> SocketAddr {
    let log = gateway.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let address = lines.filter_map(|line| line["stripe"].as_str().map(str::to_owned)).next();
    address.unwrap_or_else(|| panic!("{log}")).parse().unwrap()
}

fn now() -> i64 {
    SystemClock::uncorrected().0 / 1000
}

async fn post(inbox: SocketAddr, body: &str, signature: &str) -> Reply {
    ask("POST", "/v1/webhooks/stripe").with("stripe-signature", signature).body(body).send(inbox).await
}

/// Sends an event as Stripe does.
async fn send(inbox: SocketAddr, body: &str) -> Reply {
    post(inbox, body, &signature(now(), body, SECRET)).await
}

async fn told(inbox: SocketAddr, body: &str) {
    let reply = send(inbox, body).await;
    assert_eq!((reply.status, &reply.json()["received"]), (200, &json!(true)), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_of_stripe_becomes_a_tenant_with_its_plan() {
    let upstream = Upstream::start().await;
    let setup = with_stripe(Setup::before(&upstream));
    let gateway = setup.start().await;
    let (admin, inbox) = (gateway.admin, inbox(&gateway));
    admin.ok("PUT", "/v1/tenants/acme", json!({})).await;
    let key = admin.key("acme").await;
    let asks = async || get("/v1/export").key(&key).send(gateway.data).await.status;
    assert_eq!(asks().await, 402, "there is no subscription yet");

    let made = event(
        "evt_1",
        "customer.subscription.created",
        START,
        subscription("cus_1", "sub_1", "active", &[("big_monthly", 1)]),
    );
    told(inbox, &made).await;
    told(inbox, &made).await;
    let waiting = admin.get("/v1/billing/events?state=waiting").await;
    assert_eq!(waiting["items"].as_array().unwrap().len(), 1, "{waiting}");
    assert_eq!(asks().await, 402, "nobody knows whose it is");
    told(inbox, &event("evt_2", "checkout.session.completed", START, checkout("cus_1", "acme"))).await;
    let first = asks().await;
    assert!(first == 200 || first == 404, "in force when it was answered: {first}");
    let linked = admin.get(BILLING).await;
    assert_eq!((&linked["stripe_customer"], &linked["linked_by"]), (&json!("cus_1"), &json!("event")));

    // Late, and not paid: the grace runs from when it failed.
    told(inbox, &event("evt_3", "invoice.payment_failed", START + 5, invoice("cus_1", "sub_1"))).await;
    let shown = admin.get("/v1/tenants/acme/subscription").await;
    assert_eq!(shown["state"], "unpaid", "START is longer ago than the days of grace: {shown}");
    told(inbox, &event("evt_4", "invoice.paid", START + 6, invoice("cus_1", "sub_1"))).await;
    assert_eq!(admin.get("/v1/tenants/acme/subscription").await["state"], "active");

    // A price that nobody has mapped.
    let odd = subscription("cus_1", "sub_1", "active", &[("gold_monthly", 1)]);
    told(inbox, &event("evt_5", UPDATED, START + 7, odd)).await;
    let unmapped = admin.get("/v1/billing/events/evt_5").await;
    assert_eq!(unmapped["state"], "unmapped");
    assert_eq!(unmapped["body"]["type"], UPDATED);
    assert_eq!(admin.get("/v1/tenants/acme/subscription").await["plan"], "big", "nothing is changed");
    setup.policy("stripe.yaml", &format!("{STRIPE}  gold_monthly: {{ plan: small }}\n"));
    eventually("the mended mapping", async || {
        let answer = admin.ok("POST", "/v1/billing/events/replay?state=unmapped", json!({})).await;
        assert!(answer["applied"]["pending"].as_array().unwrap().is_empty(), "{answer}");
        admin.get("/v1/tenants/acme/subscription").await["plan"] == "small"
    })
    .await;
    assert_eq!(admin.get("/v1/billing/events/evt_5").await["state"], "applied");
    by_the_shell(&gateway).await;
    gateway.stop().await;
}

/// The same calls as commands.
async fn by_the_shell(gateway: &Gateway) {
    let run = async |words: &[&str]| {
        let (code, out, complaint) = shell(gateway.admin, words).await;
        assert_eq!(code, 0, "{words:?}: {complaint}");
        out
    };
    assert!(run(&["billing", "show", "acme"]).await.contains("cus_1"));
    assert!(run(&["billing", "events", "--state", "applied"]).await.contains("evt_5"));
    assert!(run(&["billing", "event", "evt_1", "--output", "json"]).await.contains("big_monthly"));
    assert!(run(&["billing", "replay", "evt_5"]).await.contains("applied"));
    run(&["billing", "replay", "--state", "waiting"]).await;
    run(&["billing", "unlink", "acme"]).await;
    assert!(run(&["billing", "link", "acme", "cus_1"]).await.contains("call"));
    let (code, _, complaint) = shell(gateway.admin, &["billing", "event", "evt_99"]).await;
    assert_eq!(code, 1);
    assert!(complaint.contains("plangate billing events"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_stripes_is_refused_and_what_is_odd_is_kept() {
    let upstream = Upstream::start().await;
    let gateway = with_stripe(Setup::before(&upstream)).start().await;
    let (admin, inbox) = (gateway.admin, inbox(&gateway));
    let body = event("evt_1", "invoice.paid", START, invoice("cus_1", "sub_1"));
    let again = serde_json::from_str::<Value>(&body).unwrap();
    for (sent, header) in [
        (body.clone(), signature(now(), &body, "whsec_another")),
        (body.clone(), signature(now() - 310, &body, SECRET)),
        (body.clone(), signature(now() + 310, &body, SECRET)),
        (format!("{again:#}"), signature(now(), &body, SECRET)),
        (body.clone(), "t=1".to_owned()),
    ] {
        let reply = post(inbox, &sent, &header).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "signature-invalid"), "{header}");
    }
    let unsigned = ask("POST", "/v1/webhooks/stripe").body(body.as_str()).send(inbox).await;
    assert_eq!((unsigned.status, unsigned.code().as_str()), (400, "signature-invalid"));
    assert!(admin.get("/v1/billing/events").await["items"].as_array().unwrap().is_empty());
    let rotated = post(inbox, &body, &signature(now(), &body, OLD_SECRET)).await;
    assert_eq!(rotated.status, 200, "while secrets rotate, each is believed");
    // Nothing else is here, and this is nowhere else.
    for (method, path) in
        [("GET", "/v1/webhooks/stripe"), ("GET", "/v1/tenants"), ("GET", "/healthz"), ("POST", "/")]
    {
        assert_eq!(ask(method, path).send(inbox).await.status, 404, "{method} {path}");
    }
    let header = signature(now(), &body, SECRET);
    let elsewhere = ask("POST", "/v1/webhooks/stripe").with("stripe-signature", &header).body(body.as_str());
    assert_ne!(elsewhere.send(admin.0).await.status, 200);
    // Genuine, and none at all.
    let huge = format!("{{\"id\":\"evt_2\",\"x\":\"{}\"}}", "x".repeat(256 * 1024));
    assert_eq!(send(inbox, &huge).await.status, 413);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        "",
        "{}",
        "[]",
        "nonsense",
        r#"{"id":"evt_2"}"#,
        r#"{"id":7,"type":"x","created":1}"#,
        r#"{"id":"evt_2","type":"x","created":1e400}"#,
        &deep,
    ] {
        assert_eq!(send(inbox, text).await.code(), "body-malformed", "{}", &text[..text.len().min(40)]);
    }
    // Genuine, and odd.
    let object =
        |fields: Value| with(subscription("cus_1", "sub_1", "active", &[("big_monthly", 1)]), fields);
    for (id, kind, created, object, state) in [
        ("evt_3", "customer.created", START, json!({ "id": "cus_1" }), "ignored"),
        ("evt_4", "invoice.paid", START, json!({ "customer": "cus_1" }), "ignored"),
        ("evt_5", UPDATED, START, json!({ "customer": "cus_1" }), "failed"),
        ("evt_6", UPDATED, START, object(json!({ "items": [] })), "failed"),
        ("evt_7", UPDATED, START, object(json!({ "status": "wonderful" })), "failed"),
        ("evt_8", UPDATED, START, object(json!({ "cancel_at": 1e300 })), "failed"),
        ("evt_9", UPDATED, START, object(json!({ "customer": 7 })), "failed"),
        ("evt_10", UPDATED, now() + 100_000, object(json!({})), "failed"),
        (
            "evt_11",
            UPDATED,
            START,
            object(json!({ "customer": { "id": "cus_1", "object": "customer" } })),
            "waiting",
        ),
        ("evt_12", UPDATED, START, object(json!({ "metadata": { "plangate_tenant": "\u{0}" } })), "waiting"),
    ] {
        told(inbox, &event(id, kind, created, object)).await;
        assert_eq!(admin.get(&format!("/v1/billing/events/{id}")).await["state"], state, "{id}");
    }
    of_the_package(&gateway, inbox).await;
    calls_that_cannot_be(&gateway).await;
    gateway.stop().await;
}

/// Python's package signs, and finds in the event what its classes promise.
async fn of_the_package(gateway: &Gateway, inbox: SocketAddr) {
    const SIGN: &str = "
import json, sys
import stripe
given = json.load(sys.stdin)
body, secret = given['body'], given['secret']
header = stripe.WebhookSignature.generate_signature_header(body, secret)
event = stripe.Webhook.construct_event(body, header, secret)
told = event.data.object
assert isinstance(told, stripe.Subscription) and event.api_version == stripe.api_version
assert told['items'].data[0].current_period_end and isinstance(told['items'].data[0].price, stripe.Price)
print(header)
";
    let object = subscription("cus_python", "sub_python", "active", &[("big_monthly", 1)]);
    let body = event("evt_python", UPDATED, START, with(object, json!({ "description": "Grüße, 你好" })));
    let given = json!({ "body": body, "secret": OLD_SECRET });
    let Some(header) = python(SIGN, &given) else { return };
    let reply = post(inbox, &body, &header).await;
    assert_eq!((reply.status, &reply.json()["id"]), (200, &json!("evt_python")), "{}", reply.text());
    assert_eq!(gateway.admin.get("/v1/billing/events/evt_python").await["state"], "waiting");
    let listed = gateway.admin.get("/v1/billing/events").await;
    assert_eq!(listed["dropped"], json!({ "events": 0, "last": null }));
    let other = format!("{body} ");
    assert_eq!(post(inbox, &other, &header).await.code(), "signature-invalid");
}

async fn calls_that_cannot_be(gateway: &Gateway) {
    let admin = gateway.admin;
    for id in ["acme", "other"] {
        admin.ok("PUT", &format!("/v1/tenants/{id}"), json!({})).await;
    }
    admin.ok("PUT", BILLING, json!({ "stripe_customer": "cus_7" })).await;
    let link = json!({ "stripe_customer": "cus_7" });
    for (method, path, body, status, code) in [
        ("PUT", "/v1/tenants/nobody/billing", link.clone(), 404, "tenant-not-found"),
        ("GET", "/v1/tenants/nobody/billing", Value::Null, 404, "tenant-not-found"),
        ("DELETE", "/v1/tenants/nobody/billing", Value::Null, 404, "tenant-not-found"),
        ("PUT", "/v1/tenants/other/billing", link, 409, "customer-taken"),
        ("GET", "/v1/tenants/other/billing", Value::Null, 404, "billing-not-found"),
        ("DELETE", "/v1/tenants/other/billing", Value::Null, 404, "billing-not-found"),
        ("PUT", BILLING, json!({ "stripe_customer": "cus 7" }), 422, "value-impossible"),
        ("PUT", BILLING, json!({ "stripe_customer": 7 }), 400, "field-invalid"),
        ("PUT", BILLING, json!({ "customer": "cus_7" }), 400, "field-invalid"),
        ("GET", "/v1/billing/events/evt_99", Value::Null, 404, "event-not-found"),
        ("POST", "/v1/billing/events/evt_99/replay", Value::Null, 404, "event-not-found"),
        ("POST", "/v1/billing/events/evt_3/replay", Value::Null, 409, "state-forbids"),
        ("POST", "/v1/billing/events/evt_5/replay", Value::Null, 409, "state-forbids"),
        ("POST", "/v1/billing/events/replay?state=applied", Value::Null, 400, "parameter-invalid"),
        ("GET", "/v1/billing/events?state=odd", Value::Null, 400, "parameter-invalid"),
        ("GET", "/v1/billing/events/a%20b", Value::Null, 400, "path-invalid"),
    ] {
        let reply = admin.call(method, path, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{method} {path}");
    }
    let page = admin.get("/v1/billing/events?limit=2").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let next = admin.get(&format!("/v1/billing/events?limit=500&cursor={}", page["next"])).await;
    assert!(next["next"].is_null() && next["items"].as_array().unwrap().len() >= 7, "{next}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_told_to_three_nodes_at_once_has_one_effect_everywhere() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups = ["a", "b", "c"].map(|name| with_stripe(node(&upstream, &database, name)));
    let cluster = Cluster::of(setups.into()).await;
    let nodes: Vec<&Gateway> = cluster.alive().collect();
    let admin = cluster.admin();
    let key = admin.tenant("acme", "small").await;
    admin.ok("PUT", BILLING, json!({ "stripe_customer": "cus_1" })).await;
    let effects = async || {
        let audit = admin.get("/v1/audit?limit=500&kind=subscription.mirrored").await;
        audit["items"].as_array().unwrap().len()
    };
    for round in 0..6 {
        let plan = if round % 2 == 0 { "big_monthly" } else { "none" };
        let mut object = subscription("cus_1", "sub_1", "active", &[(plan, 1)]);
        if plan == "none" {
            object["items"]["data"][0]["price"]["id"] = json!("price_small");
        }
        let body = event(&format!("evt_{round}"), UPDATED, START + round, object);
        let all = nodes.iter().map(|node| send(inbox(node), &body));
        for reply in futures_util::future::join_all(all).await {
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        // `/v1/export` needs a feature that only the bigger plan has.
        for node in &nodes {
            let status = get("/v1/export").key(&key).send(node.data).await.status;
            assert_eq!(status == 403, plan == "none", "round {round}: {status}");
        }
        assert_eq!(effects().await, usize::try_from(round).unwrap() + 1, "one effect");
    }
    another_mapping(admin, &nodes, &key).await;
}

/// A revision whose only change is what a price means: told beforehand, a revision of its own, and in force on every node
/// when it is acknowledged.
async fn another_mapping(admin: Admin, nodes: &[&Gateway], key: &str) {
    let files = |stripe: &str| {
        let files = POLICIES.iter().map(|(name, text)| ((*name).to_owned(), json!(text)));
        let mut files: serde_json::Map<String, Value> = files.collect();
        files.insert("stripe.yaml".to_owned(), json!(stripe));
        json!({ "files": files })
    };
    let swapped = "prices:\n  price_small: { plan: big }\nlookup_keys:\n  big_monthly: { plan: small }\n";
    let diff = admin.ok("POST", "/v1/policy/diff", files(swapped)).await;
    let change = |aspect: &str, before: &str, after: &str| {
        json!({
            "subject": "stripe", "name": "", "aspect": aspect, "before": before, "after": after,
            "bearing": "neither",
        })
    };
    let expected = json!([
        change("prices.price_small", "plan small", "plan big"),
        change("lookup_keys.big_monthly", "plan big", "plan small"),
    ]);
    assert_eq!(diff["changes"], expected);
    let touched = json!({
        "total": 1, "first": [{ "tenant": "acme", "before": "plan small", "after": "plan big" }],
    });
    assert_eq!(diff["impact"]["remapped"], touched);
    let first = admin.ok("POST", "/v1/policy/apply", files(STRIPE)).await;
    for (round, (node, stripe)) in nodes.iter().zip([swapped, STRIPE, swapped]).enumerate() {
        let applied = admin.ok("POST", "/v1/policy/apply", files(stripe)).await;
        assert_eq!(applied["applied"]["pending"], json!([]), "{applied}");
        let number = first["number"].as_u64().unwrap() + round as u64 + 1;
        assert_eq!(applied["number"], number, "{applied}");
        assert_eq!(applied["digest"] == first["digest"], stripe == STRIPE, "{applied}");
        let object = subscription("cus_1", "sub_1", "active", &[("big_monthly", 1)]);
        let created = START + 100 + i64::try_from(round).unwrap();
        told(inbox(node), &event(&format!("evt_map_{round}"), UPDATED, created, object)).await;
        let status = get("/v1/export").key(key).send(node.data).await.status;
        assert_eq!(status == 403, stripe == swapped, "round {round}: {status}");
    }
}
