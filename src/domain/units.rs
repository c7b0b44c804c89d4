//! Counted units and how many are allowed.

use std::fmt;

/// A number of units of a meter, in `0..2^53` (so that every JSON reader keeps it exact).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Units(u64);

/// A number at or above 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is too large: expected a whole number below 2^53 (9007199254740992)")]
pub struct UnitsOutOfRange(pub u64);

impl Units {
    /// No units.
    pub const ZERO: Self = Self(0);
    /// One unit.
    pub const ONE: Self = Self(1);
    /// The largest number of units, 2^53 - 1.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Takes a number as units.
    ///
    /// # Errors
    /// [`UnitsOutOfRange`] at 2^53 and above.
    pub const fn new(value: u64) -> Result<Self, UnitsOutOfRange> {
        if value <= Self::MAX.0 { Ok(Self(value)) } else { Err(UnitsOutOfRange(value)) }
    }

    /// Takes a number as units, the largest when it is above.
    #[must_use]
    pub const fn saturating(value: u64) -> Self {
        if value <= Self::MAX.0 { Self(value) } else { Self::MAX }
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, at most [`Units::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::saturating(self.0.saturating_add(other.0))
    }

    /// So many times as much, at most [`Units::MAX`].
    #[must_use]
    pub const fn saturating_mul(self, times: u32) -> Self {
        Self::saturating(self.0.saturating_mul(times as u64))
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A limit as it is written: a number, or the word `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allowance {
    /// At most so many.
    Limited(Units),
    /// Counted, never refused.
    Unlimited,
}

impl Allowance {
    /// The number, where there is one.
    #[must_use]
    pub const fn limit(self) -> Option<Units> {
        match self {
            Self::Limited(units) => Some(units),
            Self::Unlimited => None,
        }
    }
}

impl Allowance {
    /// Both together; unlimited where one is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Limited(a), Self::Limited(b)) => Self::Limited(a.saturating_add(b)),
            _ => Self::Unlimited,
        }
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, times: u32) -> Self {
        match self {
            Self::Limited(units) => Self::Limited(units.saturating_mul(times)),
            Self::Unlimited => Self::Unlimited,
        }
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(units) => units.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}
