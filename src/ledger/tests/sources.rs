//! Several sources of a month's units: burnt in order, each to its last unit, given back to where they came from.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::world::*;
use crate::{
    domain::{
        denial::Denial,
        grant::{DEFAULT_PRIORITY, Grant, GrantSource},
        id::{GrantId, MeterId},
        period::Window,
        plan::{Overage, Quota},
        rights::{Rights, Source},
        tenant::Tenant,
        time::{UnixMillis, Version},
        units::Allowance,
    },
    ledger::EscrowLedger,
    ports::{BucketKey, ChargeError, Hold, Ledger, Span, Standing},
};

pub const DAY: Duration = Duration::from_secs(86_400);

/// A grant of requests that is given at the start of the test, and burnt before the plan's units.
pub fn grant(number: u64, n: u64) -> Grant {
    Grant {
        id: GrantId::parse(&format!("g{number}")).unwrap(),
        number: Version(number),
        meter: MeterId::parse("requests").unwrap(),
        units: units(n),
        priority: DEFAULT_PRIORITY - 1,
        since: START,
        expires_at: None,
        recurring: false,
        reason: None,
        source: GrantSource::Given,
    }
}

/// Burnt after the plan's units.
fn later(number: u64, n: u64) -> Grant {
    Grant { priority: DEFAULT_PRIORITY + 1, ..grant(number, n) }
}

pub fn capped(limit: u64, cap: u64) -> Quota {
    Quota { overage: Overage::Allow { cap: Some(units(cap)) }, ..monthly(limit) }
}

pub fn holder(version: u64, grants: &[Grant]) -> Tenant {
    Tenant { grants: grants.to_vec(), ..tenant("acme", version, 1) }
}

pub fn compiled(tenant: &Tenant, quota: Quota, now: UnixMillis) -> Arc<Rights> {
    Arc::new(Rights::compile(tenant, &catalog(terms(quota), terms(unlimited())), now).unwrap())
}

fn with(quota: Quota, grants: &[Grant]) -> Arc<Rights> {
    compiled(&holder(1, grants), quota, START)
}

/// What is used of each source.
pub async fn burnt(ledger: &EscrowLedger, rights: &Arc<Rights>, now: UnixMillis) -> Vec<(Source, u64)> {
    let usage = ledger.usage(rights, now).await.unwrap();
    let requests = usage.into_iter().find(|usage| usage.meter.as_str() == "requests").unwrap();
    requests.sources.into_iter().map(|source| (source.source, source.used.get())).collect()
}

const PLAN: Source = Source::Plan;
const OVERAGE: Source = Source::Overage;

const fn g(number: u64) -> Source {
    Source::Grant(Version(number))
}

fn requests_of(units: u64) -> [crate::domain::route::Charge; 1] {
    [charge(REQUESTS, units)]
}

async fn hold(world: &World, rights: &Arc<Rights>, n: u64) -> Hold {
    world.charge(rights, &requests_of(n)).await.unwrap()
}

fn month(hold: &Hold, now: UnixMillis) -> Option<(u64, u64)> {
    let mut shown = None;
    hold.standings(now, |standing: Standing<'_>| {
        if standing.window == Some(Window::Month) {
            assert!(shown.is_none(), "one item for the month");
            shown = Some((standing.quota.get(), standing.remaining.get()));
        }
    });
    shown
}

#[tokio::test]
async fn sources_are_burnt_in_order_and_the_refusal_tells_the_sum() {
    let world = World::new();
    let rights = with(capped(10, 5), &[later(3, 4), grant(2, 3)]);
    let (passed, error) = world.exhaust(&rights).await;
    assert_eq!(passed, 22);
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(g(2), 3), (PLAN, 10), (g(3), 4), (OVERAGE, 5)]);
    let ChargeError::Denied(Denial::QuotaExhausted { window, limit, used, period, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!((window, limit.get(), used.get()), (Window::Month, 22, 22));
    assert_eq!(period, rights.entitlement.as_ref().unwrap().calendar.month(START));
    let month = world.used(&rights, "requests", Window::Month).await;
    assert_eq!((month.limit, month.used), (Some(units(10)), units(10)), "the plan's own");
    let asked = world.store.grants.load(Ordering::SeqCst);
    for _ in 0..50 {
        at_once(&world, &rights, &requests_of(1)).err().unwrap();
    }
    assert_eq!(world.store.grants.load(Ordering::SeqCst), asked, "from memory");
}

#[tokio::test]
async fn one_word_is_charged_at_a_time_and_others_are_not_opened() {
    let world = World::new();
    let rights = with(capped(10, 5), &[later(3, 4), grant(2, 3)]);
    for _ in 0..3 {
        let hold = hold(&world, &rights, 1).await;
        assert!(month(&hold, START).is_some());
        hold.keep();
    }
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.rows().len(), 1, "only the first of four is known to the database");
}

