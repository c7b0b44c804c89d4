//! Known keys as bytes: what a million of them cost in memory is decided here.
//!
//! A page is one allocation that holds several keys: how many, their fingerprints, where each one's record ends, and the
//! records. A record has the version, the expiry and the tenant's word in full, the tenant's id, and the key's id, which
//! takes 16 bytes if it is one of ours. What cannot be read back is not known: it is looked up again.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    credentials::fingerprint::Fingerprint,
    domain::{
        id::{KeyId, TenantId},
        time::{UnixMillis, Version},
    },
    freshness::WordPlace,
};

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownKey {
    pub(super) tenant: TenantId,
    pub(super) id: KeyId,
    /// The end of time, if it does not expire.
    pub(super) expires_at: UnixMillis,
    /// The version of the reading.
    pub(super) version: Version,
    /// The tenant's word.
    pub(super) word: WordPlace,
}

/// How ids of ours begin; what follows is a UUID in 32 hexadecimal digits.
const OURS: &str = "key_";

/// Keys of one page at most; more than this meet there only by an odd chance, and then the oldest goes.
pub(super) const MOST: usize = 64;

const FINGERPRINT: usize = 16;

impl KnownKey {
    fn record(&self) -> Vec<u8> {
        let tenant = self.tenant.as_str().as_bytes();
        let mut record = Vec::with_capacity(96);
        record.extend(self.version.0.to_le_bytes());
        record.extend(self.expires_at.0.to_le_bytes());
        record.extend(self.word.to_bytes());
        // An id has at most 63 bytes, so the upper bit is free to tell how the key's id is written.
        let uuid = ours(&self.id);
        record.push(u8::try_from(tenant.len()).unwrap_or(0) | if uuid.is_some() { 0x80 } else { 0 });
        record.extend(tenant);
        match &uuid {
            Some(uuid) => record.extend(uuid.as_bytes()),
            None => record.extend(self.id.as_str().as_bytes()),
        }
        record
    }

    fn read(record: &[u8]) -> Option<Self> {
        let (version, rest) = record.split_first_chunk()?;
        let (expires_at, rest) = rest.split_first_chunk()?;
        let (word, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first()?;
        let (tenant, id) = rest.split_at_checked(usize::from(length & 0x7f))?;
        let id = if length & 0x80 == 0 {
            KeyId::parse(std::str::from_utf8(id).ok()?).ok()?
        } else {
            let mut text = [0; OURS.len() + 32];
            text[..OURS.len()].copy_from_slice(OURS.as_bytes());
            Uuid::from_slice(id).ok()?.simple().encode_lower(&mut text[OURS.len()..]);
            KeyId::parse(std::str::from_utf8(&text).ok()?).ok()?
        };
        Some(Self {
            tenant: TenantId::parse(std::str::from_utf8(tenant).ok()?).ok()?,
            id,
            expires_at: UnixMillis(i64::from_le_bytes(*expires_at)),
            version: Version(u64::from_le_bytes(*version)),
            word: WordPlace::from_bytes(*word),
        })
    }
}

/// The UUID of an id that is written exactly as ours are.
fn ours(id: &KeyId) -> Option<Uuid> {
    let digits = id.as_str().strip_prefix(OURS)?;
    let plain = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    Uuid::try_parse(digits).ok().filter(|_| plain)
}

/// Several known keys in one allocation.
#[derive(Debug, Clone)]
pub(super) struct Page(Arc<[u8]>);

impl Page {
    /// How many keys it holds.
    pub(super) fn len(&self) -> usize {
        usize::from(self.0.first().copied().unwrap_or(0))
    }

    fn place(&self, fingerprint: Fingerprint) -> Option<usize> {
        let all = self.0.get(1..)?.chunks_exact(FINGERPRINT).take(self.len());
        all.into_iter().position(|bytes| bytes == fingerprint.0.to_le_bytes())
    }

    fn fingerprint(&self, place: usize) -> Option<Fingerprint> {
        let bytes = self.0.get(1 + place * FINGERPRINT..)?.first_chunk()?;
        Some(Fingerprint(u128::from_le_bytes(*bytes)))
    }

    fn record(&self, place: usize) -> Option<&[u8]> {
        let ends = self.0.get(1 + self.len() * FINGERPRINT..)?;
        let end = |place: usize| {
            let bytes = ends.get(2 * place..)?.first_chunk()?;
            Some(usize::from(u16::from_le_bytes(*bytes)))
        };
        let start = if place == 0 { 0 } else { end(place - 1)? };
        ends.get(2 * self.len()..)?.get(start..end(place)?)
    }

    /// The key of that fingerprint.
    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<KnownKey> {
        KnownKey::read(self.record(self.place(fingerprint)?)?)
    }

    /// A page of one key.
    pub(super) fn of(fingerprint: Fingerprint, key: &KnownKey) -> Self {
        Self::write(&[(fingerprint, &key.record())])
    }

