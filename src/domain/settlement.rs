//! Costs known only after the answer: where an upstream tells the true cost of what was reserved, and how it writes it.

use super::{plan::MeterIx, units::Units};

/// Where the true cost of a reserved meter is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleFrom {
    /// The meter. Its charge is a reserve.
    pub meter: MeterIx,
    /// The header of the upstream's answer.
    pub header: CostHeader,
}

/// The name of a header that can tell a cost, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CostHeader(Box<str>);

/// Why a header cannot tell a cost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCostHeader {
    /// No header has such a name.
    #[error(
        "`{0}` is not a header's name: expected 1 to 64 letters, digits or other token characters such as `-`"
    )]
    NotAName(String),
    /// It concerns the connection or the message's framing.
    #[error("`{0}` is about the connection or the message itself, not about a cost")]
    Framing(String),
    /// Plangate sets it.
    #[error("`{0}` is a header that Plangate itself sets")]
    Own(String),
}

const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl CostHeader {
    /// Takes a name, in any case.
    ///
    /// # Errors
    /// [`InvalidCostHeader`] says why it cannot be one.
    pub fn parse(text: &str) -> Result<Self, InvalidCostHeader> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !(1..=64).contains(&text.len()) || !text.bytes().all(token) {
            return Err(InvalidCostHeader::NotAName(text.chars().take(80).collect()));
        }
        let name = text.to_ascii_lowercase();
        if FRAMING.contains(&name.as_str()) || name == "proxy" || name.starts_with("proxy-") {
            return Err(InvalidCostHeader::Framing(name));
        }
        // As some server may spell it: with `_`, say.
        let folded: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        if folded.starts_with("xplangate") || folded.starts_with("ratelimit") || folded == "xrequestid" {
            return Err(InvalidCostHeader::Own(name));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CostHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an answer does not tell what it cost. Then the cost is what was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Untold {
    /// It has no such header.
    Missing,
    /// It has, but the header is not one whole number of units.
    Invalid,
}

impl Untold {
    /// The word used in figures and the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
        }
    }
}

/// Reads a cost from all values of its header: exactly one, of 1 to 16 ASCII digits with spaces or tabs around them, at
/// most [`Units::MAX`]. Nothing else is guessed at.
///
/// # Errors
/// [`Untold`].
pub fn told<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Units, Untold> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(Untold::Missing)?;
    if values.next().is_some() {
        return Err(Untold::Invalid);
    }
    units(value).ok_or(Untold::Invalid)
}

fn units(value: &[u8]) -> Option<Units> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte))?;
    let end = value.iter().rposition(|byte| !blank(byte))?;
    let digits = value.get(start..=end).filter(|digits| digits.len() <= 16)?;
    // Sixteen digits fit into 64 bits.
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
    })?;
    Units::new(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_whole_number_is_a_cost() {
        for (value, cost) in [
            ("0", 0),
            ("7", 7),
            ("007", 7),
            (" \t42 ", 42),
            ("0000000000000001", 1),
            ("9007199254740991", Units::MAX.get()),
        ] {
            assert_eq!(told([value.as_bytes()]), Ok(Units::saturating(cost)), "{value:?}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for value in [
            "",
            " ",
            "-1",
            "+1",
            "1.5",
            "1.0",
            "1e3",
            "0x10",
            "1_000",
            "1,000",
            "7, 7",
            "7,",
            "7;q=1",
            "7 tokens",
            "1 2",
            "many",
            "NaN",
            "\u{663}",
            "9007199254740992",
            "9999999999999999",
            "00000000000000001",
            "18446744073709551616",
            "\r7",
            "7\0",
        ] {
            assert_eq!(told([value.as_bytes()]), Err(Untold::Invalid), "{value:?}");
        }
        assert_eq!(told([&b"\xff7"[..]]), Err(Untold::Invalid));
        assert_eq!(told([]), Err(Untold::Missing));
        assert_eq!(told([&b"7"[..], &b"7"[..]]), Err(Untold::Invalid), "two values, even the same");
        assert_eq!(told([&b"7"[..], &b""[..]]), Err(Untold::Invalid));
    }

    #[test]
    fn names_are_folded_and_some_are_refused() {
        assert_eq!(CostHeader::parse("X-Usage-AI-Tokens").unwrap().as_str(), "x-usage-ai-tokens");
        assert_eq!(CostHeader::parse("x_cost").unwrap().to_string(), "x_cost");
        assert!(CostHeader::parse(&"x".repeat(64)).is_ok());
        let long = "x".repeat(65);
        for name in ["", " ", "x y", "x:", "x\n", "caf\u{e9}", "x,y", "\"x\"", &long] {
            assert!(matches!(CostHeader::parse(name), Err(InvalidCostHeader::NotAName(_))), "{name:?}");
        }
        for name in ["Connection", "content-length", "Transfer-Encoding", "TE", "upgrade", "proxy-x", "host"]
        {
            assert!(matches!(CostHeader::parse(name), Err(InvalidCostHeader::Framing(_))), "{name}");
        }
        for name in [
            "X-Plangate-Tenant",
            "x_plangate_cost",
            "xplangate",
            "RateLimit",
            "RateLimit-Policy",
            "ratelimit-remaining",
            "X-Request-Id",
        ] {
            assert!(matches!(CostHeader::parse(name), Err(InvalidCostHeader::Own(_))), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_value_is_too_odd(value: Vec<u8>) {
            if let Ok(cost) = told([value.as_slice()]) {
                let text = std::str::from_utf8(&value).unwrap();
                prop_assert_eq!(text.trim().parse::<u64>(), Ok(cost.get()));
            }
        }

        #[test]
        fn every_number_of_units_is_read_as_it_is(number in 0..=Units::MAX.get()) {
            prop_assert_eq!(told([number.to_string().as_bytes()]), Ok(Units::saturating(number)));
        }

        #[test]
        fn no_name_is_too_odd(name in "\\PC{0,70}") {
            if let Ok(header) = CostHeader::parse(&name) {
                prop_assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok());
                prop_assert_eq!(CostHeader::parse(header.as_str()), Ok(header.clone()));
            }
        }
    }
}
