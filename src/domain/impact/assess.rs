//! One tenant after the other.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Bill, Impact, Over, RanOut,
    bill::{self, Amounts},
    capacity,
    lookback::{DayUse, Lookback, Part, Spent},
    replay::{Replayed, net, replay, week},
    rights::{Named, Names, Noted, Pair},
};
use crate::domain::{
    catalog::Catalog,
    money::Currency,
    period::{BillingCalendar, Period, Window},
    plan::{MeterIx, Overage, Quota},
    rights::{Entitlement, Rights},
    tenant::Tenant,
    time::UnixMillis,
};

/// Instants that a tenant is looked ahead to.
const STEPS: usize = 4;
/// How far.
const AHEAD: i64 = 400 * 86_400_000;

/// The impact of one catalog in the place of another, while it is reckoned.
pub struct Assessment {
    before: Arc<Catalog>,
    after: Arc<Catalog>,
    now: UnixMillis,
    names: Names,
    impact: Impact,
}

/// Units by day: of the last month, and of the days before it.
type LastAndEarlier<N> = (BTreeMap<i64, N>, BTreeMap<i64, N>);

/// A tenant's rights for the replay of its last month, and what it used.
struct Month<'a> {
    pair: &'a Pair,
    tenant: &'a Tenant,
    period: Period,
    /// Units by meter and day; those of the days before are in the second.
    days: BTreeMap<&'a str, LastAndEarlier<u64>>,
}

impl Assessment {
    /// Of no tenant yet. Both catalogs have all versions of their plans.
    #[must_use]
    pub fn new(before: Arc<Catalog>, after: Arc<Catalog>, now: UnixMillis) -> Self {
        let (names, routes) = Names::of(&before, &after);
        Self { before, after, now, names, impact: Impact { routes, ..Impact::none(now) } }
    }

    pub(super) fn catalogs(&self) -> (&Catalog, &Catalog) {
        (&self.before, &self.after)
    }

    pub(super) const fn impact(&mut self) -> &mut Impact {
        &mut self.impact
    }

    /// What is to be looked up of a tenant; `None`: nothing, as it has no subscription that goes on.
    #[must_use]
    pub fn lookback(&self, tenant: &Tenant) -> Option<Lookback> {
        let tenant = tenant.at(self.now);
        let subscription = tenant.subscription.as_ref().filter(|one| one.state.state().entitles())?;
        Some(Lookback::of(&tenant.id, &subscription.calendar(&tenant.zone), self.now))
    }

    /// Adds a tenant with what it used: what [`Assessment::lookback`] asked for, and what of the sources that count now.
    pub fn add(&mut self, tenant: &Tenant, days: &[DayUse], spent: &[Spent]) {
        self.impact.tenants += 1;
        let tenant = tenant.at(self.now);
        let mut noted = Noted::of(&tenant.id);
        self.rights(&tenant, &mut noted);
        if let Some(subscription) = &tenant.subscription {
            let calendar = subscription.calendar(&tenant.zone);
            let pair = self.pair(&tenant, self.now);
            self.today(&pair, &calendar, (days, spent), &mut noted);
            self.last_month(&tenant, &calendar, days, &mut noted);
        }
        self.impact.losing += u64::from(noted.lost);
        self.impact.gaining += u64::from(noted.gained);
    }

    /// The sum.
    #[must_use]
    pub fn finish(self) -> Impact {
        let mut impact = self.impact;
        impact.routes.retain(|of| of.who.lost.total + of.who.gained.total > 0);
        impact
    }

    fn pair(&self, tenant: &Tenant, at: UnixMillis) -> Pair {
        Pair {
            before: Rights::compile(tenant, &self.before, at),
            after: Rights::compile(tenant, &self.after, at),
        }
    }

    /// What it loses and gains: now, and at the instants that are known beforehand.
    fn rights(&mut self, tenant: &Tenant, noted: &mut Noted<'_>) {
        let mut at = self.now;
        for step in 0..STEPS {
            let pair = self.pair(tenant, at);
            pair.note(&self.names, noted, &mut self.impact, (step > 0).then_some(at));
            let next = pair.until();
            if next <= at || next.0.saturating_sub(self.now.0) > AHEAD {
                return;
            }
            at = next;
        }
    }

