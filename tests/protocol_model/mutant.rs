//! Ways to get the protocol wrong. Each is a switch on the model, and a test shows that the checker finds what it breaks.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A promoted standby grants at once, though it may have lost grants that are being spent.
    GrantsRightAfterFailover,
    /// A lease that its owner was not heard of for long is freed.
    LeasesTimeOut,
    /// The file is believed after a loss of power, though it is older than what was spent.
    FileTrustedAfterPowerLoss,
    /// A node's next word takes the row of the one before.
    WordsWithoutSeq,
    /// What comes back is what the node says, not the difference made to the database's own `granted`.
    NodeComputesReturn,
    /// A grant brings its own limit along instead of the version that it must be of.
    NodeSuppliesLimit,
    /// A change of the limit leaves the open word as it is.
    ChangeAppliedWithoutSeal,
    /// A refund goes to whichever word is open.
    RefundToOpenWord,
    /// An answer that comes after the return opens the word again.
    AnswerOpensSealedWord,
    /// Differences are shipped instead of totals.
    DifferencesShipped,
    /// A recalled word is returned and goes on.
    RecallWithoutSeal,
    /// What a node that was declared lost had not recorded is given back to the bucket.
    LostNodeCredited,
    /// An answer of the former primary is opened after the re-assertion.
    FormerPrimaryObeyed,
    /// A grant is half of what is left, rounded down: two nodes split a remainder for ever.
    GrantsRoundedDown,
    /// What is given back to a word after its return is not shipped any more.
    LateRefundsForgotten,
    /// A word's record is reused once its return was acknowledged. Sound while acknowledged commits last; where a
    /// failover may lose them, the record has to stay.
    RecordsReused,
}