#[tokio::test]
async fn a_charge_that_no_source_has_alone_is_split_and_given_back_from_the_last() {
    let world = World::new();
    let rights = with(capped(10, 5), &[grant(2, 3)]);
    hold(&world, &rights, 1).await.keep();
    let all = hold(&world, &rights, 15).await;
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(g(2), 3), (PLAN, 10), (OVERAGE, 3)]);
    all.settle(&requests_of(8));
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(g(2), 3), (PLAN, 6), (OVERAGE, 0)]);
    let again = hold(&world, &rights, 5).await;
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(g(2), 3), (PLAN, 10), (OVERAGE, 1)]);
    again.settle(&requests_of(7));
    assert_eq!(
        burnt(&world.ledger, &rights, START).await,
        [(g(2), 3), (PLAN, 10), (OVERAGE, 3)],
        "the overrun is the last one's"
    );
    let whole = hold(&world, &rights, 2).await;
    let error = world.charge(&rights, &requests_of(1)).await.err().unwrap();
    assert!(matches!(error, ChargeError::Denied(_)));
    whole.refund();
    world.charge(&rights, &requests_of(3)).await.err().unwrap();
    hold(&world, &rights, 2).await.keep();
}

#[tokio::test]
async fn what_settles_above_its_reserve_on_a_sealed_word_is_borne_by_the_open_one() {
    let world = World::new();
    let before = with(capped(2, 0), &[]);
    let early = hold(&world, &before, 2).await;
    world.store.versions.lock().unwrap().insert(before.tenant.clone(), Version(2));
    let after = compiled(&holder(2, &[]), capped(4, 1), START);
    // The open word is granted what is left, and may not spend it beside what comes now.
    hold(&world, &after, 2).await.refund();
    early.settle(&requests_of(3));
    hold(&world, &after, 2).await.keep();
    assert_eq!(burnt(&world.ledger, &after, START).await, [(PLAN, 4), (OVERAGE, 1)]);
    assert_eq!(world.exhaust(&after).await.0, 0);
    world.ledger.flush().await.unwrap();
    let recorded: u64 = world.store.rows().iter().map(|(.., row)| row.net()).sum();
    assert_eq!(recorded, 5, "each unit once");
}

#[tokio::test]
async fn charges_return_to_an_earlier_source_that_has_units_again() {
    let world = World::new();
    let rights = with(capped(4, 10), &[]);
    let early = hold(&world, &rights, 4).await;
    for _ in 0..3 {
        hold(&world, &rights, 1).await.keep();
    }
    early.refund();
    assert_eq!(world.exhaust(&rights).await.0, 11);
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(PLAN, 4), (OVERAGE, 10)]);
}

#[tokio::test]
async fn units_that_come_free_on_a_sealed_word_are_found_again() {
    let world = World::new();
    let rights = with(capped(4, 10), &[]);
    let early = hold(&world, &rights, 4).await;
    hold(&world, &rights, 1).await.keep();
    // The word is sealed, as others want what it has.
    world.store.wanted.lock().unwrap().insert(bucket(&rights, "requests", Window::Month, START));
    world.ledger.apply(&rights.tenant, Version(u64::MAX)).await.unwrap();
    hold(&world, &rights, 1).await.keep();
    early.settle(&requests_of(1));
    hold(&world, &rights, 3).await.keep();
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(PLAN, 4), (OVERAGE, 2)]);
}

#[tokio::test]
async fn the_headers_tell_the_sum_of_all_sources() {
    let world = World::new();
    let rights = with(capped(10, 5), &[grant(2, 3)]);
    let first = hold(&world, &rights, 2).await;
    assert_eq!(month(&first, START), Some((18, 16)));
    let split = hold(&world, &rights, 12).await;
    assert_eq!(month(&split, START), Some((18, 4)));
    let text = split.policy(str::to_owned).unwrap();
    assert!(text.starts_with("\"requests\";q=18;w="), "{text}");
    let uncapped = with(soft(10), &[grant(2, 3)]);
    let other = World::new();
    assert_eq!(month(&hold(&other, &uncapped, 1).await, START), None, "nothing bounds it");
}

#[tokio::test]
async fn shorter_windows_count_what_comes_from_anywhere() {
    let world = World::new();
    let quota = Quota { day: Some(Allowance::Limited(units(8))), ..capped(3, 5) };
    let rights = with(quota, &[grant(2, 3)]);
    let (passed, error) = world.exhaust(&rights).await;
    assert_eq!(passed, 8);
    let ChargeError::Denied(Denial::QuotaExhausted { window, .. }) = error else { panic!("{error:?}") };
    assert_eq!(window, Window::Day);
    assert_eq!(world.used(&rights, "requests", Window::Day).await.used, units(8));
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(g(2), 3), (PLAN, 3), (OVERAGE, 2)]);
}

