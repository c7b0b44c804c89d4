//! What was used of each bucket of a period, by the hour.

use std::collections::BTreeMap;

use crate::domain::{
    id::{GrantId, MeterId},
    rights::Source,
    time::{UnixMillis, Version},
    units::Units,
};

/// Units by the hour in which they were recorded, the oldest first.
pub type Hours = Vec<(UnixMillis, Units)>;

/// What was used of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketUse {
    /// Of what.
    pub meter: MeterId,
    /// Which source.
    pub source: Source,
    /// The version at which its counting began; of a grant its number.
    pub counting: Version,
    /// The grant's id, where it is one.
    pub grant: Option<GrantId>,
    /// Units used: of a grant those of the period.
    pub used: u64,
    /// Units that nodes which are gone were granted and may have used.
    pub uncertain: u64,
    /// By the hour: signed, as what was charged in one hour may be given back in another. Together they are `used`.
    pub hours: Vec<(UnixMillis, i64)>,
}

/// All that was used in a period.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// By bucket.
    pub buckets: Vec<BucketUse>,
    /// Nodes that are alive have not recorded all that they used of the period.
    pub open: bool,
    /// Nodes that are not alive have not.
    pub unreturned: bool,
}

impl BucketUse {
    /// The hours as they are shown: what was given back in a later hour is taken from those before it, so that no hour is
    /// negative and the sum stays.
    #[must_use]
    pub fn shown(&self) -> Hours {
        let mut by_hour: BTreeMap<UnixMillis, i64> = BTreeMap::new();
        for (hour, units) in &self.hours {
            let sum = by_hour.entry(*hour).or_default();
            *sum = sum.saturating_add(*units);
        }
        let mut owed = 0_i64;
        for units in by_hour.values_mut().rev() {
            let net = units.saturating_add(owed);
            (*units, owed) = (net.max(0), net.min(0));
        }
        // Given back in an hour before it was charged, as after a clock was put back: taken from the next.
        for units in by_hour.values_mut() {
            let taken = (*units).min(-owed);
            (*units, owed) = (*units - taken, owed + taken);
        }
        let positive = by_hour.into_iter().filter(|(_, units)| *units > 0);
        positive.map(|(hour, units)| (hour, Units::saturating(units.unsigned_abs()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hours_that_are_shown_come_to_the_sum(
            hours in prop::collection::vec((0_i64..10, -50_i64..100), 0..20),
        ) {
            let hours: Vec<_> = hours.into_iter().map(|(hour, units)| (UnixMillis(hour), units)).collect();
            let sum: i64 = hours.iter().map(|(_, units)| units).sum();
            let used = BucketUse {
                meter: "requests".parse().unwrap(),
                source: Source::Plan,
                counting: Version(1),
                grant: None,
                used: 0,
                uncertain: 0,
                hours,
            };
            let shown: u64 = used.shown().iter().map(|(_, units)| units.get()).sum();
            prop_assert_eq!(shown, u64::try_from(sum).unwrap_or(0));
        }
    }
}
