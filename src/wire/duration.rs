//! Spans of time as people write them: `500ms`, `30s`, `10m`, `1h`, `1d`.

use std::time::Duration;

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: expected a whole number and a unit, such as 500ms, 30s, 10m, 1h or 1d")]
pub struct InvalidDuration(pub String);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The longest span that [`parse`] reads.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// Reads a span of time; at most 366 days.
///
/// # Errors
/// [`InvalidDuration`] with the text.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    parse_up_to(text, YEAR)
}

/// Reads a span of time that may be as long as the caller says.
///
/// # Errors
/// [`InvalidDuration`] with the text.
pub fn parse_up_to(text: &str, longest: Duration) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.chars().take(80).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let span = number.checked_mul(*millis).map(Duration::from_millis).filter(|span| *span <= longest);
    span.ok_or_else(invalid)
}

/// Writes a span of time in the largest unit that keeps it whole.
#[must_use]
pub fn format(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (name, unit) = UNITS
        .iter()
        .rev()
        .find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit))
        .unwrap_or(&UNITS[0]);
    format!("{}{name}", millis / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for text in ["500ms", "30s", "10m", "1h", "1d", "0ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(parse("90s").unwrap()), "90s");
        assert_eq!(format(parse("60s").unwrap()), "1m");
        for text in ["", "5", "s", "-1s", "1.5s", "1 s", "1S", "367d", "99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn longer_ones_where_the_caller_allows_them() {
        let longest = Duration::from_secs(1_000 * 86_400);
        assert_eq!(parse_up_to("1000d", longest).unwrap(), longest);
        for text in ["1001d", "86400001s", "213503982334602d", "18446744073709551615ms"] {
            assert!(parse_up_to(text, longest).is_err(), "{text}");
        }
    }
}
