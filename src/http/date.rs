//! The `Date` of an answer: made once a second.

use std::{
    cell::Cell,
    time::{Duration, UNIX_EPOCH},
};

use crate::clock::coarse_seconds;

/// Length of a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
pub(super) const LENGTH: usize = 29;

/// The date that a thread has made last.
#[derive(Debug)]
pub(super) struct Date {
    second: Cell<i64>,
    text: Cell<[u8; LENGTH]>,
}

impl Default for Date {
    fn default() -> Self {
        Self { second: Cell::new(i64::MIN), text: Cell::new([b' '; LENGTH]) }
    }
}

impl Date {
    /// The present date.
    pub fn now(&self) -> [u8; LENGTH] {
        self.at(coarse_seconds())
    }

    fn at(&self, second: i64) -> [u8; LENGTH] {
        if self.second.replace(second) != second {
            let since = Duration::from_secs(u64::try_from(second).unwrap_or(0));
            let text = httpdate::fmt_http_date(UNIX_EPOCH + since);
            if let Ok(text) = text.as_bytes().try_into() {
                self.text.set(text);
            }
        }
        self.text.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let date = Date::default();
        for _ in 0..2 {
            assert_eq!(&date.at(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        }
        assert_eq!(&date.at(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&date.at(-5), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
