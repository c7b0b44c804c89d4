//! Exact quotas on one node: whatever the clients do at once, exactly the limit arrives at the upstream.

use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Ask, ask, get},
    load::{Load, volley},
    postgres::Postgres,
    process::Setup,
    upstream::Upstream,
};

macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let upstream = Upstream::start().await;
                super::$name(Setup::before(&upstream), upstream).await;
            })+
        }
        mod on_postgres {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let upstream = Upstream::start().await;
                let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
                super::$name(setup, upstream).await;
            })+
        }
    };
}

on_both!(
    exactly_the_limit,
    a_remainder_is_usable,
    all_windows_or_none,
    a_changed_limit_is_obeyed_at_once,
    a_downgrade_under_load,
    a_clean_restart_under_load,
);

const EXHAUSTED: &str = "quota-exhausted";

async fn limited(admin: &Admin, tenant: &str, plan: &str, limit: u64) -> String {
    let key = admin.tenant(tenant, plan).await;
    admin.overrides(tenant, json!({ "quotas": { "requests": { "limit": limit } } })).await;
    key
}

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

/// What the admin API says of one window; `""` is the month.
async fn quota(admin: &Admin, tenant: &str, meter: &str) -> Value {
    admin.get(&format!("/v1/tenants/{tenant}/rights")).await["quotas"][meter].clone()
}

async fn exactly_the_limit(setup: Setup, upstream: Upstream) {
    let gateway = setup.start().await;
    for limit in [1, 7, 100, 1007] {
        let tenant = format!("limit-{limit}");
        let key = limited(&gateway.admin, &tenant, "small", limit as u64).await;
        let before = upstream.count();
        let tally = volley(&message(&key), &[gateway.data], 24, limit + 100).await;
        tally.is_only(&[("passed", limit), (EXHAUSTED, 100)]);
        assert_eq!(upstream.count() - before, limit);
        let quota = quota(&gateway.admin, &tenant, "requests").await;
        assert_eq!((&quota["used"], &quota["remaining"]), (&json!(limit), &json!(0)), "{quota}");
        assert_eq!(quota["uncertain"], 0);
    }
}

async fn a_remainder_is_usable(setup: Setup, upstream: Upstream) {
    let gateway = setup.start().await;
    let key = limited(&gateway.admin, "acme", "big", 47).await;
    let export = volley(&get("/v1/export/all").key(&key), &[gateway.data], 12, 40).await;
    export.is_only(&[("passed", 4), (EXHAUSTED, 36)]);
    assert_eq!(gateway.admin.used("acme", "requests").await, 40);
    // Fewer than ten remain, but seven do.
    let messages = volley(&message(&key), &[gateway.data], 12, 40).await;
    messages.is_only(&[("passed", 7), (EXHAUSTED, 33)]);
    assert_eq!(gateway.admin.used("acme", "requests").await, 47);
    assert_eq!(upstream.count(), 11);
}

async fn all_windows_or_none(setup: Setup, upstream: Upstream) {
    let gateway = setup.start().await;
    let chat = |key: &str| ask("POST", "/v1/ai/chat").key(key).json(&json!({}));
    // A day window of 20 under a month of 100, five at a time.
    let key = gateway.admin.tenant("day", "big").await;
    let tally = volley(&chat(&key), &[gateway.data], 12, 30).await;
    tally.is_only(&[("passed", 4), (EXHAUSTED, 26)]);
    let refused = chat(&key).send(gateway.data).await.json();
    assert_eq!(
        (&refused["meter"], &refused["limit"], &refused["used"]),
        (&json!("ai_tokens"), &json!(20), &json!(20))
    );
    let tokens = quota(&gateway.admin, "day", "ai_tokens").await;
    assert_eq!((&tokens["used"], &tokens["limit"]), (&json!(20), &json!(100)));
    assert_eq!((&tokens["windows"][0]["per"], &tokens["windows"][0]["used"]), (&json!("day"), &json!(20)));
    assert_eq!(
        gateway.admin.used("day", "requests").await,
        4,
        "a refusal by one meter costs nothing of another"
    );

    // The other way about: requests run out first, and no token is taken for those refused.
    let key = limited(&gateway.admin, "few", "big", 3).await;
    volley(&chat(&key), &[gateway.data], 12, 30).await.is_only(&[("passed", 3), (EXHAUSTED, 27)]);
    assert_eq!(gateway.admin.used("few", "ai_tokens").await, 15);

    // Ten beyond the limit are billed, and no more.
    let key = gateway.admin.tenant("over", "open").await;
    volley(&chat(&key), &[gateway.data], 12, 30).await.is_only(&[("passed", 4), (EXHAUSTED, 26)]);
    assert_eq!(gateway.admin.used("over", "ai_tokens").await, 20);
    // What is not limited is counted.
    volley(&message(&key), &[gateway.data], 12, 300).await.is_only(&[("passed", 300)]);
    assert_eq!(gateway.admin.used("over", "requests").await, 304);
    assert_eq!(upstream.count(), 4 + 3 + 4 + 300);
}

