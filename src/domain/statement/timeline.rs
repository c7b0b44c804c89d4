//! What was in force when: a tenant's history, laid out over billing periods.

use std::sync::Arc;

use super::facts::{BillingFacts, steps};
use crate::domain::{
    catalog::Catalog,
    period::{BillingCalendar, Period},
    plan::Plan,
    subscription::Subscription,
    tenant::Tenant,
    time::{UnixMillis, Version},
};

/// A tenant's history: never empty, in its order, each entry with a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline(Vec<BillingFacts>);

/// A span of time in which nothing changed.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// When.
    pub period: Period,
    /// What was in force.
    pub tenant: &'a Tenant,
    /// The tenant's subscription.
    pub subscription: &'a Subscription,
    /// The plan that it had, in the version that it had by itself come to; `None`: the policies do not have it any more.
    pub plan: Option<&'a Arc<Plan>>,
}

impl Timeline {
    /// The history of a tenant of which these entries are kept, and which is `present` now: with what has become of it by
    /// itself since, and will until `until`. What was before the first entry is not known, unless there is none: then the
    /// tenant was as it is now since it came to its plan. `None`: it never had a plan.
    #[must_use]
    pub fn new(kept: Vec<BillingFacts>, present: &Tenant, until: UnixMillis) -> Option<Self> {
        let mut entries: Vec<BillingFacts> =
            kept.into_iter().filter(|entry| entry.tenant.subscription.is_some()).collect();
        if entries.is_empty() {
            let since = present.subscription.as_ref()?.since;
            entries.push(BillingFacts::of(present, since));
        }
        let mut after = present.clone();
        let happened = after.advance(until);
        entries.extend(steps(present, &after, &happened, until));
        // Clocks of nodes differ a little: what came later in the order of changes is not in force earlier.
        let mut last = UnixMillis(i64::MIN);
        for entry in &mut entries {
            entry.since = entry.since.max(last);
            last = entry.since;
        }
        Some(Self(entries))
    }

    /// What was in force at an instant; before the first entry, that.
    #[must_use]
    pub fn at(&self, instant: UnixMillis) -> Option<&BillingFacts> {
        self.0.iter().rev().find(|entry| entry.since <= instant).or(self.0.first())
    }

    /// The billing period that contains an instant.
    #[must_use]
    pub fn period_at(&self, instant: UnixMillis) -> Option<Period> {
        let entry = self.at(instant)?;
        let begun = calendar(entry)?.month(instant.max(entry.since)).start;
        self.period_from(begun)
    }

    /// The billing period that begins at `start`: it ends where what was last in force in it says.
    #[must_use]
    pub fn period_from(&self, start: UnixMillis) -> Option<Period> {
        let entry = self.at(start)?;
        let mut end = calendar(entry)?.month(entry.since.max(start)).end;
        for later in self.0.iter().filter(|later| later.since > start) {
            if later.since >= end {
                break;
            }
            end = calendar(later)?.month(later.since).end;
        }
        Some(Period { start, end })
    }

    /// Whether a subscription goes on at an instant, or goes on again after it.
    #[must_use]
    pub fn goes_on_at(&self, instant: UnixMillis) -> bool {
        let now = self.at(instant).into_iter();
        let later = self.0.iter().filter(|entry| entry.since > instant);
        now.chain(later).any(|entry| entry.tenant.state().goes_on())
    }

    /// The spans of a period, in their order. A subscription that begins on the first day of its first period is billed
    /// for the whole of that: nobody looks at the hour.
    #[must_use]
    pub fn spans<'a>(&'a self, period: Period, catalog: &'a Catalog) -> Vec<Span<'a>> {
        let mut spans = Vec::new();
        for (place, entry) in self.0.iter().enumerate() {
            let Some(subscription) = &entry.tenant.subscription else { continue };
            let zone = &entry.tenant.zone;
            let on_the_first_day =
                place == 0 && entry.since > period.start && zone.day(entry.since) == zone.day(period.start);
            let from = if on_the_first_day { period.start } else { entry.since.max(period.start) };
            let to = self.0.get(place + 1).map_or(period.end, |next| next.since).min(period.end);
            let calendar = subscription.calendar(zone);
            let mut at = from;
            while at < to {
                let (plan, until) = match catalog.plan_at(&subscription.plan, &calendar, at) {
                    Some((plan, until)) => (Some(plan), until),
                    None => (None, UnixMillis::NEVER),
                };
                let end = if until > at { until.min(to) } else { to };
                let period = Period { start: at, end };
                spans.push(Span { period, tenant: &entry.tenant, subscription, plan });
                at = end;
            }
        }
        spans
    }

    /// When a counting began in a period.
    #[must_use]
    pub fn counting_since(&self, epoch: Version, period: Period) -> UnixMillis {
        let of_epoch = |entry: &&BillingFacts| {
            entry.tenant.subscription.as_ref().is_some_and(|subscription| subscription.epoch == epoch)
        };
        let first = self.0.iter().find(of_epoch).map_or(period.start, |entry| entry.since);
        first.clamp(period.start, period.end)
    }
}

fn calendar(entry: &BillingFacts) -> Option<BillingCalendar> {
    Some(entry.tenant.subscription.as_ref()?.calendar(&entry.tenant.zone))
}
