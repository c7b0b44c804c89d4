//! A plan's whole life from outside, on one node with SQLite and on three with PostgreSQL: each call is in force on every
//! node when it is answered, and what is scheduled comes at its instant, on all of them.

use std::time::Duration;

use plangate::clock::SystemClock;
use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Reply, get},
    cluster::{Cluster, node},
    postgres::Postgres,
    process::{Setup, eventually},
    upstream::Upstream,
};

const TENANT: &str = "/v1/tenants/acme";

/// Plans and an add-on beside those of all tests.
const MORE: &[(&str, &str)] = &[
    (
        "plans/first.yaml",
        "plan: first\nprice: { amount: \"0\", currency: USD }\nfeatures: [chat]\nquotas:\n  requests: { limit: 3 }\n",
    ),
    (
        "plans/second.yaml",
        "plan: second\nprice: { amount: \"10.00\", currency: USD }\nfeatures: [chat]\n\
         changes: { upgrade: now, downgrade: period_end }\ngrace: { days: 5 }\n\
         trial: { days: 14, then: first, usage: keep }\nquotas:\n  requests: { limit: 10 }\n",
    ),
    (
        "addons/exports.yaml",
        "addon: exports\ntitle: Exports\nplans: [second, big]\nfeatures: [export]\nquotas:\n  requests: 20\n",
    ),
];

/// One node with SQLite.
async fn alone(upstream: &Upstream) -> Cluster {
    Cluster::of(vec![with_more(Setup::before(upstream).with("/workers", 1))]).await
}

/// Three with PostgreSQL.
async fn three(upstream: &Upstream) -> Cluster {
    let database = Postgres::shared().url();
    Cluster::of(["a", "b", "c"].map(|name| with_more(node(upstream, &database, name))).into()).await
}

fn with_more(setup: Setup) -> Setup {
    std::fs::create_dir_all(setup.path("policies/addons")).unwrap();
    for (name, text) in MORE {
        setup.policy(name, text);
    }
    setup
}

fn now() -> jiff::Timestamp {
    SystemClock::uncorrected().timestamp()
}

/// An instant so far ahead, as a call writes it.
fn ahead(by: Duration) -> String {
    now().checked_add(by).unwrap().to_string()
}

/// A tenant with its key, on a cluster whose nodes are asked in turn.
struct Customer<'a> {
    cluster: &'a Cluster,
    admins: Vec<Admin>,
    key: String,
    turn: usize,
}

impl<'a> Customer<'a> {
    async fn on(cluster: &'a Cluster, plan: &str) -> Self {
        let admins: Vec<Admin> = cluster.alive().map(|gateway| gateway.admin).collect();
        admins[0].ok("PUT", TENANT, json!({})).await;
        let asked = json!({ "plan": plan, "trial_days": 0 });
        admins[0].ok("PUT", &format!("{TENANT}/subscription"), asked).await;
        let key = admins[0].key("acme").await;
        Self { cluster, admins, key, turn: 0 }
    }

    /// The admin API of the next node.
    fn admin(&mut self) -> Admin {
        self.turn += 1;
        self.admins[self.turn % self.admins.len()]
    }

    /// A call that must succeed and be in force everywhere.
    async fn does(&mut self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.admin().ok(method, &format!("{TENANT}{path}"), body).await;
        assert_eq!(answer["applied"]["pending"], json!([]), "{answer}");
        answer
    }

    async fn tries(&mut self, method: &str, path: &str, body: Value) -> (u16, String) {
        let reply = self.admin().call(method, &format!("{TENANT}{path}"), body).await;
        (reply.status, reply.code())
    }

    async fn asks(&mut self, target: &str) -> Reply {
        self.turn += 1;
        let node = self.turn % self.admins.len();
        get(target).key(&self.key).send(self.cluster.node(node).data).await
    }

    /// What every node says to a request, as status and code; all must say the same.
    async fn everywhere(&mut self, target: &str) -> (u16, String) {
        let mut said = Vec::new();
        for _ in 0..self.admins.len() {
            let reply = self.asks(target).await;
            said.push((reply.status, if reply.status < 300 { String::new() } else { reply.code() }));
        }
        assert!(said.iter().all(|one| *one == said[0]), "{said:?}");
        said.swap_remove(0)
    }

    /// How many requests pass before one is refused for want of units.
    async fn uses_up(&mut self) -> usize {
        for passed in 0..100 {
            let reply = self.asks("/v1/messages").await;
            if reply.status != 200 {
                assert_eq!(
                    (reply.status, reply.code().as_str()),
                    (429, "quota-exhausted"),
                    "{}",
                    reply.text()
                );
                return passed;
            }
        }
        panic!("nothing was refused");
    }

