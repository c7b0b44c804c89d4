//! What a tenant's running month costs so far, and what it is likely to: by the same reckoning as its statement.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    domain::{
        cost::CostSoFar,
        forecast::{METHOD, projected},
        period::Period,
        rights::{Entitlement, Rights, Source},
        statement::{BucketUse, Item, Statement, Timeline, reckon},
        time::UnixMillis,
        units::Units,
    },
    ports::{Bills, MeterUsage, SourceUsage, StatementStore, StoreError, TenantStore},
};

/// Reckons from the store and the catalog that the rights were compiled from.
pub(super) struct StoreBills {
    pub(super) tenants: Arc<dyn TenantStore>,
    pub(super) statements: Arc<dyn StatementStore>,
}

#[async_trait]
impl Bills for StoreBills {
    async fn so_far(
        &self,
        rights: &Arc<Rights>,
        usage: &[MeterUsage],
        now: UnixMillis,
    ) -> Result<Option<CostSoFar>, StoreError> {
        let given = rights.entitlement.as_ref();
        let calendar = match (given, &rights.inactive) {
            (Some(given), _) => &given.calendar,
            (None, Some(inactive)) => &inactive.calendar,
            (None, None) => return Ok(None),
        };
        let Some(tenant) = self.tenants.tenant(&rights.tenant).await?.value else { return Ok(None) };
        let month = calendar.month(now);
        let Some(timeline) = self.statements.timeline(&tenant, month).await? else { return Ok(None) };
        // Known plans of the month's rest may move its end.
        let period = timeline.period_from(month.start).unwrap_or(month);
        let recorded = self.statements.counted(&rights.tenant, period, false).await?.buckets;
        let reckoned = |used: &[BucketUse]| reckon(&timeline, &rights.catalog, period, used);
        let used = |likely: bool| {
            with_known(&recorded, given, usage, |one| match likely {
                true => expected(one, given, &timeline, period, now),
                false => one.used,
            })
        };
        let (so_far, likely) = (reckoned(&used(false)), reckoned(&used(true)));
        let found = so_far.zip(likely);
        Ok(found.and_then(|(so_far, likely)| cost(&so_far, &likely)))
    }
}

fn cost(so_far: &Statement, likely: &Statement) -> Option<CostSoFar> {
    Some(CostSoFar {
        currency: so_far.currency?,
        plan: so_far.sum(|item| matches!(item, Item::Plan { .. })),
        addons: so_far.sum(|item| matches!(item, Item::Addon { .. })),
        overage: so_far.sum(|item| matches!(item, Item::Overage { .. } | Item::SpendCap { .. })),
        total: so_far.total(),
        forecast: likely.total().max(so_far.total()),
        method: METHOD,
        spend_cap: so_far.spend_cap,
    })
}

/// An overage as the caller knows it, and the meter that it is of.
struct Beyond<'a> {
    of: &'a MeterUsage,
    source: &'a SourceUsage,
    used: Units,
}

/// What was recorded, where the overage of the running counting is as the caller has just read it.
fn with_known(
    recorded: &[BucketUse],
    given: Option<&Entitlement>,
    usage: &[MeterUsage],
    units: impl Fn(&Beyond<'_>) -> Units,
) -> Vec<BucketUse> {
    let Some(given) = given else { return recorded.to_vec() };
    let known = |bucket: &BucketUse| {
        let running = bucket.source == Source::Overage && bucket.counting == given.epoch;
        running && usage.iter().any(|of| of.meter == bucket.meter)
    };
    let mut used: Vec<BucketUse> = recorded.iter().filter(|bucket| !known(bucket)).cloned().collect();
    for of in usage {
        let Some(source) = of.sources.iter().find(|source| source.source == Source::Overage) else {
            continue;
        };
        let beyond = Beyond { of, source, used: source.used };
        used.push(BucketUse {
            meter: of.meter.clone(),
            source: Source::Overage,
            counting: given.epoch,
            grant: None,
            used: units(&beyond).get(),
            uncertain: source.uncertain.get(),
            hours: Vec::new(),
        });
    }
    used
}

/// Units beyond what is included and granted at the period's end, if all goes on as it did since its counting began.
fn expected(
    beyond: &Beyond<'_>,
    given: Option<&Entitlement>,
    timeline: &Timeline,
    period: Period,
    now: UnixMillis,
) -> Units {
    let sources = || beyond.of.sources.iter();
    let all = sources().fold(Units::ZERO, |sum, source| sum.saturating_add(source.used));
    let own = sources().filter(|source| source.source != Source::Overage);
    let room = own.fold(Units::ZERO, |sum, source| {
        // What is not limited is never gone beyond.
        sum.saturating_add(source.limit.unwrap_or(Units::MAX))
    });
    let start = given.map_or(period.start, |given| timeline.counting_since(given.epoch, period));
    let whole = projected(all, Period { start, ..period }, now).saturating_sub(room);
    let capped = beyond.source.limit.map_or(whole, |cap| whole.min(cap));
    capped.max(beyond.used)
}
