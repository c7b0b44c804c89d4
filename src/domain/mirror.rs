//! What a billing system says that a tenant is: taken as it is, from whatever state the tenant is in.

use std::collections::BTreeMap;

use super::{
    id::{AddonId, FeatureId},
    plan::PlanRef,
    time::UnixMillis,
};

/// What a tenant is to be. What it does not speak of stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mirror {
    /// Its subscription.
    pub subscription: Option<MirroredSubscription>,
    /// How many of these add-ons it has; 0: none.
    pub addons: BTreeMap<AddonId, u32>,
    /// Overrides of these features.
    pub features: BTreeMap<FeatureId, bool>,
}

/// A subscription as a billing system has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirroredSubscription {
    /// The plan, in the version for who comes to it now. Who is on the plan already stays on its version.
    pub plan: PlanRef,
    /// Where it is in its life.
    pub standing: MirroredStanding,
    /// When it is to end.
    pub cancel_at: Option<UnixMillis>,
    /// An instant on the day of the month on which its months begin.
    pub anchor: UnixMillis,
    /// When it began.
    pub begun: UnixMillis,
}

/// Where a subscription is in its life, as a billing system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirroredStanding {
    /// On trial; the plan itself follows.
    Trialing {
        /// The first instant after it.
        ends_at: UnixMillis,
    },
    /// Paid.
    Active,
    /// A payment failed.
    PastDue {
        /// When.
        since: UnixMillis,
        /// For so many days it still entitles.
        grace_days: u16,
    },
    /// Not paid.
    Unpaid,
    /// Paused.
    Paused,
    /// Never paid.
    Expired,
    /// Over.
    Canceled {
        /// Since when.
        at: UnixMillis,
    },
}
