//! Endpoints, and what is delivered to them.

use std::time::Duration;

use plangate::{
    domain::{
        event::EventKind,
        id::WebhookId,
        webhook::{DeliveryState, MOST_ENDPOINTS},
    },
    ports::{
        AttemptRow, Claim, Due, Outlook, Replay, Then, Tried, WebhookChange, WebhookCommand, WebhookDone,
        WebhookError,
    },
};

use super::*;
use crate::{Fixture, Kind};

on_every_store!(
    an_endpoint_is_made_changed_and_deleted,
    a_fact_is_told_to_whoever_takes_it_and_once,
    a_claim_is_for_one_node_and_for_a_while,
    a_try_leads_to_what_it_leads_to,
    who_is_gone_is_not_told_any_more,
    what_failed_is_told_again,
    a_call_has_one_effect,
    what_ended_long_ago_is_forgotten,
);

const HOUR: Duration = Duration::from_secs(3600);

fn id(text: &str) -> WebhookId {
    WebhookId::parse(text).unwrap()
}

fn secret(n: u8) -> String {
    format!("whsec_{n}")
}

fn create(name: &str, events: &[EventKind]) -> WebhookCommand {
    let change = WebhookChange::Create {
        url: format!("https://{name}.example/hook"),
        description: name.to_owned(),
        events: events.to_vec(),
        secret: secret(1),
    };
    WebhookCommand { id: id(name), change }
}

fn of(name: &str, change: WebhookChange) -> WebhookCommand {
    WebhookCommand { id: id(name), change }
}

fn enabled(name: &str, enabled: bool) -> WebhookCommand {
    let change = WebhookChange::Update { url: None, description: None, events: None, enabled: Some(enabled) };
    of(name, change)
}

async fn make(store: &dyn Store, command: WebhookCommand) -> WebhookDone {
    store.change_webhook(&command, &origin()).await.unwrap()
}

/// Tells of one plan change, and of nothing else.
async fn tell(store: &dyn Store, tenant: &str) {
    done(store, &put(tenant)).await;
    done(store, &subscribe(tenant, "pro", UsageRule::Keep)).await;
}

fn claim(by: u128, most: u32, each: u32) -> Claim {
    Claim { by: node(by), lease: HOUR, most, each, but: Vec::new() }
}

async fn claimed(store: &dyn Store, claim: Claim) -> Vec<Due> {
    store.claim_deliveries(&claim).await.unwrap()
}

fn tried(due: &Due, then: Then) -> Tried {
    let row = AttemptRow {
        attempt: due.attempt,
        at: START,
        status: Some(200),
        error: None,
        duration: Duration::from_millis(7),
        answer: "ok".to_owned(),
    };
    Tried { event: due.event.clone(), webhook: due.webhook.clone(), url: due.url.clone(), row, then }
}

async fn states(store: &dyn Store, name: &str) -> Vec<DeliveryState> {
    let rows = store.deliveries(&id(name), None, None, 100).await.unwrap();
    rows.into_iter().map(|row| row.state).collect()
}

/// Makes everything so much older.
async fn let_an_hour_pass(on: &Fixture) {
    if let Kind::Memory(clock, _) = &on.kind {
        clock.advance(HOUR);
    }
    on.raw("UPDATE webhook_deliveries SET next_ms = next_ms - 3600000, since_ms = since_ms - 3600000").await;
}

async fn an_endpoint_is_made_changed_and_deleted(on: &Fixture) {
    let store = &*on.store;
    assert_eq!(make(store, create("a", &[])).await.id, id("a"));
    make(store, create("b", &[EventKind::QuotaThreshold, EventKind::PlanChanged])).await;
    let names: Vec<String> =
        store.webhooks().await.unwrap().into_iter().map(|one| one.id.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    let change = WebhookChange::Update {
        url: Some("https://c.example/".into()),
        description: None,
        events: Some(vec![EventKind::StatementClosed]),
        enabled: None,
    };
    make(store, of("a", change)).await;
    make(store, of("a", WebhookChange::Rotate { secret: secret(2), old_until: START + HOUR })).await;
    let now = store.webhook(&id("a")).await.unwrap().unwrap();
    assert_eq!((now.url.as_str(), now.description.as_str()), ("https://c.example/", "a"));
    assert_eq!((now.events, now.disabled), (vec![EventKind::StatementClosed], None));
    let secrets: Vec<_> = now.secrets.iter().map(|one| (one.text.clone(), one.expires_at)).collect();
    assert_eq!(secrets, [(secret(2), None), (secret(1), Some(START + HOUR))]);
    for n in 3..6 {
        let change = WebhookChange::Rotate { secret: secret(n), old_until: START + HOUR };
        make(store, of("a", change)).await;
    }
    let once_more = of("a", WebhookChange::Rotate { secret: secret(9), old_until: START + HOUR });
    let refused = store.change_webhook(&once_more, &origin()).await.unwrap_err();
    assert!(matches!(refused, WebhookError::Secrets(_)), "{refused}");

    make(store, of("a", WebhookChange::Delete)).await;
    assert_eq!(store.webhook(&id("a")).await.unwrap(), None);
    let gone = store.change_webhook(&of("a", WebhookChange::Delete), &origin()).await.unwrap_err();
    assert_eq!(gone, WebhookError::Unknown(id("a")));
    for n in 1..MOST_ENDPOINTS {
        make(store, create(&format!("n{n}"), &[])).await;
    }
    assert_eq!(store.change_webhook(&create("c", &[]), &origin()).await.unwrap_err(), WebhookError::Full);

    let lines = store.audit(0, 500).await.unwrap();
    assert!(lines.iter().all(|line| !line.detail.to_string().contains("whsec")), "{lines:?}");
    let kinds: Vec<&str> = lines.iter().take(4).map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["webhook.created", "webhook.created", "webhook.updated", "webhook.rotated"]);
    assert!(lines.iter().any(|line| line.kind == "webhook.deleted" && line.detail["webhook"] == "a"));
}

