//! A subscription: its plan, its state, and what is to become of it at instants that are known beforehand.
//!
//! [`TRANSITIONS`] is the whole of what can happen to its state; what is not in it is refused.

use super::{
    catalog::Catalog,
    period::{AnchorDay, BillingCalendar, Period, Zone},
    plan::{Plan, PlanRef},
    time::{UnixMillis, Version},
    units::{Allowance, Units},
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

/// The plans of one month, for pro-rated quotas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixture {
    /// The month. In the one after it quotas are the plan's own again.
    pub month: Period,
    /// Each plan and when it ended; the first began with the month (or stands for what was before).
    pub parts: Vec<(PlanRef, UnixMillis)>,
}

/// A subscription's state, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// There never was a subscription.
    None,
    /// See [`Standing::Trialing`].
    Trialing,
    /// See [`Standing::Active`].
    Active,
    /// See [`Standing::PastDue`].
    PastDue,
    /// See [`Standing::Unpaid`].
    Unpaid,
    /// See [`Standing::Paused`].
    Paused,
    /// See [`Standing::Expired`].
    Expired,
    /// See [`Standing::Canceled`].
    Canceled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Unpaid,
        Self::Paused,
        Self::Expired,
        Self::Canceled,
    ];

    /// The word used in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }

    /// Whether requests are let through in it.
    #[must_use]
    pub const fn entitles(self) -> bool {
        matches!(self, Self::Trialing | Self::Active | Self::PastDue)
    }
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

/// What can happen to a subscription's state: by a call, or (the last five) by itself when its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Put on a plan, now.
    Subscribe,
    /// Put on a plan to try it, now.
    Try,
    /// A plan is scheduled.
    Schedule,
    /// Canceled, now.
    Cancel,
    /// A cancellation is scheduled.
    CancelLater,
    /// What was scheduled is taken back.
    Undo,
    /// The cancellation is taken back.
    Restore,
    /// Paused.
    Pause,
    /// Resumed.
    Resume,
    /// A payment failed.
    PastDue,
    /// It was paid.
    Paid,
    /// The trial's end, and a plan follows.
    TrialEnds,
    /// The trial's end, and none does.
    TrialExpires,
    /// The grace is over.
    GraceEnds,
    /// A scheduled plan is due.
    ScheduledPlan,
    /// A scheduled cancellation is due.
    ScheduledCancel,
}

impl Action {
    /// In words, for the table in the docs and for refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "put on a plan",
            Self::Try => "start a trial",
            Self::Schedule => "schedule a plan",
            Self::Cancel => "cancel",
            Self::CancelLater => "schedule a cancellation",
            Self::Undo => "undo what is scheduled",
            Self::Restore => "undo the cancellation",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::PastDue => "payment failed",
            Self::Paid => "paid",
            Self::TrialEnds => "trial ends, a plan follows",
            Self::TrialExpires => "trial ends, none follows",
            Self::GraceEnds => "grace ends",
            Self::ScheduledPlan => "scheduled plan is due",
            Self::ScheduledCancel => "scheduled cancellation is due",
        }
    }
}