    async fn rights(&mut self) -> Value {
        self.admin().get(&format!("{TENANT}/rights")).await
    }

    async fn state(&mut self) -> (String, String) {
        let rights = self.rights().await;
        assert!(rights["period"]["start"].is_string() && rights["period"]["end"].is_string(), "{rights}");
        (rights["plan"].as_str().unwrap().to_owned(), rights["state"].as_str().unwrap().to_owned())
    }
}

fn inactive() -> (u16, String) {
    (402, "subscription-inactive".to_owned())
}

fn passes() -> (u16, String) {
    (200, String::new())
}

fn state(plan: &str, state: &str) -> (String, String) {
    (plan.to_owned(), state.to_owned())
}

/// Up, down, more, later, back, gone. In parts, as one future would not fit a test's stack.
async fn lives(cluster: &Cluster) {
    let mut acme = Customer::on(cluster, "first").await;
    Box::pin(has_more(&mut acme)).await;
    Box::pin(changes_later(&mut acme)).await;
    Box::pin(stops_and_pays(&mut acme)).await;
    Box::pin(leaves_and_returns(&mut acme)).await;
}

async fn has_more(acme: &mut Customer<'_>) {
    assert_eq!(acme.uses_up().await, 3);
    acme.does("PUT", "/subscription", json!({ "plan": "second" })).await;
    assert_eq!(acme.state().await, state("second", "active"), "no trial for who has a plan");
    assert_eq!(acme.uses_up().await, 7, "what was used counts");

    // Units and features beside the plan's.
    let given = acme.does("POST", "/grants", json!({ "meter": "requests", "units": 2 })).await;
    assert_eq!(acme.uses_up().await, 2);
    assert_eq!(acme.everywhere("/v1/export/all").await, (403, "feature-not-in-plan".into()));
    acme.does("PUT", "/addons/exports", json!({})).await;
    assert_eq!(acme.everywhere("/v1/messages").await.0, 200);
    let exported = acme.asks("/v1/export/all").await.status;
    assert_eq!(exported, 200, "{}", acme.rights().await);
    acme.does("DELETE", "/addons/exports", Value::Null).await;
    assert_eq!(acme.everywhere("/v1/export/all").await, (403, "feature-not-in-plan".into()));
    assert_eq!(acme.everywhere("/v1/messages").await.0, 429);
    let id = given["id"].as_str().unwrap();
    acme.does("DELETE", &format!("/grants/{id}"), Value::Null).await;
    assert_eq!(acme.tries("DELETE", &format!("/grants/{id}"), Value::Null).await.0, 404);
}

/// A downgrade that waits, as the plan says; taken back; and one at an instant.
async fn changes_later(acme: &mut Customer<'_>) {
    let scheduled = acme.does("PUT", "/subscription", json!({ "plan": "first" })).await;
    assert_eq!(scheduled["subscription"]["scheduled"]["plan"], "first", "{scheduled}");
    assert_eq!(acme.state().await, state("second", "active"));
    acme.does("POST", "/subscription/undo", json!({})).await;
    assert_eq!(acme.tries("POST", "/subscription/undo", json!({})).await.0, 409);
    let at = ahead(Duration::from_millis(2_500));
    acme.does("PUT", "/subscription", json!({ "plan": "big", "at": at, "usage": "reset" })).await;
    assert_eq!(acme.everywhere("/v1/messages").await.0, 429, "not yet");
    eventually("the scheduled plan is in force", async || acme.asks("/v1/messages").await.status == 200)
        .await;
    assert!(now() >= at.parse().unwrap(), "not before its instant");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(acme.everywhere("/v1/export/all").await, passes(), "on every node");
}

async fn stops_and_pays(acme: &mut Customer<'_>) {
    acme.does("POST", "/subscription/pause", json!({})).await;
    assert_eq!(acme.everywhere("/v1/messages").await, inactive());
    assert_eq!(acme.tries("POST", "/subscription/pause", json!({})).await, (409, "state-forbids".into()));
    acme.does("POST", "/subscription/resume", json!({})).await;
    assert_eq!(acme.everywhere("/v1/messages").await, passes());
    acme.does("POST", "/subscription/past_due", json!({ "grace_days": 3 })).await;
    assert_eq!(acme.everywhere("/v1/messages").await, passes());
    assert_eq!(acme.state().await, state("big", "past_due"));
    acme.does("POST", "/subscription/past_due", json!({ "grace_days": 0 })).await;
    assert_eq!(acme.everywhere("/v1/messages").await, inactive());
    acme.does("POST", "/subscription/paid", json!({})).await;
    assert_eq!(acme.everywhere("/v1/messages").await, passes());
}