async fn a_fact_is_told_to_whoever_takes_it_and_once(on: &Fixture) {
    let store = &*on.store;
    tell(store, "early").await;
    assert_eq!(store.outlook().await.unwrap(), Outlook::default());
    make(store, create("all", &[])).await;
    make(store, create("plans", &[EventKind::PlanChanged])).await;
    make(store, create("quotas", &[EventKind::QuotaThreshold])).await;
    make(store, create("off", &[])).await;
    make(store, enabled("off", false)).await;
    tokio::time::timeout(HOUR, store.told()).await.unwrap();
    tell(store, "acme").await;
    tokio::time::timeout(Duration::from_secs(5), store.told()).await.expect("whoever delivers is woken");
    let outlook = store.outlook().await.unwrap();
    assert_eq!((outlook.endpoints, outlook.waiting, outlook.next), (3, 3, Some(Duration::ZERO)));

    let due = claimed(store, claim(1, 10, 10)).await;
    let mut told: Vec<(&str, &str)> =
        due.iter().map(|one| (one.webhook.as_str(), one.kind.as_str())).collect();
    told.sort_unstable();
    let expected =
        [("all", "plan.changed"), ("all", "subscription.state_changed"), ("plans", "plan.changed")];
    assert_eq!(told, expected);
    for one in &due {
        let body: serde_json::Value = serde_json::from_str(&one.body).unwrap();
        assert_eq!((&body["type"], &body["data"]["tenant"]), (&one.kind.as_str().into(), &"acme".into()));
        assert!(one.event.starts_with("evt_"));
        assert_eq!((one.attempt, one.tries, one.secrets[0].text.as_str()), (1, 1, "whsec_1"));
    }
    let of_plan: Vec<&str> =
        due.iter().filter(|one| one.kind == "plan.changed").map(|one| one.event.as_str()).collect();
    assert_eq!(of_plan[0], of_plan[1], "one fact has one id, whoever is told");
    for (name, count) in [("all", 2), ("plans", 1), ("quotas", 0), ("off", 0)] {
        assert_eq!(states(store, name).await.len(), count, "{name}");
    }
}

async fn a_claim_is_for_one_node_and_for_a_while(on: &Fixture) {
    let store = &*on.store;
    for name in ["a", "b"] {
        make(store, create(name, &[EventKind::PlanChanged])).await;
    }
    for n in 0..4 {
        tell(store, &format!("t{n}")).await;
    }
    let first = claimed(store, claim(1, 8, 2)).await;
    assert_eq!(first.len(), 4, "two of each: {first:?}");
    assert_eq!(first.iter().filter(|one| one.webhook == id("a")).count(), 2);
    let but = Claim { but: vec![id("a")], ..claim(2, 1, 2) };
    let second = claimed(store, but).await;
    assert_eq!(second.iter().map(|one| one.webhook.as_str()).collect::<Vec<_>>(), ["b"]);
    let third = claimed(store, claim(2, 8, 8)).await;
    assert_eq!(third.len(), 3);
    assert_eq!(claimed(store, claim(3, 8, 8)).await, []);
    assert!(store.outlook().await.unwrap().next.unwrap() > Duration::from_secs(3000));

    // Whoever held them has died.
    let_an_hour_pass(on).await;
    assert_eq!(store.outlook().await.unwrap().next, Some(Duration::ZERO));
    let again = claimed(store, claim(3, 8, 8)).await;
    assert_eq!(again.len(), 8);
    assert!(again.iter().all(|one| one.attempt == 2));
    let ids = |due: &[Due]| {
        let mut ids: Vec<String> = due.iter().map(|one| format!("{} {}", one.event, one.webhook)).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&again), ids(&[first.clone(), second, third].concat()), "the same ids");

    // It had not died: what it got through counts, that it is to be tried again does not.
    store.settle_delivery(&tried(&first[0], Then::Again(Duration::ZERO))).await.unwrap();
    assert_eq!(claimed(store, claim(1, 8, 8)).await, []);
    store.settle_delivery(&tried(&first[0], Then::Delivered)).await.unwrap();
    let rows = store.deliveries(&first[0].webhook, Some(DeliveryState::Delivered), None, 9).await.unwrap();
    assert_eq!((rows.len(), rows[0].event.as_str()), (1, first[0].event.as_str()));
}

