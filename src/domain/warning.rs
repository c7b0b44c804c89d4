//! Of what a tenant is warned: how much of what it may use, or spend, has to be used for somebody to be told.

use std::sync::Arc;

use super::{
    id::PlanId,
    money::Currency,
    period::Period,
    plan::{MeterIx, PlanRef},
    rights::{Entitlement, Source, SourceTerms},
    subscription::Standing,
    tenant::Tenant,
    time::{UnixMillis, Version},
    units::Units,
};

/// At how many percent of something somebody is told: ascending, each from 1 to 100, none twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WarnAt(Arc<[u8]>);

/// Why some numbers are not ones to warn at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWarnAt {
    /// One is no percentage of something that is left.
    #[error("`{0}` is not from 1 to 100")]
    OutOfRange(u64),
    /// One stands twice.
    #[error("`{0}` stands twice")]
    Twice(u8),
    /// There are too many.
    #[error("there are {0} of them, and at most {most} are possible", most = WarnAt::MOST)]
    TooMany(usize),
}

impl WarnAt {
    /// As many as there may be.
    pub const MOST: usize = 10;
    /// Where a plan says nothing.
    pub const DEFAULT: [u8; 3] = [50, 80, 100];

    /// Takes percentages, in any order.
    ///
    /// # Errors
    /// [`InvalidWarnAt`]
    pub fn new(percentages: &[u64]) -> Result<Self, InvalidWarnAt> {
        if percentages.len() > Self::MOST {
            return Err(InvalidWarnAt::TooMany(percentages.len()));
        }
        let percent = |number: &u64| match u8::try_from(*number) {
            Ok(percent @ 1..=100) => Ok(percent),
            _ => Err(InvalidWarnAt::OutOfRange(*number)),
        };
        let mut all = percentages.iter().map(percent).collect::<Result<Vec<u8>, _>>()?;
        all.sort_unstable();
        if let Some(twice) = all.windows(2).find(|two| two[0] == two[1]) {
            return Err(InvalidWarnAt::Twice(twice[0]));
        }
        Ok(Self(all.into()))
    }

    /// The percentages, ascending.
    #[must_use]
    pub fn percentages(&self) -> &[u8] {
        &self.0
    }
}

/// As a plan has it that says nothing.
impl Default for WarnAt {
    fn default() -> Self {
        Self(Self::DEFAULT.as_slice().into())
    }
}

/// As it is written in a plan: `50, 80, 100`; `none` where there are none.
impl std::fmt::Display for WarnAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (place, percent) in self.0.iter().enumerate() {
            write!(f, "{}{percent}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What is told when a mark is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MarkKind {
    /// So many percent of the limit are used.
    Threshold(u8),
    /// Nothing more can be used.
    Exhausted,
}

/// So many units of a bucket, and what is told when they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// How many; at least 1.
    pub units: u64,
    /// What is told.
    pub kind: MarkKind,
}

/// What is told of a bucket while it is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// The plan under which it is.
    pub plan: PlanId,
    /// The billing month in which it is told: once in each.
    pub period: Period,
    /// Units in the bucket. Of money: 10^-9 of its currency.
    pub limit: u64,
    /// Units in the buckets that are used up before this one is touched.
    pub before: u64,
    /// Of how many percent it is told.
    pub warn_at: WarnAt,
    /// Nothing comes after it: whoever has used it up can use no more in this month.
    pub last: bool,
    /// The units are money, and this is its currency; `None`: they are units of a meter.
    pub money: Option<Currency>,
}

impl Marks {
    /// Those of a month's spend cap, in 10^-9 of its currency.
    #[must_use]
    pub const fn of_money(
        plan: PlanId,
        period: Period,
        cap: Units,
        currency: Currency,
        warn_at: WarnAt,
    ) -> Self {
        // After it nothing that costs money can be used.
        let last = cap.get() > 0;
        Self { plan, period, limit: cap.get(), before: 0, warn_at, last, money: Some(currency) }
    }

