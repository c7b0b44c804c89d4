//! Where a month's units come from, and how much of each source is used: the one place that knows how the ledger tells it.

use serde::Serialize;
use utoipa::ToSchema;

use super::views::AllowanceView;
use crate::{
    domain::{
        grant::{DEFAULT_PRIORITY, Grant, GrantSource},
        id::MeterId,
        plan::MeterIx,
        rights::{Entitlement, Source, SourceTerms},
        tenant::Tenant,
        time::UnixMillis,
        units::Units,
    },
    ports::MeterUsage,
};

/// A source of units, and how much of it is used.
#[derive(Debug, Clone)]
pub(super) struct SourceCount {
    /// The source.
    pub(super) terms: SourceTerms,
    /// Units used of it.
    pub(super) used: Units,
    /// Units that crashed nodes were granted and may have used.
    pub(super) uncertain: Units,
}

impl SourceCount {
    /// What counts against its limit.
    pub(super) const fn counted(&self) -> Units {
        self.used.saturating_add(self.uncertain)
    }

    /// What is left of it; `None`: any number.
    pub(super) fn left(&self) -> Option<Units> {
        Some(self.terms.limit?.saturating_sub(self.counted()))
    }

    /// Whether it is what the plan lets through beyond what it includes.
    pub(super) fn is_overage(&self) -> bool {
        self.terms.source == Source::Overage
    }
}

/// A source of units and how much of it is left.
#[derive(Serialize, ToSchema)]
#[schema(as = Source)]
pub(super) struct SourceView {
    /// `plan`, `grant`, `rollover` or `overage`.
    source: &'static str,
    /// The grant's id.
    id: Option<String>,
    /// Units in it.
    limit: AllowanceView,
    /// Units used of it.
    used: u64,
    /// Units left; uncertain ones count as used.
    remaining: AllowanceView,
    /// Lower ones are burnt first; overage after everything else.
    priority: Option<u16>,
    /// When what is left is lost; `null`: never.
    expires_at: Option<String>,
    /// Units that crashed nodes were granted and may have used.
    uncertain: u64,
}

impl SourceView {
    /// A source of a meter of this tenant.
    pub(super) fn of(count: &SourceCount, meter: &MeterId, tenant: &Tenant) -> Self {
        let grant = |number| tenant.grants.iter().find(|g| (g.number, &g.meter) == (number, meter));
        let (source, grant): (_, Option<&Grant>) = match count.terms.source {
            Source::Plan => ("plan", None),
            Source::Overage => ("overage", None),
            Source::Grant(number) => {
                let grant = grant(number);
                (grant.map_or(GrantSource::Given, |grant| grant.source).as_str(), grant)
            }
        };
        let end = count.terms.period.end;
        Self {
            source,
            id: grant.map(|grant| grant.id.to_string()),
            limit: count.terms.limit.into(),
            used: count.used.get(),
            remaining: count.left().into(),
            priority: match count.terms.source {
                Source::Plan => Some(DEFAULT_PRIORITY),
                Source::Grant(_) => grant.map(|grant| grant.priority),
                Source::Overage => None,
            },
            expires_at: (end < UnixMillis::NEVER).then(|| end.to_string()),
            uncertain: count.uncertain.get(),
        }
    }
}

/// The sources of a meter in the order in which they are burnt. What the ledger does not know of was never used.
pub(super) fn counts(
    given: &Entitlement,
    meter: MeterIx,
    usage: Option<&MeterUsage>,
    now: UnixMillis,
) -> Vec<SourceCount> {
    let mut counts: Vec<SourceCount> = given
        .sources(meter, now)
        .into_iter()
        .map(|terms| SourceCount { terms, used: Units::ZERO, uncertain: Units::ZERO })
        .collect();
    // The ledger counts the whole month as one: what is used is the plan's, and beyond its limit overage.
    let month = usage.and_then(|usage| usage.windows.last());
    let Some(month) = month else { return counts };
    let mut used = month.used;
    let beyond = counts.iter().any(SourceCount::is_overage);
    for count in &mut counts {
        match count.terms.source {
            Source::Plan => {
                count.uncertain = month.uncertain;
                count.used = match count.terms.limit {
                    Some(limit) if beyond => used.min(limit),
                    _ => used,
                };
                used = used.saturating_sub(count.used);
            }
            Source::Overage => count.used = used,
            Source::Grant(_) => {}
        }
    }
    counts
}

/// Units of several sources together; `None`: any number.
pub(super) fn sum(mut units: impl Iterator<Item = Option<Units>>) -> Option<Units> {
    units.try_fold(Units::ZERO, |sum, units| Some(sum.saturating_add(units?)))
}
