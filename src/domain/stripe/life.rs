//! One subscription of Stripe's, by all events about it in their order: what it sells, and how it stands.

use std::collections::BTreeMap;

use super::{Item, Snapshot, StripeEvent, StripeStatus};
use crate::domain::{
    addon::MOST_OF_AN_ADDON,
    billing::{Sold, StripeMap},
    catalog::Catalog,
    id::{AddonId, PlanId},
    mirror::{MirroredStanding, MirroredSubscription},
    plan::Plan,
    time::UnixMillis,
};

/// What a subscription sells, in the words of the policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Terms {
    pub(super) plan: Option<PlanId>,
    pub(super) addons: BTreeMap<AddonId, u32>,
}

/// What the items of a subscription sell.
///
/// # Errors
/// Why that cannot be said, for people.
pub(super) fn terms(items: &[Item], catalog: &Catalog) -> Result<Terms, String> {
    let mut terms = Terms::default();
    for item in items {
        match sold(item, &catalog.stripe)? {
            Sold::Plan(plan) => match &terms.plan {
                Some(other) if other != plan => {
                    return Err(format!("it sells two plans, `{other}` and `{plan}`"));
                }
                _ if catalog.plan(plan.as_str()).is_none() => {
                    return Err(format!("the policies have no plan `{plan}`"));
                }
                _ => terms.plan = Some(plan.clone()),
            },
            Sold::Addon(addon) => {
                let sum = terms.addons.entry(addon.clone()).or_default();
                *sum = sum.saturating_add(item.quantity);
                if *sum > MOST_OF_AN_ADDON {
                    return Err(format!(
                        "it sells {sum} of the add-on `{addon}`: a tenant may have {MOST_OF_AN_ADDON}"
                    ));
                }
            }
        }
    }
    if items.is_empty() { Err("it lists no items".to_owned()) } else { Ok(terms) }
}

fn sold<'m>(item: &Item, map: &'m StripeMap) -> Result<&'m Sold, String> {
    let by_key = || item.lookup_key.as_deref().and_then(|key| map.lookup_keys.get(key));
    map.prices.get(&item.price).or_else(by_key).ok_or_else(|| match &item.lookup_key {
        Some(key) => {
            format!("stripe.yaml has neither the price `{}` nor the lookup key `{key}`", item.price)
        }
        None => format!("stripe.yaml does not have the price `{}`", item.price),
    })
}

/// A subscription.
#[derive(Debug, Default)]
pub(super) struct Life<'e> {
    /// The latest that it said of itself, where it could be understood.
    pub(super) latest: Option<(&'e StripeEvent, &'e Snapshot)>,
    /// The latest that says what it sells.
    pub(super) sold: Option<(&'e StripeEvent, Terms)>,
    /// What it said of itself and could not be understood, with the reason.
    pub(super) unmapped: Vec<(&'e StripeEvent, String)>,
    /// What was said about its invoices since and has changed how it stands.
    pub(super) turned: Vec<&'e StripeEvent>,
    /// The first of those that say, without a break, that it is behind.
    pub(super) behind: Option<&'e StripeEvent>,
    status: Option<StripeStatus>,
}

impl<'e> Life<'e> {
    /// The next thing that it said of itself.
    pub(super) fn tell(&mut self, event: &'e StripeEvent, snapshot: &'e Snapshot, catalog: &Catalog) {
        match terms(&snapshot.items, catalog) {
            Ok(terms) => self.sold = Some((event, terms)),
            Err(why) => {
                self.unmapped.push((event, why));
                // That it is over is understood whatever it sold; anything else waits for the mapping.
                if !snapshot.status.is_over() {
                    return;
                }
            }
        }
        self.latest = Some((event, snapshot));
        self.turned.clear();
        self.stand(event, snapshot.status);
    }

    /// The next thing about its invoices.
    pub(super) fn pay(&mut self, event: &'e StripeEvent, paid: bool) {
        use StripeStatus as S;
        let status = match (self.status, paid) {
            (Some(S::Active), false) => S::PastDue,
            (Some(S::PastDue | S::Unpaid | S::Incomplete), true) => S::Active,
            // Nothing is known of it yet; if it says that it is behind, it is since then.
            (None, false) => return self.behind = self.behind.or(Some(event)),
            (None, true) => return self.behind = None,
            _ => return,
        };
        self.turned.push(event);
        self.stand(event, status);
    }

    fn stand(&mut self, event: &'e StripeEvent, status: StripeStatus) {
        self.status = Some(status);
        match status {
            StripeStatus::PastDue => self.behind = self.behind.or(Some(event)),
            _ => self.behind = None,
        }
    }

    /// How it stands, of what could be understood.
    pub(super) fn status(&self) -> Option<StripeStatus> {
        self.status.filter(|_| self.sold.is_some())
    }

    /// What a tenant's subscription is to be by it; `None`: it sells no plan.
    pub(super) fn mirrored(&self, catalog: &Catalog) -> Option<MirroredSubscription> {
        let ((event, snapshot), (_, terms)) = (self.latest?, self.sold.as_ref()?);
        let plan = catalog.plan(terms.plan.as_ref()?.as_str())?;
        let standing = self.standing(event.created, snapshot, plan)?;
        Some(MirroredSubscription {
            plan: plan.reference(),
            standing,
            cancel_at: snapshot.cancel_at,
            anchor: snapshot.anchor,
            begun: snapshot.begun,
        })
    }

    fn standing(&self, told: UnixMillis, snapshot: &Snapshot, plan: &Plan) -> Option<MirroredStanding> {
        use StripeStatus as S;
        Some(match self.status()? {
            // A trial whose end is not known is none.
            S::Trialing => match snapshot.trial_end {
                Some(ends_at) => MirroredStanding::Trialing { ends_at },
                None => MirroredStanding::Active,
            },
            S::Active => MirroredStanding::Active,
            S::PastDue => MirroredStanding::PastDue {
                since: self.behind.map_or(told, |event| event.created),
                grace_days: plan.grace_days.unwrap_or(Plan::GRACE_DAYS),
            },
            S::Unpaid | S::Incomplete => MirroredStanding::Unpaid,
            S::Paused => MirroredStanding::Paused,
            S::IncompleteExpired => MirroredStanding::Expired,
            S::Canceled => MirroredStanding::Canceled { at: snapshot.ended_at.unwrap_or(told) },
        })
    }

    /// Which of a customer's subscriptions counts: one that lets the customer in before one that does not, and the newer
    /// before the older.
    pub(super) fn precedence(&self) -> Option<(u8, UnixMillis, &'e str)> {
        use StripeStatus as S;
        let (_, snapshot) = self.latest?;
        let class = match self.status()? {
            S::Trialing | S::Active | S::PastDue => 3,
            S::Unpaid | S::Paused => 2,
            S::Incomplete => 1,
            S::IncompleteExpired | S::Canceled => 0,
        };
        Some((class, snapshot.created, &snapshot.subscription))
    }
}
