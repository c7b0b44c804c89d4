//! What tenants had and what is to become of them, in memory.

use async_trait::async_trait;
use serde_json::Value;

use super::{Memory, state::State, take};
use crate::{
    domain::{
        command::{Change, Command},
        id::{MeterId, PlanId, TenantId},
        plan::PlanRef,
        rollover::Taken,
        subscription::Subscription,
        tenant::Tenant,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{GrantRow, KeptPlan, LifecycleStore, PlanStore, PlanTerms, Sold, SoldTerms, Span, StoreError},
};

impl State {
    /// What is rolled over by the rules of a command.
    pub(super) fn unused(&self, command: &Command, tenant: &Tenant, at: UnixMillis) -> Vec<(MeterId, Units)> {
        let Change::RollOver { rules } = &command.change else { return Vec::new() };
        let Some((month, epoch)) = tenant.at(at).rollover_due(at) else { return Vec::new() };
        let rolled = rules.iter().map(|rule| {
            let of_plan = self.book.buckets.iter().filter(|(key, _)| {
                key.tenant == command.tenant
                    && key.meter == rule.meter
                    && key.span == Span::MONTH
                    && key.start == month.start
            });
            let taken: Vec<Taken> = of_plan
                .map(|(key, bucket)| Taken {
                    epoch: key.epoch,
                    limit: bucket.limit,
                    allocated: bucket.allocated,
                })
                .collect();
            (rule.meter.clone(), rule.left(epoch, &taken))
        });
        rolled.collect()
    }

    /// Keeps the history of a tenant's grants.
    pub(super) fn keep_grants(&mut self, before: &Tenant, after: &Tenant, at: UnixMillis) {
        let history = self.grants.entry(after.id.clone()).or_default();
        for row in history.iter_mut().filter(|row| row.ended_at.is_none()) {
            if after.grants.iter().all(|grant| grant.id != row.grant.id) {
                row.ended_at = Some(at);
            }
        }
        let given = after.grants.iter().filter(|grant| before.grants.iter().all(|had| had.id != grant.id));
        history.extend(given.map(|grant| GrantRow { grant: grant.clone(), ended_at: None }));
    }

    fn subscriptions(&self) -> impl Iterator<Item = (&Tenant, &Subscription)> {
        self.tenants.values().filter_map(|tenant| Some((tenant, tenant.subscription.as_ref()?)))
    }
}

#[async_trait]
impl LifecycleStore for Memory {
    async fn grants(
        &self,
        tenant: &TenantId,
        before: Option<Version>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        let state = self.state()?;
        let all = state.grants.get(tenant).into_iter().flatten().rev();
        let mut rows = all.filter(|row| before.is_none_or(|before| row.grant.number < before)).peekable();
        let mut page: Vec<GrantRow> = take(limit, rows.by_ref().cloned());
        let last = page.last().map(|row| row.grant.number);
        page.extend(rows.take_while(|row| Some(row.grant.number) == last).cloned());
        Ok(page)
    }

    async fn due(&self, now: UnixMillis, limit: u32) -> Result<Vec<TenantId>, StoreError> {
        let state = self.state()?;
        let due = state.tenants.values().filter_map(|tenant| Some((tenant.next_instant()?, &tenant.id)));
        let mut due: Vec<_> = due.filter(|(at, _)| *at <= now).collect();
        due.sort();
        Ok(take(limit, due.into_iter().map(|(_, id)| id.clone())))
    }

    async fn upcoming(
        &self,
        after: Option<&(UnixMillis, TenantId)>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        let state = self.state()?;
        let place = |tenant: &Tenant| Some((tenant.next_instant()?, tenant.id.clone()));
        let all = state.tenants.values().filter_map(|tenant| Some((place(tenant)?, tenant)));
        let mut next: Vec<_> = all.filter(|(place, _)| after.is_none_or(|after| place > after)).collect();
        next.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(take(limit, next.into_iter().map(|(_, tenant)| tenant.clone())))
    }

    async fn on_older_version(
        &self,
        plan: &PlanRef,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        let state = self.state()?;
        let older = state.subscriptions().filter(|(tenant, subscription)| {
            let on = &subscription.plan;
            on.id == plan.id
                && on.version < plan.version
                && subscription.state.state().goes_on()
                && after.is_none_or(|after| tenant.id > *after)
        });
        Ok(take(limit, older.map(|(tenant, _)| tenant.clone())))
    }

    async fn to_roll_over(
        &self,
        plans: &[PlanId],
        ended: UnixMillis,
        limit: u32,
    ) -> Result<Vec<TenantId>, StoreError> {
        let state = self.state()?;
        let due = state.subscriptions().filter(|(_, subscription)| {
            subscription.rolls_at < ended
                && subscription.state.state().entitles()
                && plans.contains(&subscription.plan.id)
        });
        let mut due: Vec<_> = due.map(|(tenant, subscription)| (subscription.rolls_at, &tenant.id)).collect();
        due.sort();
        Ok(take(limit, due.into_iter().map(|(_, id)| id.clone())))
    }

    async fn tenants_by_plan(&self) -> Result<Vec<(PlanRef, u64)>, StoreError> {
        let state = self.state()?;
        let mut counted = std::collections::BTreeMap::<PlanRef, u64>::new();
        for (_, subscription) in
            state.subscriptions().filter(|(_, subscription)| subscription.state.state().goes_on())
        {
            *counted.entry(subscription.plan.clone()).or_default() += 1;
        }
        Ok(counted.into_iter().collect())
    }
}

#[async_trait]
impl PlanStore for Memory {
    async fn keep_plans(&self, plans: &[PlanTerms], at: UnixMillis) -> Result<(), StoreError> {
        let mut state = self.state()?;
        for terms in plans {
            let kept = KeptPlan { plan: terms.clone(), introduced: at };
            state
                .plans
                .entry(terms.plan.clone())
                .and_modify(|kept| kept.plan = terms.clone())
                .or_insert(kept);
        }
        Ok(())
    }

    async fn kept_plans(&self) -> Result<Vec<KeptPlan>, StoreError> {
        Ok(self.state()?.plans.values().cloned().collect())
    }

    async fn keep_sold(&self, sold: &[SoldTerms]) -> Result<(), StoreError> {
        let each = sold.iter().map(|one| (one.what.clone(), one.terms.clone()));
        self.state()?.sold.extend(each);
        Ok(())
    }

    async fn kept_sold(&self) -> Result<Vec<SoldTerms>, StoreError> {
        let terms = |(what, terms): (&Sold, &Value)| SoldTerms { what: what.clone(), terms: terms.clone() };
        Ok(self.state()?.sold.iter().map(terms).collect())
    }
}