async fn a_try_leads_to_what_it_leads_to(on: &Fixture) {
    let store = &*on.store;
    make(store, create("a", &[EventKind::PlanChanged])).await;
    for n in 0..3 {
        tell(store, &format!("t{n}")).await;
    }
    let due = claimed(store, claim(1, 8, 8)).await;
    let mut failed = tried(&due[1], Then::Failed);
    failed.row.status = None;
    failed.row.error = Some("connection refused".into());
    for settled in [tried(&due[0], Then::Delivered), failed, tried(&due[2], Then::Again(HOUR))] {
        store.settle_delivery(&settled).await.unwrap();
    }
    let rows = store.deliveries(&id("a"), None, None, 9).await.unwrap();
    let of = |due: &Due| rows.iter().find(|row| row.event == due.event).unwrap();
    let got = of(&due[0]);
    assert_eq!((got.state, got.attempts, got.next_at), (DeliveryState::Delivered, 1, None));
    assert_eq!((got.kind.as_str(), got.tenant.as_str()), ("plan.changed", "t0"));
    assert!(got.ended_at.is_some());
    assert_eq!(got.tries[0].status, Some(200));
    assert_eq!((got.tries[0].duration, got.tries[0].answer.as_str()), (Duration::from_millis(7), "ok"));
    let lost = of(&due[1]);
    assert_eq!((lost.state, lost.tries[0].status), (DeliveryState::Failed, None));
    assert_eq!(lost.tries[0].error.as_deref(), Some("connection refused"));
    let waits = of(&due[2]);
    assert_eq!((waits.state, waits.ended_at), (DeliveryState::Pending, None));
    assert!(waits.next_at.is_some());
    assert_eq!(claimed(store, claim(1, 8, 8)).await, []);
    let_an_hour_pass(on).await;
    let again = claimed(store, claim(2, 8, 8)).await;
    assert_eq!(again.iter().map(|one| (&one.event, one.tries)).collect::<Vec<_>>(), [(&due[2].event, 2)]);
    let outlook = store.outlook().await.unwrap();
    assert_eq!((outlook.endpoints, outlook.waiting), (1, 1));

    // Pages, the newest first.
    let first = store.deliveries(&id("a"), None, None, 2).await.unwrap();
    let second = store.deliveries(&id("a"), None, Some(first[1].place), 2).await.unwrap();
    let places: Vec<u64> = first.iter().chain(&second).map(|row| row.place).collect();
    assert!(places.len() == 3 && places.is_sorted_by(|a, b| a > b), "{places:?}");
}

async fn who_is_gone_is_not_told_any_more(on: &Fixture) {
    let store = &*on.store;
    make(store, create("a", &[EventKind::PlanChanged])).await;
    make(store, create("b", &[EventKind::PlanChanged])).await;
    for n in 0..3 {
        tell(store, &format!("t{n}")).await;
    }
    let due = claimed(store, Claim { but: vec![id("b")], ..claim(1, 2, 2) }).await;
    store.settle_delivery(&tried(&due[0], Then::Disable("it answered 410".into()))).await.unwrap();
    let endpoint = store.webhook(&id("a")).await.unwrap().unwrap();
    assert_eq!(endpoint.disabled.unwrap().why, "it answered 410");
    assert_eq!(states(store, "a").await, [DeliveryState::Discarded; 3]);
    assert_eq!(states(store, "b").await, [DeliveryState::Pending; 3]);
    let lines = store.audit(0, 500).await.unwrap();
    let line = lines.iter().find(|line| line.kind == "webhook.disabled").unwrap();
    assert_eq!((line.actor.as_str(), &line.detail["discarded"]), ("system", &3.into()));
    // One that was under way got through after all: it stays as it is.
    store.settle_delivery(&tried(&due[1], Then::Delivered)).await.unwrap();
    tell(store, "later").await;
    assert_eq!(states(store, "a").await, [DeliveryState::Discarded; 3], "nothing new is told");
    assert!(claimed(store, claim(1, 8, 8)).await.iter().all(|one| one.webhook == id("b")));

    let replay = of("a", WebhookChange::Replay(Replay::Since(START)));
    let refused = store.change_webhook(&replay, &origin()).await.unwrap_err();
    assert_eq!(refused, WebhookError::Disabled(id("a")));
    make(store, enabled("a", true)).await;
    tell(store, "last").await;
    assert_eq!(states(store, "a").await[0], DeliveryState::Pending);
    // By hand.
    assert_eq!(make(store, enabled("a", false)).await.deliveries, 1);
    assert_eq!(states(store, "a").await, [DeliveryState::Discarded; 4]);
    assert_eq!(make(store, of("b", WebhookChange::Delete)).await.deliveries, 5);
    assert_eq!(states(store, "b").await, []);
    // What comes too late for it changes nothing.
    let mut late = tried(&due[0], Then::Delivered);
    late.webhook = id("b");
    store.settle_delivery(&late).await.unwrap();
    assert_eq!(store.outlook().await.unwrap(), Outlook::default());
}