async fn a_changed_limit_is_obeyed_at_once(setup: Setup, upstream: Upstream) {
    let gateway = setup.start().await;
    let (admin, node) = (&gateway.admin, [gateway.data]);
    let key = admin.tenant("acme", "big").await;
    volley(&message(&key), &node, 4, 8).await.is_only(&[("passed", 8)]);

    admin.subscribe("acme", "small").await;
    let refused = message(&key).send(gateway.data).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, EXHAUSTED));
    let body = refused.json();
    assert_eq!((&body["used"], &body["limit"], &body["plan"]), (&json!(8), &json!(5), &json!("small")));
    assert!(refused.header("ratelimit").unwrap().starts_with("\"requests\";r=0;t="), "{refused:?}");
    volley(&message(&key), &node, 8, 20).await.is_only(&[(EXHAUSTED, 20)]);
    assert_eq!(quota(admin, "acme", "requests").await["remaining"], 0);

    admin.overrides("acme", json!({ "quotas": { "requests": { "limit": 20 } } })).await;
    volley(&message(&key), &node, 8, 30).await.is_only(&[("passed", 12), (EXHAUSTED, 18)]);

    admin.overrides("acme", json!({})).await;
    let reset = json!({ "plan": "small", "usage": "reset" });
    admin.ok("PUT", "/v1/tenants/acme/subscription", reset).await;
    assert_eq!(admin.used("acme", "requests").await, 0);
    volley(&message(&key), &node, 8, 30).await.is_only(&[("passed", 5), (EXHAUSTED, 25)]);
    assert_eq!(admin.used("acme", "requests").await, 5);
    assert_eq!(upstream.count(), 8 + 12 + 5);
}

async fn a_downgrade_under_load(setup: Setup, upstream: Upstream) {
    const CLIENTS: usize = 8;
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    for limit in [400, 150] {
        let load = Load::on(&message(&key), &[gateway.data], CLIENTS);
        load.until(100).await;
        gateway.admin.overrides("acme", json!({ "quotas": { "requests": { "limit": limit } } })).await;
        // Those under way when the change was answered were admitted before it.
        let admitted = upstream.count() + CLIENTS;
        load.until(1000).await;
        let tally = load.stop().await;
        assert_eq!(tally.passed() + tally.of(EXHAUSTED), tally.total(), "{tally:?}");
        assert!(upstream.count() <= admitted.max(limit), "{} of {limit}", upstream.count());
        assert!(upstream.count() >= limit, "all of the limit is usable: {tally:?}");
        assert_eq!(gateway.admin.used("acme", "requests").await, upstream.count() as u64);
    }
}

async fn a_clean_restart_under_load(setup: Setup, upstream: Upstream) {
    const LIMIT: usize = 3000;
    let mut gateway = setup.start().await;
    let key = limited(&gateway.admin, "acme", "small", LIMIT as u64).await;
    for _ in 0..2 {
        let load = Load::on(&message(&key), &[gateway.data], 8);
        load.until(300).await;
        assert!(gateway.stop().await.success());
        let tally = load.stop().await;
        assert_eq!(tally.passed() + tally.of("broken"), tally.total(), "{tally:?}");
        gateway = setup.start().await;
        assert_eq!(gateway.admin.used("acme", "requests").await, upstream.count() as u64);
    }
    let left = LIMIT - upstream.count();
    volley(&message(&key), &[gateway.data], 16, left + 50)
        .await
        .is_only(&[("passed", left), (EXHAUSTED, 50)]);
    assert_eq!(upstream.count(), LIMIT);
}

const PLAN: &str = "plan: bursty\nfeatures: [chat]\nquotas:\n  requests: { limit: 1 }\n\
                    rates:\n  requests: { limit: 3, per: 1h, burst: 3 }\n";

#[tokio::test]
async fn rates_and_quotas_do_not_cost_each_other() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy("plans/bursty.yaml", PLAN);
    let gateway = setup.start().await;
    let node = [gateway.data];

    // Exactly the burst passes at once, and those refused by the rate cost no quota.
    let key = gateway.admin.tenant("slow", "slow").await;
    volley(&message(&key), &node, 16, 40).await.is_only(&[("passed", 2), ("rate-limited", 38)]);
    assert_eq!(gateway.admin.used("slow", "requests").await, 2);
    let refused = message(&key).send(gateway.data).await;
    assert_eq!(refused.status, 429);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&after), "one in half an hour: {after}");

    // Those refused by the quota give the rate back.
    let key = gateway.admin.tenant("bursty", "bursty").await;
    volley(&message(&key), &node, 1, 20).await.is_only(&[("passed", 1), (EXHAUSTED, 19)]);
    let more = json!({ "quotas": { "requests": { "limit": 100 } } });
    gateway.admin.overrides("bursty", more).await;
    volley(&message(&key), &node, 8, 20).await.is_only(&[("passed", 2), ("rate-limited", 18)]);
    assert_eq!(gateway.admin.used("bursty", "requests").await, 3);
    assert_eq!(upstream.count(), 5);
}