#[tokio::test]
async fn the_next_month_begins_with_its_own_units_and_grants_go_on() {
    let world = World::new();
    let recurring = Grant { recurring: true, ..grant(3, 2) };
    let rights = with(capped(4, 1), &[recurring, later(2, 5)]);
    for _ in 0..7 {
        hold(&world, &rights, 1).await.keep();
    }
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(g(3), 2), (PLAN, 4), (g(2), 1), (OVERAGE, 0)]);
    world.advance(31 * DAY);
    assert_eq!(
        burnt(&world.ledger, &rights, world.now()).await,
        [(g(3), 0), (PLAN, 0), (g(2), 1), (OVERAGE, 0)]
    );
    assert_eq!(world.exhaust(&rights).await.0, 11);
}

#[tokio::test]
async fn a_tab_on_a_grant_ends_with_the_month_too() {
    let world = World::new();
    let rights = with(monthly(2), &[later(2, 5)]);
    for _ in 0..3 {
        hold(&world, &rights, 1).await.keep();
    }
    world.advance(31 * DAY);
    hold(&world, &rights, 1).await.keep();
    assert_eq!(burnt(&world.ledger, &rights, world.now()).await, [(PLAN, 1), (g(2), 1)]);
}

#[tokio::test]
async fn what_expires_is_used_until_then_and_returned_after() {
    let world = World::new();
    let ends = START + Duration::from_secs(3600);
    let holder = holder(1, &[Grant { expires_at: Some(ends), ..grant(2, 100_000) }]);
    let before = compiled(&holder, monthly(5), START);
    assert_eq!(before.until, ends);
    hold(&world, &before, 3).await.keep();
    world.advance(Duration::from_secs(3600));
    let after = compiled(&holder, monthly(5), world.now());
    assert_eq!(world.exhaust(&after).await.0, 5);
    assert_eq!(burnt(&world.ledger, &after, world.now()).await, [(PLAN, 5)]);
    let key = BucketKey { span: Span::Grant, start: START, epoch: Version(2), ..key(&after) };
    assert!(world.store.allocated(&key) > 3);
    world.advance(Duration::from_secs(10));
    world.ledger.0.accounts.sweep(&world.ledger.0, 0, 1);
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.allocated(&key), 3, "returned");
    assert_eq!(before.version, after.version);
}

fn key(rights: &Rights) -> BucketKey {
    bucket(rights, "requests", Window::Month, START)
}

#[tokio::test]
async fn a_request_that_waited_past_an_instant_does_not_bring_the_old_limit_back() {
    let world = World::new();
    // One version, and from an instant on another limit.
    let ends = START + Duration::from_secs(60);
    let plan = |limit, until| {
        let mut rights = Rights::compile(
            &tenant("acme", 1, 1),
            &catalog(terms(monthly(limit)), terms(unlimited())),
            START,
        )
        .unwrap();
        rights.until = until;
        Arc::new(rights)
    };
    let (old, new) = (plan(5000, ends), plan(100, UnixMillis::NEVER));
    hold(&world, &old, 60).await.keep();
    let charge = |rights: &Arc<Rights>| {
        let rights = Arc::clone(rights);
        let ledger = world.ledger.clone();
        async move { charge_on(&ledger, &rights, &requests_of(1), START).await }
    };
    world.advance(Duration::from_secs(60));
    charge(&old).await.unwrap().keep();
    charge(&new).await.unwrap().keep();
    // It is to be decided again, by what is in force now.
    assert_eq!(charge(&old).await.err(), Some(ChargeError::Outdated));
    assert_eq!(world.exhaust(&new).await.0, 38, "62 of 100 were used");
    assert_eq!(charge(&old).await.err(), Some(ChargeError::Outdated));
}

#[tokio::test]
async fn a_counting_that_begins_at_an_instant_has_buckets_of_its_own() {
    let world = World::new();
    let catalog = catalog(terms(monthly(5)), terms(unlimited()));
    let of = |epoch| {
        let mut tenant = tenant("acme", 1, epoch);
        tenant.grants.push(later(9, 4));
        Arc::new(Rights::compile(&tenant, &catalog, START).unwrap())
    };
    let (before, after) = (of(1), of(1 << 62));
    for _ in 0..7 {
        hold(&world, &before, 1).await.keep();
    }
    assert_eq!(burnt(&world.ledger, &before, START).await, [(PLAN, 5), (g(9), 2)]);
    assert_eq!(world.exhaust(&after).await.0, 7, "the plan's five anew, and what is left of the grant");
    let counted: Vec<Version> = world.store.countings(&BucketKey {
        span: Span::Grant,
        start: START,
        epoch: Version(9),
        ..key(&before)
    });
    assert_eq!(counted, [Version(1), Version(1 << 62)], "each use belongs to its counting");
}