    /// The marks in the order in which they are reached. Nothing is told of a bucket without units.
    pub fn each(&self) -> impl Iterator<Item = Mark> + '_ {
        let limit = self.limit;
        let thresholds = self.warn_at.percentages().iter().map(move |percent| Mark {
            units: threshold(limit, *percent),
            kind: MarkKind::Threshold(*percent),
        });
        let exhausted = self.last.then_some(Mark { units: limit, kind: MarkKind::Exhausted });
        thresholds.chain(exhausted).filter(|mark| mark.units > 0)
    }

    /// Units in this bucket and in those before it.
    #[must_use]
    pub const fn in_all(&self) -> u64 {
        self.before.saturating_add(self.limit)
    }
}

/// The least number of units that is so many percent of a limit.
#[must_use]
pub fn threshold(limit: u64, percent: u8) -> u64 {
    let units = (u128::from(limit) * u128::from(percent)).div_ceil(100);
    u64::try_from(units).unwrap_or(u64::MAX)
}

impl Entitlement {
    /// What is told of the spend cap of a month; `None`: there is none.
    #[must_use]
    pub fn marks_of_money(&self, month: Period) -> Option<Marks> {
        let (terms, warn_at) = (self.offer.spend()?, self.offer.warn_at.clone().unwrap_or_default());
        Some(Marks::of_money(self.plan.clone(), month, terms.cap?.units(), terms.currency, warn_at))
    }

    /// What is told of one source of a meter's month at `now`; `None`: nothing. The thresholds are those of what the plan
    /// includes. Exhausted is a meter when the last of its sources is, as they are used up one after the other.
    #[must_use]
    pub fn marks(&self, meter: MeterIx, source: Source, now: UnixMillis) -> Option<Marks> {
        let included = self.terms(meter).quota?.month.limit()?.get();
        let mut sources = self.sources(meter, now);
        sources.retain(|terms| terms.period.end > now);
        let place = sources.iter().position(|terms| terms.source == source)?;
        let units = |terms: &SourceTerms| terms.limit.map(Units::get);
        let last = sources[place + 1..].iter().all(|terms| units(terms) == Some(0))
            && units(&sources[place]).is_some();
        let warn_at = match source {
            Source::Plan if included > 0 => self.offer.warn_at.clone().unwrap_or_default(),
            Source::Plan | Source::Grant(_) | Source::Overage => WarnAt(Arc::default()),
        };
        let before = sources[..place].iter().filter_map(units).fold(0, u64::saturating_add);
        let limit = units(&sources[place]).unwrap_or(0);
        let marks = Marks {
            plan: self.plan.clone(),
            period: self.calendar.month(now),
            limit,
            before,
            warn_at,
            last: last && before.saturating_add(limit) > 0,
            money: None,
        };
        (marks.last || !marks.warn_at.percentages().is_empty()).then_some(marks)
    }
}

/// How long before a trial's end somebody is told; of a shorter trial at once.
const TRIAL_NOTICE_MILLIS: i64 = 3 * 86_400_000;

/// A trial of whose end somebody is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialNotice {
    /// When.
    pub due: UnixMillis,
    /// The first instant after the trial.
    pub ends_at: UnixMillis,
    /// The version of the call that began it.
    pub version: Version,
}

impl Tenant {
    /// The running trial, as of the tenant's version, of whose end somebody is told.
    #[must_use]
    pub fn trial_notice(&self) -> Option<TrialNotice> {
        let Standing::Trialing(trial) = &self.subscription.as_ref()?.state else { return None };
        let due = UnixMillis(trial.ends_at.0.saturating_sub(TRIAL_NOTICE_MILLIS));
        Some(TrialNotice { due, ends_at: trial.ends_at, version: trial.version })
    }

    /// The plan on which it is at `at`, as far as is known by now; `None`: on none that entitles.
    #[must_use]
    pub fn plan_at(&self, at: UnixMillis) -> Option<PlanRef> {
        let subscription = self.at(at).subscription?;
        subscription.state.state().entitles().then_some(subscription.plan)
    }
}

#[cfg(test)]
mod tests;
