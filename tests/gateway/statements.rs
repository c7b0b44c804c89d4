//! Statements from outside, on one node with SQLite and on three with PostgreSQL: what is billed is what was served.

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date};
use plangate::clock::SystemClock;
use serde_json::{Value, json};

use crate::support::{
    client::get,
    cluster::{Cluster, node},
    postgres::Postgres,
    process::{POLICIES, Setup, eventually},
    upstream::Upstream,
};

const PLAN: &str = "plan: metered\nprice: { amount: \"10.00\", currency: USD }\nfeatures: [chat]\nquotas:\n  \
                    requests: { limit: 20, overage: { mode: bill, price: \"0.05\", per: 1, cap: 100 } }\n";
const ACME: &str = "/v1/tenants/acme";

fn priced(setup: Setup) -> Setup {
    setup.policy("plans/metered.yaml", PLAN);
    setup
}

fn units(hours: &Value) -> u64 {
    hours.as_array().unwrap().iter().map(|hour| hour[1].as_u64().unwrap()).sum()
}

async fn is_billed_as_served(cluster: &Cluster, upstream: &Upstream) {
    let admin = cluster.admin();
    let key = admin.tenant("acme", "metered").await;
    let nodes = cluster.alive().count();
    for turn in 0..30 {
        let reply = get("/v1/messages").key(&key).send(cluster.node(turn % nodes).data).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert!(upstream.count() >= 30);
    let current = format!("{ACME}/statements/current");
    let mut statement = Value::Null;
    eventually("all that was served is in the statement", async || {
        statement = admin.get(&current).await;
        let usage = &statement["usage"][0];
        usage["used"]
            .as_u64()
            .zip(usage["overage"].as_u64())
            .is_some_and(|(used, beyond)| used + beyond == 30)
    })
    .await;
    let usage = &statement["usage"][0];
    let beyond = usage["overage"].as_u64().unwrap();
    // One node takes from what is beyond only when nothing else is left; of several each by what it holds.
    assert!(beyond >= 10 && (nodes > 1 || beyond == 10), "{statement}");
    assert_eq!(
        (units(&usage["hours"]), units(&usage["overage_hours"])),
        (30 - beyond, beyond),
        "{statement}"
    );
    let cents = 5 * beyond;
    let (overage, total) =
        (format!("{}.{:02}", cents / 100, cents % 100), format!("{}.{:02}", 10 + cents / 100, cents % 100));
    assert_eq!((&statement["total"], &statement["currency"]), (&json!(total), &json!("USD")), "{statement}");
    assert_eq!((&statement["status"], &statement["lines"][1]["units"]), (&json!("open"), &json!(beyond)));

    // By its day and by its month it is the same, and every node says so.
    let name = statement["statement"].as_str().unwrap();
    let last = cluster.node(nodes - 1).admin;
    for period in [name, &name[..7]] {
        let same = last.get(&format!("{ACME}/statements/{period}")).await;
        assert_eq!(same["lines"], statement["lines"], "{same}");
    }
    let csv = admin.call("GET", &format!("{current}?format=csv"), Value::Null).await;
    assert!(csv.text().contains(&format!("\r\ntotal,,,,,,,,,,,USD,{total}\r\n")), "{}", csv.text());
    let cost = admin.get(&format!("{ACME}/rights")).await["cost"].clone();
    assert_eq!(
        (&cost["plan"], &cost["overage"], &cost["total"], &cost["forecast"]["total"].is_string()),
        (&json!("10.00"), &json!(overage), &json!(total), &true),
        "{cost}"
    );
    assert_eq!(last.get(&format!("{ACME}/statements")).await, json!({ "items": [], "next": null }));

    let day: Date = SystemClock::uncorrected().timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
    let next = day.checked_add(2.months()).unwrap();
    let before = day.checked_sub(2.months()).unwrap();
    admin.ok("PUT", "/v1/tenants/bare", json!({})).await;
    for (path, status, code) in [
        (format!("{ACME}/statements/{next}"), 422, "value-impossible"),
        (format!("{ACME}/statements/{before}"), 404, "statement-not-found"),
        (format!("{ACME}/statements/{}", &before.to_string()[..7]), 404, "statement-not-found"),
        (format!("{ACME}/statements/yesterday"), 400, "path-invalid"),
        (format!("{ACME}/statements/{day}T00"), 400, "path-invalid"),
        (format!("{current}?format=xml"), 400, "parameter-invalid"),
        ("/v1/tenants/nobody/statements/current".to_owned(), 404, "tenant-not-found"),
        ("/v1/tenants/nobody/statements".to_owned(), 404, "tenant-not-found"),
        ("/v1/tenants/bare/statements/current".to_owned(), 404, "statement-not-found"),
    ] {
        let reply = admin.call("GET", &path, Value::Null).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{path}: {}", reply.text());
    }
}

#[tokio::test]
async fn what_is_billed_is_what_was_served_on_one_node() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::of(vec![priced(Setup::before(&upstream).with("/workers", 1))]).await;
    is_billed_as_served(&cluster, &upstream).await;
}

