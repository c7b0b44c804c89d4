//! The fold: from the set of all events about a customer to what its tenant is to be.

use std::collections::{BTreeMap, BTreeSet};

use super::{StripeEvent, StripeFact, life::Life};
use crate::domain::{
    billing::Sold,
    catalog::Catalog,
    id::{AddonId, FeatureId},
    mirror::{Mirror, MirroredSubscription},
};

/// What comes of all events about a customer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folded {
    /// What the tenant is to be.
    pub mirror: Mirror,
    /// What became of each event, by its id.
    pub verdicts: BTreeMap<String, Verdict>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It decides, or did so together with others.
    Applied,
    /// It says what was so already.
    Settled,
    /// A later event about the same decides.
    Superseded {
        /// Which.
        by: String,
    },
    /// It needs another event.
    Waiting(String),
    /// What it says has no meaning in the policies.
    Unmapped(String),
}

/// The tenant that a customer belongs to by its events: the latest that names one decides.
#[must_use]
pub fn named(events: &[StripeEvent]) -> Option<(&StripeEvent, &str)> {
    let naming = events.iter().filter_map(|event| Some((event, event.names.as_deref()?)));
    naming.max_by_key(|(event, _)| event.place())
}

/// Makes of all events about one customer what its tenant is to be. Neither their order nor repetitions matter.
#[must_use]
pub fn fold(events: &[StripeEvent], catalog: &Catalog) -> Folded {
    let mut ordered: Vec<&StripeEvent> = events.iter().collect();
    ordered.sort_by_key(|event| event.place());
    ordered.dedup_by_key(|event| &event.id);
    let mut lives: BTreeMap<&str, Life<'_>> = BTreeMap::new();
    let mut entitled: Option<(&StripeEvent, &BTreeSet<String>)> = None;
    for event in &ordered {
        match &event.fact {
            StripeFact::Subscription(snapshot) => {
                lives.entry(&snapshot.subscription).or_default().tell(event, snapshot, catalog);
            }
            StripeFact::Payment { subscription, paid } => {
                lives.entry(subscription).or_default().pay(event, *paid);
            }
            StripeFact::Entitlements(keys) => entitled = Some((event, keys)),
            StripeFact::Checkout => {}
        }
    }
    let chosen = chosen(&lives);
    let mirror = Mirror {
        subscription: chosen.and_then(|life| life.mirrored(catalog)),
        addons: addons(&lives, chosen, catalog),
        features: entitled.map(|(_, keys)| features(keys, catalog)).unwrap_or_default(),
    };
    let verdict = |event: &&StripeEvent| (event.id.clone(), verdict(event, &lives, entitled));
    Folded { mirror, verdicts: ordered.iter().map(verdict).collect() }
}

/// The subscription whose plan is the tenant's.
fn chosen<'l, 'e>(lives: &'l BTreeMap<&str, Life<'e>>) -> Option<&'l Life<'e>> {
    let sells_a_plan = |life: &&Life<'_>| life.sold.as_ref().is_some_and(|(_, terms)| terms.plan.is_some());
    lives
        .values()
        .filter(sells_a_plan)
        .filter(|life| life.precedence().is_some())
        .max_by_key(|life| life.precedence())
}

/// How many of every add-on that Stripe sells: those of all subscriptions that let the customer in, and those of the one
/// whose plan is the tenant's while that may go on. Nothing is said of them while no subscription is understood.
fn addons(
    lives: &BTreeMap<&str, Life<'_>>,
    chosen: Option<&Life<'_>>,
    catalog: &Catalog,
) -> BTreeMap<AddonId, u32> {
    if lives.values().all(|life| life.status().is_none()) {
        return BTreeMap::new();
    }
    let map = &catalog.stripe;
    let all = map.prices.values().chain(map.lookup_keys.values());
    let mut sum: BTreeMap<AddonId, u32> = all
        .filter_map(|sold| match sold {
            Sold::Addon(addon) => Some((addon.clone(), 0)),
            Sold::Plan(_) => None,
        })
        .collect();
    for life in lives.values() {
        let Some(status) = life.status() else { continue };
        let own = chosen.is_some_and(|chosen| std::ptr::eq(chosen, life)) && !status.is_over();
        if !(status.entitles() || own) {
            continue;
        }
        for (addon, quantity) in life.sold.iter().flat_map(|(_, terms)| &terms.addons) {
            let so_far = sum.entry(addon.clone()).or_default();
            *so_far = so_far.saturating_add(*quantity).min(crate::domain::addon::MOST_OF_AN_ADDON);
        }
    }
    sum
}

/// Every feature that stripe.yaml names, and whether the customer is entitled to it.
fn features(keys: &BTreeSet<String>, catalog: &Catalog) -> BTreeMap<FeatureId, bool> {
    let mut features = BTreeMap::new();
    for (key, feature) in &catalog.stripe.features {
        *features.entry(feature.clone()).or_default() |= keys.contains(key);
    }
    features
}

fn verdict(
    event: &StripeEvent,
    lives: &BTreeMap<&str, Life<'_>>,
    entitled: Option<(&StripeEvent, &BTreeSet<String>)>,
) -> Verdict {
    match &event.fact {
        StripeFact::Checkout => Verdict::Applied,
        StripeFact::Entitlements(_) => after(event, entitled.map(|(latest, _)| latest)),
        StripeFact::Subscription(snapshot) => {
            lives.get(snapshot.subscription.as_str()).map_or(Verdict::Applied, |life| of_life(event, life))
        }
        StripeFact::Payment { subscription, .. } => match lives.get(subscription.as_str()) {
            Some(life) if life.status().is_some() => {
                let mut decide = life.behind.iter().chain(&life.turned);
                if decide.any(|one| one.id == event.id) { Verdict::Applied } else { Verdict::Settled }
            }
            Some(life) if !life.unmapped.is_empty() => {
                Verdict::Waiting(format!("what subscription `{subscription}` sells is not known"))
            }
            _ => Verdict::Waiting(format!("nothing is known of subscription `{subscription}` yet")),
        },
    }
}

/// Of what a subscription said of itself.
fn of_life(event: &StripeEvent, life: &Life<'_>) -> Verdict {
    let decides = |other: Option<&StripeEvent>| other.is_some_and(|other| other.id == event.id);
    let sold = life.sold.as_ref().map(|(sold, _)| *sold);
    let latest = life.latest.map(|(latest, _)| latest).filter(|_| sold.is_some());
    if decides(sold) || decides(latest) || decides(life.behind.filter(|_| sold.is_some())) {
        return Verdict::Applied;
    }
    let why = life.unmapped.iter().find(|(unmapped, _)| unmapped.id == event.id).map(|(_, why)| why.clone());
    match (why, latest) {
        (Some(why), Some(latest)) if latest.place() < event.place() => Verdict::Unmapped(why),
        (Some(why), None) => Verdict::Unmapped(why),
        _ => after(event, latest),
    }
}

/// Superseded by the latest, unless it is that.
fn after(event: &StripeEvent, latest: Option<&StripeEvent>) -> Verdict {
    match latest {
        Some(latest) if latest.id != event.id => Verdict::Superseded { by: latest.id.clone() },
        _ => Verdict::Applied,
    }
}

impl Folded {
    /// What the tenant's subscription is to be.
    #[must_use]
    pub const fn subscription(&self) -> Option<&MirroredSubscription> {
        self.mirror.subscription.as_ref()
    }
}
