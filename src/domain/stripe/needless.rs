//! Which of a customer's events can be forgotten, whatever the policies come to say: those that no fold would go by.
//!
//! A mapping understands a subscription's items, or does not. Where it does, what the subscription says of itself stands
//! for all that came before, unless it is behind with paying, as the grace runs from the first word of that. So an event
//! is needless where a later one about the same subscription is understood by every mapping that understands the former.

use std::collections::{BTreeMap, BTreeSet};

use super::{Item, Snapshot, StripeEvent, StripeFact, StripeStatus, fold::named};
use crate::domain::addon::MOST_OF_AN_ADDON;

/// Of all events about one customer those that can be forgotten, by their ids: with any policies, the fold over the others
/// comes to the same.
#[must_use]
pub fn needless(events: &[StripeEvent]) -> BTreeSet<&str> {
    let mut ordered: Vec<&StripeEvent> = events.iter().collect();
    ordered.sort_by_key(|event| event.place());
    ordered.dedup_by_key(|event| &event.id);
    let mut gone = said_again(&ordered);
    let mut lives: BTreeMap<&str, Payments<'_>> = BTreeMap::new();
    for event in ordered.iter().filter(|event| !gone.contains(event.id.as_str())) {
        match &event.fact {
            StripeFact::Subscription(snapshot) => {
                lives.entry(&snapshot.subscription).or_default().told(snapshot.status);
            }
            StripeFact::Payment { subscription, paid } => {
                lives.entry(subscription).or_default().paid(&event.id, *paid);
            }
            StripeFact::Entitlements(_) | StripeFact::Checkout => {}
        }
    }
    for payments in lives.into_values() {
        gone.extend(payments.needless());
    }
    if let Some((event, _)) = named(events) {
        gone.remove(event.id.as_str());
    }
    gone
}

/// Those of which a later one says as much: of subscriptions, entitlements and checkouts.
fn said_again<'e>(ordered: &[&'e StripeEvent]) -> BTreeSet<&'e str> {
    let mut gone = BTreeSet::new();
    let mut later: BTreeMap<&str, Vec<Said<'_>>> = BTreeMap::new();
    let mut entitled = false;
    for event in ordered.iter().rev() {
        let again = match &event.fact {
            StripeFact::Subscription(snapshot) => {
                let of_life = later.entry(&snapshot.subscription).or_default();
                let said = Said::of(snapshot);
                let again = said.means_nothing() || of_life.iter().any(|later| later.stands_for(&said));
                if !again && snapshot.status != StripeStatus::PastDue {
                    of_life.push(said);
                }
                again
            }
            StripeFact::Entitlements(_) => std::mem::replace(&mut entitled, true),
            // Whom it names is asked of the latest that names one.
            StripeFact::Checkout => true,
            StripeFact::Payment { .. } => false,
        };
        if again {
            gone.insert(event.id.as_str());
        }
    }
    gone
}

/// What a subscription said of itself, as far as it matters to whether it is understood.
struct Said<'e> {
    items: &'e [Item],
    names: BTreeSet<(&'e str, Option<&'e str>)>,
    /// No mapping finds too many of an add-on in it.
    modest: bool,
    over: bool,
}

impl<'e> Said<'e> {
    fn of(snapshot: &'e Snapshot) -> Self {
        let items = snapshot.items.as_slice();
        let sum: u64 = items.iter().map(|item| u64::from(item.quantity)).sum();
        Self {
            items,
            names: items.iter().map(|item| (item.price.as_str(), item.lookup_key.as_deref())).collect(),
            modest: sum <= u64::from(MOST_OF_AN_ADDON),
            over: snapshot.status.is_over(),
        }
    }

    /// Of no items nothing is ever understood, but that it is over.
    fn means_nothing(&self) -> bool {
        self.items.is_empty() && !self.over
    }

    /// Whether every mapping that understands the earlier one understands this. That something is over is understood
    /// without a mapping.
    fn stands_for(&self, earlier: &Said<'_>) -> bool {
        let understood = !self.items.is_empty()
            && self.names.is_subset(&earlier.names)
            && (self.modest || self.items == earlier.items);
        (understood || self.items == earlier.items) && (self.over || !earlier.over)
    }
}

/// The payments of one subscription, in their order.
#[derive(Default)]
struct Payments<'e> {
    /// Those that are needless.
    gone: Vec<&'e str>,
    /// Those that may matter, of earlier runs.
    kept: Vec<&'e str>,
    /// Those since the subscription last said something of itself.
    run: Vec<(&'e str, bool)>,
}

impl<'e> Payments<'e> {
    fn paid(&mut self, id: &'e str, paid: bool) {
        self.run.push((id, paid));
    }

    fn told(&mut self, status: StripeStatus) {
        self.end_run();
        // Whatever was paid before the end is nothing to anybody.
        if status.is_over() {
            self.gone.append(&mut self.kept);
        }
    }

    /// Of a run the last that was paid matters, and the first failure after it: from any state they lead to where all of
    /// it leads.
    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        let paid = run.iter().rposition(|(_, paid)| *paid);
        let failed = paid.map_or(0, |place| place + 1);
        for (place, (id, _)) in run.into_iter().enumerate() {
            let matters = paid == Some(place) || place == failed;
            if matters { self.kept.push(id) } else { self.gone.push(id) }
        }
    }

    fn needless(mut self) -> Vec<&'e str> {
        self.end_run();
        self.gone
    }
}
