//! Versions of plans: who came to an older one keeps its terms, on every node, after restarts and while the database is
//! away.

use serde_json::{Value, json};

use crate::support::{
    client::get,
    cluster::node,
    forwarder::Forwarder,
    postgres::Postgres,
    process::{Gateway, Setup, eventually},
    upstream::Upstream,
};

/// The plan `small` in a version, with so many requests a month.
fn small(version: u32, limit: u64, more: &str) -> String {
    format!(
        "plan: small\nversion: {version}\nfeatures: [chat]\nquotas: {{ requests: {{ limit: {limit} }} }}\n{more}"
    )
}

async fn limit(gateway: &Gateway, tenant: &str) -> Value {
    let rights = gateway.admin.get(&format!("/v1/tenants/{tenant}/rights")).await;
    rights["quotas"]["requests"]["limit"].clone()
}

async fn passes(gateway: &Gateway, key: &str) -> usize {
    for passed in 0..50 {
        let reply = get("/v1/messages").key(key).send(gateway.data).await;
        if reply.status != 200 {
            assert_eq!(reply.code(), "quota-exhausted");
            return passed;
        }
    }
    panic!("nothing is refused");
}

/// Waits until a node decides by its changed files: a tenant that comes now has this limit.
async fn comes_to(gateway: &Gateway, plan_limit: u64) {
    eventually("the changed plan is in force", async || {
        gateway.admin.subscribe("newcomer", "small").await;
        limit(gateway, "newcomer").await == plan_limit
    })
    .await;
}

async fn a_raised_version_is_for_those_who_come(setup: Setup) {
    let gateway = setup.start().await;
    gateway.admin.tenant("newcomer", "big").await;
    let old = gateway.admin.tenant("old", "small").await;
    assert_eq!(get("/v1/messages").key(&old).send(gateway.data).await.status, 200);
    setup.policy("plans/small.yaml", &small(2, 2, ""));
    comes_to(&gateway, 2).await;
    let new = gateway.admin.tenant("new", "small").await;
    assert_eq!((limit(&gateway, "old").await, limit(&gateway, "new").await), (5.into(), 2.into()));
    assert_eq!((passes(&gateway, &old).await, passes(&gateway, &new).await), (4, 2));
    assert!(gateway.stop().await.success());

    // The files know the old terms no more; the database does.
    let gateway = setup.start().await;
    assert_eq!((limit(&gateway, "old").await, limit(&gateway, "new").await), (5.into(), 2.into()));
    assert_eq!((passes(&gateway, &old).await, passes(&gateway, &new).await), (0, 0));
    // An edit without a new version is for all who are on it, and for nobody else.
    setup.policy("plans/small.yaml", &small(2, 3, ""));
    eventually("the edit is in force", async || limit(&gateway, "new").await == 3).await;
    assert_eq!((passes(&gateway, &old).await, passes(&gateway, &new).await), (0, 1));
    // A version that everybody comes to, at once.
    setup.policy("plans/small.yaml", &small(3, 7, "existing: 2026-01-01\n"));
    eventually("all are on it", async || {
        (limit(&gateway, "old").await, limit(&gateway, "new").await) == (7.into(), 7.into())
    })
    .await;
    assert_eq!((passes(&gateway, &old).await, passes(&gateway, &new).await), (2, 4));
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_raised_version_is_for_those_who_come_on_sqlite() {
    let upstream = Upstream::start().await;
    a_raised_version_is_for_those_who_come(Setup::before(&upstream)).await;
}

#[tokio::test]
async fn a_raised_version_is_for_those_who_come_on_postgres() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
    a_raised_version_is_for_those_who_come(setup).await;
}

#[tokio::test]
async fn while_the_database_is_away_changed_files_wait() {
    let upstream = Upstream::start().await;
    let server = Postgres::shared();
    let url = server.url();
    let way = Forwarder::to(server.port()).await;
    let through = url.replace(&format!(":{}", server.port()), &format!(":{}", way.port));
    let setup = Setup::before(&upstream).with("/database", through);
    let gateway = setup.start().await;
    gateway.admin.tenant("newcomer", "small").await;
    // A plan of so many units that a node holds some while the database is away.
    let key = gateway.admin.tenant("acme", "big").await;
    let export = async || get("/v1/export/all").key(&key).send(gateway.data).await.status;
    assert_eq!(export().await, 200);
    way.close();
    let big = "plan: big\nversion: 2\nfeatures: [chat]\nquotas: { requests: { limit: 1000000 } }\n";
    setup.policy("plans/big.yaml", big);
    let said = "the changed policies are not in force yet: the database is not available";
    eventually("readyz says what waits", async || {
        get("/readyz").send(gateway.admin.0).await.text().contains(said)
    })
    .await;
    assert!(gateway.log().contains(said));
    assert_eq!(export().await, 200, "as the files of before say");
    way.lead_to(server.port());
    let ready = async || get("/readyz").send(gateway.admin.0).await.json()["reasons"].clone();
    eventually("readyz is content", async || ready().await == Value::Array(Vec::new())).await;
    gateway.admin.subscribe("newcomer", "big").await;
    let features = async |tenant: &str| {
        gateway.admin.get(&format!("/v1/tenants/{tenant}/rights")).await["features"].clone()
    };
    assert_eq!(
        (features("newcomer").await, features("acme").await),
        (json!(["chat"]), json!(["chat", "export"]))
    );
    assert_eq!(export().await, 200, "its version has it");
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn nodes_with_different_folders_decide_by_their_own_files_and_lose_no_version() {
    let upstream = Upstream::start().await;
    let url = Postgres::shared().url();
    let (updated, behind) = (node(&upstream, &url, "a"), node(&upstream, &url, "b"));
    let (a, b) = (updated.start().await, behind.start().await);
    a.admin.tenant("newcomer", "big").await;
    a.admin.tenant("old", "small").await;
    updated.policy("plans/small.yaml", &small(2, 2, ""));
    comes_to(&a, 2).await;
    for gateway in [&a, &b] {
        assert_eq!(limit(gateway, "old").await, 5);
    }
    assert_eq!(limit(&b, "newcomer").await, 5, "by its own files, which do not know of another");
    // A start with the files of before writes nothing over what the other node keeps, and reads it.
    assert!(b.stop().await.success());
    let b = behind.start().await;
    for gateway in [&a, &b] {
        assert_eq!((limit(gateway, "old").await, limit(gateway, "newcomer").await), (5.into(), 2.into()));
    }
    behind.policy("plans/small.yaml", &small(2, 2, ""));
    b.admin.tenant("late", "big").await;
    eventually("the other node's files are the same now", async || {
        b.admin.subscribe("late", "small").await;
        limit(&b, "late").await == 2
    })
    .await;
    for gateway in [&a, &b] {
        assert_eq!((limit(gateway, "old").await, limit(gateway, "newcomer").await), (5.into(), 2.into()));
    }
    assert!(a.stop().await.success() && b.stop().await.success());
}
