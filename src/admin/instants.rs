//! Instants as requests write them.

use jiff::{civil::Date, tz::TimeZone};

use crate::domain::{command::When, period::Zone, time::UnixMillis};

/// Years that any billing needs; far outside them calendars and databases have no answers.
const EARLIEST: i64 = 946_684_800_000; // 2000-01-01
const LATEST: i64 = 7_258_118_400_000; // 2200-01-01

const SHAPE: &str = "expected RFC 3339 from 2000 to 2199, such as 2026-12-31T00:00:00Z";

fn bounded(instant: UnixMillis) -> Option<UnixMillis> {
    (EARLIEST..LATEST).contains(&instant.0).then_some(instant)
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Reads an RFC 3339 instant.
pub(super) fn instant(text: &str) -> Result<UnixMillis, String> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|timestamp| bounded(timestamp.into()))
        .ok_or_else(|| format!("`{}`: {SHAPE}", shown(text)))
}

/// Reads when something is to come into force.
pub(super) fn when(text: &str) -> Result<When, String> {
    match text {
        "now" => Ok(When::Now),
        "period_end" => Ok(When::PeriodEnd),
        other => instant(other)
            .map(When::At)
            .map_err(|_| format!("`{}`: expected now, period_end or an RFC 3339 instant", shown(other))),
    }
}

/// Reads an RFC 3339 instant, or a date: the start of that day in `zone`.
pub(super) fn instant_or_day(text: &str, zone: &Zone) -> Result<UnixMillis, String> {
    let wrong = || format!("`{}`: {SHAPE}, or a date such as 2026-12-31", shown(text));
    if text.len() != "2026-12-31".len() {
        return instant(text).map_err(|_| wrong());
    }
    let date: Date = text.parse().map_err(|_| wrong())?;
    let zone = TimeZone::get(zone.name()).map_err(|_| wrong())?;
    let start = date.to_zoned(zone).map_err(|_| wrong())?.timestamp();
    bounded(start.into()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_days() {
        let zone = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(instant("2026-11-22T00:00:00+01:00").unwrap().to_string(), "2026-11-21T23:00:00Z");
        assert_eq!(instant_or_day("2026-07-01", &zone).unwrap().to_string(), "2026-06-30T22:00:00Z");
        for text in
            ["", "now", "2026-13-01", "1999-12-31", "9999-12-31", "-009999-01-01T00:00:00Z", "2026-02-30"]
        {
            assert!(instant_or_day(text, &zone).is_err(), "{text}");
        }
        assert!(instant("2026-07-01").is_err());
        assert_eq!(when("period_end"), Ok(When::PeriodEnd));
        assert_eq!(when("2026-12-01T00:00:00Z"), Ok(When::At(instant("2026-12-01T00:00:00Z").unwrap())));
        assert!(when("tomorrow").unwrap_err().contains("period_end"));
    }
}
