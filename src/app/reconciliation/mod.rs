//! Simulated histories, in which everything must agree: what answers said, what was served, the ledger, the statements, the
//! rows of usage, what the billing system was told, the facts, and the audit log.
//!
//! A year over the store in memory, where nothing takes time: tokio's clock is paused, and the ledger's own task records.
//! Shorter ones over SQLite with one node and over PostgreSQL with three, whose clocks the test holds: their answers take
//! real time, in which a paused clock would run ahead of them, so the ledger's rounds are called for instead. There a node
//! is a runtime of its own with connections of its own, which is ended in the middle of a statement. What happens is by the
//! seed; how far a statement had come is not, and must not matter.

mod billing;
mod changes;
mod checks;
mod events;
mod ground;
mod jobs;
mod node;
mod policies;
mod random;
mod records;
mod requests;
#[path = "../../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "each test binary uses its part of it")]
#[allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
mod server;
mod world;

use std::{collections::BTreeSet, time::Duration};

use self::{
    checks::Seen,
    ground::Ground,
    world::{Course, START, World},
};

const DAY_MILLIS: i64 = 86_400_000;
const YEAR: Course = Course { days: 366, tenants: 5, nodes: 2, longest_minutes: 700, cost: 1, statements: 6 };

/// One history.
async fn history(seed: u64, course: Course, ground: Ground) -> (World, Seen) {
    let mut world = World::new(seed, course, ground).await;
    while world.now().0 < START.0 + course.days * DAY_MILLIS {
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
fn years() -> Option<u64> {
    std::env::var("PLANGATE_YEARS").ok().map(|text| text.parse().expect("a whole number"))
}

/// What several histories came to.
#[derive(Default)]
struct All {
    kills: u32,
    refused: u32,
    events: usize,
    seen: Seen,
    kinds: BTreeSet<&'static str>,
}

impl All {
    fn add(&mut self, world: &World, seen: Seen) {
        self.kills += world.kills;
        self.refused += world.refused;
        self.events += world.charged.len();
        self.seen.statements += seen.statements;
        self.seen.overage += seen.overage;
        self.seen.capped += seen.capped;
        self.seen.months += seen.months;
        self.seen.blurred += seen.blurred;
        self.seen.answers += seen.answers;
        self.seen.told += seen.told;
        self.kinds.extend(world.changes.keys().copied());
    }

    /// That enough happened, as many times over: for so many statements.
    fn enough(&self, statements: u32) {
        let Self { kills, refused, events, seen, kinds } = self;
        println!("{kills} kills, {refused} refused, {events} events, {seen:?}, changes: {kinds:?}");
        let enough = [
            *kills > statements / 6,
            *refused > statements,
            *events > 2,
            seen.statements > statements,
            seen.overage > statements / 8,
            seen.told > u64::from(statements),
            seen.months > seen.blurred * 4,
        ];
        assert!(enough.iter().all(|enough| *enough), "too little happened: {enough:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_agrees_after_a_year() {
    let mut all = All::default();
    for seed in 1..=years().unwrap_or(3) {
        let (world, seen) = history(seed, YEAR, Ground::memory(START)).await;
        all.add(&world, seen);
    }
    all.enough(60);
    assert!(all.seen.answers > 2, "too few last answers: {}", all.seen.answers);
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
        assert!(all.kinds.contains(kind), "no {kind} happened");
    }
}

/// A part of a year in the suite; at night whole ones, a tenth as many as in memory.
async fn over_a_database(nodes: u8, ground: impl AsyncFn() -> Ground) {
    let mut all = All::default();
    let course = Course { days: 120, tenants: 4, nodes, longest_minutes: 1_800, cost: 3, statements: 1 };
    let Some(years) = years() else {
        let (world, seen) = history(1, course, ground().await).await;
        all.add(&world, seen);
        return all.enough(8);
    };
    let course = Course { days: 366, statements: 6, ..course };
    for seed in 1..=years.div_ceil(10) {
        println!("seed {seed}");
        let (world, seen) = history(seed, course, ground().await).await;
        all.add(&world, seen);
    }
    all.enough(24);
}

#[tokio::test]
async fn everything_agrees_over_sqlite() {
    over_a_database(1, async || Ground::sqlite(START).await).await;
}

#[tokio::test]
async fn everything_agrees_over_postgres_with_three_nodes() {
    over_a_database(3, async || Ground::postgres(START).await).await;
}
