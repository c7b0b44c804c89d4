//! The units that a request needs, held against each quota and rate as it stands.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    grounds::{Ground, Question},
    rights::Count,
    sources::{SourceCount, SourceView, sum},
    views::AllowanceView,
};
use crate::{
    domain::{
        denial::Denial,
        period::{Period, Window},
        plan::Quota,
        rate::{Rate, RateStep},
        rights::Entitlement,
        route::Charge,
        time::Monotonic,
        units::Units,
    },
    wire::duration,
};

/// A quota that a charge would be held against.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaCheck {
    /// The meter.
    pub(super) meter: String,
    /// `hour`, `day`, `week` or `month`.
    pub(super) window: &'static str,
    /// Units that the request needs.
    needs: u64,
    /// Units after which it is refused (a month's with grants and the overage cap).
    limit: AllowanceView,
    /// Units that count as used.
    used: u64,
    /// Units that are left; of a month, what is overdrawn of one source takes nothing from another.
    remaining: AllowanceView,
    /// When the window ends.
    resets_at: String,
    /// Whether it would let the request through.
    pub(super) ok: bool,
    /// Of a month: where its units come from, in the order in which they are burnt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceView>,
    /// On what ground the limit is what it is.
    #[serde(flatten)]
    pub(super) ground: Ground,
}

/// A rate that a charge would be held against.
#[derive(Serialize, ToSchema)]
pub(super) struct RateCheck {
    /// The meter.
    pub(super) meter: String,
    /// Units that the request needs.
    needs: u64,
    /// Units that the plan lets through in `per`, over all nodes.
    limit: u64,
    /// A span such as `1s`.
    per: String,
    /// Units at once after a pause.
    burst: u64,
    /// Whether the request could ever pass.
    pub(super) ok: bool,
    /// On what ground the rate is what it is.
    #[serde(flatten)]
    pub(super) ground: Ground,
}

/// How a window stands against its limit.
struct Standing {
    /// `None`: there is none.
    limit: Option<Units>,
    /// Units that count as used.
    used: Units,
    /// `None`: any number.
    left: Option<Units>,
    period: Period,
}

impl Standing {
    fn of_window(limit: Option<Units>, count: Count) -> Self {
        let used = count.counted();
        Self { limit, used, left: limit.map(|limit| limit.saturating_sub(used)), period: count.period }
    }

    /// What the plan includes, grants and overage together. What is used of one source beyond its limit takes nothing from
    /// another.
    fn of_month(sources: &[SourceCount], period: Period) -> Self {
        Self {
            limit: sum(sources.iter().map(|source| source.terms.limit)),
            used: sources.iter().map(SourceCount::counted).fold(Units::ZERO, Units::saturating_add),
            left: sum(sources.iter().map(SourceCount::left)),
            period,
        }
    }
}

impl Question<'_> {
    /// The quotas that apply, and the first refusal.
    pub(super) fn quotas(&self, given: &Entitlement) -> (Vec<QuotaCheck>, Option<Denial>) {
        let (mut checks, mut refusal) = (Vec::new(), None);
        for charge in self.operation.map_or(&[][..], |operation| &operation.charge) {
            let Some(quota) = given.terms(charge.meter).quota else { continue };
            for window in Window::ALL.into_iter().filter(|window| quota.counts(*window)) {
                if let Some((check, denial)) = self.window(given, charge, &quota, window) {
                    checks.push(check);
                    refusal = refusal.or(denial);
                }
            }
        }
        (checks, refusal)
    }

    fn window(
        &self,
        given: &Entitlement,
        charge: &Charge,
        quota: &Quota,
        window: Window,
    ) -> Option<(QuotaCheck, Option<Denial>)> {
        let (catalog, now) = (&self.rights.catalog, self.present.now);
        let meter = &catalog.meter(charge.meter)?.id;
        let mut ground = self.quota(given, (charge.meter, meter), window);
        let mut sources = Vec::new();
        let standing = if window == Window::Month {
            sources = self.counts.sources(given, catalog, meter, now);
            ground.by.extend(self.burnt(meter, &sources, charge.units));
            Standing::of_month(&sources, given.calendar.month(now))
        } else {
            Standing::of_window(quota.hard_limit(window), self.counts.window(given, meter, window, now))
        };
        let ok = standing.left.is_none_or(|left| charge.units <= left);
        let check = QuotaCheck {
            meter: meter.to_string(),
            window: window.as_str(),
            needs: charge.units.get(),
            limit: standing.limit.into(),
            used: standing.used.get(),
            remaining: standing.left.into(),
            resets_at: standing.period.end.to_string(),
            ok,
            sources: sources.iter().map(|of| SourceView::of(of, meter, &self.present.tenant)).collect(),
            ground,
        };
        let denial = (!ok).then(|| Denial::QuotaExhausted {
            meter: meter.clone(),
            window,
            limit: standing.limit.unwrap_or_default(),
            used: standing.used,
            period: standing.period,
        });
        Some((check, denial))
    }

    /// The rates that apply, and the first refusal. A charge above the burst never passes; whether a smaller one does
    /// depends on the moment.
    pub(super) fn rates(&self, given: &Entitlement) -> (Vec<RateCheck>, Option<Denial>) {
        let (mut checks, mut refusal) = (Vec::new(), None);
        for charge in self.operation.map_or(&[][..], |operation| &operation.charge) {
            let meter = self.rights.catalog.meter(charge.meter);
            let (Some(meter), Some(rate)) = (meter, given.terms(charge.meter).rate) else { continue };
            let denial = too_much_at_once(rate, charge.units).map(|retry_after| Denial::RateLimited {
                meter: meter.id.clone(),
                rate,
                retry_after,
            });
            checks.push(RateCheck {
                meter: meter.id.to_string(),
                needs: charge.units.get(),
                limit: rate.limit.get(),
                per: duration::format(rate.per),
                burst: rate.burst.get(),
                ok: denial.is_none(),
                ground: self.rate(given, (charge.meter, &meter.id)),
            });
            refusal = refusal.or(denial);
        }
        (checks, refusal)
    }
}

/// After what wait so many units pass a rate of which nothing is used; `None`: at once.
fn too_much_at_once(rate: Rate, units: Units) -> Option<Option<Duration>> {
    let full = Monotonic::default();
    match rate.step(full, full, units) {
        RateStep::Allowed(_) => None,
        RateStep::Refused(wait) => Some(wait.filter(|wait| *wait < Duration::from_secs(366 * 86_400))),
    }
}
