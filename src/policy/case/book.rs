//! What the tenant of a case has used, by meter, window and source: what the ledger keeps, for one tenant and one thread.

use std::collections::BTreeMap;

use crate::domain::{
    denial::Denial,
    id::MeterId,
    period::{Period, Window},
    plan::{MeterIx, Overage, Quota},
    rights::{Entitlement, Source},
    rollover::Taken,
    route::Charge,
    time::{UnixMillis, Version},
    units::Units,
};

/// Over what, and from where, units are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Span {
    /// A limit beside the sources.
    Shorter(Window),
    Source(Source),
}

/// Some units: what begins anew, or is counted apart, is another bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Bucket {
    meter: MeterIx,
    span: Span,
    start: UnixMillis,
    /// Grants go on where counting begins anew.
    epoch: Version,
}

impl Bucket {
    fn of(entitlement: &Entitlement, meter: MeterIx, span: Span, period: Period) -> Self {
        let epoch = match span {
            Span::Source(Source::Grant(_)) => Version(0),
            _ => entitlement.epoch,
        };
        Self { meter, span, start: period.start, epoch }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    used: u64,
    /// The limit that was last charged by.
    limit: Option<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Book {
    counts: BTreeMap<Bucket, Count>,
}

/// One source and what is left in it.
struct Pocket {
    bucket: Bucket,
    limit: Option<u64>,
    used: u64,
    /// `None`: any number.
    left: Option<u64>,
}

/// What has been used of a window, and what of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) window: Window,
    pub(super) used: Units,
    /// `None`: any number.
    pub(super) limit: Option<Units>,
    left: Option<u64>,
    pub(super) period: Period,
}

/// Which windows of a meter are limited, the shortest first; the month always.
fn windows(quota: &Quota) -> impl Iterator<Item = Window> {
    Window::ALL.into_iter().filter(|window| quota.counts(*window))
}

impl Book {
    fn used(&self, bucket: Bucket) -> u64 {
        self.counts.get(&bucket).map_or(0, |count| count.used)
    }

    /// The sources of a meter's month that may have units, in burn order.
    fn pockets(&self, entitlement: &Entitlement, meter: MeterIx, now: UnixMillis) -> Vec<Pocket> {
        let Some(quota) = entitlement.terms(meter).quota else { return Vec::new() };
        let month = entitlement.calendar.month(now);
        let of = |source| Bucket::of(entitlement, meter, Span::Source(source), month);
        let (plan, beyond) = (self.used(of(Source::Plan)), self.used(of(Source::Overage)));
        // Where one of the two was lowered below what is used of it, the other does not give that once more.
        let room = quota.hard_limit(Window::Month).map(|most| most.get().saturating_sub(plan + beyond));
        let live = |source: &crate::domain::rights::SourceTerms| source.period.end > now;
        let sources = entitlement.sources(meter, now).into_iter().filter(live);
        let pocket = |terms: crate::domain::rights::SourceTerms| {
            let bucket = Bucket::of(entitlement, meter, Span::Source(terms.source), terms.period);
            let used = self.used(bucket);
            let limit = terms.limit.map(Units::get);
            let own = limit.map(|limit| limit.saturating_sub(used));
            let left = match (terms.source, room) {
                (Source::Plan | Source::Overage, Some(room)) => Some(own.map_or(room, |own| own.min(room))),
                _ => own,
            };
            Pocket { bucket, limit, used, left }
        };
        sources.map(pocket).collect()
    }

    /// The state of a meter in a window.
    fn state(&self, entitlement: &Entitlement, meter: MeterIx, window: Window, now: UnixMillis) -> State {
        let period = entitlement.calendar.period(window, now);
        if window != Window::Month {
            let used = self.used(Bucket::of(entitlement, meter, Span::Shorter(window), period));
            let limit = entitlement.terms(meter).quota.and_then(|quota| quota.hard_limit(window));
            let left = limit.map(|limit| limit.get().saturating_sub(used));
            return State { window, used: Units::saturating(used), limit, left, period };
        }
        let pockets = self.pockets(entitlement, meter, now);
        let sum = |of: fn(&Pocket) -> Option<u64>| {
            pockets.iter().try_fold(0_u64, |sum, pocket| Some(sum.saturating_add(of(pocket)?)))
        };
        let used = pockets.iter().fold(0_u64, |sum, pocket| sum.saturating_add(pocket.used));
        State {
            window,
            used: Units::saturating(used),
            limit: sum(|pocket| pocket.limit).map(Units::saturating),
            left: sum(|pocket| pocket.left),
            period,
        }
    }

