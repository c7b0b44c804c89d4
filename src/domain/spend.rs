//! Spend caps: the most that billed overage may cost in a month. Money is counted in whole billionths of the currency, so that
//! the ledger grants and takes it like units.

use std::{fmt, str::FromStr};

use super::{
    id::{InvalidId, MeterId},
    money::{Currency, Decimal, InvalidDecimal, Total},
    plan::{MeterTerms, Overage},
    units::Units,
};

/// Fractional digits of money that is counted.
const SCALE: u8 = 9;

/// So many billionths of a currency, less than 2^53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MoneyUnits(Units);

impl MoneyUnits {
    /// Nothing.
    pub const ZERO: Self = Self(Units::ZERO);
    /// The highest spend cap: 9 million.
    pub const HIGHEST_CAP: Self = Self(Units::saturating(9_000_000_000_000_000));

    /// From what the ledger has counted.
    #[must_use]
    pub const fn of(units: Units) -> Self {
        Self(units)
    }

    /// As the ledger counts it.
    #[must_use]
    pub const fn units(self) -> Units {
        self.0
    }

    /// So many times as much, up to what can be counted.
    #[must_use]
    pub const fn times(self, units: Units) -> Self {
        Self(Units::saturating(self.0.get().saturating_mul(units.get())))
    }

    /// Both together, up to what can be counted.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it when so much is gone.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The same as an amount.
    #[must_use]
    pub fn total(self) -> Total {
        Total::in_parts(u128::from(self.0.get()), SCALE)
    }
}

/// With two fractional digits at least, as money is written.
impl fmt::Display for MoneyUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.total().fmt(f)
    }
}

/// The most that billed overage may cost in a billing month, across all meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SpendCap {
    /// Any amount.
    #[default]
    Unlimited,
    /// So much, in the plan's currency.
    Limited(MoneyUnits),
}

/// Why a text is no spend cap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpendCap {
    /// It is no amount at all.
    #[error(transparent)]
    Decimal(#[from] InvalidDecimal),
    /// It has more fractional digits than are counted.
    #[error("`{0}` has more than 9 fractional digits")]
    TooFine(Decimal),
    /// It is more than can be counted.
    #[error("`{0}` is too high: a spend cap is at most 9000000, or `unlimited`")]
    TooHigh(Decimal),
}

impl SpendCap {
    /// The word for no cap.
    pub const UNLIMITED: &'static str = "unlimited";

    /// The amount; `None`: any.
    #[must_use]
    pub const fn limit(self) -> Option<MoneyUnits> {
        match self {
            Self::Unlimited => None,
            Self::Limited(cap) => Some(cap),
        }
    }
}

/// `unlimited`, or a decimal such as `200.00`.
impl FromStr for SpendCap {
    type Err = InvalidSpendCap;

    fn from_str(text: &str) -> Result<Self, InvalidSpendCap> {
        if text == Self::UNLIMITED {
            return Ok(Self::Unlimited);
        }
        let amount: Decimal = text.parse()?;
        let (parts, exact) = amount.parts(SCALE, Units::saturating(1));
        if !exact {
            return Err(InvalidSpendCap::TooFine(amount));
        }
        let highest = MoneyUnits::HIGHEST_CAP.units();
        let units = u64::try_from(parts).ok().map(Units::saturating).filter(|units| *units <= highest);
        units.map(|units| Self::Limited(MoneyUnits(units))).ok_or(InvalidSpendCap::TooHigh(amount))
    }
}

impl fmt::Display for SpendCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str(Self::UNLIMITED),
            Self::Limited(cap) => cap.fmt(f),
        }
    }
}

/// What one unit of overage takes of a spend cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitCost {
    /// Rounded up, so that what is billed never comes to more than the cap.
    pub money: MoneyUnits,
    /// Nothing was rounded: then the whole cap can be used.
    pub exact: bool,
}

impl UnitCost {
    /// That of a price for each `per` units.
    #[must_use]
    pub fn of(price: Decimal, per: Units) -> Self {
        let (parts, exact) = price.parts(SCALE, per);
        Self { money: MoneyUnits(Units::saturating(u64::try_from(parts).unwrap_or(u64::MAX))), exact }
    }

