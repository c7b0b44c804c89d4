//! Known keys in memory: a bounded cache of pages instead of single keys.
//!
//! An entry of the cache costs some 270 bytes of bookkeeping whatever it holds, three times as much as a key itself. So
//! about eight keys that have nothing in common but some bits of their fingerprints share an entry, and stay and go
//! together. Which keys meet in a page nobody can choose: fingerprints are keyed.

use std::hash::BuildHasherDefault;

use moka::{ops::compute::Op, sync::Cache};

use super::packed::{KnownKey, Page};
use crate::credentials::fingerprint::{AsItIs, Fingerprint};

/// Keys to a page, on average, when all the keys are there that may be.
const TO_A_PAGE: u64 = 8;

/// So many pages there are in any case: where few keys are kept, a page that goes should not take many along.
const PAGES_AT_LEAST: u64 = 1024;

/// A bounded number of known keys.
pub(super) struct Shelf {
    pages: Cache<u128, Page, BuildHasherDefault<AsItIs>>,
    mask: u128,
}

impl Shelf {
    /// At most about `most` keys.
    pub(super) fn new(most: u64) -> Self {
        let pages = Cache::builder()
            .max_capacity(most)
            .weigher(|_, page: &Page| u32::try_from(page.len()).unwrap_or(u32::MAX))
            .build_with_hasher(BuildHasherDefault::default());
        // Cut where even all the memory there is would not do, so that the power exists.
        let most = most.min(1 << 62);
        let number = (most / TO_A_PAGE).max(most.min(PAGES_AT_LEAST)).max(1).next_power_of_two();
        Self { pages, mask: u128::from(number) - 1 }
    }

    fn page(&self, fingerprint: Fingerprint) -> u128 {
        fingerprint.0 & self.mask
    }

    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<KnownKey> {
        self.pages.get(&self.page(fingerprint))?.get(fingerprint)
    }

    pub(super) fn insert(&self, fingerprint: Fingerprint, key: &KnownKey) {
        self.pages.entry(self.page(fingerprint)).and_upsert_with(|there| match there {
            Some(there) => there.into_value().with(fingerprint, key),
            None => Page::of(fingerprint, key),
        });
    }

    pub(super) fn remove(&self, fingerprint: Fingerprint) {
        self.pages.entry(self.page(fingerprint)).and_compute_with(|there| match there {
            Some(there) => match there.into_value().without(fingerprint) {
                Some(left) => Op::Put(left),
                None => Op::Remove,
            },
            None => Op::Nop,
        });
    }

    #[cfg(test)]
    fn len(&self) -> u64 {
        self.pages.run_pending_tasks();
        self.pages.weighted_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            id::{KeyId, TenantId},
            time::{UnixMillis, Version},
        },
        freshness::Freshness,
    };

    fn key(number: u64) -> KnownKey {
        let tenant = TenantId::parse(&format!("tenant-{number:07}")).unwrap();
        KnownKey {
            id: KeyId::parse(&format!("key_{number:032x}")).unwrap(),
            expires_at: UnixMillis(i64::MAX),
            version: Version(number),
            word: Freshness::default().place(&tenant),
            tenant,
        }
    }

    /// Spread like a hash.
    fn fingerprint(number: u64) -> Fingerprint {
        Fingerprint(u128::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
    }

    #[test]
    fn what_was_put_there_is_there_until_it_is_removed() {
        let (shelf, known) = (Shelf::new(10_000), key(7));
        for number in 0..1000 {
            shelf.insert(fingerprint(number), &KnownKey { version: Version(number), ..known.clone() });
        }
        for number in 0..1000 {
            assert_eq!(shelf.get(fingerprint(number)).map(|key| key.version), Some(Version(number)));
        }
        (0..1000).step_by(2).for_each(|number| shelf.remove(fingerprint(number)));
        for number in 0..1000 {
            assert_eq!(shelf.get(fingerprint(number)).is_some(), number % 2 == 1, "{number}");
        }
        shelf.remove(fingerprint(5000));
        assert_eq!(shelf.len(), 500);
    }

    #[test]
    fn it_is_bounded() {
        for most in [0, 1, 100] {
            let (shelf, known) = (Shelf::new(most), key(7));
            for number in 0..2000 {
                shelf.insert(fingerprint(number), &known);
            }
            assert!(shelf.len() <= most, "{} of {most}", shelf.len());
        }
        let _ = Shelf::new(u64::MAX);
    }
}