#[tokio::test]
async fn what_is_billed_is_what_was_served_on_three() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups = ["a", "b", "c"].map(|name| priced(node(&upstream, &database, name)));
    let cluster = Cluster::of(setups.into()).await;
    is_billed_as_served(&cluster, &upstream).await;
}

/// The shipped policies with `metered` and `stays`, less these, and with other words for `stays`.
fn policies(without: &[&str], stays: &str) -> Value {
    let mut files: BTreeMap<String, String> =
        POLICIES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    files.insert("plans/metered.yaml".to_owned(), PLAN.to_owned());
    files.insert("plans/stays.yaml".to_owned(), stays.to_owned());
    files.insert(
        "addons/pack.yaml".to_owned(),
        "addon: pack\ntitle: Pack\nprice: { amount: \"3.00\", currency: USD }\nlimits: { seats: 1 }\n"
            .to_owned(),
    );
    files.retain(|name, _| !without.contains(&name.as_str()));
    json!({ "files": files })
}

#[tokio::test]
async fn what_is_sold_no_more_is_billed_as_it_was() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/workers", 1);
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let stays = PLAN.replace("plan: metered", "plan: stays");
    admin.ok("POST", "/v1/policy/apply", policies(&[], &stays)).await;
    for (name, plan) in [("acme", "metered"), ("beta", "stays")] {
        let key = admin.tenant(name, plan).await;
        for _ in 0..23 {
            assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
        }
    }
    admin.ok("PUT", "/v1/tenants/acme/addons/pack", json!({ "quantity": 2 })).await;
    admin.subscribe("acme", "small").await;
    admin.ok("DELETE", "/v1/tenants/acme/addons/pack", Value::Null).await;
    let lines = async |name: &str, admin: crate::support::admin::Admin| {
        let mut statement = Value::Null;
        eventually("what was used is recorded", async || {
            statement = admin.get(&format!("/v1/tenants/{name}/statements/current")).await;
            statement["usage"].as_array().unwrap().iter().any(|count| count["overage"] == 3)
        })
        .await;
        assert_eq!(statement["unpriced"], json!([]), "{statement}");
        statement["lines"].clone()
    };
    let before = [lines("acme", admin).await, lines("beta", admin).await];
    for line in ["overage", "plan", "addon"] {
        assert!(before[0].as_array().unwrap().iter().any(|one| one["kind"] == line), "{}", before[0]);
    }
    let without = ["plans/metered.yaml", "addons/pack.yaml"];
    let blocks = "plan: stays\nprice: { amount: \"10.00\", currency: USD }\nfeatures: [chat]\nquotas: { requests: 20 }\n";
    admin.ok("POST", "/v1/policy/apply", policies(&without, blocks)).await;
    assert_eq!([lines("acme", admin).await, lines("beta", admin).await], before);
    gateway.stop().await;
    let again = setup.start().await;
    assert_eq!([lines("acme", again.admin).await, lines("beta", again.admin).await], before);
}