    /// That of a meter whose overage is billed; `None`: it is not.
    #[must_use]
    pub fn of_meter(terms: &MeterTerms) -> Option<Self> {
        match terms.quota?.overage {
            Overage::Bill { price, per, .. } => Some(Self::of(price, per)),
            Overage::Block | Overage::Allow { .. } => None,
        }
    }
}

/// How a tenant's billed overage is counted in money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpendTerms {
    /// Of its prices, and of the cap.
    pub currency: Currency,
    /// The most in a billing month; `None`: any amount.
    pub cap: Option<MoneyUnits>,
}

impl SpendTerms {
    /// The name under which the ledger counts the money: the currency in lower case.
    ///
    /// # Errors
    /// Never: three letters are a name.
    pub fn meter(&self) -> Result<MeterId, InvalidId> {
        MeterId::parse(&self.currency.to_string().to_ascii_lowercase())
    }
}

/// The currency of a name under which the ledger counts money.
#[must_use]
pub fn currency_of(meter: &MeterId) -> Option<Currency> {
    meter.as_str().to_ascii_uppercase().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cap(text: &str) -> Result<String, String> {
        text.parse::<SpendCap>().map(|cap| cap.to_string()).map_err(|error| error.to_string())
    }

    fn units(number: u64) -> Units {
        Units::new(number).unwrap()
    }

    #[test]
    fn caps_are_amounts_or_none() {
        for (text, shown) in [
            ("200.00", "200.00"),
            ("200", "200.00"),
            ("0", "0.00"),
            ("0.000000001", "0.000000001"),
            ("1.500", "1.50"),
            ("1.0000000000", "1.00"),
            ("9000000", "9000000.00"),
            ("unlimited", "unlimited"),
        ] {
            assert_eq!(cap(text).as_deref(), Ok(shown), "{text}");
        }
        for text in ["", "-1", "1e3", "Unlimited", "1,5", "0.0000000001", "9000000.000000001", "999999999999"]
        {
            assert!(cap(text).is_err(), "{text}");
        }
        assert_eq!(SpendCap::default().limit(), None);
        assert!("200".parse::<SpendCap>() == "200.00".parse());
    }

    #[test]
    fn a_unit_costs_its_part_rounded_up() {
        let cost = |price: &str, per| {
            let cost = UnitCost::of(price.parse().unwrap(), units(per));
            (cost.money.to_string(), cost.exact)
        };
        assert_eq!(cost("0.002", 1000), ("0.000002".into(), true));
        assert_eq!(cost("1", 3), ("0.333333334".into(), false));
        assert_eq!(cost("0", 7), ("0.00".into(), true));
        assert_eq!(cost("0.000000000001", 1), ("0.000000001".into(), false));
        let highest = UnitCost::of("999999999999999999".parse().unwrap(), units(1));
        assert_eq!(highest.money.units(), Units::MAX);
        assert_eq!(highest.money.times(Units::MAX).units(), Units::MAX, "it saturates");
    }

    #[test]
    fn money_is_named_by_its_currency() {
        let terms = SpendTerms { currency: "EUR".parse().unwrap(), cap: None };
        let meter = terms.meter().unwrap();
        assert_eq!((meter.as_str(), currency_of(&meter)), ("eur", Some(terms.currency)));
        assert_eq!(currency_of(&MeterId::parse("requests").unwrap()), None);
    }

    proptest! {
        #[test]
        fn what_is_billed_is_never_more_than_what_was_taken(
            digits in 0..=999_999_999_u64, scale in 0..=12_u32, per in 1..=10_000_000_u64, used in 0..=1_000_000_u64,
        ) {
            let whole = 10_u64.pow(scale);
            let price: Decimal =
                format!("{}.{:0width$}", digits / whole, digits % whole, width = (scale as usize).max(1))
                    .parse().unwrap();
            let cost = UnitCost::of(price, units(per));
            let taken = u128::from(cost.money.units().get()) * u128::from(used);
            // In 10^-12 and per, so that nothing is rounded.
            let billed = price.times(units(used));
            prop_assert!(billed <= taken * 1000 * u128::from(per));
            prop_assert_eq!(cost.exact, price.times(units(1)) == u128::from(cost.money.units().get()) * 1000 * u128::from(per));
            prop_assert!(price.times(units(1)) > (u128::from(cost.money.units().get()).saturating_sub(1)) * 1000 * u128::from(per) || cost.money == MoneyUnits::ZERO);
        }
    }
}
