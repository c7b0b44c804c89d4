//! Names for requests: a UUID of version 7 each, without asking the system for randomness every time.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
};

use bytes::Bytes;
use http::HeaderValue;

use crate::domain::time::UnixMillis;

thread_local! {
    // A keyed hash of a counter: keys of its own for each thread, which nobody outside can know.
    static KEYS: RandomState = RandomState::new();
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// A name that no other request has.
pub(super) fn fresh(now: UnixMillis) -> HeaderValue {
    let count = COUNT.get();
    COUNT.set(count.wrapping_add(1));
    let [left, right] = KEYS.with(|keys| [(count, 0_u8), (count, 1)].map(|part| keys.hash_one(part)));
    let mut random = [0; 10];
    let bytes = left.to_le_bytes().into_iter().chain(right.to_le_bytes());
    random.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    let millis = u64::try_from(now.0).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    id.hyphenated().encode_lower(&mut text);
    // Shared from the start: it is cloned for each place that names the request.
    HeaderValue::from_maybe_shared(Bytes::from_owner(text)).unwrap_or(HeaderValue::from_static("-"))
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
