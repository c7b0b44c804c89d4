//! How much of a meter a tenant may use, from all its sources together.

use super::{lookback::Spent, replay::Terms};
use crate::domain::{
    period::Window,
    plan::MeterIx,
    rights::{Entitlement, Source, SourceTerms},
    time::UnixMillis,
    units::Units,
};

/// The units of a month; `None`: any number.
pub(super) struct Capacity {
    /// Without what the plan lets through beyond what it includes.
    pub(super) included: Option<Units>,
    /// With it.
    pub(super) all: Option<Units>,
}

fn sum<'a>(terms: impl Iterator<Item = &'a SourceTerms>) -> Option<Units> {
    terms.map(|terms| terms.limit).try_fold(Units::ZERO, |sum, limit| Some(sum.saturating_add(limit?)))
}

/// The units of the month that begins at `start` and ends at `end`, as if what is left of the grants now had been there. A
/// meter that the plan does not name has none.
pub(super) fn of_month(given: &Entitlement, meter: MeterIx, start: UnixMillis, end: UnixMillis) -> Capacity {
    let sources = given.sources(meter, start);
    let there = || sources.iter().filter(|terms| terms.period.start < end);
    Capacity { included: sum(there().filter(|terms| terms.source != Source::Overage)), all: sum(there()) }
}

/// What a replay goes by.
pub(super) fn terms(given: &Entitlement, meter: MeterIx, month: &Capacity) -> Terms {
    let quota = given.terms(meter).quota;
    let of = |window| quota.and_then(|quota| quota.hard_limit(window));
    Terms { month: month.all, week: of(Window::Week), day: of(Window::Day) }
}

/// What was used in the running month, and what could be; `None`: any number of units is left, or some.
pub(super) fn spent_up(
    given: &Entitlement,
    meter: MeterIx,
    spent: &[&Spent],
    now: UnixMillis,
) -> Option<(u64, u64)> {
    let (mut used, mut limit, mut of_plan, mut plan) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut left = 0_u64;
    for terms in given.sources(meter, now).iter().filter(|terms| terms.period.contains(now)) {
        let counting = match terms.source {
            Source::Grant(number) => number,
            Source::Plan | Source::Overage => given.epoch,
        };
        let place = (terms.source, terms.period.start, counting);
        let known = spent.iter().find(|spent| (spent.source, spent.start, spent.counting) == place);
        let known = known.map_or(0, |spent| spent.used);
        let units = terms.limit?.get();
        used = used.saturating_add(known);
        limit = limit.saturating_add(units);
        // What the plan includes and what it lets through beyond are spent together: neither is there twice.
        if matches!(terms.source, Source::Grant(_)) {
            left = left.saturating_add(units.saturating_sub(known));
        } else {
            of_plan = of_plan.saturating_add(known);
            plan = plan.saturating_add(units);
        }
    }
    let left = left.saturating_add(plan.saturating_sub(of_plan));
    (left == 0).then_some((used, limit))
}
