//! Whose subscriptions of a billing system would mean something else: all that it told of a customer, by both mappings.

use super::{Assessment, Remapped};
use crate::domain::{
    catalog::Catalog,
    id::TenantId,
    stripe::{StripeEvent, fold},
};

impl Assessment {
    /// Whether it is to be asked what the billing system told of the tenants: the mappings differ.
    #[must_use]
    pub fn remaps(&self) -> bool {
        let (before, after) = self.catalogs();
        before.stripe != after.stripe
    }

    /// Adds what the billing system told of a tenant's customer.
    pub fn told(&mut self, tenant: &TenantId, events: &[StripeEvent]) {
        let (before, after) = self.catalogs();
        let (before, after) = (meant(events, before), meant(events, after));
        if before != after {
            self.impact().remapped.add(Remapped { tenant: tenant.clone(), before, after });
        }
    }
}

/// What all events of a customer come to, in words; `None`: nothing, and its tenant stays as it is.
fn meant(events: &[StripeEvent], catalog: &Catalog) -> Option<String> {
    let mirror = fold(events, catalog).mirror;
    let mut parts = Vec::new();
    parts.extend(mirror.subscription.map(|subscription| format!("plan {}", subscription.plan.id)));
    let addons = mirror.addons.into_iter().filter(|(_, quantity)| *quantity > 0);
    parts.extend(addons.map(|(addon, quantity)| format!("{quantity} of {addon}")));
    let word = |has| if has { "on" } else { "off" };
    parts.extend(mirror.features.into_iter().map(|(feature, has)| format!("{feature} {}", word(has))));
    (!parts.is_empty()).then(|| parts.join(", "))
}
