//! Grants: units beside the plan's, and the order in which all of them are burnt.

use super::{
    id::{GrantId, MeterId},
    plan::Rollover,
    time::{UnixMillis, Version},
    units::Units,
};

/// The priority of the plan's own units, and of a grant that is given none. Lower ones are burnt first.
pub const DEFAULT_PRIORITY: u16 = 100;
/// The priority of what was rolled over: burnt before the plan's units, which may be rolled over themselves.
pub const ROLLOVER_PRIORITY: u16 = 99;
/// The largest priority.
pub const MOST_PRIORITY: u16 = 1000;
/// Grants in force that a tenant may have at once.
pub const MOST_GRANTS: usize = 100;

/// Units beside the plan's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id, unique for its tenant.
    pub id: GrantId,
    /// The version at which it was given: with the meter it names the grant's units in the ledger.
    pub number: Version,
    /// Of what.
    pub meter: MeterId,
    /// How many; a recurring one has so many in each billing month.
    pub units: Units,
    /// Lower ones are burnt first.
    pub priority: u16,
    /// When it was given.
    pub since: UnixMillis,
    /// From then on nothing of it can be used; `None`: until it is used up.
    pub expires_at: Option<UnixMillis>,
    /// Anew in each billing month, what is left of the month's is lost.
    pub recurring: bool,
    /// Why, for people.
    pub reason: Option<String>,
    /// Where it comes from.
    pub source: GrantSource,
}

/// Where a grant comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantSource {
    /// Somebody gave it.
    Given,
    /// Unused units of the month before.
    Rollover,
}

impl GrantSource {
    /// The word used in answers and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "grant",
            Self::Rollover => "rollover",
        }
    }
}

/// The place of some units in the order of burning: by priority, then the earliest to expire, then the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BurnOrder {
    /// Lower is earlier.
    pub priority: u16,
    /// When they are lost.
    pub expires: UnixMillis,
    /// When they were given.
    pub since: UnixMillis,
    /// Tells apart what was given at the same instant.
    pub number: Version,
}

impl Rollover {
    /// How many of so many unused units of a month's `limit` are rolled over.
    #[must_use]
    pub fn of(self, unused: Units, limit: Units) -> Units {
        let most = match self {
            // Rounded down; both are below 2^53.
            Self::Percent(percent) => {
                let most = u128::from(limit.get()) * u128::from(percent) / 100;
                Units::saturating(u64::try_from(most).unwrap_or(u64::MAX))
            }
            Self::Units(most) => most,
        };
        unused.min(most)
    }
}
