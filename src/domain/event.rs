//! What is told to whoever subscribed to it: facts about tenants that somebody outside acts on.

/// The kinds of such facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A tenant came to another plan, or to another version of it, or to its first.
    PlanChanged,
    /// A subscription's state changed.
    SubscriptionStateChanged,
    /// A trial is about to end.
    TrialWillEnd,
    /// A tenant has used so much of what its plan includes of a meter.
    QuotaThreshold,
    /// A tenant can use no more of a meter in this month.
    QuotaExhausted,
    /// A tenant has spent so much of its spend cap.
    SpendThreshold,
    /// A month's statement was closed.
    StatementClosed,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PlanChanged,
        Self::SubscriptionStateChanged,
        Self::TrialWillEnd,
        Self::QuotaThreshold,
        Self::QuotaExhausted,
        Self::SpendThreshold,
        Self::StatementClosed,
    ];

    /// The word used in payloads and subscriptions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlanChanged => "plan.changed",
            Self::SubscriptionStateChanged => "subscription.state_changed",
            Self::TrialWillEnd => "trial.will_end",
            Self::QuotaThreshold => "quota.threshold",
            Self::QuotaExhausted => "quota.exhausted",
            Self::SpendThreshold => "spend.threshold",
            Self::StatementClosed => "statement.closed",
        }
    }

    /// The kind of a word; `None`: there is no such word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::named(kind.as_str()), Some(kind));
        }
        assert_eq!(EventKind::named("plan.forgotten"), None);
    }
}
