//! A subscription: its plan, its state, and what is to become of it at instants that are known beforehand.
//!
//! What can happen to its state is [`super::transitions`]' table; what is not in it is refused.

use super::{
    mixture::Mixture,
    period::{AnchorDay, BillingCalendar, Period, Zone},
    plan::PlanRef,
    time::{UnixMillis, Version},
    transitions::State,
};

/// A tenant's plan and its billing anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The plan. After the subscription has ended: the last one.
    pub plan: PlanRef,
    /// Where it is in its life.
    pub state: Standing,
    /// The day on which months begin.
    pub anchor: AnchorDay,
    /// A billing month whose start or end is not the anchor's, as anchor or zone were changed in it.
    pub odd_month: Option<Period>,
    /// The version at which counting began anew (first subscription, or `usage: reset`): part of each bucket's name.
    pub epoch: Version,
    /// When the tenant came to this plan.
    pub since: UnixMillis,
    /// A change that was asked for and is not due yet.
    pub scheduled: Option<Scheduled>,
    /// Plans that the running month's quotas are a mixture of; the last one is followed by `plan`.
    pub mixture: Option<Mixture>,
    /// The end of the month whose unused units are rolled over next, where the plan has any rolled over.
    pub rolls_at: UnixMillis,
}

impl Subscription {
    /// One that simply entitles.
    #[must_use]
    pub const fn active(plan: PlanRef, anchor: AnchorDay, epoch: Version, since: UnixMillis) -> Self {
        Self {
            plan,
            state: Standing::Active,
            anchor,
            odd_month: None,
            epoch,
            since,
            scheduled: None,
            mixture: None,
            rolls_at: since,
        }
    }

    /// Where its months begin, for a tenant of this zone.
    #[must_use]
    pub fn calendar(&self, zone: &Zone) -> BillingCalendar {
        BillingCalendar { zone: zone.clone(), anchor: self.anchor, odd_month: self.odd_month }
    }

    /// Whether it is active, with nothing ahead and nothing behind that its rights depend on.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.state == Standing::Active
            && self.odd_month.is_none()
            && self.scheduled.is_none()
            && self.mixture.is_none()
    }
}

/// Where a subscription is in its life, with what that needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Tried.
    Trialing(TrialTerms),
    /// Paid for, or free.
    Active,
    /// A payment failed; it still entitles.
    PastDue {
        /// Until then.
        grace_ends_at: UnixMillis,
    },
    /// The grace is over.
    Unpaid,
    /// Refused for a while, with everything kept.
    Paused,
    /// The trial has ended, and no plan follows it.
    Expired,
    /// Over.
    Canceled {
        /// Since when.
        at: UnixMillis,
        /// What an undo brings back, and until when; `None`: it ended as it was scheduled to.
        undo: Option<(Box<Self>, UnixMillis)>,
    },
}

/// A running trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialTerms {
    /// The first instant after it.
    pub ends_at: UnixMillis,
    /// The plan that follows; `None`: nothing does.
    pub then: Option<PlanRef>,
    /// What becomes of the units used in it, when it is converted or ends.
    pub usage: UsageRule,
    /// The version of the call that began it.
    pub version: Version,
}

impl TrialTerms {
    /// Set in the number of a counting that begins when a trial ends by itself: no version is as high.
    const AFTER_TRIAL: u64 = 1 << 62;

    /// The number of the counting that begins with its end, known to every node beforehand.
    #[must_use]
    pub const fn epoch_after(&self) -> Version {
        Version(self.version.0 | Self::AFTER_TRIAL)
    }
}

/// What becomes of the units already used when the plan changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsageRule {
    /// They count against the new plan.
    #[default]
    Keep,
    /// Counting starts anew.
    Reset,
    /// They count, and the month's limits are those of both plans, each for its part of the month.
    Prorate,
}

impl UsageRule {
    /// The word used in calls and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reset => "reset",
            Self::Prorate => "prorate",
        }
    }
}

/// A change that is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// When.
    pub at: UnixMillis,
    /// It was asked for the period's end: where that moves, it moves, too.
    pub at_period_end: bool,
    /// The version of the call that asked for it.
    pub version: Version,
    /// What.
    pub what: Upcoming,
}

/// What is scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upcoming {
    /// Another plan.
    Plan {
        /// Which.
        plan: PlanRef,
        /// From then on months begin on that day; `None`: as before.
        anchor: Option<AnchorDay>,
        /// What becomes of the units used until then.
        usage: UsageRule,
    },
    /// The end.
    Cancel,
}

impl Standing {
    /// In one word.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::Trialing(_) => State::Trialing,
            Self::Active => State::Active,
            Self::PastDue { .. } => State::PastDue,
            Self::Unpaid => State::Unpaid,
            Self::Paused => State::Paused,
            Self::Expired => State::Expired,
            Self::Canceled { .. } => State::Canceled,
        }
    }
}
