//! What the tenant of a case has used, by meter, window and source: what the ledger keeps, for one tenant and one thread.

use std::collections::BTreeMap;

use crate::domain::{
    denial::Denial,
    id::MeterId,
    money::Currency,
    period::{Period, Window},
    plan::{MeterIx, Overage, Quota},
    rights::{Entitlement, Source},
    rollover::Taken,
    route::Charge,
    spend::{MoneyUnits, UnitCost},
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
    /// What billed overage has cost in the month that begins then.
    spent: BTreeMap<(Currency, UnixMillis), MoneyUnits>,
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
        self.afford(entitlement, charges, now, times, name)
    }

    /// How many times these charges fit under the spend cap, up to so many; where they do not once, the refusal.
    fn afford(
        &self,
        entitlement: &Entitlement,
        charges: &[Charge],
        now: UnixMillis,
        most: u64,
        name: impl Fn(MeterIx) -> Option<MeterId>,
    ) -> Result<u64, Denial> {
        let Some((terms, cap)) = entitlement.offer.spend().and_then(|terms| Some((terms, terms.cap?))) else {
            return Ok(most);
        };
        let period = entitlement.calendar.month(now);
        let spent = self.spent.get(&(terms.currency, period.start)).copied().unwrap_or_default();
        let billed = charges.iter().filter_map(|charge| {
            let cost = UnitCost::of_meter(&entitlement.terms(charge.meter))?;
            let pockets = self.pockets(entitlement, charge.meter, now);
            let within = pockets.iter().filter(|pocket| pocket.bucket.span != Span::Source(Source::Overage));
            let included =
                within.fold(0_u64, |sum, pocket| sum.saturating_add(pocket.left.unwrap_or(u64::MAX)));
            Some((charge, cost.money, included))
        });
        let billed: Vec<(&Charge, MoneyUnits, u64)> = billed.collect();
        let fits = |times: u64| {
            let cost = billed.iter().fold(MoneyUnits::ZERO, |sum, (charge, cost, included)| {
                let beyond = charge.units.get().saturating_mul(times).saturating_sub(*included);
                sum.plus(cost.times(Units::saturating(beyond)))
            });
            cost == MoneyUnits::ZERO || cost <= cap.less(spent)
        };
        // The more times, the more it costs: the last that fits is between these two.
        let (mut fitting, mut above) = (0, most.saturating_add(1));
        while above - fitting > 1 {
            let middle = fitting + (above - fitting) / 2;
            if fits(middle) { fitting = middle } else { above = middle }
        }
        let meter = billed.iter().find(|(charge, _, included)| charge.units.get() > *included);
        match meter.and_then(|(charge, ..)| name(charge.meter)).filter(|_| fitting == 0) {
            Some(meter) => {
                Err(Denial::SpendCapReached { meter, currency: terms.currency, cap, spent, period })
            }
            None => Ok(fitting),
        }
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
                self.pay(entitlement, bucket, taken);
            }
            rest -= taken;
        }
        if rest > 0 {
            let month = entitlement.calendar.month(now);
            self.put(Bucket::of(entitlement, meter, Span::Source(Source::Plan), month), rest, None);
        }
    }

    /// Counts what billed overage costs.
    fn pay(&mut self, entitlement: &Entitlement, bucket: Bucket, units: u64) {
        let cost = UnitCost::of_meter(&entitlement.terms(bucket.meter));
        if let (Some(cost), Some(terms)) = (cost, entitlement.offer.spend())
            && bucket.span == Span::Source(Source::Overage)
        {
            let spent = self.spent.entry((terms.currency, bucket.start)).or_default();
            *spent = spent.plus(cost.money.times(Units::saturating(units)));
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
