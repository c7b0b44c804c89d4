//! Spend caps: what billed overage may cost in a month, exact on one node and over three, told in refusals and answers.

use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Ask, ask, get},
    cluster::{Cluster, node},
    drain::drain,
    load::volley,
    postgres::Postgres,
    process::{Setup, eventually},
    upstream::Upstream,
};

const EXHAUSTED: &str = "quota-exhausted";

/// Five requests are included; beyond them one costs ten cents, and a token half a cent.
const PAID: &str = "plan: paid\nprice: { amount: \"9.00\", currency: USD }\nspend_cap: \"0.50\"\n\
    features: [chat, export]\nquotas:\n\
    \x20 requests: { limit: 5, overage: { mode: bill, price: \"0.10\" } }\n\
    \x20 ai_tokens: { limit: 0, overage: { mode: bill, price: \"5\", per: 1000 } }\n";

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

fn chat(key: &str) -> Ask {
    ask("POST", "/v1/ai/chat").key(key).json(&json!({}))
}

async fn cap(admin: Admin, tenant: &str) -> Value {
    admin.get(&format!("/v1/tenants/{tenant}/rights")).await["spend_cap"].clone()
}

fn standing(limit: &str, spent: &str, remaining: &str) -> Value {
    json!({ "limit": limit, "spent": spent, "remaining": remaining, "currency": "USD" })
}

#[tokio::test]
async fn overage_ends_at_the_cap_and_survives_a_crash() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy("plans/paid.yaml", PAID);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "paid").await;
    assert_eq!(cap(gateway.admin, "acme").await, standing("0.50", "0.00", "0.50"));
    volley(&message(&key), &[gateway.data], 8, 30).await.is_only(&[("passed", 10), (EXHAUSTED, 20)]);
    assert_eq!(upstream.count(), 10);

    let refused = message(&key).send(gateway.data).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, EXHAUSTED));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 0);
    let body = refused.json();
    assert_eq!(
        (&body["meter"], &body["spend_cap"], &body["spent"], &body["currency"]),
        (&json!("requests"), &json!("0.50"), &json!("0.50"), &json!("USD")),
        "{body}"
    );
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.starts_with("the spend cap of 0.50 USD a month is reached"), "{detail}");
    assert!(detail.contains(body["resets_at"].as_str().unwrap()), "{detail}");
    // `open` counts requests without an end.
    assert_eq!(body["plans"], json!(["open"]), "{body}");
    let id = body["request_id"].as_str().unwrap();
    let kept = gateway.admin.get(&format!("/v1/refusals/{id}")).await;
    assert_eq!((&kept["spend_cap"], &kept["meter"]), (&json!("0.50"), &json!("requests")), "{kept}");

    let question = json!({ "tenant": "acme", "method": "GET", "path": "/v1/messages" });
    let check = gateway.admin.ok("POST", "/v1/check", question.clone()).await;
    assert_eq!((&check["allow"], &check["code"]), (&json!(false), &json!(EXHAUSTED)), "{check}");
    assert_eq!(
        (&check["spend_cap"]["needs"], &check["spend_cap"]["ok"], &check["spend_cap"]["rule"]["file"]),
        (&json!("0.10"), &json!(false), &json!("plans/paid.yaml")),
        "{check}"
    );

    // A cap of the tenant's own, across meters: a chat is a request and five tokens.
    gateway.admin.overrides("acme", json!({ "spend_cap": "0.80" })).await;
    let check = gateway.admin.ok("POST", "/v1/check", question).await;
    assert_eq!(check["allow"], true, "{check}");
    volley(&chat(&key), &[gateway.data], 4, 6).await.is_only(&[("passed", 2), (EXHAUSTED, 4)]);
    assert_eq!(cap(gateway.admin, "acme").await, standing("0.80", "0.75", "0.05"));
    let refused = chat(&key).send(gateway.data).await.json();
    assert_eq!((&refused["spend_cap"], &refused["spent"]), (&json!("0.80"), &json!("0.75")), "{refused}");

    gateway.kill();
    let gateway = setup.start().await;
    assert_eq!(cap(gateway.admin, "acme").await, standing("0.80", "0.75", "0.05"));
    assert_eq!(message(&key).send(gateway.data).await.status, 429);
    // `usage: reset` begins to count units anew, and gives no money back.
    let anew = json!({ "plan": "paid", "usage": "reset" });
    gateway.admin.ok("PUT", "/v1/tenants/acme/subscription", anew).await;
    volley(&message(&key), &[gateway.data], 4, 8).await.is_only(&[("passed", 5), (EXHAUSTED, 3)]);
    assert_eq!(cap(gateway.admin, "acme").await, standing("0.80", "0.75", "0.05"));

    let answer = gateway.admin.overrides("acme", json!({ "spend_cap": "unlimited" })).await;
    assert_eq!(answer["overrides"]["spend_cap"], "unlimited", "{answer}");
    volley(&message(&key), &[gateway.data], 4, 20).await.is_only(&[("passed", 20)]);
    assert_eq!(cap(gateway.admin, "acme").await, Value::Null);
    // What was spent meanwhile is known when there is a cap again.
    gateway.admin.overrides("acme", json!({})).await;
    assert_eq!(cap(gateway.admin, "acme").await, standing("0.50", "2.75", "0.00"));
    assert_eq!(message(&key).send(gateway.data).await.json()["spent"], "2.75");
}