    /// Whether it would have nothing left.
    fn today(
        &mut self,
        pair: &Pair,
        calendar: &BillingCalendar,
        (days, spent): (&[DayUse], &[Spent]),
        noted: &mut Noted<'_>,
    ) {
        let (Some(before), Some(after)) = pair.given() else { return };
        let today = calendar.zone.day(self.now);
        for Named { name, before: was_ix, after: is_ix } in &self.names.meters {
            let (Some(was_ix), Some(is_ix)) = (*was_ix, *is_ix) else { continue };
            let (was, is) = (before.terms(was_ix).quota, after.terms(is_ix).quota);
            let (Some(was), Some(is)) = (was, is) else { continue };
            if was == is {
                continue;
            }
            let used = |from: i64| {
                let of_window = days.iter().filter(|one| {
                    one.meter.as_str() == name
                        && (from..=today).contains(&one.day)
                        && one.epoch.is_none_or(|epoch| epoch == after.epoch)
                });
                u64::try_from(of_window.map(|one| one.units).sum::<i64>()).unwrap_or(0)
            };
            // Monday's number is the week's, times seven, less the three days from Monday to Thursday, the day 0.
            let monday = week(today) * 7 - 3;
            let mut over = |window, used, limit| {
                noted.lost = true;
                let (tenant, meter) = (noted.tenant.clone(), name.clone());
                self.impact.over.add(Over { tenant, meter, window, used, limit });
            };
            for (window, from) in [(Window::Day, today), (Window::Week, monday)] {
                let spent_up = |quota: &Quota| {
                    let limit = quota.hard_limit(window)?.get();
                    Some((used(from), limit)).filter(|(used, limit)| used >= limit)
                };
                if let (None, Some((used, limit))) = (spent_up(&was), spent_up(&is)) {
                    over(window, used, limit);
                }
            }
            let own: Vec<&Spent> = spent.iter().filter(|one| one.meter.as_str() == name).collect();
            let spent_up = |given: &Entitlement, ix: MeterIx| capacity::spent_up(given, ix, &own, self.now);
            if let (None, Some((used, limit))) = (spent_up(before, was_ix), spent_up(after, is_ix)) {
                over(Window::Month, used, limit);
            }
        }
    }

    /// The last billing month, as if both had held in it: the terms that the tenant has, or is about to come to.
    fn last_month(
        &mut self,
        tenant: &Tenant,
        calendar: &BillingCalendar,
        days: &[DayUse],
        noted: &mut Noted<'_>,
    ) {
        let month = calendar.month(self.now).start;
        let period =
            Period { start: calendar.month(UnixMillis(month.0.saturating_sub(1))).start, end: month };
        let mut tenant = tenant.clone();
        let Some(subscription) = &mut tenant.subscription else { return };
        // Of a month that is another one.
        subscription.mixture = None;
        let moves = |catalog: &Catalog| {
            catalog
                .plan_at(&subscription.plan, calendar, self.now)
                .map_or(UnixMillis::NEVER, |(_, until)| until)
        };
        let (was, is) = (moves(&self.before), moves(&self.after));
        let at = if is != was && is < UnixMillis::NEVER { is } else { self.now };
        let tenant = tenant.at(at);
        let pair = self.pair(&tenant, at);
        let (before, after) = pair.given();
        if before.is_none() && after.is_none() {
            return;
        }
        let days = by_meter(days);
        let billed = tenant.created_at < period.end;
        let month = Month { pair: &pair, tenant: &tenant, period, days };
        let bills = self.replayed(&month, noted);
        if billed {
            self.bill(&month, bills, noted);
        }
    }