    /// The states of a meter in every window that the plan limits, and in the month.
    pub(super) fn states(&self, entitlement: &Entitlement, meter: MeterIx, now: UnixMillis) -> Vec<State> {
        let Some(quota) = entitlement.terms(meter).quota else { return Vec::new() };
        windows(&quota).map(|window| self.state(entitlement, meter, window, now)).collect()
    }

    /// How many times these charges fit, up to so many; where they do not fit once, the first window that refuses.
    pub(super) fn fit(
        &self,
        entitlement: &Entitlement,
        charges: &[Charge],
        now: UnixMillis,
        most: u64,
        name: impl Fn(MeterIx) -> Option<MeterId>,
    ) -> Result<u64, Denial> {
        let mut times = most;
        for window in Window::ALL {
            for charge in charges.iter().filter(|charge| charge.units > Units::ZERO) {
                let Some(quota) = entitlement.terms(charge.meter).quota else { continue };
                if !quota.counts(window) {
                    continue;
                }
                let State { used, limit, left, period, .. } =
                    self.state(entitlement, charge.meter, window, now);
                let Some(left) = left else { continue };
                let fits = left / charge.units.get();
                if fits == 0
                    && let Some(meter) = name(charge.meter)
                {
                    let limit = limit.unwrap_or(used);
                    return Err(Denial::QuotaExhausted { meter, window, limit, used, period });
                }
                times = times.min(fits);
            }
        }
        Ok(times)
    }

    /// Charges so many times what [`Book::fit`] found to fit. Every window counts, also those that only another plan
    /// limits.
    pub(super) fn charge(
        &mut self,
        entitlement: &Entitlement,
        charges: &[Charge],
        now: UnixMillis,
        times: u64,
    ) {
        for charge in charges {
            let units = charge.units.get().saturating_mul(times);
            for window in Window::ALL.into_iter().filter(|window| *window != Window::Month) {
                self.add(entitlement, charge.meter, window, now, units);
            }
            self.burn(entitlement, charge.meter, now, units);
        }
    }

    /// Counts units that were used before, whatever the limits.
    pub(super) fn add(
        &mut self,
        entitlement: &Entitlement,
        meter: MeterIx,
        window: Window,
        now: UnixMillis,
        units: u64,
    ) {
        if window == Window::Month {
            return self.burn(entitlement, meter, now, units);
        }
        let period = entitlement.calendar.period(window, now);
        let bucket = Bucket::of(entitlement, meter, Span::Shorter(window), period);
        self.put(bucket, units, None);
    }

    /// Takes units of the month's sources, in their order; what none of them has is the plan's.
    fn burn(&mut self, entitlement: &Entitlement, meter: MeterIx, now: UnixMillis, units: u64) {
        let mut rest = units;
        for Pocket { bucket, limit, left, .. } in self.pockets(entitlement, meter, now) {
            let taken = left.map_or(rest, |left| left.min(rest));
            if taken > 0 {
                self.put(bucket, taken, limit);
            }
            rest -= taken;
        }
        if rest > 0 {
            let month = entitlement.calendar.month(now);
            self.put(Bucket::of(entitlement, meter, Span::Source(Source::Plan), month), rest, None);
        }
    }

    fn put(&mut self, bucket: Bucket, units: u64, limit: Option<u64>) {
        let count = self.counts.entry(bucket).or_default();
        count.used = Units::saturating(count.used.saturating_add(units)).get();
        count.limit = limit.or(count.limit);
    }

    /// What was taken of the plan's units of a month, in each counting.
    pub(super) fn taken(&self, meter: MeterIx, month: Period) -> Vec<Taken> {
        let of_month = |bucket: &Bucket| {
            bucket.meter == meter && bucket.span == Span::Source(Source::Plan) && bucket.start == month.start
        };
        let taken = self.counts.iter().filter(|(bucket, _)| of_month(bucket));
        taken
            .map(|(bucket, count)| Taken { epoch: bucket.epoch, limit: count.limit, allocated: count.used })
            .collect()
    }
}

/// The word for how units beyond the limit are had, where they are.
pub(super) fn beyond(entitlement: &Entitlement, meter: MeterIx) -> Option<&'static str> {
    let overage = entitlement.terms(meter).quota?.overage;
    (overage != Overage::Block).then(|| overage.mode())
}
