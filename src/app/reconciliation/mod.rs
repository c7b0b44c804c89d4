//! A simulated year, in which everything must agree: what answers said, what was served, the ledger, the statements, and
//! what the billing system was told.

mod billing;
mod checks;
mod node;
mod policies;
mod random;
mod world;

use std::{collections::BTreeSet, time::Duration};

use self::world::{START, World};

const YEAR_MILLIS: i64 = 366 * 86_400_000;

/// One year of some tenants.
async fn year(seed: u64, tenants: usize) -> World {
    let mut world = World::new(seed, tenants).await;
    while world.now().0 < START.0 + YEAR_MILLIS {
        world.step().await;
    }
    // All that was under way is settled, written down, closed and told.
    for _ in 0..12 {
        world.pass(Duration::from_secs(1_900)).await;
    }
    checks::agree(&world).await;
    world
}

/// Unless `PLANGATE_YEARS` says otherwise, as a nightly run does.
fn years() -> u64 {
    std::env::var("PLANGATE_YEARS").map_or(2, |text| text.parse().expect("a whole number"))
}

#[tokio::test(start_paused = true)]
async fn everything_agrees_after_a_year() {
    let (mut kills, mut kinds) = (0, BTreeSet::new());
    let (mut refused, mut said) = (0, 0);
    for seed in 1..=years() {
        let world = year(seed, 5).await;
        kills += world.kills;
        refused += world.refused;
        said += world.said.values().filter(|said| said.is_exact()).count();
        kinds.extend(world.changes.keys().copied());
    }
    println!("{kills} kills, {refused} refused, {said} last answers, changes: {kinds:?}");
    assert!(kills > 10 && refused > 100 && said > 10, "too little happened: {kills}, {refused}, {said}");
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