    /// Replays each meter whose terms differ, or whose overage is billed; what of it is billed is the answer.
    fn replayed(&mut self, month: &Month<'_>, noted: &mut Noted<'_>) -> (Amounts, Amounts) {
        let (before, after) = month.pair.given();
        let mut bills = (Amounts::new(), Amounts::new());
        for meter in &self.names.meters {
            let Some((days, earlier)) = month.days.get(meter.name.as_str()) else { continue };
            let side = |given: Option<&Entitlement>, ix: Option<MeterIx>, amounts: &mut Amounts| {
                let (given, ix) = (given?, ix?);
                let quota = given.terms(ix).quota?;
                let units = capacity::of_month(given, ix, month.period.start, month.period.end);
                let replayed = replay(days, earlier, capacity::terms(given, ix, &units));
                let owed = bill::overage(given, Some(quota), replayed.admitted, units.included);
                if let Some((currency, amount)) = owed {
                    bill::add(amounts, currency, amount);
                }
                Some(replayed)
            };
            let quota = |given: Option<&Entitlement>, ix: Option<MeterIx>| given?.terms(ix?).quota;
            let (was, is) = (quota(before, meter.before), quota(after, meter.after));
            let bills_of = |quota: Option<Quota>| {
                quota.is_some_and(|quota| matches!(quota.overage, Overage::Bill { .. }))
            };
            if was == is && !bills_of(was) {
                continue;
            }
            let was = side(before, meter.before, &mut bills.0);
            let is = side(after, meter.after, &mut bills.1);
            // Of a meter that comes or goes it is said elsewhere.
            if let (Some(was), Some(is)) = (was, is) {
                self.impact.ended(&meter.name, (was, is), noted);
            }
        }
        bills
    }

    fn bill(&mut self, month: &Month<'_>, (was, is): (Amounts, Amounts), noted: &mut Noted<'_>) {
        let (before, after) = month.pair.given();
        let whole = |given: Option<&Entitlement>, catalog: &Catalog, beyond: Amounts| {
            let mut amounts =
                given.map(|given| bill::fixed(given, month.tenant, catalog)).unwrap_or_default();
            for (currency, amount) in beyond {
                bill::add(&mut amounts, currency, bill::capped(given, currency, amount));
            }
            amounts
        };
        let (was, is) = (whole(before, &self.before, was), whole(after, &self.after, is));
        let currencies: std::collections::BTreeSet<Currency> = was.keys().chain(is.keys()).copied().collect();
        for currency in currencies {
            let of = |amounts: &Amounts| amounts.get(&currency).copied().unwrap_or_default();
            let (before, after) = (of(&was), of(&is));
            let cost = self.impact.cost.entry(currency).or_default();
            cost.before = cost.before.plus(before);
            cost.after = cost.after.plus(after);
            let bill = || Bill { tenant: noted.tenant.clone(), before, after };
            if after > before {
                cost.dearer.add(bill());
                noted.lost = true;
            } else if after < before {
                cost.cheaper.add(bill());
                noted.gained = true;
            }
        }
    }
}

impl Impact {
    /// Notes a month that ended sooner, or later.
    fn ended(&mut self, meter: &str, (was, is): (Replayed, Replayed), noted: &mut Noted<'_>) {
        let day = |replayed: Replayed| replayed.out.map_or(i64::MAX, |out| out.day);
        let entry = || RanOut {
            tenant: noted.tenant.clone(),
            meter: meter.to_owned(),
            before: was.out,
            after: is.out,
        };
        if day(is) < day(was) {
            self.ran_out.add(entry());
            noted.lost = true;
        } else if day(is) > day(was) {
            self.spared.add(entry());
            noted.gained = true;
        }
    }
}

/// The days of the last month, and those before it, by meter.
fn by_meter(days: &[DayUse]) -> BTreeMap<&str, LastAndEarlier<u64>> {
    let mut all: BTreeMap<&str, LastAndEarlier<i64>> = BTreeMap::new();
    for one in days.iter().filter(|one| one.part != Part::Running) {
        let (last, earlier) = all.entry(one.meter.as_str()).or_default();
        let sums = if one.part == Part::Last { last } else { earlier };
        let sum = sums.entry(one.day).or_default();
        *sum = sum.saturating_add(one.units);
    }
    all.into_iter().map(|(meter, (last, earlier))| (meter, (net(last), net(earlier)))).collect()
}
