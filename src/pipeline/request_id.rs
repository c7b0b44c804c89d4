//! Names for requests: a UUID of version 7 each, without asking the system for randomness every time.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
};

use http::HeaderValue;

use super::header_text;
use crate::domain::time::UnixMillis;

/// A keyed hash of a counter: keys of its own for each thread, which nobody outside can know, so that nobody learns from a
/// name how many others there are.
struct Source {
    keys: RandomState,
    count: Cell<u64>,
    /// What is left of a hash whose other bits were used before.
    rest: Cell<u64>,
}

thread_local! {
    static SOURCE: Source = Source { keys: RandomState::new(), count: Cell::new(0), rest: Cell::new(0) };
}

/// A name needs 74 random bits: a hash gives 62 of them, and one more hash the other 12 of five names.
const SHARES: u64 = 5;
const SHARE: u32 = 12;

impl Source {
    fn bits(&self) -> (u64, u16) {
        let count = self.count.get();
        self.count.set(count.wrapping_add(1));
        if count.is_multiple_of(SHARES) {
            self.rest.set(self.keys.hash_one((count, 1_u8)));
        }
        let rest = self.rest.get();
        self.rest.set(rest >> SHARE);
        (self.keys.hash_one(count), (rest & 0xFFF) as u16)
    }
}

/// A name that no other request has.
pub(super) fn fresh(now: UnixMillis) -> HeaderValue {
    let (long, short) = SOURCE.with(Source::bits);
    let mut random = [0; 10];
    random[..2].copy_from_slice(&short.to_be_bytes());
    random[2..].copy_from_slice(&long.to_be_bytes());
    let millis = u64::try_from(now.0).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    id.hyphenated().encode_lower(&mut text);
    header_text::value(&text).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_uuids_that_sort_by_time_and_never_repeat() {
        let names = |now: i64| (0..1000).map(move |_| fresh(UnixMillis(now)));
        let other = std::thread::spawn(move || names(1_700_000_000_000).collect::<Vec<_>>());
        let mut all: Vec<HeaderValue> = names(1_700_000_000_000).chain(other.join().unwrap()).collect();
        let earlier = fresh(UnixMillis(1_699_999_999_999));
        assert!(all.iter().all(|name| name.as_bytes() > earlier.as_bytes()));
        all.push(earlier);
        assert_eq!(all.iter().map(|name| name.as_bytes().to_vec()).collect::<HashSet<_>>().len(), 2001);
        for name in all {
            let id: uuid::Uuid = name.to_str().unwrap().parse().unwrap();
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122), "{id}");
        }
    }
}
