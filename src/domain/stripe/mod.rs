//! What Stripe tells, and what is to be made of all that it told about a customer: pure, whatever the order.
//!
//! Events come late, twice and in any order. So no event changes anything by itself: the wanted state is a [`fold`] over
//! the set of all that are known, and each of its aspects is decided by the latest event about it.

mod fold;
mod life;
mod needless;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use fold::{Folded, Verdict, fold, named};
pub use needless::needless;

use super::time::UnixMillis;

/// An event about a customer, as far as Plangate goes by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeEvent {
    /// Stripe's id of it.
    pub id: String,
    /// What happened.
    pub kind: StripeKind,
    /// When Stripe made it, to the second.
    pub created: UnixMillis,
    /// Whom it is about.
    pub customer: String,
    /// The tenant that it names, as it was written there.
    pub names: Option<String>,
    /// What it says.
    pub fact: StripeFact,
}

impl StripeEvent {
    /// What later events are told from earlier ones by.
    #[must_use]
    pub fn place(&self) -> (UnixMillis, StripeKind, &str) {
        (self.created, self.kind, &self.id)
    }
}

/// The kinds of events that Plangate goes by. Of events of one second those of a later kind are the later ones: a
/// subscription is made first and deleted last, and what it says of itself stands above what its invoices say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StripeKind {
    /// A subscription was made.
    Created,
    /// A trial ends in some days.
    TrialWillEnd,
    /// An invoice was not paid.
    PaymentFailed,
    /// An invoice was paid.
    Paid,
    /// A subscription was changed.
    Updated,
    /// A subscription was paused, as its trial ended without means of payment.
    Paused,
    /// It goes on.
    Resumed,
    /// A subscription has ended.
    Deleted,
    /// A customer has been through a checkout.
    CheckedOut,
    /// A customer is entitled to other features.
    Entitled,
}

impl StripeKind {
    /// All of them, from the earliest of a second to the latest.
    pub const ALL: [Self; 10] = [
        Self::Created,
        Self::TrialWillEnd,
        Self::PaymentFailed,
        Self::Paid,
        Self::Updated,
        Self::Paused,
        Self::Resumed,
        Self::Deleted,
        Self::CheckedOut,
        Self::Entitled,
    ];

    /// Stripe's name of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "customer.subscription.created",
            Self::TrialWillEnd => "customer.subscription.trial_will_end",
            Self::PaymentFailed => "invoice.payment_failed",
            Self::Paid => "invoice.paid",
            Self::Updated => "customer.subscription.updated",
            Self::Paused => "customer.subscription.paused",
            Self::Resumed => "customer.subscription.resumed",
            Self::Deleted => "customer.subscription.deleted",
            Self::CheckedOut => "checkout.session.completed",
            Self::Entitled => "entitlements.active_entitlement_summary.updated",
        }
    }

    /// The kind of Stripe's name; `None`: Plangate does not go by it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StripeFact {
    /// A subscription, as it then was.
    Subscription(Snapshot),
    /// An invoice of a subscription was paid, or was not.
    Payment {
        /// Which subscription.
        subscription: String,
        /// Whether it was paid.
        paid: bool,
    },
    /// All features that the customer is entitled to, by their lookup keys.
    Entitlements(BTreeSet<String>),
    /// Nothing but whom the customer belongs to.
    Checkout,
}

/// A subscription of Stripe's as it was when an event was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub subscription: String,
    /// Its state.
    pub status: StripeStatus,
    /// When it was made.
    pub created: UnixMillis,
    /// When it began, which may have been set to an earlier instant.
    pub begun: UnixMillis,
    /// The instant whose day of the month its periods begin on.
    pub anchor: UnixMillis,
    /// When its trial ends or ended.
    pub trial_end: Option<UnixMillis>,
    /// When it is to end.
    pub cancel_at: Option<UnixMillis>,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// What it sells.
    pub items: Vec<Item>,
}

/// One line of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The price's id.
    pub price: String,
    /// The price's lookup key.
    pub lookup_key: Option<String>,
    /// How many; of what is priced by usage it is 1.
    pub quantity: u32,
}

/// Stripe's states of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StripeStatus {
    /// On trial.
    Trialing,
    /// Paid.
    Active,
    /// The last invoice is not paid.
    PastDue,
    /// Nobody tries to collect it any more.
    Unpaid,
    /// A trial ended without means of payment.
    Paused,
    /// The first invoice is not paid.
    Incomplete,
    /// It was never paid.
    IncompleteExpired,
    /// Over.
    Canceled,
}

impl StripeStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Unpaid,
        Self::Paused,
        Self::Incomplete,
        Self::IncompleteExpired,
        Self::Canceled,
    ];

    /// Stripe's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Canceled => "canceled",
        }
    }

    /// The state of Stripe's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it never changes again.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::IncompleteExpired | Self::Canceled)
    }

    /// Whether it lets its customer in.
    #[must_use]
    pub const fn entitles(self) -> bool {
        matches!(self, Self::Trialing | Self::Active | Self::PastDue)
    }
}
