//! Brings tenants to newer versions of their plans, where those have come into force for them by themselves.

use std::{sync::Arc, time::Duration};

use super::Lifecycle;
use crate::{
    domain::{
        catalog::{Catalog, Stamp},
        command::Change,
        id::TenantId,
        plan::{Existing, Plan, PlanRef, PlanVersion},
        time::{Monotonic, UnixMillis},
    },
    ports::StoreError,
};

/// How often all of them are looked at; also when the catalog has changed.
const EACH: Duration = Duration::from_secs(30);
/// What is asked for at once.
const PAGE: u32 = 500;
/// Plans without such tenants that are passed in one turn.
const PASSED: usize = 8;

/// Where the look at all of them has come to.
#[derive(Default)]
pub(super) struct Sweep {
    of: Option<Stamp>,
    /// Yet to be looked at; the last one first.
    plans: Vec<PlanRef>,
    after: Option<TenantId>,
    /// When the next begins.
    next: Monotonic,
}

impl Sweep {
    fn begin(&mut self, catalog: &Arc<Catalog>, now: Monotonic) {
        let changed = self.of != Some(catalog.stamp);
        if changed || (self.plans.is_empty() && now >= self.next) {
            self.of = Some(catalog.stamp);
            let plans = catalog.deciding().flat_map(|catalog| catalog.plans.values());
            self.plans = plans.filter(|plan| takes_over(plan)).map(|plan| plan.reference()).collect();
            self.plans.sort();
            self.plans.dedup();
            self.after = None;
            self.next = now.after(EACH);
        }
    }
}

/// Whether tenants may come to the plan's version by themselves.
fn takes_over(plan: &Plan) -> bool {
    plan.version > PlanVersion::FIRST
        && match plan.existing {
            Existing::Stay => false,
            Existing::NextPeriod => plan.introduced.is_some(),
            Existing::On(_) => true,
        }
}

impl Lifecycle {
    /// Looks at one page of tenants; `true`: some were moved, and there may be more.
    pub(super) async fn move_versions(&mut self, at: UnixMillis, now: Monotonic) -> Result<bool, StoreError> {
        let catalog = self.parts.policies.catalog();
        self.sweep.begin(&catalog, now);
        for _ in 0..PASSED {
            let Some(plan) = self.sweep.plans.last() else { break };
            let page = self.parts.lives.on_older_version(plan, self.sweep.after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                self.sweep.plans.pop();
                self.sweep.after = None;
                continue;
            };
            self.sweep.after = Some(last.id.clone());
            let mut moved = false;
            for tenant in page {
                let Some(to) = catalog.of_tenant(&tenant.id).moved_to(&tenant.at(at), at) else { continue };
                if !self.aside.has(&tenant.id) {
                    moved |= self.make(tenant.id, Change::MoveVersion { to }, at).await?;
                }
            }
            return Ok(moved);
        }
        Ok(false)
    }
}
