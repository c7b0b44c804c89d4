//! What an event is to be charged to, by the tenant's rights: every window that contains its time, and the month's sources.

use std::sync::Arc;

use super::{event::Told, refusal::Refusal};
use crate::{
    domain::{
        denial::Denial,
        id::MeterId,
        period::{Window, Windows},
        plan::MeterIx,
        rights::{Entitlement, Rights, Source, SourceTerms},
        spend::{MoneyUnits, SpendTerms, UnitCost},
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{BucketKey, EVENTS_KNOWN_DAYS, EventBucket, EventCharge, EventSpend, Shortage, Span, UsageEvent},
};

const MINUTE: i64 = 60_000;
/// How far ahead of the clock here an event may be.
const AHEAD: i64 = 5 * MINUTE;
const KNOWN: i64 = EVENTS_KNOWN_DAYS * 24 * 60 * MINUTE;

/// When an event is taken to have been: not later than now, whatever the sender's clock says.
pub(super) fn time(told: &Told, now: UnixMillis) -> Result<UnixMillis, Refusal> {
    let at = told.at.unwrap_or(now);
    if at.0 > now.0.saturating_add(AHEAD) {
        return Err(Refusal::in_future(at, now));
    }
    if at.0 < now.0.saturating_sub(KNOWN) {
        return Err(Refusal::forgotten(at));
    }
    Ok(at.min(now))
}

/// Works out what an event charges.
pub(super) fn of(
    told: &Told,
    rights: &Rights,
    at: UnixMillis,
    now: UnixMillis,
) -> Result<UsageEvent, Refusal> {
    if rights.suspended {
        return Err(Refusal::of(&Denial::TenantSuspended));
    }
    let given = rights.entitlement().map_err(|denial| Refusal::of(&denial))?;
    let month = given.calendar.month(now);
    if at < month.start {
        return Err(Refusal::before_month(at, month.start));
    }
    let charging = Charging { rights, given, at, now };
    let charges = told.units.iter().map(|(meter, units)| charging.charge(meter, *units));
    Ok(UsageEvent {
        key: told.key.clone(),
        digest: told.digest,
        tenant: rights.tenant.clone(),
        at,
        version: rights.version,
        policies: rights.catalog.deployed,
        counting: given.epoch,
        charges: charges.collect::<Result<_, _>>()?,
    })
}

/// The refusal of an event for which too little was left.
pub(super) fn exhausted(short: Shortage, rights: &Rights, at: UnixMillis) -> Refusal {
    let Shortage { meter, window, limit, used, .. } = short;
    let given = match rights.entitlement() {
        Ok(given) => given,
        Err(denial) => return Refusal::of(&denial),
    };
    let period = given.calendar.period(window.unwrap_or(Window::Month), at);
    Refusal::of(&match (window, given.offer.spend()) {
        (None, Some(SpendTerms { currency, .. })) => {
            let [cap, spent] = [limit, used].map(MoneyUnits::of);
            Denial::SpendCapReached { meter, currency, cap, spent, period }
        }
        (window, _) => {
            let window = window.unwrap_or(Window::Month);
            Denial::QuotaExhausted { meter, window, limit, used, period }
        }
    })
}

struct Charging<'a> {
    rights: &'a Rights,
    given: &'a Entitlement,
    /// When the event was.
    at: UnixMillis,
    /// Sources are those of now: what has expired since cannot be used any more.
    now: UnixMillis,
}

impl Charging<'_> {
    fn charge(&self, meter: &MeterId, units: Units) -> Result<EventCharge, Refusal> {
        let unknown = || {
            let detail = format!("the policies have no meter `{meter}`");
            Refusal { meter: Some(meter.to_string()), ..Refusal::invalid("/data", detail) }
        };
        let ix = self.rights.catalog.meter_ix(meter.as_str()).ok_or_else(unknown)?;
        let not_in_plan = || Refusal::of(&Denial::MeterNotInPlan { meter: meter.clone() });
        let quota = self.given.terms(ix).quota.ok_or_else(not_in_plan)?;
        let shorter = Window::ALL.into_iter().filter(|window| *window != Window::Month);
        let windows = shorter.filter(|window| quota.counts(*window)).map(|window| {
            let period = self.given.calendar.period(window, self.at);
            EventBucket {
                key: self.key(meter, window.into(), period.start),
                end: period.end,
                limit: quota.hard_limit(window),
                marks: None,
            }
        });
        Ok(EventCharge {
            meter: meter.clone(),
            units,
            windows: windows.collect(),
            sources: self.sources(meter, ix),
            counted: Windows::of(|window| quota.counts(window)),
            ceiling: quota.hard_limit(Window::Month),
            spend: self.spend(ix),
        })
    }

    /// What the overage's money is charged to, where it is billed; without a cap it is counted.
    fn spend(&self, ix: MeterIx) -> Option<EventSpend> {
        let cost = UnitCost::of_meter(&self.given.terms(ix)).filter(|cost| cost.money > MoneyUnits::ZERO)?;
        let terms = self.given.offer.spend()?;
        let month = self.given.calendar.month(self.at);
        let key = self.key(&terms.meter().ok()?, Span::Spend, month.start);
        Some(EventSpend {
            bucket: EventBucket {
                // Money that is spent stays so where counting begins anew.
                key: BucketKey { epoch: Version(0), ..key },
                end: month.end,
                limit: terms.cap.map(MoneyUnits::units),
                marks: self.given.marks_of_money(month).map(Arc::new),
            },
            cost: cost.money.units(),
        })
    }

    fn sources(&self, meter: &MeterId, ix: MeterIx) -> Vec<EventBucket> {
        let mut sources = self.given.sources(ix, self.now);
        sources.retain(|terms| terms.source == Source::Plan || terms.period.end > self.now);
        let bucket = |SourceTerms { source, period, limit }: SourceTerms| {
            let (span, epoch) = Span::of_source(source, self.given.epoch);
            let key = BucketKey { epoch, ..self.key(meter, span, period.start) };
            let marks = self.given.marks(ix, source, self.now).map(Arc::new);
            EventBucket { key, end: period.end, limit, marks }
        };
        sources.into_iter().map(bucket).collect()
    }

    fn key(&self, meter: &MeterId, span: Span, start: UnixMillis) -> BucketKey {
        let (tenant, meter) = (self.rights.tenant.clone(), meter.clone());
        BucketKey { tenant, meter, span, start, epoch: self.given.epoch }
    }
}
