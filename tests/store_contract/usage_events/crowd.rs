//! Events shuffled and repeated over several handles at once, beside nodes that hold leases of the same buckets: the store
//! says what the model says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use plangate::store::Store;

use super::{super::*, *};
use crate::{Fixture, open, support::amount::Dice};

on_every_store!(a_crowd_is_charged_as_the_model_says);

const EVENTS: usize = 300;
const TENANTS: [(&str, u64); 3] = [("plenty", 100_000), ("tight", 150), ("windowed", 400)];

/// What an event charges: by its number alone, so that every copy of it says the same.
fn numbered(number: usize, versions: &HashMap<&str, Version>) -> UsageEvent {
    let (tenant, limit) = TENANTS[number % 3];
    let version = versions[tenant];
    let units = 1 + (number as u64 * 7) % 5;
    let windows: &[(Window, u64)] = if tenant == "windowed" { &[(Window::Day, 120)] } else { &[] };
    let sources: &[(Span, u64)] = if tenant == "tight" {
        &[(Span::Grant, 40), (Span::MONTH, 60), (Span::Overage, 50)]
    } else {
        &[(Span::MONTH, limit)]
    };
    let mut charge = charge(tenant, version, units, windows, sources);
    charge.ceiling = (tenant == "tight").then(|| Units::saturating(110));
    of(tenant, &number.to_string(), version, vec![charge])
}

/// The buckets that limit a tenant, each with what it may come to.
fn limits(tenant: &str, version: Version) -> Vec<(BucketKey, u64)> {
    let of = |span| BucketKey { span, ..bucket(tenant, version.0) };
    match tenant {
        "tight" => vec![(of(Span::Grant), 40), (of(Span::MONTH), 60), (of(Span::Overage), 50)],
        "windowed" => vec![(of(Window::Day.into()), 120), (of(Span::MONTH), 400)],
        _ => vec![(of(Span::MONTH), 100_000)],
    }
}

/// A node that takes small leases of the tight month and of the day, uses some of them, and gives the rest back.
async fn lease(
    store: Arc<dyn Store>,
    of_node: u128,
    versions: HashMap<&'static str, Version>,
    seed: u64,
) -> u64 {
    let mut dice = Dice::of(seed);
    let mut used_in_all = 0;
    let held = [("tight", Span::MONTH, 60), ("windowed", Window::Day.into(), 120)];
    for seq in 0..12 {
        let (tenant, span, limit) = held[dice.below(2)];
        let version = versions[tenant];
        let mut totals = totals(&BucketKey { span, ..bucket(tenant, version.0) }, of_node, 0, 0);
        totals.slot.seq = seq;
        let request = GrantRequest {
            limit: Units::saturating(limit),
            ceiling: (tenant == "tight").then(|| Units::saturating(110)),
            ..ask(totals.clone(), version, 0, 1 + dice.below(9) as u64)
        };
        let granted = match store.grant(&[request]).await.unwrap().remove(0) {
            GrantOutcome::Granted { granted, .. } => granted,
            _ => 0,
        };
        tokio::task::yield_now().await;
        let used = dice.number() % (granted + 1);
        store.flush(&[sealed(SlotTotals { used, ..totals })]).await.unwrap();
        used_in_all += used;
    }
    used_in_all
}

