//! What is left of a month that has ended, and rolled over to the next.

use serde_json::json;

use super::{
    classify::unreadable,
    locked::text,
    rows,
    session::{Arg, Session, Sql, bulk},
};
use crate::{
    domain::{
        command::{Change, Command, RolloverRule},
        id::MeterId,
        tenant::Tenant,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::StoreError,
};

const BUCKETS: Sql = bulk!(
    "SELECT b.meter, b.epoch, b.limit_units, b.allocated FROM",
    "JOIN buckets b ON b.tenant = $2 AND b.meter = v->>0 AND b.span = 'month' AND b.start_ms = $3"
);

/// How much of a month's plan units is taken, in one counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) epoch: Version,
    pub(super) limit: Option<u64>,
    /// Leases that were not returned count as used.
    pub(super) allocated: u64,
}

/// What is rolled over by a rule, of a month whose units were taken so.
///
/// Where counting began anew and nothing was counted since, what was counted before stands: it may have begun anew with
/// the very end of the month. The limit is the lower of what the plan says and what was granted by: it may have changed with the
/// month's end.
pub(super) fn units(rule: &RolloverRule, epoch: Version, taken: &[Taken]) -> Units {
    let own = taken.iter().find(|counting| counting.epoch == epoch);
    let fullest = || taken.iter().max_by_key(|counting| counting.allocated);
    let Some(counting) = own.or_else(fullest) else { return rule.rule.of(rule.limit, rule.limit) };
    let limit = counting.limit.map_or(rule.limit, |limit| rule.limit.min(Units::saturating(limit)));
    rule.rule.of(limit.saturating_sub(Units::saturating(counting.allocated)), limit)
}

/// What is rolled over by the rules of a command. To be asked under the tenant's lock, under which nothing is granted.
pub(super) async fn read(
    session: &mut Session,
    command: &Command,
    tenant: &Tenant,
    at: UnixMillis,
) -> Result<Vec<(MeterId, Units)>, StoreError> {
    let Change::RollOver { rules } = &command.change else { return Ok(Vec::new()) };
    let Some((month, epoch)) = tenant.at(at).rollover_due(at).filter(|_| !rules.is_empty()) else {
        return Ok(Vec::new());
    };
    let meters = text(rules.iter().map(|rule| json!([rule.meter.as_str()])).collect());
    let args = [Arg::Text(&meters), Arg::Text(command.tenant.as_str()), Arg::Int(month.start.0)];
    let mut taken: Vec<(MeterId, Taken)> = Vec::new();
    for row in session.rows(BUCKETS, &args).await? {
        let meter = MeterId::parse(&row.text(0)?).map_err(|error| unreadable("a meter's id", error))?;
        let limit = row.maybe_int(2)?.map(|limit| u64::try_from(limit).unwrap_or(0));
        taken.push((meter, Taken { epoch: rows::version(&row, 1)?, limit, allocated: row.count(3)? }));
    }
    let rolled = rules.iter().map(|rule| {
        let own: Vec<Taken> =
            taken.iter().filter(|(meter, _)| *meter == rule.meter).map(|(_, taken)| *taken).collect();
        (rule.meter.clone(), units(rule, epoch, &own))
    });
    Ok(rolled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::Rollover;

    fn of(limit: u64, rule: Rollover, taken: &[Taken]) -> u64 {
        let limit = Units::saturating(limit);
        units(&RolloverRule { meter: "requests".parse().unwrap(), limit, rule }, Version(7), taken).get()
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
