//! What many tenants used, read at once.

use std::time::Duration;

use plangate::{
    domain::{
        impact::{DayUse, Lookback, Part, Spent},
        period::Zone,
        rights::Source,
    },
    ports::Span,
    store::Retention,
};

use super::*;
use crate::Fixture;

on_every_store!(
    hours_are_days_of_each_tenants_zone,
    days_that_were_rolled_up_count_as_well,
    sources_that_can_be_used_are_told_and_no_others,
    nobody_is_nothing,
    what_stripe_told_of_tenants_is_told,
);

fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

/// 1 November 2025, as days are numbered.
const FIRST: i64 = 20_393;

fn lookback(id: &str, zone: &str, [from, last, month]: [&str; 3]) -> Lookback {
    let zone = Zone::named(zone).unwrap();
    Lookback { tenant: tenant(id), zone, from: at(from), last: at(last), month: at(month) }
}

async fn report(on: &Fixture, id: &str, epoch: u64, hours: &[(&str, u64)]) {
    let mut used = 0;
    for (hour, units) in hours {
        used += units;
        let report = SlotTotals { at: at(hour), ..totals(&bucket(id, epoch), 1, used, 0) };
        on.store.flush(&[report]).await.unwrap();
    }
}

fn told(rows: &[DayUse]) -> Vec<(Part, i64, Option<u64>, i64)> {
    rows.iter().map(|row| (row.part, row.day - FIRST, row.epoch.map(|epoch| epoch.0), row.units)).collect()
}

async fn hours_are_days_of_each_tenants_zone(on: &Fixture) {
    // In New York clocks go back on 2 November 2025, at 06:00 UTC.
    let hours = [
        ("2025-10-19T00:00:00Z", 1),
        ("2025-10-31T23:00:00Z", 2),
        ("2025-11-01T04:00:00Z", 4),
        ("2025-11-02T03:30:00Z", 8),
        ("2025-11-02T04:00:00Z", 16),
        ("2025-11-03T04:00:00Z", 32),
        ("2025-11-03T05:00:00Z", 64),
        ("2025-11-20T12:00:00Z", 128),
        ("2025-11-20T13:00:00Z", 256),
    ];
    report(on, "acme", 5, &hours).await;
    report(on, "nova", 5, &hours).await;
    report(on, "nova", 6, &[("2025-11-20T12:00:00Z", 3)]).await;
    report(on, "other", 5, &hours).await;
    let acme = lookback(
        "acme",
        "America/New_York",
        ["2025-10-20T04:00:00Z", "2025-11-01T04:00:00Z", "2025-11-03T05:00:00Z"],
    );
    let nova = lookback(
        "nova",
        "Asia/Kolkata",
        ["2025-10-18T18:30:00Z", "2025-10-31T18:30:00Z", "2025-11-20T12:00:00Z"],
    );
    let all = on.store.used_of(&[acme, nova], at("2025-11-20T13:00:00Z")).await.unwrap();
    assert_eq!(all.len(), 2);
    use Part::{Before, Last, Running};
    assert_eq!(
        told(&all[&tenant("acme")]),
        [
            (Before, -1, Some(5), 2),
            (Last, 0, Some(5), 4 + 8),
            (Last, 1, Some(5), 16 + 32),
            (Running, 2, Some(5), 64),
            (Running, 19, Some(5), 128),
        ]
    );
    assert_eq!(
        told(&all[&tenant("nova")]),
        [
            (Before, -13, Some(5), 1),
            (Last, 0, Some(5), 2 + 4),
            (Last, 1, Some(5), 8 + 16),
            (Last, 2, Some(5), 32 + 64),
            (Running, 19, Some(5), 128),
            (Running, 19, Some(6), 3),
        ]
    );
}

async fn days_that_were_rolled_up_count_as_well(on: &Fixture) {
    let zone = Zone::named("Asia/Tokyo").unwrap();
    done(&*on.store, &change("acme", Change::PutTenant { name: None, zone: Some(zone), attributes: None }))
        .await;
    // In Tokyo the day begins at 15:00 UTC.
    let hours = [("2025-03-01T14:00:00Z", 1), ("2025-03-01T15:00:00Z", 2), ("2025-03-02T14:00:00Z", 4)];
    report(on, "acme", 5, &hours).await;
    let keep = std::time::Duration::from_secs(100 * 86_400);
    let retention = Retention { usage_hours: keep, usage_days: keep * 40, audit: keep };
    // By the store's own clock, which is a real one where there is a database.
    on.store.tidy(&retention).await.unwrap();
    report(on, "acme", 6, &[("2025-03-02T13:00:00Z", 8)]).await;
    let asked = lookback(
        "acme",
        "Asia/Tokyo",
        ["2025-02-28T15:00:00Z", "2025-03-01T15:00:00Z", "2025-03-31T15:00:00Z"],
    );
    let all = on.store.used_of(&[asked], at("2025-04-01T00:00:00Z")).await.unwrap();
    let day = FIRST - 245;
    let mut rows = told(&all[&tenant("acme")]);
    rows.iter_mut().for_each(|row| row.1 += FIRST - day);
    assert_eq!(rows, [(Part::Before, 0, None, 1), (Part::Last, 1, None, 6), (Part::Last, 1, Some(6), 8)]);
}