    /// The same with this key instead of what it held under the fingerprint.
    #[must_use]
    pub(super) fn with(&self, fingerprint: Fingerprint, key: &KnownKey) -> Self {
        let record = key.record();
        let mut records = self.others(fingerprint);
        records.push((fingerprint, &record));
        if records.len() > MOST {
            records.remove(0);
        }
        Self::write(&records)
    }

    /// The same without that key; `None` if nothing is left.
    pub(super) fn without(&self, fingerprint: Fingerprint) -> Option<Self> {
        let records = self.others(fingerprint);
        (!records.is_empty()).then(|| Self::write(&records))
    }

    fn others(&self, fingerprint: Fingerprint) -> Vec<(Fingerprint, &[u8])> {
        let all = (0..self.len()).filter_map(|place| Some((self.fingerprint(place)?, self.record(place)?)));
        all.filter(|(other, _)| *other != fingerprint).collect()
    }

    fn write(records: &[(Fingerprint, &[u8])]) -> Self {
        let length: usize = records.iter().map(|(_, record)| record.len()).sum();
        let mut bytes = Vec::with_capacity(1 + records.len() * (FINGERPRINT + 2) + length);
        bytes.push(u8::try_from(records.len()).unwrap_or(0));
        for (fingerprint, _) in records {
            bytes.extend(fingerprint.0.to_le_bytes());
        }
        let mut end = 0;
        for (_, record) in records {
            end += record.len();
            // A record has at most 145 bytes and a page at most 64 records, so this is never cut.
            bytes.extend(u16::try_from(end).unwrap_or(0).to_le_bytes());
        }
        records.iter().for_each(|(_, record)| bytes.extend(*record));
        Self(Arc::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = KnownKey> {
        let id = prop_oneof!["key_[0-9a-f]{32}", "key_[0-9a-g]{31,33}", "[a-z][a-z0-9_.-]{0,62}"];
        ("[a-z0-9][a-z0-9._-]{0,62}", id, any::<i64>(), any::<u64>(), any::<[u8; 2]>()).prop_map(
            |(tenant, id, expires_at, version, word)| KnownKey {
                tenant: TenantId::parse(&tenant).unwrap(),
                id: KeyId::parse(&id).unwrap(),
                expires_at: UnixMillis(expires_at),
                version: Version(version),
                word: WordPlace::from_bytes(word),
            },
        )
    }

    proptest! {
        #[test]
        fn a_page_is_a_small_map(steps in proptest::collection::vec((0..20u128, any::<bool>(), key()), 1..60)) {
            let (mut page, mut model) = (None::<Page>, BTreeMap::new());
            for (number, add, key) in steps {
                let fingerprint = Fingerprint(number);
                if add {
                    page = Some(match &page {
                        Some(page) => page.with(fingerprint, &key),
                        None => Page::of(fingerprint, &key),
                    });
                    model.insert(number, key);
                } else {
                    page = page.and_then(|page| page.without(fingerprint));
                    model.remove(&number);
                }
                prop_assert_eq!(page.as_ref().map_or(0, Page::len), model.len());
                for number in 0..20 {
                    let found = page.as_ref().and_then(|page| page.get(Fingerprint(number)));
                    prop_assert_eq!(found.as_ref(), model.get(&number));
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), number in any::<u128>()) {
            let page = Page(Arc::from(bytes));
            let _ = page.get(Fingerprint(number));
            let _ = page.without(Fingerprint(number));
            for place in 0..300 {
                let _ = page.record(place).and_then(KnownKey::read);
            }
        }
    }

    #[test]
    fn a_page_has_a_most() {
        let key = KnownKey {
            tenant: TenantId::parse(&"t".repeat(63)).unwrap(),
            id: KeyId::parse(&"k".repeat(63)).unwrap(),
            expires_at: UnixMillis(i64::MAX),
            version: Version(1),
            word: WordPlace::from_bytes([0; 2]),
        };
        let mut page = Page::of(Fingerprint(0), &key);
        for number in 1..200 {
            page = page.with(Fingerprint(number), &key);
            assert_eq!(page.get(Fingerprint(number)).as_ref(), Some(&key));
        }
        assert_eq!(page.len(), MOST);
        assert_eq!(page.get(Fingerprint(0)), None);
        assert!(page.get(Fingerprint(200 - MOST as u128)).is_some());
    }

    #[test]
    fn a_usual_key_takes_some_seventy_bytes() {
        let key = KnownKey {
            tenant: TenantId::parse("tenant-0000001").unwrap(),
            id: KeyId::parse("key_0192f0c17f1e7d3a9b1e2f3c4d5e6f70").unwrap(),
            expires_at: UnixMillis(i64::MAX),
            version: Version(1),
            word: WordPlace::from_bytes([0; 2]),
        };
        assert_eq!(key.record().len() + FINGERPRINT + 2, 67);
    }
}
