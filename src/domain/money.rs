//! Exact decimal money. No floats: a price is a whole number of its smallest written digit.

use std::{fmt, str::FromStr};

/// A non-negative decimal with at most 12 fractional digits and below 10^18 in its smallest digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    digits: u64,
    scale: u8,
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an amount: expected a quoted decimal such as \"19.00\", at most 12 fractional and 18 digits in all"
)]
pub struct InvalidDecimal(pub String);

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    fn from_str(text: &str) -> Result<Self, InvalidDecimal> {
        let invalid = || InvalidDecimal(text.chars().take(80).collect());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 12 {
            return Err(invalid());
        }
        let fraction = if text.contains('.') { fraction } else { "" };
        let digits = format!("{whole}{fraction}");
        if digits.trim_start_matches('0').len() > 18 {
            return Err(invalid());
        }
        Ok(Self {
            digits: digits.parse().map_err(|_| invalid())?,
            scale: u8::try_from(fraction.len()).map_err(|_| invalid())?,
        })
    }
}

impl Decimal {
    /// Which of two amounts is larger, whatever their written digits.
    #[must_use]
    pub fn compare(self, other: Self) -> std::cmp::Ordering {
        let scale = self.scale.max(other.scale);
        let lift = |d: Self| u128::from(d.digits) * 10u128.pow(u32::from(scale - d.scale));
        lift(self).cmp(&lift(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        if scale == 0 {
            return self.digits.fmt(f);
        }
        let text = format!("{:0width$}", self.digits, width = scale + 1);
        let (whole, fraction) = text.split_at(text.len() - scale);
        write!(f, "{whole}.{fraction}")
    }
}

/// A currency code of ISO 4217: three upper-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

/// Why a text is not a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a currency: expected three upper-case letters such as USD")]
pub struct InvalidCurrency(pub String);

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|l| l.is_ascii_uppercase()) => Ok(Self([*a, *b, *c])),
            _ => Err(InvalidCurrency(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// What a plan costs a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// How much.
    pub amount: Decimal,
    /// In which currency.
    pub currency: Currency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        for text in ["19.00", "0.002", "0", "7", "999999.999999999999"] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), text);
        }
        for text in ["", ".5", "5.", "-1", "1e3", "1,5", "0.0000000000001", "9999999999999999999"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_compare_across_scales() {
        let of = |text: &str| text.parse::<Decimal>().unwrap();
        assert!(of("19.00").compare(of("19")).is_eq());
        assert!(of("0.002").compare(of("0.01")).is_lt());
    }
}