#[tokio::test]
async fn voided_grants_are_sealed_and_returned_with_the_change() {
    let world = World::new();
    let before = with(monthly(5), &[grant(2, 100_000)]);
    hold(&world, &before, 1).await.keep();
    let key = BucketKey { span: Span::Grant, start: START, epoch: Version(2), ..key(&before) };
    assert!(world.store.allocated(&key) > 1);
    let after = compiled(&holder(3, &[]), monthly(5), START);
    world.store.versions.lock().unwrap().insert(after.tenant.clone(), Version(3));
    world.ledger.apply(&after.tenant, Version(3)).await.unwrap();
    assert_eq!(world.store.allocated(&key), 1);
    assert_eq!(world.exhaust(&after).await.0, 5);
    assert_eq!(world.charge(&before, &requests_of(1)).await.err(), Some(ChargeError::Outdated));
    world.ledger.0.accounts.sweep(&world.ledger.0, 0, 1);
}

#[tokio::test]
async fn soft_quotas_go_on_without_the_database_and_the_plans_units_first() {
    let world = World::new();
    let rights = with(soft(1000), &[]);
    hold(&world, &rights, 1).await.keep();
    world.store.away.store(true, Ordering::SeqCst);
    for _ in 0..100 {
        hold(&world, &rights, 1).await.keep();
    }
    // While it is known to be away nobody waits.
    at_once(&world, &rights, &requests_of(1)).unwrap().keep();
    world.store.away.store(false, Ordering::SeqCst);
    world.advance(Duration::from_secs(2));
    world.ledger.flush().await.unwrap();
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(PLAN, 102), (OVERAGE, 0)]);
    for _ in 0..100 {
        hold(&world, &rights, 10).await.keep();
    }
    let [(PLAN, plan), (OVERAGE, beyond)] = burnt(&world.ledger, &rights, START).await[..] else { panic!() };
    assert_eq!((plan, beyond), (1000, 102));
}

#[tokio::test(start_paused = true)]
async fn soft_quotas_do_not_wait_long_for_a_silent_database() {
    let world = World::new();
    let rights = with(soft(10), &[]);
    *world.store.gate.lock().unwrap() = Some(Arc::new(tokio::sync::Semaphore::new(0)));
    let begun = tokio::time::Instant::now();
    hold(&world, &rights, 3).await.keep();
    assert!(begun.elapsed() < Duration::from_millis(300));
}

#[tokio::test]
async fn hard_quotas_spend_what_is_held_of_any_source_without_the_database() {
    let world = World::new();
    let rights = with(capped(5, 100_000), &[]);
    let early = hold(&world, &rights, 5).await;
    hold(&world, &rights, 1).await.keep();
    early.keep();
    world.store.away.store(true, Ordering::SeqCst);
    let (passed, error) = world.exhaust(&rights).await;
    assert_eq!((passed, error), (99, ChargeError::Unavailable));
}

#[tokio::test]
async fn more_than_all_sources_have_together_is_refused_without_asking() {
    let world = World::new();
    let rights = with(capped(5, 5), &[grant(2, 5)]);
    hold(&world, &rights, 1).await.keep();
    let asked = world.store.grants.load(Ordering::SeqCst);
    let error = at_once(&world, &rights, &requests_of(16)).err();
    let Some(ChargeError::Denied(Denial::QuotaExhausted { limit, used, .. })) = error else { panic!() };
    assert_eq!((limit, used), (units(15), units(1)));
    assert_eq!(world.store.grants.load(Ordering::SeqCst), asked);
    hold(&world, &rights, 14).await.keep();
}

#[tokio::test]
async fn nothing_left_of_a_plan_without_units_is_not_asked_for() {
    let world = World::new();
    let rights = with(capped(0, 5), &[]);
    assert_eq!(world.exhaust(&rights).await.0, 5);
    assert_eq!(burnt(&world.ledger, &rights, START).await, [(PLAN, 0), (OVERAGE, 5)]);
    hold(&world, &rights, 0).await.keep();
    assert_eq!(world.charge(&rights, &requests_of(1)).await.err().map(|_| ()), Some(()));
}

#[tokio::test]
async fn what_is_over_is_forgotten() {
    let mut world = World::new();
    let rights = with(capped(2, 2), &[grant(2, 2)]);
    world.exhaust(&rights).await;
    world.advance(40 * DAY);
    for _ in 0..4 {
        world.ledger.0.accounts.sweep(&world.ledger.0, 0, 1);
        world.ledger.flush().await.unwrap();
    }
    drop(rights);
    world.ledger.apply_everything().await.unwrap();
    for _ in 0..4 {
        world.ledger.0.accounts.sweep(&world.ledger.0, 0, 1);
        world.ledger.flush().await.unwrap();
    }
    assert_eq!(world.ledger.accounts(), 0);
    world.restart().await;
}
