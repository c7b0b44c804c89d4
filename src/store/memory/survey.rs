//! What many tenants used, from a book that is all in memory.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::Memory;
use crate::{
    domain::{
        id::{MeterId, TenantId},
        impact::{DayUse, Lookback, Part, Spent},
        stripe::StripeEvent,
        time::{UnixMillis, Version},
    },
    ports::{StoreError, SurveyStore},
    store::settled,
};

type Sums = BTreeMap<(MeterId, Part, i64, Option<Version>), i64>;

#[async_trait]
impl SurveyStore for Memory {
    async fn used_of(
        &self,
        tenants: &[Lookback],
        until: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<DayUse>>, StoreError> {
        let state = self.state()?;
        let mut all: HashMap<TenantId, Sums> = HashMap::new();
        let asked: HashMap<&TenantId, &Lookback> = tenants.iter().map(|one| (&one.tenant, one)).collect();
        let hours = state
            .book
            .usage
            .iter()
            .map(|((tenant, meter, at, epoch), used)| (tenant, meter, *at, Some(*epoch), used.units));
        let days = state.days.iter().map(|((tenant, meter, at), units)| (tenant, meter, *at, None, *units));
        for (tenant, meter, at, epoch, units) in hours.chain(days) {
            let Some(lookback) = asked.get(tenant).filter(|one| at >= one.from && at < until) else {
                continue;
            };
            let key = (meter.clone(), lookback.part(at), lookback.zone.day(at), epoch);
            *all.entry(tenant.clone()).or_default().entry(key).or_default() += units;
        }
        let use_of = |((meter, part, day, epoch), units): ((MeterId, Part, i64, Option<Version>), i64)| {
            DayUse { meter, part, day, epoch, units }
        };
        Ok(all.into_iter().map(|(tenant, sums)| (tenant, sums.into_iter().map(use_of).collect())).collect())
    }

    async fn spent_of(
        &self,
        tenants: &[Lookback],
        now: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<Spent>>, StoreError> {
        let state = self.state()?;
        let mut all: HashMap<TenantId, Vec<Spent>> = HashMap::new();
        for (key, bucket) in &state.book.buckets {
            let Some(source) = key.span.source(key.epoch) else { continue };
            let asked = tenants.iter().any(|one| one.tenant == key.tenant);
            if asked && key.start <= now && bucket.end > now {
                all.entry(key.tenant.clone()).or_default().push(Spent {
                    meter: key.meter.clone(),
                    source,
                    start: key.start,
                    counting: key.epoch,
                    used: bucket.used,
                });
            }
        }
        Ok(all)
    }

    async fn told_of(&self, tenants: &[TenantId]) -> Result<HashMap<TenantId, Vec<StripeEvent>>, StoreError> {
        let state = self.state()?;
        let linked = state.told.links.iter().filter(|(_, (tenant, ..))| tenants.contains(tenant));
        let told = |customer: &str| {
            let own = state.told.events.iter().filter(|event| event.row.customer == customer);
            own.filter_map(|event| settled::meaning(&event.row.body)).collect()
        };
        Ok(linked.map(|(customer, (tenant, ..))| (tenant.clone(), told(customer))).collect())
    }
}
