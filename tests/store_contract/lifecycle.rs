//! What is to become of tenants, what they had, what plans said, and what an older version of the schema left.

use plangate::{
    domain::{
        command::{NewGrant, RolloverRule, Subscribe, TrialOffer, When},
        plan::{PlanRef, PlanVersion, Rollover},
        subscription::Standing,
        tenant::Tenant,
    },
    ports::{KeptPlan, PlanTerms, Sold, SoldTerms, StoreError},
};
use serde_json::json;

use super::*;
use crate::{Fixture, Kind, open};

on_every_store!(
    what_is_ahead_is_paged,
    older_versions_are_paged,
    months_to_roll_over_are_found,
    tenants_are_counted_by_plan,
    grants_are_paged_by_change,
    plans_are_kept_with_their_first_day,
    what_was_sold_is_kept_as_it_was_last,
    rows_of_the_older_schema_go_on,
    what_cannot_be_read_is_named,
);

const DAY: i64 = 86_400_000;

fn at(days: i64) -> UnixMillis {
    UnixMillis(START.0 + days * DAY)
}

async fn make(on: &Fixture, id: &str, what: Change) -> Committed {
    on.store.execute(&change(id, what), &origin()).await.unwrap()
}

async fn subscribed(on: &Fixture, id: &str, plan: &str) {
    done(&*on.store, &put(id)).await;
    make(on, id, Change::Subscribe(Subscribe::to(plan.parse().unwrap()))).await;
}

fn ids(tenants: &[Tenant]) -> Vec<&str> {
    tenants.iter().map(|tenant| tenant.id.as_str()).collect()
}

async fn what_is_ahead_is_paged(on: &Fixture) {
    // Two at one instant are in the order of their names.
    for (id, days) in [("late", 9), ("b", 3), ("a", 3), ("soon", 1)] {
        subscribed(on, id, "basic").await;
        make(on, id, Change::Cancel(When::At(at(days)))).await;
    }
    subscribed(on, "quiet", "basic").await;
    let all = on.store.upcoming(None, 10).await.unwrap();
    assert_eq!(ids(&all), ["soon", "a", "b", "late"]);
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = on.store.upcoming(after.as_ref(), 1).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.next_instant().unwrap(), last.id.clone()));
        seen.extend(page);
    }
    assert_eq!(seen, all);
    let due = async |days| on.store.due(at(days), 2).await.unwrap();
    assert_eq!(due(0).await, []);
    assert_eq!(due(2).await, [tenant("soon")]);
    assert_eq!(due(30).await, [tenant("soon"), tenant("a")], "the longest due first");
    make(on, "soon", Change::Undo).await;
    assert_eq!(due(30).await, [tenant("a"), tenant("b")]);
}

async fn older_versions_are_paged(on: &Fixture) {
    for (id, plan) in
        [("a", "pro"), ("b", "pro@2"), ("c", "pro@3"), ("d", "basic"), ("e", "pro@2"), ("f", "pro@2")]
    {
        subscribed(on, id, plan).await;
    }
    make(on, "f", Change::Cancel(When::Now)).await;
    let to: PlanRef = "pro@3".parse().unwrap();
    let all = on.store.on_older_version(&to, None, 10).await.unwrap();
    assert_eq!(ids(&all), ["a", "b", "e"]);
    let first = on.store.on_older_version(&to, None, 2).await.unwrap();
    let rest = on.store.on_older_version(&to, Some(&first[1].id), 2).await.unwrap();
    assert_eq!([first, rest].concat(), all);
    assert!(on.store.on_older_version(&to, Some(&tenant("e")), 2).await.unwrap().is_empty());
    let second = PlanRef { version: PlanVersion(2), ..to };
    assert_eq!(ids(&on.store.on_older_version(&second, None, 10).await.unwrap()), ["a"]);
}

async fn months_to_roll_over_are_found(on: &Fixture) {
    for (id, plan) in [("a", "pro"), ("b", "pro@2"), ("c", "basic"), ("d", "pro"), ("e", "max")] {
        subscribed(on, id, plan).await;
    }
    make(on, "d", Change::Pause).await;
    let plans = ["pro", "max", "none"].map(|plan| plan.parse().unwrap());
    let end = on.store.tenant(&tenant("a")).await.unwrap().value.unwrap().subscription.unwrap().rolls_at;
    let find = async |ended, limit| on.store.to_roll_over(&plans, UnixMillis(ended), limit).await.unwrap();
    assert_eq!(find(end.0, 10).await, []);
    assert_eq!(find(end.0 + 1, 10).await, ["a", "b", "e"].map(tenant), "who has paused is left out");
    assert_eq!(find(end.0 + 1, 1).await, [tenant("a")]);
    assert!(on.store.to_roll_over(&[], UnixMillis(end.0 + 1), 10).await.unwrap().is_empty());
    let over = change("a", Change::RollOver { rules: Vec::new() });
    on.store.execute(&over, &Origin { at: UnixMillis(end.0 + 1), ..origin() }).await.unwrap();
    assert_eq!(find(end.0 + 1, 10).await, ["b", "e"].map(tenant));
}