#[tokio::test]
async fn caps_that_are_none_are_refused_with_their_place() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy("plans/paid.yaml", PAID);
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "paid").await;
    for bad in [json!(5), json!("-1"), json!("0.0000000001"), json!("9000000.01"), json!("many"), json!(null)]
    {
        let body = json!({ "spend_cap": bad });
        let reply = gateway.admin.call("PUT", "/v1/tenants/acme/overrides", body).await;
        let told = reply.json();
        assert_eq!(
            (reply.status, &told["errors"][0]["pointer"]),
            (400, &json!("/spend_cap")),
            "{bad}: {told}"
        );
    }
    assert_eq!(cap(gateway.admin, "acme").await, standing("0.50", "0.00", "0.50"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_spend_the_whole_cap_and_no_more() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups: Vec<Setup> = ["a", "b", "c"].map(|name| node(&upstream, &database, name)).into();
    for setup in &setups {
        setup.policy(
            "plans/paid.yaml",
            &PAID.replace("limit: 5,", "limit: 100,").replace("\"0.50\"", "\"70.03\""),
        );
    }
    let cluster = Cluster::of(setups).await;
    let key = cluster.admin().tenant("acme", "paid").await;
    // A chat takes ten cents, and two and a half, as soon as the requests that are included are gone.
    let tally = drain(&chat(&key), &cluster.places(), 3).await;
    assert_eq!(tally.passed() + tally.of(EXHAUSTED), tally.total(), "{tally:?}");
    // 100 at 0.025, then 0.125 each: (70.03 - 2.50) / 0.125 = 540.24.
    assert_eq!(tally.passed(), 640, "{tally:?}");
    // What is left would pay for tokens, but not for a request.
    assert_eq!(upstream.count(), 640);
    for node in cluster.alive() {
        eventually("every node tells the same", async || {
            cap(node.admin, "acme").await == standing("70.03", "70.00", "0.03")
        })
        .await;
        let refused = message(&key).send(node.data).await.json();
        assert_eq!(
            (&refused["spend_cap"], &refused["spent"]),
            (&json!("70.03"), &json!("70.00")),
            "{refused}"
        );
    }
    // A raised cap can be used at once, from any node, to its end.
    cluster.admin().overrides("acme", json!({ "spend_cap": "80.00" })).await;
    assert_eq!(drain(&message(&key), &cluster.places(), 3).await.passed(), 100);
    assert_eq!(upstream.count(), 740);
}
