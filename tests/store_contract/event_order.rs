//! Lists that are read on from where a reader stopped: each row is seen once, in whichever order transactions end.

use std::collections::BTreeSet;

use plangate::ports::{EventRow, NewStripeEvent, StripeEventState, WhichEvents};

use super::*;
use crate::{Fixture, Kind};

on_every_store!(
    followers_see_each_fact_once,
    what_commits_late_is_seen_late,
    a_walk_back_sees_what_was_there,
    housekeeping_orders_facts_too,
);

async fn after(on: &Fixture, cursor: u64, limit: u32) -> Vec<EventRow> {
    on.store.events(cursor, limit, &WhichEvents::default()).await.unwrap()
}

fn ids(rows: &[EventRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

/// Reads on until so many were seen.
async fn follow(on: &Fixture, many: usize, limit: u32) -> Vec<EventRow> {
    let mut seen: Vec<EventRow> = Vec::new();
    while seen.len() < many {
        let cursor = seen.last().map_or(0, |row| row.cursor);
        seen.extend(after(on, cursor, limit).await);
        tokio::task::yield_now().await;
    }
    seen
}

async fn followers_see_each_fact_once(on: &Fixture) {
    const EACH: usize = 12;
    let tell = async |name: &str| {
        for number in 0..EACH {
            let tenant = format!("{name}{number}");
            done(&*on.store, &put(&tenant)).await;
            done(&*on.store, &subscribe(&tenant, "pro", UsageRule::Keep)).await;
        }
    };
    // Of each tenant two things are told: its plan, and its state.
    let many = 3 * EACH * 2;
    let told = async { tokio::join!(tell("a"), tell("b"), tell("c")) };
    let (_, one, other) = tokio::join!(told, follow(on, many, 3), follow(on, many, 100));
    let all = after(on, 0, 1000).await;
    assert_eq!(all.len(), many);
    assert_eq!(ids(&one), ids(&all));
    assert_eq!(ids(&other), ids(&all));
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>().len(), many);
}

/// Two transactions that are open at once, each with its row written in this order; the database can do so only on
/// PostgreSQL.
async fn two_open(url: &str, sql: &'static str) -> [sqlx::Transaction<'static, sqlx::Postgres>; 2] {
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    let (mut first, mut second) = (pool.begin().await.unwrap(), pool.begin().await.unwrap());
    sqlx::query(sql).bind("first").execute(&mut *first).await.unwrap();
    sqlx::query(sql).bind("second").execute(&mut *second).await.unwrap();
    [first, second]
}

async fn what_commits_late_is_seen_late(on: &Fixture) {
    let Kind::Postgres { url } = &on.kind else { return };
    let tell = "INSERT INTO outbox (id, kind, tenant, at_ms, body) \
                VALUES ($1, 'plan.changed', 'acme', 4102444800000, '{\"data\":{}}')";
    let [first, second] = two_open(url, tell).await;
    assert!(after(on, 0, 10).await.is_empty());
    second.commit().await.unwrap();
    let seen = after(on, 0, 10).await;
    assert_eq!(ids(&seen), ["second"]);
    done(&*on.store, &put("acme")).await;
    done(&*on.store, &subscribe("acme", "pro", UsageRule::Keep)).await;
    let more = after(on, seen[0].cursor, 10).await;
    assert!(!more.is_empty());
    first.commit().await.unwrap();
    let last = after(on, more.last().unwrap().cursor, 10).await;
    assert_eq!(ids(&last), ["first"], "written before all others, and seen after them");
    // Read again, all are where they were; also where readers come together.
    let (all, same) = tokio::join!(after(on, 0, 10), after(on, 0, 10));
    assert_eq!(all, same);
    assert_eq!(all, [seen, more, last].concat());
    // What is given up leaves nothing that others wait for.
    let again = "INSERT INTO outbox (id, kind, tenant, at_ms, body) \
                 VALUES ('again ' || $1, 'plan.changed', 'acme', 4102444800000, '{\"data\":{}}')";
    let [first, second] = two_open(url, again).await;
    first.rollback().await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(ids(&after(on, all.last().unwrap().cursor, 10).await), ["again second"]);
}

fn stripe_event(id: &str) -> NewStripeEvent {
    NewStripeEvent {
        id: id.to_owned(),
        kind: "unknown".to_owned(),
        created: START,
        customer: id.to_owned(),
        subscription: None,
        body: "{}".to_owned(),
        settled: Some((StripeEventState::Failed, "of no use".to_owned())),
        received: START,
    }
}

async fn a_walk_back_sees_what_was_there(on: &Fixture) {
    let page = async |before, limit| {
        let rows = on.store.stripe_events(None::<StripeEventState>, before, limit).await.unwrap();
        rows.into_iter().map(|row| (row.place, row.id)).collect::<Vec<_>>()
    };
    let names = |rows: &[(u64, String)]| rows.iter().map(|(_, id)| id.clone()).collect::<Vec<_>>();
    let late = match &on.kind {
        Kind::Postgres { url } => {
            let keep = "INSERT INTO stripe_events (id, kind, created_ms, customer, body, state, received_ms, due) \
                        VALUES ($1, 'unknown', 1, $1, '{}', 'failed', 1, 0)";
            let [first, second] = two_open(url, keep).await;
            second.commit().await.unwrap();
            Some(first)
        }
        _ => {
            assert!(on.store.keep_stripe_event(&stripe_event("second")).await.unwrap());
            None
        }
    };
    assert!(on.store.keep_stripe_event(&stripe_event("third")).await.unwrap());
    let newest = page(None, 1).await;
    assert_eq!(names(&newest), ["third"]);
    assert!(on.store.keep_stripe_event(&stripe_event("fourth")).await.unwrap());
    let some_late = late.is_some();
    if let Some(late) = late {
        late.commit().await.unwrap();
    }
    // All that was there when the walk began, each once; of what came since, at most the rest of the walk.
    let rest = page(Some(newest[0].0), 10).await;
    assert_eq!(names(&rest), if some_late { vec!["second", "first"] } else { vec!["second"] });
    assert_eq!(names(&page(None, 10).await)[..3], ["fourth", "third", "second"]);
}

async fn housekeeping_orders_facts_too(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    done(&*on.store, &subscribe("acme", "pro", UsageRule::Keep)).await;
    let keep = std::time::Duration::from_secs(3_000_000_000);
    let keep = plangate::store::Retention { usage_hours: keep, usage_days: keep, audit: keep };
    // Facts of the tests' own time would go at once.
    on.raw("UPDATE outbox SET at_ms = 4102444800000").await;
    on.store.tidy(&keep).await.unwrap();
    if let Kind::Postgres { .. } = &on.kind {
        assert_eq!(on.raw("SELECT count(*) FROM outbox WHERE number IS NULL").await, Some(0));
        assert_eq!(
            on.raw("SELECT last FROM outbox_order").await,
            on.raw("SELECT max(number) FROM outbox").await
        );
    }
    let all = after(on, 0, 10).await;
    // What is deleted does not give its number to another.
    on.raw("DELETE FROM outbox").await;
    done(&*on.store, &put("b")).await;
    done(&*on.store, &subscribe("b", "pro", UsageRule::Keep)).await;
    let more = after(on, all.last().unwrap().cursor, 10).await;
    assert_eq!(more.len(), all.len(), "{more:?}");
}