/// Every transition that there is. `None` as the target: the state from before the cancellation.
pub const TRANSITIONS: &[(State, Action, Option<State>)] = {
    use Action as A;
    use State as S;
    &[
        (S::None, A::Subscribe, Some(S::Active)),
        (S::None, A::Try, Some(S::Trialing)),
        (S::Trialing, A::Subscribe, Some(S::Active)),
        (S::Trialing, A::Try, Some(S::Trialing)),
        (S::Trialing, A::Schedule, Some(S::Trialing)),
        (S::Trialing, A::Cancel, Some(S::Canceled)),
        (S::Trialing, A::CancelLater, Some(S::Trialing)),
        (S::Trialing, A::Undo, Some(S::Trialing)),
        (S::Trialing, A::TrialEnds, Some(S::Active)),
        (S::Trialing, A::TrialExpires, Some(S::Expired)),
        (S::Trialing, A::ScheduledPlan, Some(S::Active)),
        (S::Trialing, A::ScheduledCancel, Some(S::Canceled)),
        (S::Active, A::Subscribe, Some(S::Active)),
        (S::Active, A::Try, Some(S::Trialing)),
        (S::Active, A::Schedule, Some(S::Active)),
        (S::Active, A::Cancel, Some(S::Canceled)),
        (S::Active, A::CancelLater, Some(S::Active)),
        (S::Active, A::Undo, Some(S::Active)),
        (S::Active, A::Pause, Some(S::Paused)),
        (S::Active, A::PastDue, Some(S::PastDue)),
        (S::Active, A::ScheduledPlan, Some(S::Active)),
        (S::Active, A::ScheduledCancel, Some(S::Canceled)),
        (S::PastDue, A::Subscribe, Some(S::PastDue)),
        (S::PastDue, A::Schedule, Some(S::PastDue)),
        (S::PastDue, A::Cancel, Some(S::Canceled)),
        (S::PastDue, A::CancelLater, Some(S::PastDue)),
        (S::PastDue, A::Undo, Some(S::PastDue)),
        (S::PastDue, A::PastDue, Some(S::PastDue)),
        (S::PastDue, A::Paid, Some(S::Active)),
        (S::PastDue, A::GraceEnds, Some(S::Unpaid)),
        (S::PastDue, A::ScheduledPlan, Some(S::PastDue)),
        (S::PastDue, A::ScheduledCancel, Some(S::Canceled)),
        (S::Unpaid, A::Subscribe, Some(S::Unpaid)),
        (S::Unpaid, A::Cancel, Some(S::Canceled)),
        (S::Unpaid, A::Undo, Some(S::Unpaid)),
        (S::Unpaid, A::PastDue, Some(S::PastDue)),
        (S::Unpaid, A::Paid, Some(S::Active)),
        (S::Unpaid, A::ScheduledPlan, Some(S::Unpaid)),
        (S::Unpaid, A::ScheduledCancel, Some(S::Canceled)),
        (S::Paused, A::Cancel, Some(S::Canceled)),
        (S::Paused, A::CancelLater, Some(S::Paused)),
        (S::Paused, A::Undo, Some(S::Paused)),
        (S::Paused, A::Resume, Some(S::Active)),
        (S::Paused, A::ScheduledPlan, Some(S::Paused)),
        (S::Paused, A::ScheduledCancel, Some(S::Canceled)),
        (S::Expired, A::Subscribe, Some(S::Active)),
        (S::Expired, A::Try, Some(S::Trialing)),
        (S::Expired, A::Cancel, Some(S::Canceled)),
        (S::Canceled, A::Subscribe, Some(S::Active)),
        (S::Canceled, A::Try, Some(S::Trialing)),
        (S::Canceled, A::Restore, None),
    ]
};

/// The transition of [`TRANSITIONS`], if there is one.
#[must_use]
pub fn transition(from: State, action: Action) -> Option<Option<State>> {
    TRANSITIONS.iter().find(|(state, by, _)| (*state, *by) == (from, action)).map(|(.., to)| *to)
}

impl Mixture {
    /// Gives a plan the month's limits that are those of all parts, each for its part of the month: the sum of limit times
    /// time, divided by the month's length and rounded up once. Where one of them is unlimited, the plan's own stands; a
    /// plan that does not name the meter counts as none. Shorter windows, overage and rates are the plan's own.
    pub fn mix(&self, plan: &mut Plan, catalog: &Catalog) {
        let length = |from: UnixMillis, to: UnixMillis| u128::try_from(to.0 - from.0).unwrap_or(0);
        let whole = length(self.month.start, self.month.end).max(1);
        for (place, terms) in plan.meters.iter_mut().enumerate() {
            let Some(quota) = &mut terms.quota else { continue };
            let Some(last) = quota.month.limit() else { continue };
            let mut from = self.month.start;
            let mut sum = Some(0_u128);
            for (part, until) in &self.parts {
                let until = (*until).clamp(from, self.month.end);
                let limit = match catalog.plan_in(part).map(|plan| plan.meters.get(place)) {
                    // The policies do not have it any more.
                    None => Some(last),
                    Some(terms) => match terms.and_then(|terms| terms.quota) {
                        None => Some(Units::ZERO),
                        Some(quota) => quota.month.limit(),
                    },
                };
                sum = sum.zip(limit).map(|(sum, limit)| sum + u128::from(limit.get()) * length(from, until));
                from = until;
            }
            if let Some(sum) = sum {
                let sum = sum + u128::from(last.get()) * length(from, self.month.end);
                let mixed = u64::try_from(sum.div_ceil(whole)).unwrap_or(u64::MAX);
                quota.month = Allowance::Limited(Units::saturating(mixed));
            }
        }
    }
}
