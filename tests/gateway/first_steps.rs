//! The flow of the tour, on SQLite and on PostgreSQL: pass, lack a feature, run out, upgrade, pass at once.

use crate::support::{client::get, postgres::Postgres, process::Setup, upstream::Upstream};

async fn tour(setup: Setup, upstream: &Upstream) {
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;

    let refused = get("/v1/export/all").key(&key).send(gateway.data).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "feature-not-in-plan"));
    assert_eq!(refused.json()["plans"], serde_json::json!(["big", "open"]));

    for left in (0..5).rev() {
        let passed = get("/v1/messages").key(&key).send(gateway.data).await;
        assert_eq!(passed.status, 200, "{passed:?}");
        let limit = passed.header("ratelimit").unwrap();
        assert!(limit.starts_with(&format!("\"requests\";r={left};t=")), "{limit}");
    }
    assert_eq!(upstream.count(), 5, "the refused request did not arrive, and cost nothing");

    let refused = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "quota-exhausted"));
    assert_eq!((&refused.json()["used"], &refused.json()["limit"]), (&5.into(), &5.into()));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(upstream.count(), 5);

    let changed = gateway.admin.subscribe("acme", "big").await;
    assert_eq!(changed["applied"]["pending"], serde_json::json!([]));
    let passed = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!(passed.status, 200, "in force for the very next request");
    assert_eq!(gateway.admin.used("acme", "requests").await, 6, "usage is kept");

    assert!(gateway.stop().await.success());
    let gateway = setup.start().await;
    assert_eq!(gateway.admin.used("acme", "requests").await, 6, "a clean restart loses nothing");
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
}

#[tokio::test]
async fn the_tour_on_sqlite() {
    let upstream = Upstream::start().await;
    tour(Setup::before(&upstream), &upstream).await;
}

#[tokio::test]
async fn the_tour_on_postgres() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
    tour(setup, &upstream).await;
}

#[tokio::test]
async fn a_key_does_not_reach_the_upstream_on_any_way() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let public = get("/healthz").key(&key).bearer(&key);
    assert_eq!(public.send(gateway.data).await.status, 200);
    let preflight = crate::support::client::ask("OPTIONS", "/v1/messages")
        .with("origin", "https://app.example")
        .with("access-control-request-method", "GET")
        .key(&key);
    assert_eq!(preflight.send(gateway.data).await.status, 200);
    let metered = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!(metered.status, 200, "{}", metered.text());
    assert_eq!(upstream.count(), 3);
    for seen in upstream.seen() {
        assert!(!seen.headers.iter().any(|(_, value)| value.contains("pgk_")), "{seen:?}");
    }
}