async fn what_failed_is_told_again(on: &Fixture) {
    let store = &*on.store;
    make(store, create("a", &[EventKind::PlanChanged])).await;
    for n in 0..4 {
        tell(store, &format!("t{n}")).await;
    }
    let due = claimed(store, claim(1, 3, 3)).await;
    store.settle_delivery(&tried(&due[0], Then::Delivered)).await.unwrap();
    store.settle_delivery(&tried(&due[1], Then::Failed)).await.unwrap();
    let one = |event: &str| of("a", WebhookChange::Replay(Replay::One(event.to_owned())));
    assert_eq!(make(store, one(&due[2].event)).await.deliveries, 0, "it is under way");
    let unknown = store.change_webhook(&one("evt_x"), &origin()).await.unwrap_err();
    assert_eq!(unknown, WebhookError::NoDelivery(id("a"), "evt_x".into()));
    let since = |at: UnixMillis| of("a", WebhookChange::Replay(Replay::Since(at)));
    assert_eq!(make(store, since(UnixMillis(i64::MAX / 2))).await.deliveries, 0);
    assert_eq!(make(store, since(UnixMillis(0))).await.deliveries, 1);
    assert_eq!(make(store, one(&due[0].event)).await.deliveries, 1, "also what was delivered");
    let again = claimed(store, claim(1, 9, 9)).await;
    let mut tries: Vec<(u64, u32)> = again.iter().map(|one| (one.attempt, one.tries)).collect();
    tries.sort_unstable();
    assert_eq!(tries, [(1, 1), (2, 1), (2, 1)]);
    store.settle_delivery(&tried(&again[0], Then::Delivered)).await.unwrap();
}

async fn a_call_has_one_effect(on: &Fixture) {
    let store = &*on.store;
    let first = store.change_webhook(&create("a", &[]), &once("k", "f")).await.unwrap();
    assert!(!first.replayed);
    // A repetition comes with another id and another secret: neither is taken.
    let again = store.change_webhook(&create("b", &[]), &once("k", "f")).await.unwrap();
    assert_eq!(again, WebhookDone { replayed: true, ..first });
    assert_eq!(store.webhooks().await.unwrap().len(), 1);
    let other = store.change_webhook(&create("b", &[]), &once("k", "g")).await.unwrap_err();
    assert_eq!(other, WebhookError::IdempotencyConflict);
    store.execute(&put("acme"), &once("t", "f")).await.unwrap();
    let mixed = store.change_webhook(&create("b", &[]), &once("t", "f")).await.unwrap_err();
    assert_eq!(mixed, WebhookError::IdempotencyConflict);
    assert_eq!(store.audit(0, 9).await.unwrap().len(), 2);
}

async fn what_ended_long_ago_is_forgotten(on: &Fixture) {
    let store = &*on.store;
    make(store, create("a", &[EventKind::PlanChanged])).await;
    tell(store, "old").await;
    let due = claimed(store, claim(1, 1, 1)).await;
    store.settle_delivery(&tried(&due[0], Then::Delivered)).await.unwrap();
    if let Kind::Memory(clock, _) = &on.kind {
        clock.advance(Duration::from_secs(31 * 86_400));
    }
    on.raw("UPDATE webhook_deliveries SET created_ms = created_ms - 2678400000").await;
    tell(store, "new").await;
    let day = Duration::from_secs(86_400);
    let keep = plangate::store::Retention { usage_hours: day * 92, usage_days: day * 800, audit: day * 400 };
    // Facts of the tests' own time would go with it.
    on.raw("UPDATE outbox SET at_ms = 4102444800000").await;
    assert_eq!(store.tidy(&keep).await.unwrap().messages, 1);
    let rows = store.deliveries(&id("a"), None, None, 9).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(on.raw("SELECT count(*) FROM webhook_attempts").await.unwrap_or(0), 0);
}