async fn tenants_are_counted_by_plan(on: &Fixture) {
    assert!(on.store.tenants_by_plan().await.unwrap().is_empty());
    for (id, plan) in [("a", "pro"), ("b", "pro@2"), ("c", "pro@2"), ("d", "basic"), ("e", "gone")] {
        subscribed(on, id, plan).await;
    }
    make(on, "c", Change::PastDue { grace_days: 2 }).await;
    make(on, "e", Change::Cancel(When::Now)).await;
    done(&*on.store, &put("f")).await;
    let expected = [("basic", 1), ("pro", 1), ("pro@2", 2)];
    let expected = expected.map(|(plan, count)| (plan.parse().unwrap(), count));
    assert_eq!(on.store.tenants_by_plan().await.unwrap(), expected);
}

async fn grants_are_paged_by_change(on: &Fixture) {
    subscribed(on, "acme", "pro").await;
    done(&*on.store, &put("other")).await;
    let grant = |units| {
        Change::Grant(NewGrant {
            meter: "requests".parse().unwrap(),
            units: Units::saturating(units),
            priority: 7,
            expires_at: None,
            recurring: true,
            reason: None,
        })
    };
    make(on, "acme", grant(1)).await;
    make(on, "other", grant(2)).await;
    make(on, "acme", grant(3)).await;
    // Twelve of one number.
    let meters = (0..12).map(|number| RolloverRule {
        meter: format!("m{number}").parse().unwrap(),
        limit: Units::saturating(10 + number),
        rule: Rollover::Percent(100),
    });
    let end = on.store.tenant(&tenant("acme")).await.unwrap().value.unwrap().subscription.unwrap().rolls_at;
    let over = change("acme", Change::RollOver { rules: meters.collect() });
    on.store.execute(&over, &Origin { at: end, ..origin() }).await.unwrap();
    make(on, "acme", Change::VoidGrant("g4".parse().unwrap())).await;
    let page = async |before, limit| {
        let rows = on.store.grants(&tenant("acme"), before, limit).await.unwrap();
        rows.iter().map(|row| row.grant.id.to_string()).collect::<Vec<_>>()
    };
    let rolled: Vec<String> = (0..12).rev().map(|number| format!("r7.{number}")).collect();
    assert_eq!(page(None, 1).await, rolled, "what was given together is on one page");
    assert_eq!(page(Some(Version(7)), 1).await, ["g6"]);
    assert_eq!(page(Some(Version(6)), 5).await, ["g4"]);
    assert!(page(Some(Version(4)), 5).await.is_empty() && page(None, 0).await.is_empty());
    let all = on.store.grants(&tenant("acme"), None, 100).await.unwrap();
    assert_eq!(all.len(), 14);
    let ended: Vec<_> = all.iter().filter_map(|row| Some((row.grant.id.as_str(), row.ended_at?))).collect();
    assert_eq!(ended, [("g4", START)]);
    let in_force = on.store.tenant(&tenant("acme")).await.unwrap().value.unwrap().grants;
    let expected: Vec<_> =
        all.into_iter().rev().filter(|row| row.ended_at.is_none()).map(|row| row.grant).collect();
    assert_eq!(in_force, expected);
}

async fn plans_are_kept_with_their_first_day(on: &Fixture) {
    let terms = |plan: &str, title: &str| PlanTerms {
        plan: plan.parse().unwrap(),
        terms: json!({ "title": title, "limit": 9_007_199_254_740_991_u64, "\"odd\"": ["\\", "ü"] }),
    };
    assert!(on.store.kept_plans().await.unwrap().is_empty());
    on.store.keep_plans(&[], at(0)).await.unwrap();
    let first = [terms("pro@2", "Pro"), terms("basic", "Basic"), terms("pro@10", "Later")];
    on.store.keep_plans(&first, at(0)).await.unwrap();
    // Of one version said twice the later word stands.
    let second = [terms("pro@2", "x"), terms("pro@2", "Pro, for real"), terms("max", "Max")];
    on.store.keep_plans(&second, at(5)).await.unwrap();
    let expected = [
        (terms("basic", "Basic"), at(0)),
        (terms("max", "Max"), at(5)),
        (terms("pro@2", "Pro, for real"), at(0)),
        (terms("pro@10", "Later"), at(0)),
    ];
    let expected = expected.map(|(plan, introduced)| KeptPlan { plan, introduced });
    assert_eq!(on.store.kept_plans().await.unwrap(), expected);
    assert_eq!(on.store.tenant(&tenant("acme")).await.unwrap().version, Version(0));
}

