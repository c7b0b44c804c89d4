//! One tenant under tried policies: its rights by them, and what it would have used otherwise.
//!
//! Units are estimated: what the ledger knows as used by the policies in force, what was learned beside that from the
//! database, and this node's own running difference between what would have been charged and what was.

use std::sync::Arc;

use super::found::Found;
use crate::pipeline::facts::Facts;
use crate::{
    domain::{
        catalog::Stamp,
        decision::decide,
        denial::Denial,
        id::{MeterId, TenantId},
        period::{Period, Window},
        plan::MeterIx,
        rate::RateStep,
        rights::{Entitlement, Rights, Source, SourceTerms},
        time::{Monotonic, UnixMillis, Version},
        units::Units,
        verdict::Verdict,
    },
    ports::{BucketKey, Span, TriedRights},
};

/// What is asked of tried policies about one request.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) tenant: &'a TenantId,
    /// What they say of it.
    pub(super) found: &'a Found<'a>,
    /// What conditions can know of it.
    pub(super) facts: &'a Facts<'a>,
    /// What was charged for it by the policies in force; `None`: they refused it.
    pub(super) spent: Option<&'a Found<'a>>,
    pub(super) arrived: UnixMillis,
    pub(super) started: Monotonic,
    /// Live nodes, among which rates are shared.
    pub(super) nodes: u32,
    /// What the ledger knows as used of a bucket.
    pub(super) known: &'a dyn Fn(&BucketKey) -> Option<Units>,
}

/// Why tried policies would refuse.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// They say no.
    Denied(Denial),
    /// They do not have the tenant's plan.
    NoPlan,
}

impl Refused {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Denied(denial) => denial.into(),
            Self::NoPlan => Verdict::refused("rights-unavailable"),
        }
    }
}

/// What a node remembers of one tenant during a trial.
#[derive(Debug, Default)]
pub(super) struct Tried {
    pub(super) held: Option<Held>,
    /// When it was last learned what the ledger does not know.
    pub(super) learned: Monotonic,
    /// The version at which counting last began anew.
    pub(super) epoch: Version,
    pub(super) meters: Vec<Metered>,
}

/// Rights, and what shows whether they still hold.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) rights: Arc<Rights>,
    read_at: Version,
    policies: Stamp,
}

/// One meter.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) meter: MeterId,
    /// Its rate's one instant.
    arrival: Monotonic,
    pub(super) windows: [Ran; 4],
}

/// What would have been used otherwise in a window's present period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    start: UnixMillis,
    difference: i64,
    /// Used of it without the ledger's knowing, as far as that was learned: where a meter has no limit, a node needs not
    /// know what the others use, or what it has used itself before it was started.
    pub(super) missed: u64,
}

impl Ran {
    const fn from(start: UnixMillis) -> Self {
        Self { start, difference: 0, missed: 0 }
    }
}

/// How a meter stands in a window that the tried policies limit.
pub(super) struct Standing {
    pub(super) window: Window,
    pub(super) period: Period,
    /// From then on it is refused; `None`: any number is let through beyond what is included.
    limit: Option<Units>,
    /// Of a month: what is included and granted.
    pub(super) included: Option<Units>,
    /// What was charged for this very request is in it.
    known: Option<u64>,
}

impl Tried {
    /// Decides a request. `min_version`: rights from older facts do not hold. `None`: the facts are not in memory.
    pub(super) fn decide(
        &mut self,
        asked: &Asked<'_>,
        policies: Stamp,
        min_version: Version,
        fresh: impl FnOnce() -> Option<TriedRights>,
    ) -> Option<Result<(), Refused>> {
        let rights = match self.rights(policies, min_version, asked.arrived) {
            Some(rights) => rights,
            None => {
                let TriedRights { rights, read_at } = fresh()?;
                let Ok(rights) = rights else { return Some(Err(Refused::NoPlan)) };
                self.held = Some(Held { rights: Arc::clone(&rights), read_at, policies });
                rights
            }
        };
        Some(self.by(&rights, asked).map_err(Refused::Denied))
    }

    fn rights(&self, policies: Stamp, min_version: Version, now: UnixMillis) -> Option<Arc<Rights>> {
        let held = self.held.as_ref()?;
        let holds = held.read_at >= min_version && held.policies == policies && now < held.rights.until;
        holds.then(|| Arc::clone(&held.rights))
    }

