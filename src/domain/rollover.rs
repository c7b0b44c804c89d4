//! Roll-over: what of a month that has ended may be used in the month after it.

use std::sync::Arc;

use super::{
    catalog::Catalog,
    command::RolloverRule,
    rights::Rights,
    tenant::Tenant,
    time::{UnixMillis, Version},
    units::Units,
};

/// How much of a month's plan units is taken, in one counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The version at which this counting began.
    pub epoch: Version,
    /// The limit that the units were granted by; `None`: not known.
    pub limit: Option<u64>,
    /// Leases that were not returned count as used.
    pub allocated: u64,
}

impl RolloverRule {
    /// What is rolled over by the rule, of a month whose units were taken so.
    ///
    /// Where counting began anew and nothing was counted since, what was counted before stands: it may have begun anew
    /// with the very end of the month. The limit is the lower of what the plan says and what was granted by: it may have
    /// changed with the month's end.
    #[must_use]
    pub fn left(&self, epoch: Version, taken: &[Taken]) -> Units {
        let own = taken.iter().find(|counting| counting.epoch == epoch);
        let fullest = || taken.iter().max_by_key(|counting| counting.allocated);
        let Some(counting) = own.or_else(fullest) else { return self.rule.of(self.limit, self.limit) };
        let limit = counting.limit.map_or(self.limit, |limit| self.limit.min(Units::saturating(limit)));
        self.rule.of(limit.saturating_sub(Units::saturating(counting.allocated)), limit)
    }
}

impl Tenant {
    /// What of the month that ended is rolled over: by the plan, add-ons and overrides as they were at its end.
    #[must_use]
    pub fn rollover_rules(&self, catalog: &Arc<Catalog>, at: UnixMillis) -> Vec<RolloverRule> {
        let Some((month, _)) = self.at(at).rollover_due(at) else { return Vec::new() };
        let last = UnixMillis(month.end.0.saturating_sub(1));
        let entitlement = Rights::compile(self, catalog, last).ok().and_then(|rights| rights.entitlement);
        let Some(entitlement) = entitlement else { return Vec::new() };
        let rules = catalog.meters.iter().zip(&entitlement.offer.meters).filter_map(|(meter, terms)| {
            let quota = terms.quota?;
            Some(RolloverRule { meter: meter.id.clone(), limit: quota.month.limit()?, rule: quota.rollover? })
        });
        rules.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::Rollover;

    fn of(limit: u64, rule: Rollover, taken: &[Taken]) -> u64 {
        let limit = Units::saturating(limit);
        RolloverRule { meter: "requests".parse().unwrap(), limit, rule }.left(Version(7), taken).get()
    }

    const fn taken(epoch: u64, limit: Option<u64>, allocated: u64) -> Taken {
        Taken { epoch: Version(epoch), limit, allocated }
    }

    #[test]
    fn what_is_left_up_to_the_cap() {
        let fifth = Rollover::Percent(20);
        assert_eq!(of(100, fifth, &[]), 20, "nothing was used");
        assert_eq!(of(100, fifth, &[taken(7, Some(100), 50)]), 20);
        assert_eq!(of(100, fifth, &[taken(7, Some(100), 90)]), 10);
        assert_eq!(of(100, fifth, &[taken(7, Some(100), 120)]), 0);
        assert_eq!(of(100, Rollover::Units(Units::saturating(30)), &[taken(7, None, 90)]), 10);
    }

    #[test]
    fn a_counting_that_began_with_the_months_end_leaves_nothing_more() {
        let whole = Rollover::Percent(100);
        assert_eq!(of(100, whole, &[taken(3, Some(100), 100), taken(1, Some(100), 5)]), 0);
        assert_eq!(of(100, whole, &[taken(3, Some(100), 100), taken(7, Some(100), 5)]), 95);
    }

    #[test]
    fn of_two_limits_the_lower_one() {
        let whole = Rollover::Percent(100);
        assert_eq!(
            of(1_000, whole, &[taken(7, Some(100), 80)]),
            20,
            "the dearer plan came with the new month"
        );
        assert_eq!(of(100, whole, &[taken(7, Some(1_000), 80)]), 20, "a cheaper one did");
    }
}