async fn sources_that_can_be_used_are_told_and_no_others(on: &Fixture) {
    let of = |id: &str, span: Span, epoch, used| {
        let key = BucketKey { span, ..bucket(id, epoch) };
        SlotTotals { counted: Windows::default(), ..totals(&key, 1, used, 1) }
    };
    let reports = [
        of("acme", Span::MONTH, 5, 10),
        of("acme", Span::Overage, 5, 20),
        of("acme", Span::Grant, 9, 30),
        of("acme", Window::Day.into(), 5, 40),
        of("other", Span::MONTH, 5, 50),
    ];
    on.store.flush(&reports).await.unwrap();
    let asked = [lookback("acme", "UTC", ["2025-01-01T00:00:00Z"; 3])];
    let spent = async |now: i64| {
        let all = on.store.spent_of(&asked, UnixMillis(now)).await.unwrap();
        assert!(all.keys().all(|id| *id == tenant("acme")));
        let mut all = all.get(&tenant("acme")).cloned().unwrap_or_default();
        all.sort_by_key(|spent: &Spent| spent.used);
        all.iter().map(|one| (one.source, one.start, one.counting.0, one.used)).collect::<Vec<_>>()
    };
    let all = [
        (Source::Plan, START, 5, 9),
        (Source::Overage, START, 5, 19),
        (Source::Grant(Version(9)), START, 9, 29),
    ];
    assert_eq!(spent(START.0).await, all);
    assert_eq!(spent(START.0 + 999_999).await, all);
    assert_eq!(spent(START.0 + 1_000_000).await, [], "they have ended");
    assert_eq!(spent(START.0 - 1).await, [], "they have not begun");
}

async fn nobody_is_nothing(on: &Fixture) {
    assert!(on.store.used_of(&[], START).await.unwrap().is_empty());
    assert!(on.store.spent_of(&[], START).await.unwrap().is_empty());
    let nobody = [lookback("nobody", "UTC", ["2025-01-01T00:00:00Z"; 3])];
    assert!(on.store.used_of(&nobody, at("2026-01-01T00:00:00Z")).await.unwrap().is_empty());
}

/// Tenants of the measurement.
const MANY: u32 = 20_000;

fn policies(limit: u64, features: &str) -> std::sync::Arc<plangate::domain::catalog::Catalog> {
    use plangate::ports::PolicyCompiler;
    let files = [
        ("features.yaml", "features:\n  chat: {}\n  export: {}\nmeters:\n  requests: {}\n".to_owned()),
        ("routes.yaml", "routes:\n  - { match: \"GET /\", charge: { requests: 1 } }\n".to_owned()),
        (
            "plans/pro.yaml",
            format!(
                "plan: pro\nprice: {{ amount: \"19.00\", currency: USD }}\nfeatures: [{features}]\nquotas:\n  requests: \
                 {{ limit: {limit}, day: 90, overage: {{ mode: bill, price: \"0.01\", per: 10, cap: 500 }} }}\n"
            ),
        ),
    ];
    let files = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    let compiled = plangate::policy::Compiler.compile(&plangate::domain::revision::PolicyFiles(files));
    std::sync::Arc::new(compiled.unwrap().0)
}

