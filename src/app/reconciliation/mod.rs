//! A simulated year, in which everything must agree: what answers said, what was served, the ledger, the statements, and
//! what the billing system was told.

mod billing;
mod changes;
mod checks;
mod node;
mod policies;
mod random;
mod world;

use std::{collections::BTreeSet, time::Duration};

use self::{
    checks::Seen,
    world::{START, World},
};

const YEAR_MILLIS: i64 = 366 * 86_400_000;

/// One year of some tenants.
async fn year(seed: u64, tenants: usize) -> (World, Seen) {
    let mut world = World::new(seed, tenants).await;
    while world.now().0 < START.0 + YEAR_MILLIS {
        world.step().await;
        checks::nothing_is_lost(&world).await;
    }
    // All that was under way is settled, written down, closed and told.
    for _ in 0..12 {
        world.pass(Duration::from_secs(1_900)).await;
    }
    let seen = checks::agree(&world).await;
    (world, seen)
}

/// Unless `PLANGATE_YEARS` says otherwise, as a nightly run does.
fn years() -> u64 {
    std::env::var("PLANGATE_YEARS").map_or(3, |text| text.parse().expect("a whole number"))
}

#[tokio::test(start_paused = true)]
async fn everything_agrees_after_a_year() {
    let (mut kills, mut refused, mut all, mut kinds) = (0, 0, Seen::default(), BTreeSet::new());
    for seed in 1..=years() {
        let (world, seen) = year(seed, 5).await;
        kills += world.kills;
        refused += world.refused;
        all.statements += seen.statements;
        all.overage += seen.overage;
        all.capped += seen.capped;
        all.months += seen.months;
        all.answers += seen.answers;
        all.told += seen.told;
        kinds.extend(world.changes.keys().copied());
    }
    println!("{kills} kills, {refused} refused, {all:?}, changes: {kinds:?}");
    let enough =
        [kills > 10, refused > 100, all.statements > 60, all.overage > 20, all.answers > 2, all.told > 100];
    assert!(enough.iter().all(|enough| *enough), "too little happened: {kills}, {refused}, {all:?}");
    for kind in [
        "subscription.put",
        "subscription.scheduled",
        "subscription.canceled",
        "subscription.paused",
        "subscription.past_due",
        "grant.created",
        "grant.voided",
        "addon.attached",
        "addon.detached",
        "overrides.put",
        "tenant.put",
    ] {
        assert!(kinds.contains(kind), "no {kind} happened");
    }
}
