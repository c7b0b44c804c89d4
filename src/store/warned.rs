//! What is told of a bucket while it is used up: which of its marks were reached, each once.
//!
//! The bucket keeps the marks that were reported last, and which of them were told. Where they change, it is looked at anew:
//! what was told before is told to nobody again, as an event is named by its tenant, meter, period, percentage and limit.

use std::{fmt::Write, sync::Arc};

use serde_json::{Value, json};

use crate::{
    domain::{
        event::EventKind,
        id::PlanId,
        period::Period,
        time::UnixMillis,
        warning::{MarkKind, Marks, WarnAt},
    },
    ports::{GrantRequest, NewEvent, SlotTotals},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Warned {
    /// The marks as [`encode`] writes them.
    pub(super) marks: Option<Arc<str>>,
    /// Those that were told: a bit for each, in their order.
    pub(super) told: u64,
}

/// The bit of a mark at no certain number of units: exhausted is then who is refused.
const REFUSED: u64 = 1 << 62;

impl Warned {
    pub(super) const NOTHING: Self = Self { marks: None, told: 0 };

    /// Looks what a report of the bucket has made true, where `used` is what is used of it by now.
    pub(super) fn look(&mut self, totals: &SlotTotals, sealed: bool, used: u64, facts: &mut Vec<NewEvent>) {
        let Some(marks) = self.learn(totals, sealed) else { return };
        for (place, mark) in marks.each().enumerate() {
            let bit = 1 << place;
            if mark.units <= used && self.told & bit == 0 {
                self.told |= bit;
                facts.push(event(&marks, mark.kind, totals, used));
            }
        }
    }

    /// The bucket has too few for a request, and nobody else has any of it.
    pub(super) fn refuse(&mut self, request: &GrantRequest, used: u64, facts: &mut Vec<NewEvent>) {
        let Some(marks) = self.learn(&request.totals, false) else { return };
        // What is more than there ever was says nothing of what is left for others.
        if !marks.last || request.need > marks.in_all() {
            return;
        }
        let place = marks.each().position(|mark| mark.kind == MarkKind::Exhausted);
        let bit = place.map_or(REFUSED, |place| 1 << place);
        if self.told & bit == 0 {
            self.told |= bit;
            facts.push(event(&marks, MarkKind::Exhausted, &request.totals, used));
        }
    }

    /// The marks that hold from now on: those of the report, or those that are kept where it has none, or is of a word that
    /// is not charged any more.
    fn learn(&mut self, totals: &SlotTotals, sealed: bool) -> Option<Arc<Marks>> {
        if let Some(marks) = &totals.marks {
            let text = encode(marks);
            if self.marks.as_deref() == Some(text.as_str()) {
                return Some(Arc::clone(marks));
            }
            if !sealed || self.marks.is_none() {
                *self = Self { marks: Some(text.into()), told: 0 };
                return Some(Arc::clone(marks));
            }
        }
        decode(self.marks.as_deref()?).map(Arc::new)
    }
}

/// The fact that a mark was reached.
fn event(marks: &Marks, kind: MarkKind, totals: &SlotTotals, used: u64) -> NewEvent {
    let key = &totals.slot.bucket;
    let Marks { plan, period, limit, before, money, .. } = marks;
    // The counting and not the bucket's epoch, which is a grant's number: a month is exhausted once, of whatever source.
    let month = format!("{}/{}", period.start.0, totals.counting);
    let (event, name, mut data) = match (kind, money) {
        (MarkKind::Threshold(percent), None) => (
            EventKind::QuotaThreshold,
            format!("{}/{month}/{percent}/{limit}", key.span),
            json!({ "threshold": percent, "meter": key.meter.as_str(), "limit": limit, "used": used }),
        ),
        (MarkKind::Exhausted, None) => {
            let (limit, used) = (marks.in_all(), before.saturating_add(used));
            let data = json!({ "meter": key.meter.as_str(), "limit": limit, "used": used });
            (EventKind::QuotaExhausted, format!("month/{month}/{limit}"), data)
        }
        (MarkKind::Threshold(percent), Some(currency)) => (
            EventKind::SpendThreshold,
            format!("{}/{month}/{percent}/{limit}", key.span),
            json!({
                "threshold": percent,
                "spend_cap": amount(*limit),
                "spent": amount(used),
                "currency": currency.to_string(),
            }),
        ),
        (MarkKind::Exhausted, Some(currency)) => (
            EventKind::QuotaExhausted,
            format!("{}/{month}/{limit}", key.span),
            json!({
                "spend_cap": amount(*limit),
                "spent": amount(used),
                "currency": currency.to_string(),
            }),
        ),
    };
    data["plan"] = json!(plan.as_str());
    data["period"] = span(*period);
    NewEvent {
        name: format!("{}/{}/{}/{name}", event.as_str(), key.tenant, key.meter),
        kind: event,
        tenant: key.tenant.clone(),
        at: totals.at,
        data,
    }
}

fn span(period: Period) -> Value {
    json!({ "start": period.start.to_string(), "end": period.end.to_string() })
}

/// 10^-9 of a currency as an amount, with two fractional digits at least.
fn amount(units: u64) -> String {
    const UNIT: u64 = 1_000_000_000;
    let fraction = format!("{:09}", units % UNIT);
    format!("{}.{:0<2}", units / UNIT, fraction.trim_end_matches('0'))
}

/// Marks as the database keeps them. Of what stands in it nothing has a blank.
pub(super) fn encode(marks: &Marks) -> String {
    let Marks { plan, period, limit, before, warn_at, last, money } = marks;
    let mut text =
        format!("{plan} {limit} {before} {} {} {} ", period.start.0, period.end.0, u8::from(*last));
    for (place, percent) in warn_at.percentages().iter().enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{}{percent}", if place == 0 { "" } else { "," });
    }
    if let Some(currency) = money {
        let _ = write!(text, " {currency}");
    }
    text
}

/// What [`encode`] wrote; `None`: it is not that.
fn decode(text: &str) -> Option<Marks> {
    let mut words = text.split(' ');
    let plan = PlanId::parse(words.next()?).ok()?;
    let (limit, before) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let start = UnixMillis(words.next()?.parse().ok()?);
    let period = Period { start, end: UnixMillis(words.next()?.parse().ok()?) };
    let last = words.next()? == "1";
    let percentages = words.next()?.split(',').filter(|percent| !percent.is_empty());
    let percentages = percentages.map(|percent| percent.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let warn_at = WarnAt::new(&percentages).ok()?;
    let money = match words.next() {
        Some(currency) => Some(currency.parse().ok()?),
        None => None,
    };
    Some(Marks { plan, period, limit, before, warn_at, last, money })
}

#[cfg(test)]
mod tests;
