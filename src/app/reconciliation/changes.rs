//! The changes of the simulated year: some of each kind.

use super::world::{PLANS, TOKENS, World, ZONES};
use crate::domain::{
    command::{Change, NewGrant, Subscribe, When},
    grant::DEFAULT_PRIORITY,
    id::{MeterId, TenantId},
    period::{AnchorDay, Zone},
    subscription::UsageRule,
    tenant::Overrides,
    time::UnixMillis,
    units::Units,
};

impl World {
    pub(super) async fn any_change(&mut self, id: &TenantId) -> Option<Change> {
        let (tenant, _) = self.rights(id).await;
        let usage = [UsageRule::Keep, UsageRule::Keep, UsageRule::Prorate, UsageRule::Reset];
        Some(match self.random.below(16) {
            0..5 => {
                let plan = PLANS[self.random.below(PLANS.len())].parse().unwrap();
                let at = if self.random.chance(30) { When::PeriodEnd } else { When::Now };
                let usage = Some(usage[self.random.below(usage.len())]);
                let anchor = self.random.chance(15).then(|| self.random.between(1, 31));
                let anchor = anchor.and_then(|day| AnchorDay::new(i64::try_from(day).unwrap()).ok());
                Change::Subscribe(Subscribe { at, usage, anchor, ..Subscribe::to(plan) })
            }
            5 => Change::Cancel(if self.random.chance(50) { When::Now } else { When::PeriodEnd }),
            6 => Change::Undo,
            7 => Change::Pause,
            8 | 9 => Change::Continue,
            10 => Change::PastDue { grace_days: 5 },
            11 => Change::Paid,
            12 => {
                let zone = ZONES[self.random.below(ZONES.len())];
                Change::PutTenant { name: None, zone: Some(Zone::named(zone).unwrap()), attributes: None }
            }
            13 => {
                let last = tenant.grants.first().map(|grant| grant.id.clone());
                match last.filter(|_| self.random.chance(50)) {
                    Some(id) => Change::VoidGrant(id),
                    None => self.grant(),
                }
            }
            14 => {
                let addon = "boost".parse().unwrap();
                let has = !tenant.addons.is_empty();
                if has && self.random.chance(50) {
                    Change::Detach { addon, at: When::Now }
                } else {
                    let quantity = u32::try_from(self.random.between(1, 3)).unwrap();
                    Change::Attach { addon, quantity }
                }
            }
            _ => {
                let mut overrides = Overrides::EMPTY;
                if self.random.chance(50) {
                    let plan = &self.catalog.plans[PLANS[2]];
                    let quota = plan.meters[usize::from(TOKENS.0)].quota.unwrap();
                    overrides.quotas.insert(MeterId::parse("ai_tokens").unwrap(), quota);
                }
                Change::SetOverrides(overrides)
            }
        })
    }

    fn grant(&mut self) -> Change {
        let days = i64::try_from(self.random.between(3, 50)).unwrap();
        Change::Grant(NewGrant {
            meter: MeterId::parse("requests").unwrap(),
            units: Units::saturating(self.random.between(1, 300)),
            priority: DEFAULT_PRIORITY,
            expires_at: Some(UnixMillis(self.now().0 + days * 86_400_000)),
            recurring: self.random.chance(40),
            reason: None,
        })
    }
}