async fn what_was_sold_is_kept_as_it_was_last(on: &Fixture) {
    let plan = |plan: &str| Sold::Plan(plan.parse().unwrap());
    let addon = |id: &str| Sold::Addon(id.parse().unwrap());
    let meter = |id: &str| Sold::Meter(id.parse().unwrap());
    let sold = |what: Sold, title: &str| SoldTerms {
        what,
        terms: json!({ "title": title, "limit": 9_007_199_254_740_991_u64, "\"odd\"": ["\\", "ü"] }),
    };
    assert!(on.store.kept_sold().await.unwrap().is_empty());
    on.store.keep_sold(&[]).await.unwrap();
    // One name may be that of a plan, an add-on and a meter.
    let first = [
        sold(plan("seats@10"), "ten"),
        sold(plan("seats@9"), "nine"),
        sold(meter("seats"), "meter"),
        sold(addon("seats"), "add-on"),
    ];
    on.store.keep_sold(&first).await.unwrap();
    let second = [sold(addon("seats"), "x"), sold(addon("seats"), "last"), sold(addon("b"), "new")];
    on.store.keep_sold(&second).await.unwrap();
    let expected = [
        sold(addon("b"), "new"),
        sold(addon("seats"), "last"),
        sold(meter("seats"), "meter"),
        sold(plan("seats@9"), "nine"),
        sold(plan("seats@10"), "ten"),
    ];
    assert_eq!(on.store.kept_sold().await.unwrap(), expected);
    assert_eq!(on.store.tenant(&tenant("acme")).await.unwrap().version, Version(0));
}

/// Takes the newest part of the schema away, as if it had never been there.
async fn set_back(on: &Fixture) {
    for statement in [
        "DROP TABLE sold_terms",
        "DROP TABLE webhooks",
        "DROP TABLE webhook_deliveries",
        "DROP TABLE webhook_attempts",
        "DROP INDEX tenants_by_notice",
        "ALTER TABLE tenants DROP COLUMN notice_ms",
        "ALTER TABLE buckets DROP COLUMN marks",
        "ALTER TABLE buckets DROP COLUMN told_marks",
        "DROP TABLE billing_facts",
        "DROP INDEX subscriptions_to_close",
        "ALTER TABLE subscriptions DROP COLUMN bills_from_ms",
        "ALTER TABLE subscriptions DROP COLUMN bills_until_ms",
        "DROP TABLE bucket_hours",
        "DROP TABLE statements",
        "DROP TABLE admin_tokens",
        "DROP TABLE audit_chain",
        "DROP INDEX audit_of_tenant",
        "ALTER TABLE audit DROP COLUMN earlier",
        "ALTER TABLE audit DROP COLUMN later",
        "ALTER TABLE audit DROP COLUMN previous",
        "ALTER TABLE audit DROP COLUMN hash",
        "DROP TABLE stripe_events",
        "DROP TABLE stripe_dropped",
        "DROP TABLE meter_exports",
        "DROP TABLE bucket_exports",
        "DROP TABLE usage_events",
        "DROP TABLE billing_customers",
        "DROP TABLE outbox",
        "DROP TABLE IF EXISTS outbox_order",
        "DROP TABLE policy_shadow",
        "DROP TABLE policy_shadow_totals",
        "DROP TABLE policy_revisions",
        "DROP TABLE policy_files",
        "ALTER TABLE head DROP COLUMN policies",
        "ALTER TABLE tenants DROP COLUMN attributes",
        "DROP TABLE grants",
        "DROP TABLE plan_versions",
        "DROP INDEX tenants_due",
        "DROP INDEX subscriptions_by_plan",
        "DROP INDEX subscriptions_to_roll",
        "ALTER TABLE tenants DROP COLUMN addons",
        "ALTER TABLE tenants DROP COLUMN tried",
        "ALTER TABLE tenants DROP COLUMN due_ms",
        "ALTER TABLE subscriptions DROP COLUMN plan_version",
        "ALTER TABLE subscriptions DROP COLUMN life",
        "ALTER TABLE subscriptions DROP COLUMN roll_ms",
        "DELETE FROM _sqlx_migrations WHERE version >= 3",
    ] {
        on.raw(statement).await;
    }
    if matches!(on.kind, Kind::Postgres { .. }) {
        on.raw("ALTER TABLE audit ALTER COLUMN place ADD GENERATED ALWAYS AS IDENTITY").await;
    }
}