/// Sends pieces of the crowd; notes what was charged.
async fn send(
    store: Arc<dyn Store>,
    mut events: Vec<UsageEvent>,
    seed: u64,
    notes: Arc<Mutex<BTreeMap<String, u64>>>,
) {
    let mut dice = Dice::of(seed);
    while !events.is_empty() {
        let piece = events.split_off(events.len().saturating_sub(1 + dice.below(40)));
        let mut once: BTreeMap<EventKey, UsageEvent> = BTreeMap::new();
        for event in piece {
            once.insert(event.key.clone(), event);
        }
        let mut piece: Vec<UsageEvent> = once.into_values().collect();
        dice.shuffle(&mut piece);
        let answers = store.charge_events(&piece).await.unwrap();
        for (event, answer) in piece.iter().zip(answers) {
            match answer {
                EventOutcome::Charged => *notes.lock().unwrap().entry(event.key.id.clone()).or_default() += 1,
                EventOutcome::Duplicate | EventOutcome::Exhausted(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[allow(clippy::too_many_lines, reason = "one history, and what must have become of it")]
async fn a_crowd_is_charged_as_the_model_says(on: &Fixture) {
    let mut dice = Dice::thrown(7);
    let mut versions = HashMap::new();
    for (tenant, _) in TENANTS {
        versions.insert(tenant, done(&*on.store, &put(tenant)).await.version);
    }
    for (name, of) in [("a", 1), ("b", 2)] {
        on.store.register(&registration(name, of)).await.unwrap();
        on.store.poll(&beat(of, 3)).await.unwrap();
    }
    let handles = match (&on.kind, on.url()) {
        (Kind::Postgres { .. }, Some(url)) => vec![on.store.clone(), open(url).await, open(url).await],
        _ => vec![on.store.clone(), on.store.clone(), on.store.clone()],
    };
    let mut shares: Vec<Vec<UsageEvent>> = vec![Vec::new(); handles.len()];
    for number in 0..EVENTS {
        for _ in 0..=dice.below(5) {
            shares[dice.below(3)].push(numbered(number, &versions));
        }
    }
    let notes = Arc::new(Mutex::new(BTreeMap::new()));
    let mut crowd = tokio::task::JoinSet::new();
    for (store, mut share) in handles.iter().zip(shares) {
        dice.shuffle(&mut share);
        crowd.spawn(send(store.clone(), share, dice.number(), notes.clone()));
    }
    let mut nodes = tokio::task::JoinSet::new();
    for (of, store) in [1, 2].into_iter().zip(&handles) {
        nodes.spawn(lease(store.clone(), of, versions.clone(), dice.number()));
    }
    crowd.join_all().await;
    let by_nodes: u64 = nodes.join_all().await.into_iter().sum();

    // With everything given back, whatever fits is taken: the smaller the later.
    let mut refused: Vec<UsageEvent> = Vec::new();
    for number in 0..EVENTS {
        let event = numbered(number, &versions);
        match charged(on, &event).await {
            EventOutcome::Charged => *notes.lock().unwrap().entry(event.key.id.clone()).or_default() += 1,
            EventOutcome::Duplicate => {}
            EventOutcome::Exhausted(short) => {
                assert_eq!(short.held, 0);
                refused.push(event);
            }
            other => panic!("{other:?}"),
        }
    }
    let notes = notes.lock().unwrap().clone();
    assert!(notes.values().all(|times| *times == 1), "each once: {notes:?}");
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for id in notes.keys() {
        let number: usize = id.parse().unwrap();
        *sums.entry(TENANTS[number % 3].0).or_default() += numbered(number, &versions).charges[0].units.get();
    }
    let mut by_buckets = 0;
    for (tenant, version) in &versions {
        let (keys, most): (Vec<BucketKey>, Vec<u64>) = limits(tenant, *version).into_iter().unzip();
        let used = used(on, &keys).await;
        assert!(used.iter().zip(&most).all(|(used, most)| used <= most), "{tenant}: {used:?} of {most:?}");
        let sources: u64 =
            keys.iter().zip(&used).filter(|(key, _)| key.span.is_source()).map(|(_, used)| used).sum();
        by_buckets += sources + if *tenant == "windowed" { used[0] - used[1] } else { 0 };
        let least = refused.iter().filter(|event| event.tenant.as_str() == *tenant);
        let least = least.map(|event| event.charges[0].units.get()).min();
        let left = match *tenant {
            // The month and its overage come to 110 together, and to 60 and 50.
            "tight" => 150 - sources,
            _ => most[0] - used[0],
        };
        assert!(least.is_none_or(|least| least > left), "{tenant}: {least:?} refused with {left} left");
    }
    assert_eq!(by_buckets, sums.values().sum::<u64>() + by_nodes);
    assert_eq!(
        sums["plenty"],
        (0..EVENTS).step_by(3).map(|n| numbered(n, &versions).charges[0].units.get()).sum::<u64>()
    );
    assert_eq!(notes.len() + refused.len(), EVENTS);
}
