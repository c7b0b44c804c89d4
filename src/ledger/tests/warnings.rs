//! What the database is to tell of buckets goes with what is reported of them, and is by the rights in force.

use std::{sync::Arc, time::Duration};

use super::{
    sources::{capped, compiled, grant, holder},
    world::*,
};
use crate::{
    domain::{
        catalog::Stamp,
        grant::{DEFAULT_PRIORITY, Grant},
        period::Window,
        rights::Rights,
        time::UnixMillis,
        warning::{Mark, MarkKind, WarnAt},
    },
    ports::{Ledger, Span},
};

/// What is reported of the requests' buckets: their span, the end of the month in which it is told, the units at which, and
/// whether the last of them is the end.
fn reported(world: &World) -> Vec<(Span, UnixMillis, Vec<u64>, bool)> {
    let marks = world.store.marks.lock().unwrap();
    let told = marks.iter().filter(|(key, _)| key.meter.as_str() == "requests").filter_map(|(key, marks)| {
        let marks = marks.as_deref()?;
        let each: Vec<Mark> = marks.each().collect();
        let ends = each.last().is_some_and(|mark| mark.kind == MarkKind::Exhausted);
        Some((key.span, marks.period.end, each.iter().map(|mark| mark.units).collect(), ends))
    });
    told.collect()
}

fn month(rights: &Rights, at: UnixMillis) -> UnixMillis {
    rights.entitlement.as_ref().unwrap().calendar.month(at).end
}

async fn use_up(world: &World, rights: &Arc<Rights>, n: u64) {
    for _ in 0..n {
        world.charge(rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    }
    world.ledger.flush().await.unwrap();
}

#[tokio::test]
async fn windows_say_nothing_and_the_last_source_ends_the_month() {
    let world = World::new();
    let day = crate::domain::plan::Quota {
        day: Some(crate::domain::units::Allowance::Limited(units(90))),
        ..capped(10, 7)
    };
    let rights = compiled(&holder(1, &[]), day, START);
    use_up(&world, &rights, 12).await;
    let end = month(&rights, START);
    let expected = [(Span::MONTH, end, vec![5, 8, 10], false), (Span::Overage, end, vec![7], true)];
    assert_eq!(reported(&world), expected);
    assert_eq!(world.store.marks.lock().unwrap().len(), 3, "the day was reported, too");
    assert!(world.used(&rights, "requests", Window::Day).await.used == units(12));
}

#[tokio::test]
async fn a_grant_that_goes_on_is_told_of_in_each_month() {
    let world = World::new();
    let after = Grant { priority: DEFAULT_PRIORITY + 1, ..grant(2, 5) };
    let rights = compiled(&holder(1, &[after]), monthly(10), START);
    use_up(&world, &rights, 12).await;
    let first = month(&rights, START);
    let of_grant = |world: &World| reported(world).into_iter().find(|(span, ..)| *span == Span::Grant);
    assert_eq!(of_grant(&world), Some((Span::Grant, first, vec![5], true)));
    // The next month's units come first again; only when they are used up the grant is looked at.
    world.advance(Duration::from_secs(u64::try_from(first.0 - START.0).unwrap() / 1_000 + 60));
    let second = month(&rights, world.now());
    use_up(&world, &rights, 10).await;
    assert_eq!(of_grant(&world), Some((Span::Grant, first, vec![5], true)));
    use_up(&world, &rights, 1).await;
    assert_eq!(of_grant(&world), Some((Span::Grant, second, vec![5], true)));
}

#[tokio::test]
async fn other_percentages_are_reported_without_another_word() {
    let world = World::new();
    let old = catalog(terms(monthly(10)), terms(unlimited()));
    use_up(&world, &rights(1, &old), 2).await;
    assert_eq!(reported(&world)[0].2, [5, 8, 10, 10]);
    // As it is from a folder that is watched: no revision has a version of its own.
    let mut new = (*catalog(terms(monthly(10)), terms(unlimited()))).clone();
    new.stamp = Stamp::new();
    for plan in new.plans.values_mut() {
        Arc::make_mut(plan).warn_at = Some(WarnAt::new(&[30]).unwrap());
    }
    let new = rights(1, &Arc::new(new));
    use_up(&world, &new, 1).await;
    assert_eq!(reported(&world)[0].2, [3, 10]);
    assert_eq!(world.store.slots.lock().unwrap().len(), 1, "the word is the same");
}

#[tokio::test]
async fn what_a_lowered_limit_makes_true_is_reported_without_a_charge() {
    let world = World::new();
    let rights = |version, limit| rights(version, &catalog(terms(monthly(limit)), terms(unlimited())));
    use_up(&world, &rights(1, 100), 30).await;
    let end = month(&rights(1, 100), START);
    let remark = async |rights: &Arc<Rights>| {
        world.ledger.remark(rights, START).await.unwrap();
        world.ledger.flush().await.unwrap();
        reported(&world)
    };
    // Nothing of it is reached: nothing is opened.
    let rows = world.store.rows().len();
    assert_eq!(remark(&rights(2, 90)).await, [(Span::MONTH, end, vec![50, 80, 100, 100], true)]);
    assert_eq!(world.store.rows().len(), rows);
    assert_eq!(remark(&rights(3, 50)).await, [(Span::MONTH, end, vec![25, 40, 50, 50], true)]);
    let used: u64 = world.store.rows().iter().map(|(.., row)| row.used).sum();
    assert_eq!(used, 30, "nothing is charged");
    assert_eq!(remark(&rights(4, 20)).await, [(Span::MONTH, end, vec![10, 16, 20, 20], true)]);
    // And it is returned as any other.
    world.ledger.apply_everything().await.unwrap();
    assert!(world.store.rows().iter().all(|(.., row)| row.sealed));
    assert_eq!(world.used(&rights(4, 20), "requests", Window::Month).await.used, units(30));
}

#[tokio::test]
async fn the_end_of_a_later_source_is_none_before_the_earlier_ones_are_used_up() {
    let world = World::new();
    let after = Grant { priority: DEFAULT_PRIORITY + 1, ..grant(2, 5) };
    let rights = compiled(&holder(1, std::slice::from_ref(&after)), monthly(1), START);
    use_up(&world, &rights, 6).await;
    world.store.marks.lock().unwrap().clear();
    let raised = compiled(&holder(7, std::slice::from_ref(&after)), monthly(100), START);
    world.ledger.remark(&raised, START).await.unwrap();
    world.ledger.flush().await.unwrap();
    assert!(reported(&world).is_empty(), "there is something left, and no threshold of it is reached");
    let lowered = compiled(&holder(8, &[after]), monthly(1), START);
    world.ledger.remark(&lowered, START).await.unwrap();
    world.ledger.flush().await.unwrap();
    let spans: Vec<Span> = reported(&world).into_iter().map(|(span, ..)| span).collect();
    assert_eq!(spans, [Span::MONTH, Span::Grant]);
}
