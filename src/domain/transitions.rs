//! The states of a subscription, and everything that can happen to them: one table, which the docs repeat.

/// A subscription's state, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// There never was a subscription.
    None,
    /// See [`super::subscription::Standing::Trialing`].
    Trialing,
    /// See [`super::subscription::Standing::Active`].
    Active,
    /// See [`super::subscription::Standing::PastDue`].
    PastDue,
    /// See [`super::subscription::Standing::Unpaid`].
    Unpaid,
    /// See [`super::subscription::Standing::Paused`].
    Paused,
    /// See [`super::subscription::Standing::Expired`].
    Expired,
    /// See [`super::subscription::Standing::Canceled`].
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

    /// Whether there is a subscription that is not over: it follows its plan's versions, and counts among the plan's.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        !matches!(self, Self::None | Self::Expired | Self::Canceled)
    }

    /// Whether requests are let through in it.
    #[must_use]
    pub const fn entitles(self) -> bool {
        matches!(self, Self::Trialing | Self::Active | Self::PastDue)
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
