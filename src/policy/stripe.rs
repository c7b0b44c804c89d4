//! What `stripe.yaml` says, in the words of the catalog.

use super::definition::{Name, Sale, StripeFile};
use crate::domain::{
    billing::{Sold, StripeMap, ToldMeter},
    id::{AddonId, FeatureId, MeterId, PlanId},
};

/// The map of a file whose names are all declared.
pub(super) fn map(file: &StripeFile) -> StripeMap {
    let sold = |(name, sale): &(Name, Sale)| {
        let sold = match sale {
            Sale::Plan(plan) => Sold::Plan(PlanId::parse(&plan.value).ok()?),
            Sale::Addon(addon) => Sold::Addon(AddonId::parse(&addon.value).ok()?),
        };
        Some((name.value.clone(), sold))
    };
    StripeMap {
        prices: file.prices.iter().filter_map(sold).collect(),
        lookup_keys: file.lookup_keys.iter().filter_map(sold).collect(),
        features: file
            .features
            .iter()
            .filter_map(|(key, feature)| Some((key.value.clone(), FeatureId::parse(&feature.value).ok()?)))
            .collect(),
        meters: file
            .meters
            .iter()
            .filter_map(|(meter, told)| {
                let sent = ToldMeter { event_name: told.event_name.value.clone(), count: told.count };
                Some((MeterId::parse(&meter.value).ok()?, sent))
            })
            .collect(),
    }
}