async fn rows_of_the_older_schema_go_on(on: &Fixture) {
    let Some(url) = on.url() else { return };
    subscribed(on, "acme", "pro").await;
    let kept = on.store.tenant(&tenant("acme")).await.unwrap().value.unwrap();
    on.store.close().await;
    set_back(on).await;
    let store = open(url).await;
    let read = store.tenant(&tenant("acme")).await.unwrap().value.unwrap();
    assert_eq!(read, kept, "on version 1, active, and with nothing ahead");
    assert_eq!(store.tenants(None, 10).await.unwrap(), [kept]);
    assert_eq!(store.tenants_by_plan().await.unwrap(), [("pro".parse().unwrap(), 1)]);
    // Whoever looks for months to roll over finds it once, and then not before its time.
    let plans = ["pro".parse().unwrap()];
    let over = change("acme", Change::RollOver { rules: Vec::new() });
    assert_eq!(store.to_roll_over(&plans, START, 10).await.unwrap(), [tenant("acme")]);
    assert!(store.execute(&over, &origin()).await.unwrap().replayed);
    assert!(store.to_roll_over(&plans, START, 10).await.unwrap().is_empty());
    let end = read.subscription.unwrap().rolls_at;
    assert_eq!(store.to_roll_over(&plans, UnixMillis(end.0 + 1), 10).await.unwrap(), [tenant("acme")]);
    // And it lives on.
    let later =
        Change::Subscribe(Subscribe { at: When::At(at(3)), ..Subscribe::to("basic@2".parse().unwrap()) });
    store.execute(&change("acme", later), &origin()).await.unwrap();
    assert_eq!(store.due(at(3), 10).await.unwrap(), [tenant("acme")]);
    store.close().await;
}

async fn what_cannot_be_read_is_named(on: &Fixture) {
    if matches!(on.kind, Kind::Memory(..)) {
        return;
    }
    for id in ["acme", "b", "c"] {
        subscribed(on, id, "pro").await;
    }
    let trial = TrialOffer { days: 9, then: None, usage: UsageRule::Keep, asked: true, again: false };
    make(
        on,
        "b",
        Change::Subscribe(Subscribe { trial: Some(trial), ..Subscribe::to("pro".parse().unwrap()) }),
    )
    .await;
    let expect = async |statement: &'static str, words: &[&str], back: &'static str| {
        on.raw(statement).await;
        let error = on.store.tenant(&tenant("b")).await.unwrap_err();
        let StoreError::Corrupt(text) = &error else { panic!("{error}") };
        assert!(words.iter().all(|word| text.contains(word)) && text.contains("`b`"), "{text}");
        let refused = on.store.execute(&change("b", Change::Suspend), &origin()).await.unwrap_err();
        assert_eq!(refused, plangate::ports::ExecuteError::Store(error));
        on.raw(back).await;
    };
    expect(
        "UPDATE subscriptions SET state = 'paused' WHERE tenant = 'b'",
        &["life", "/trial"],
        "UPDATE subscriptions SET state = 'trialing' WHERE tenant = 'b'",
    )
    .await;
    expect(
        "UPDATE tenants SET addons = '[[\"a\"]]' WHERE id = 'b'",
        &["addons", "/0"],
        "UPDATE tenants SET addons = '[]' WHERE id = 'b'",
    )
    .await;
    expect(
        "UPDATE tenants SET tried = 'pro' WHERE id = 'b'",
        &["tried"],
        "UPDATE tenants SET tried = '[\"pro\"]' WHERE id = 'b'",
    )
    .await;
    expect(
        "INSERT INTO grants (tenant, id, number, meter, units, priority, since_ms, recurring, source) \
         VALUES ('b', 'g1', 1, 'requests', -1, 0, 0, 0, 'grant')",
        &["grants", "/0/3"],
        "DELETE FROM grants",
    )
    .await;
    let whole = on.store.tenant(&tenant("b")).await.unwrap().value.unwrap();
    assert!(matches!(whole.subscription.unwrap().state, Standing::Trialing(_)));
    // One that cannot be read does not hold up the others, wherever it stands.
    for (spoil, left) in [("b", ["acme", "c"]), ("acme", ["b", "c"])] {
        on.raw("UPDATE subscriptions SET plan_version = 1").await;
        if spoil == "b" {
            on.raw("UPDATE subscriptions SET plan_version = -1 WHERE tenant = 'b'").await;
        } else {
            on.raw("UPDATE subscriptions SET plan_version = -1 WHERE tenant = 'acme'").await;
        }
        let to = "pro@3".parse().unwrap();
        let first = on.store.on_older_version(&to, None, 1).await.unwrap();
        let second = on.store.on_older_version(&to, Some(&first[0].id), 1).await.unwrap();
        let third = on.store.on_older_version(&to, Some(&second[0].id), 1).await.unwrap();
        assert_eq!(ids(&[first, second, third].concat()), left);
    }
}