async fn leaves_and_returns(acme: &mut Customer<'_>) {
    let leaving = acme.does("DELETE", "/subscription", Value::Null).await;
    assert_eq!(leaving["subscription"]["scheduled"]["change"], "cancel", "at the period's end: {leaving}");
    assert_eq!(acme.everywhere("/v1/messages").await, passes());
    acme.does("POST", "/subscription/undo", json!({})).await;
    acme.does("DELETE", "/subscription?at=now", Value::Null).await;
    assert_eq!(acme.everywhere("/v1/messages").await, inactive());
    assert_eq!(acme.state().await, state("big", "canceled"));
    acme.does("POST", "/subscription/undo", json!({})).await;
    assert_eq!(acme.everywhere("/v1/messages").await, passes());
}

#[tokio::test]
async fn a_whole_life_on_sqlite() {
    let upstream = Upstream::start().await;
    lives(&alone(&upstream).await).await;
}

#[tokio::test]
async fn a_whole_life_on_three_nodes() {
    let upstream = Upstream::start().await;
    lives(&three(&upstream).await).await;
}

#[tokio::test]
async fn a_trial_begins_by_itself_for_the_first_plan_and_once() {
    let upstream = Upstream::start().await;
    let cluster = alone(&upstream).await;
    let admin = cluster.admin();
    admin.ok("PUT", TENANT, json!({ "timezone": "Europe/Berlin" })).await;
    let begun = admin.ok("PUT", &format!("{TENANT}/subscription"), json!({ "plan": "second" })).await;
    let trial = &begun["subscription"]["trial"];
    assert_eq!(
        (&begun["subscription"]["state"], &trial["then"]),
        (&json!("trialing"), &json!("first")),
        "{begun}"
    );
    let ends: jiff::Timestamp = trial["ends_at"].as_str().unwrap().parse().unwrap();
    let days = (ends.as_second() - now().as_second()) as f64 / 86_400.0;
    assert!((13.9..14.1).contains(&days), "{days}");
    let key = admin.key("acme").await;
    let passed = get("/v1/messages").key(&key).send(cluster.place(0).address()).await;
    assert_eq!(passed.status, 200);
    // Converted: what was used counts, as the plan says.
    let converted = admin.ok("PUT", &format!("{TENANT}/subscription"), json!({ "plan": "second" })).await;
    assert_eq!(converted["subscription"]["state"], "active");
    assert_eq!(admin.used("acme", "requests").await, 1);
    let again = json!({ "plan": "second", "trial_days": 7 });
    let refused = admin.call("PUT", &format!("{TENANT}/subscription"), again).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "trial-used"));
    let told = json!({ "plan": "second", "trial_days": 7, "trial_again": true });
    let again = admin.ok("PUT", &format!("{TENANT}/subscription"), told).await;
    assert_eq!(again["subscription"]["state"], "trialing");
}

#[tokio::test]
async fn tenants_stay_on_the_version_that_they_came_to() {
    let upstream = Upstream::start().await;
    let cluster = three(&upstream).await;
    let mut acme = Customer::on(&cluster, "first").await;
    assert_eq!(acme.everywhere("/v1/messages").await, passes());
    let next = "plan: first\nversion: 2\nfeatures: [chat]\nquotas:\n  requests: { limit: 1 }\n";
    for place in 0..3 {
        cluster.setup(place).policy("plans/first.yaml", next);
    }
    let versions = async |admin: Admin| {
        let plans = admin.get("/v1/plans").await;
        let items = plans["items"].as_array().unwrap().clone();
        let first = items.iter().filter(|item| item["plan"] == "first");
        first
            .map(|item| (item["version"].as_u64().unwrap(), item["tenants"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    for admin in acme.admins.clone() {
        eventually("the new version is known", async || versions(admin).await == [(1, 1), (2, 0)]).await;
    }
    // 3 of the first version; three nodes took one each above.
    assert_eq!(acme.everywhere("/v1/messages").await.0, 429);
    assert_eq!(acme.rights().await["quotas"]["requests"]["limit"], 3);
    let admin = acme.admin();
    admin.ok("PUT", "/v1/tenants/later", json!({})).await;
    admin.subscribe("later", "first").await;
    assert_eq!(admin.get("/v1/tenants/later/rights").await["quotas"]["requests"]["limit"], 1);
    assert_eq!(versions(admin).await, [(1, 1), (2, 1)]);
}