/// How long the impact on many tenants takes, each with two hours of usage on each of sixty days. By hand:
/// `cargo test --release --test stores -- --ignored --nocapture the_impact_on_many`.
#[tokio::test]
#[ignore = "a measurement, of a minute or so"]
async fn the_impact_on_many_tenants_is_reckoned_in_seconds() {
    use plangate::{clock::Clock, domain::impact::Assessment};
    let on = Fixture::sqlite().await;
    let clock = plangate::clock::SystemClock::default();
    let now = UnixMillis(START.0 + 80 * 86_400_000);
    let pool = sqlx::SqlitePool::connect(on.url().unwrap()).await.unwrap();
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ";
    for sql in [
        format!(
            "INSERT INTO tenants (id, zone, suspended, overrides, version, created_ms) {numbers}{MANY}) \
             SELECT printf('t%05d', i), CASE i % 3 WHEN 0 THEN 'UTC' WHEN 1 THEN 'Europe/Berlin' \
             ELSE 'America/New_York' END, 0, '{{}}', 1, 0 FROM n"
        ),
        "INSERT INTO subscriptions (tenant, plan, state, anchor_day, epoch, since_ms, life) \
         SELECT id, 'pro', 'active', 1 + rowid % 28, 1, 0, '{\"rolls_at\":0}' FROM tenants"
            .to_owned(),
        format!(
            "INSERT INTO usage_hours (tenant, meter, hour_ms, units, epoch) SELECT t.id, 'requests', \
             ({} / 3600000 - n.i * 12) * 3600000, 10 + (t.rowid * 7 + n.i) % 40, 1 FROM tenants t JOIN \
             ({numbers}120) SELECT i FROM n) n ORDER BY t.id",
            now.0
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    }
    let begun = clock.monotonic();
    let mut assessment = Assessment::new(policies(2_000, "chat, export"), policies(1_000, "chat"), now);
    let (mut last, mut read) = (None, Duration::ZERO);
    loop {
        let asked = clock.monotonic();
        let tenants = on.store.tenants(last.as_ref(), 500).await.unwrap();
        let Some(end) = tenants.last() else { break };
        last = Some(end.id.clone());
        let lookbacks: Vec<Lookback> = tenants.iter().filter_map(|one| assessment.lookback(one)).collect();
        let used = on.store.used_of(&lookbacks, now).await.unwrap();
        let spent = on.store.spent_of(&lookbacks, now).await.unwrap();
        read += clock.monotonic().since(asked);
        for one in &tenants {
            let none: &[Spent] = &[];
            let spent = spent.get(&one.id).map_or(none, Vec::as_slice);
            assessment.add(one, used.get(&one.id).map_or(&[][..], Vec::as_slice), spent);
        }
    }
    let impact = assessment.finish();
    let took = clock.monotonic().since(begun);
    println!("{} tenants in {took:?}, of which the database took {read:?}", impact.tenants);
    println!(
        "{} would have run out; {:?}",
        impact.ran_out.total,
        impact.cost.values().map(|c| (c.before, c.after)).next()
    );
    assert_eq!((impact.tenants, impact.losing), (u64::from(MANY), u64::from(MANY)));
    assert!(took < Duration::from_secs(60), "{took:?}");
}

async fn what_stripe_told_of_tenants_is_told(on: &Fixture) {
    use crate::support::stripe::{checkout, event, invoice, subscription};
    use plangate::ports::{NewStripeEvent, StripeEventState};
    let store = &*on.store;
    for (id, customer) in [("a", "cus_a"), ("b", "cus_b"), ("c", "")] {
        done(store, &put(id)).await;
        if !customer.is_empty() {
            store.link_customer(&tenant(id), customer, &origin()).await.unwrap();
        }
    }
    let bodies = [
        event(
            "evt_1",
            "customer.subscription.created",
            1,
            subscription("cus_a", "sub_1", "active", &[("k", 1)]),
        ),
        event("evt_2", "invoice.paid", 2, invoice("cus_a", "sub_1")),
        event("evt_3", "charge.succeeded", 3, serde_json::json!({ "customer": "cus_a" })),
        event("evt_4", "checkout.session.completed", 4, checkout("cus_b", "b")),
        event("evt_5", "checkout.session.completed", 4, checkout("cus_z", "c")),
    ];
    for body in bodies {
        let told = plangate::wire::stripe::read(body.as_bytes()).unwrap();
        let settled = matches!(told.meaning, plangate::wire::stripe::Meaning::Other(_))
            .then(|| (StripeEventState::Ignored, String::new()));
        let customer = told.customer.unwrap();
        let (id, kind, created, subscription) = (told.id, told.kind, told.created, told.subscription);
        let new =
            NewStripeEvent { id, kind, created, customer, subscription, body, settled, received: START };
        assert!(store.keep_stripe_event(&new).await.unwrap());
    }
    let told = store.told_of(&["a", "b", "c", "nobody"].map(tenant)).await.unwrap();
    let mut ids: Vec<(&str, Vec<&str>)> = told
        .iter()
        .map(|(tenant, events)| (tenant.as_str(), events.iter().map(|event| event.id.as_str()).collect()))
        .collect();
    ids.iter_mut().for_each(|(_, ids)| ids.sort_unstable());
    ids.sort_unstable();
    assert_eq!(ids, [("a", vec!["evt_1", "evt_2"]), ("b", vec!["evt_4"])]);
    assert!(store.told_of(&[]).await.unwrap().is_empty());
}
