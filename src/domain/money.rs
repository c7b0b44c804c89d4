//! Exact decimal money. No floats: a price is a whole number of its smallest written digit.

use std::{fmt, str::FromStr};

use super::units::Units;

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

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// The `per`th part of it in units of so many fractional digits (at most 12), rounded up, and whether that is exact.
    #[must_use]
    pub fn parts(self, scale: u8, per: Units) -> (u128, bool) {
        let whole = 10u128.pow(u32::from(self.scale)) * u128::from(per.get().max(1));
        let digits = u128::from(self.digits) * 10u128.pow(u32::from(scale.min(Total::SCALE)));
        (digits.div_ceil(whole), digits % whole == 0)
    }

    /// So many times as much, in [`Total`]'s smallest units: to compare prices that are for different numbers of units.
    #[must_use]
    pub fn times(self, units: Units) -> u128 {
        let lift = 10u128.pow(u32::from(Total::SCALE - self.scale));
        (u128::from(self.digits) * u128::from(units.get())).saturating_mul(lift)
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// The codes of ISO 4217 (2026) in which something can be paid: not those of metals, for tests (XTS) and for no currency (XXX).
const CODES: &str = "\
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD \
    CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL \
    GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD \
    KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO \
    NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD \
    SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV \
    WST XAF XCD XCG XDR XOF XPF XSU XUA YER ZAR ZMW ZWG";

/// Why a text is not a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a currency: expected a code of ISO 4217 such as USD, in upper case")]
pub struct InvalidCurrency(pub String);

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        match text.as_bytes() {
            [a, b, c] if CODES.split(' ').any(|code| code == text) => Ok(Self([*a, *b, *c])),
            _ => Err(InvalidCurrency(text.chars().take(80).collect())),
        }
    }
}

impl Currency {
    /// How many fractional digits amounts are paid in: those of ISO 4217, and 2 for what is not there.
    #[must_use]
    pub const fn minor_digits(self) -> u8 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF"
            | b"UGX" | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            b"CLF" | b"UYW" => 4,
            _ => 2,
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

/// A sum of amounts, exact to 12 fractional digits, which is as fine as a price is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Total(u128);

impl Total {
    /// Fractional digits.
    const SCALE: u8 = 12;

    /// So many times an amount.
    #[must_use]
    pub fn of(amount: Decimal, times: u32) -> Self {
        Self(amount.times(Units::saturating(u64::from(times))))
    }

    /// What so many units cost at `price` for each `per`; what is finer than 12 digits is cut.
    #[must_use]
    pub fn metered(price: Decimal, per: Units, units: Units) -> Self {
        let per = u128::from(per.get().max(1));
        let lift = 10u128.pow(u32::from(Self::SCALE - price.scale));
        let digits = u128::from(price.digits) * u128::from(units.get());
        // The remainder apart, as the whole may be too large to be lifted before it is divided.
        let whole = (digits / per).saturating_mul(lift);
        Self(whole.saturating_add((digits % per).saturating_mul(lift) / per))
    }

    /// So many units of so many fractional digits (at most 12).
    #[must_use]
    pub fn in_parts(parts: u128, scale: u8) -> Self {
        Self(parts.saturating_mul(10u128.pow(u32::from(Self::SCALE.saturating_sub(scale)))))
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is more than `other`; nothing where it is less.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Without what is finer than so many fractional digits.
    #[must_use]
    pub const fn rounded_down(self, digits: u8) -> Self {
        Self(self.0 - self.0 % Self::step(digits))
    }

    /// To the nearest amount of so many fractional digits; what lies between two, up.
    #[must_use]
    pub const fn rounded(self, digits: u8) -> Self {
        Self(self.0.saturating_add(Self::step(digits) / 2)).rounded_down(digits)
    }

    /// The smallest amount of so many fractional digits.
    const fn step(digits: u8) -> u128 {
        10u128.pow(Self::SCALE.saturating_sub(digits) as u32)
    }

    /// With just so many fractional digits; what is finer is cut.
    #[must_use]
    pub fn written(self, digits: u8) -> String {
        let unit = 10u128.pow(u32::from(Self::SCALE));
        let fraction = format!("{:012}", self.0 % unit);
        let digits = usize::from(digits.min(Self::SCALE));
        if digits == 0 {
            return (self.0 / unit).to_string();
        }
        format!("{}.{}", self.0 / unit, &fraction[..digits])
    }

    /// As a whole number of the 12th fractional digit.
    pub(super) const fn smallest(self) -> u128 {
        self.0
    }

    /// So many of the 12th fractional digit.
    pub(super) const fn of_smallest(digits: u128) -> Self {
        Self(digits)
    }
}

/// With two fractional digits at least, as money is written.
impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10u128.pow(u32::from(Self::SCALE));
        let fraction = format!("{:012}", self.0 % unit);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{}.{fraction:0<2}", self.0 / unit)
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
    fn totals_are_exact() {
        let units = |n| Units::new(n).unwrap();
        let price: Decimal = "0.002".parse().unwrap();
        assert_eq!(Total::metered(price, units(1000), units(2_500_001)).to_string(), "5.000002");
        assert_eq!(Total::metered("1".parse().unwrap(), units(3), units(1)).to_string(), "0.333333333333");
        let largest: Decimal = "999999999999999999".parse().unwrap();
        assert_eq!(Total::metered(largest, Units::MAX, Units::MAX).to_string(), "999999999999999999.00");
        let sum = Total::of("19.90".parse().unwrap(), 3).plus(Total::of("0.1".parse().unwrap(), 1));
        assert_eq!((sum.to_string().as_str(), Total::default().to_string().as_str()), ("59.80", "0.00"));
    }

    #[test]
    fn totals_are_rounded_to_what_is_paid() {
        let digits = |code: &str| code.parse::<Currency>().unwrap().minor_digits();
        assert_eq!(["USD", "JPY", "KWD", "CLF"].map(digits), [2, 0, 3, 4]);
        for text in ["XXX", "XTS", "XAU", "ZZZ", "usd", "US", "USDT", "", "U D"] {
            assert!(text.parse::<Currency>().is_err(), "{text}");
        }
        let total = Total::of("12.3456".parse().unwrap(), 1);
        let down = |digits| total.rounded_down(digits).written(digits);
        assert_eq!([0, 2, 3].map(down), ["12", "12.34", "12.345"]);
        let near = |digits| total.rounded(digits).written(digits);
        assert_eq!([0, 2, 3].map(near), ["12", "12.35", "12.346"]);
        assert_eq!(Total::of("0.005".parse().unwrap(), 1).rounded(2).written(2), "0.01");
        assert_eq!(total.minus(total.plus(total)), Total::default());
    }

    #[test]
    fn amounts_compare_across_scales() {
        let of = |text: &str| text.parse::<Decimal>().unwrap();
        assert!(of("19.00").compare(of("19")).is_eq());
        assert!(of("0.002").compare(of("0.01")).is_lt());
    }
}
