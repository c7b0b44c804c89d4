//! Spans of time as people write them: `500ms`, `30s`, `10m`, `1h`, `1d`.

use std::time::Duration;

/// Why a text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: expected a whole number and a unit, such as 500ms, 30s, 10m, 1h or 1d")]
pub struct InvalidDuration(pub String);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a span of time; at most 366 days.
///
/// # Errors
/// [`InvalidDuration`] with the text.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.chars().take(80).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
    let number: u64 = number.parse().map_err(|_| invalid())?;
    let millis = number.checked_mul(*millis).filter(|all| *all <= 366 * 86_400_000).ok_or_else(invalid)?;
    Ok(Duration::from_millis(millis))
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
}
