//! Rolls over what is left of months that have ended.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::Lifecycle;
use crate::{
    domain::{catalog::Catalog, command::Change, id::PlanId, plan::Plan, time::UnixMillis},
    ports::StoreError,
};

/// How often months are looked at.
pub(super) const EACH: Duration = Duration::from_secs(10);
/// So long after a month's end every node has recorded what it used of it, and given back what it did not.
const RETURNED_MILLIS: i64 = 20_000;

impl Lifecycle {
    pub(super) async fn roll_over(&mut self, at: UnixMillis) -> Result<bool, StoreError> {
        let catalog = self.parts.policies.catalog();
        let plans: BTreeSet<&PlanId> = catalog.deciding().flat_map(|catalog| plans(catalog)).collect();
        let plans: Vec<PlanId> = plans.into_iter().cloned().collect();
        if plans.is_empty() {
            return Ok(false);
        }
        let ended = UnixMillis(at.0.saturating_sub(RETURNED_MILLIS));
        let over = self.parts.lives.to_roll_over(&plans, ended, self.page()).await?;
        let (now, more) = self.choose(over);
        for id in now {
            match self.parts.tenants.tenant(&id).await {
                Ok(read) => {
                    let Some(tenant) = read.value else { continue };
                    let rules = tenant.rollover_rules(catalog.of_tenant(&id), at);
                    let change = Change::RollOver { rules };
                    self.make(id, change, at).await?;
                }
                Err(error) => self.aside.failed(&id, "quota.rolled_over", error.into())?,
            }
        }
        Ok(more)
    }
}

/// Plans that have something rolled over, in one version at least.
fn plans(catalog: &Catalog) -> BTreeSet<&PlanId> {
    let rolls = |plan: &&Arc<Plan>| {
        plan.meters.iter().any(|terms| terms.quota.is_some_and(|quota| quota.rollover.is_some()))
    };
    catalog.plans.values().chain(catalog.earlier.values()).filter(rolls).map(|plan| &plan.id).collect()
}