    fn by(&mut self, rights: &Rights, asked: &Asked<'_>) -> Result<(), Denial> {
        if asked.found.depends() {
            let (found, decided) = asked.found.decided(rights, asked.facts);
            return self.count(rights, &Asked { found: &found, ..*asked }, decided);
        }
        self.count(rights, asked, decide(rights, asked.found.operation).map(drop))
    }

    /// Whether the units would be there for a request that is decided so far.
    fn count(
        &mut self,
        rights: &Rights,
        asked: &Asked<'_>,
        decided: Result<(), Denial>,
    ) -> Result<(), Denial> {
        let Some(entitlement) = &rights.entitlement else { return decided };
        if self.epoch != entitlement.epoch {
            (self.epoch, self.meters) = (entitlement.epoch, Vec::new());
        }
        // Whatever is decided, what was charged counts.
        let meters = self.meters(asked);
        let standings: Vec<Vec<Standing>> =
            meters.iter().map(|place| self.standings(*place, rights, entitlement, asked)).collect();
        let decided = decided.and_then(|()| self.take(rights, entitlement, asked, &meters, &standings));
        for (place, standings) in meters.iter().zip(&standings) {
            self.book(*place, standings, asked, decided.is_ok());
        }
        decided
    }

    /// The places of all meters that are charged by either policies.
    fn meters(&mut self, asked: &Asked<'_>) -> Vec<usize> {
        let mut places = Vec::new();
        for found in [Some(asked.found), asked.spent].into_iter().flatten() {
            for meter in found.charges.iter().filter_map(|charge| found.meter(charge)) {
                let place = self.place(meter);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places
    }

    /// The place of a meter.
    pub(super) fn place(&mut self, meter: &MeterId) -> usize {
        let known = self.meters.iter().position(|known| known.meter == *meter);
        known.unwrap_or_else(|| {
            self.meters.push(Metered::new(meter));
            self.meters.len() - 1
        })
    }

    /// How a meter stands in each window that the tried policies limit, the shortest first.
    pub(super) fn standings(
        &self,
        place: usize,
        rights: &Rights,
        entitlement: &Entitlement,
        asked: &Asked<'_>,
    ) -> Vec<Standing> {
        let meter = &self.meters[place].meter;
        let Some(ix) = rights.catalog.meter_ix(meter.as_str()) else { return Vec::new() };
        let Some(quota) = entitlement.terms(ix).quota else { return Vec::new() };
        let key = |span: Span, start: UnixMillis, epoch: Version| BucketKey {
            tenant: rights.tenant.clone(),
            meter: meter.clone(),
            span,
            start,
            epoch,
        };
        let known = |key: BucketKey| (asked.known)(&key).map(Units::get);
        let mut standings = Vec::new();
        for window in Window::ALL.into_iter().filter(|window| *window != Window::Month) {
            if let Some(limit) = quota.hard_limit(window) {
                let period = entitlement.calendar.period(window, asked.arrived);
                let known = known(key(window.into(), period.start, entitlement.epoch));
                standings.push(Standing { window, period, limit: Some(limit), included: None, known });
            }
        }
        standings.extend(month(entitlement, ix, asked.arrived, |terms| {
            let (span, epoch) = Span::of_source(terms.source, entitlement.epoch);
            known(key(span, terms.period.start, epoch))
        }));
        standings
    }

    /// Whether rates and quotas would have let the request pass, all or nothing: as the ledger does, rates first, then the
    /// windows of all meters, the shortest first, then what that costs.
    fn take(
        &mut self,
        rights: &Rights,
        entitlement: &Entitlement,
        asked: &Asked<'_>,
        meters: &[usize],
        standings: &[Vec<Standing>],
    ) -> Result<(), Denial> {
        let charges = || {
            meters.iter().zip(standings).filter_map(|(place, standings)| {
                let charge = asked.found.charge_of(&self.meters[*place].meter)?;
                Some((*place, charge, standings))
            })
        };
        let mut arrivals = Vec::new();
        for (place, charge, _) in charges() {
            let Some(rate) = entitlement.terms(charge.meter).rate else { continue };
            let Metered { meter, arrival, .. } = &self.meters[place];
            match rate.shared_by(asked.nodes).step(*arrival, asked.started, charge.units) {
                RateStep::Allowed(next) => arrivals.push((place, next)),
                RateStep::Refused(retry_after) => {
                    return Err(Denial::RateLimited { meter: meter.clone(), rate, retry_after });
                }
            }
        }
        for window in Window::ALL {
            for (place, charge, standings) in charges() {
                for standing in standings.iter().filter(|standing| standing.window == window) {
                    let Standing { limit: Some(limit), period, .. } = *standing else { continue };
                    let used = self.used(place, standing, asked);
                    if used.saturating_add(charge.units) > limit {
                        let meter = self.meters[place].meter.clone();
                        return Err(Denial::QuotaExhausted { meter, window, limit, used, period });
                    }
                }
            }
        }
        self.afford(rights, entitlement, asked, meters, standings)?;
        for (place, arrival) in arrivals {
            self.meters[place].arrival = arrival;
        }
        Ok(())
    }

    /// Units that would have been used before this request.
    pub(super) fn used(&self, place: usize, standing: &Standing, asked: &Asked<'_>) -> Units {
        let metered = &self.meters[place];
        let spent = asked.spent.and_then(|spent| spent.charge_of(&metered.meter));
        let own = spent.map_or(0, |charge| signed(charge.units.get()));
        let known = standing.known.map_or(0, |known| signed(known).saturating_sub(own));
        let Ran { difference, missed, .. } = metered.ran(standing.window, standing.period.start);
        let used = known.saturating_add(signed(missed)).saturating_add(difference);
        Units::saturating(u64::try_from(used).unwrap_or(0))
    }

    /// Adds to the difference what this request would have been charged, and takes off what it was.
    fn book(&mut self, place: usize, standings: &[Standing], asked: &Asked<'_>, taken: bool) {
        let metered = &mut self.meters[place];
        let would = taken.then(|| asked.found.charge_of(&metered.meter)).flatten();
        let was = asked.spent.and_then(|spent| Some((spent, spent.charge_of(&metered.meter)?)));
        if let (Some(would), Some((spent, was))) = (would, was) {
            let header = asked.found.told_by(would);
            // Both would end at what the answer tells, whatever was reserved.
            if header.is_some() && header == spent.told_by(was) {
                return;
            }
        }
        for standing in standings {
            // What the ledger does not count in this window is not in what it knows.
            let was = was.filter(|_| standing.known.is_some()).map_or(0, |(_, was)| signed(was.units.get()));
            let would = would.map_or(0, |would| signed(would.units.get()));
            let mut ran = metered.ran(standing.window, standing.period.start);
            ran.difference = ran.difference.saturating_add(would).saturating_sub(was);
            metered.windows[standing.window as usize] = ran;
        }
    }
}

impl Metered {
    fn new(meter: &MeterId) -> Self {
        let windows = [Ran::from(UnixMillis(i64::MIN)); 4];
        Self { meter: meter.clone(), arrival: Monotonic(0), windows }
    }

    pub(super) fn ran(&self, window: Window, start: UnixMillis) -> Ran {
        let ran = self.windows[window as usize];
        if ran.start == start { ran } else { Ran::from(start) }
    }
}

/// A meter's month, over all sources together; `None`: everything is included.
fn month(
    entitlement: &Entitlement,
    ix: MeterIx,
    now: UnixMillis,
    known: impl Fn(&SourceTerms) -> Option<u64>,
) -> Option<Standing> {
    let mut all = Standing {
        window: Window::Month,
        period: entitlement.calendar.month(now),
        limit: Some(Units::ZERO),
        included: Some(Units::ZERO),
        known: None,
    };
    for terms in entitlement.sources(ix, now) {
        if terms.source != Source::Plan && terms.period.end <= now {
            continue;
        }
        let more = |sum: Option<Units>| Some(sum?.saturating_add(terms.limit?));
        all.limit = more(all.limit);
        if terms.source != Source::Overage {
            all.included = Some(more(all.included)?);
        }
        if let Some(known) = known(&terms) {
            all.known = Some(all.known.unwrap_or(0).saturating_add(known));
        }
    }
    Some(all)
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}
