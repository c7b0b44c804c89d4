//! Tenants at rest: what a node remembers of each tenant that it knows, in as little memory as that takes.
//!
//! An entry is one block of memory and its name, and two words lead to it. When the table is full, a hand goes round and
//! takes the first entry that nobody asked for since it last passed (the clock algorithm). Workers keep what they need
//! often by themselves, so the locks here are taken when a tenant is first asked for by a worker, or changed.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use hashbrown::{HashTable, hash_table};

use super::entry::Entry;
use crate::domain::{id::TenantId, time::Version};

const SHARDS: usize = 64;
/// A table for fewer is in one piece: small pieces would fill unevenly.
const SMALL: usize = 64 * SHARDS;

pub(super) struct Table {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

struct Shard {
    /// Places in `entries`, found by the tenant's hash.
    places: HashTable<u32>,
    entries: Vec<Arc<Entry>>,
    /// Of each entry, whether it was asked for since the hand last passed.
    asked: Vec<AtomicBool>,
    most: usize,
    hand: usize,
}

impl Table {
    /// A table for at most so many tenants.
    pub(super) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let shards = if capacity < SMALL { 1 } else { SHARDS };
        let most = (capacity / shards).min(u32::MAX as usize);
        let shard = |_| {
            RwLock::new(Shard {
                places: HashTable::new(),
                entries: Vec::new(),
                asked: Vec::new(),
                most,
                hand: 0,
            })
        };
        Self { shards: (0..shards).map(shard).collect(), hasher: RandomState::new() }
    }

    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        // Other bits than those by which a shard finds places.
        let place = usize::try_from(hash >> 32).unwrap_or(0) % self.shards.len();
        &self.shards[place]
    }

    fn read(&self, hash: u64) -> RwLockReadGuard<'_, Shard> {
        self.shard(hash).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        self.shard(hash).write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, tenant: &TenantId) -> Option<Arc<Entry>> {
        let hash = self.hasher.hash_one(tenant.as_str());
        let shard = self.read(hash);
        let place = *shard.places.find(hash, |place| shard.is(*place, tenant.as_str()))? as usize;
        let (entry, asked) = (shard.entries.get(place)?, shard.asked.get(place)?);
        if !asked.load(Ordering::Relaxed) {
            asked.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(entry))
    }

    /// Keeps an entry, unless a newer one of the tenant is there.
    pub(super) fn put(&self, entry: &Arc<Entry>) {
        let hash = self.hasher.hash_one(&*entry.tenant);
        let mut shard = self.write(hash);
        shard.put(entry, hash, |tenant| self.hasher.hash_one(tenant));
    }

    /// Forgets a tenant, unless it was read after `version`.
    pub(super) fn remove(&self, tenant: &TenantId, version: Version) {
        let hash = self.hasher.hash_one(tenant.as_str());
        let mut shard = self.write(hash);
        shard.remove(tenant.as_str(), version, hash, |tenant| self.hasher.hash_one(tenant));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).entries.len())
            .sum()
    }
}

impl Shard {
    fn is(&self, place: u32, tenant: &str) -> bool {
        self.entries.get(place as usize).is_some_and(|entry| *entry.tenant == *tenant)
    }

    fn put(&mut self, entry: &Arc<Entry>, hash: u64, rehash: impl Fn(&str) -> u64) {
        let known = self.places.find(hash, |place| self.is(*place, &entry.tenant)).copied();
        if let Some(known) = known {
            let known = &mut self.entries[known as usize];
            if known.read_at <= entry.read_at {
                *known = Arc::clone(entry);
            }
            return;
        }
        if self.most == 0 {
            return;
        }
        let place = if self.entries.len() < self.most {
            self.make_room();
            self.entries.push(Arc::clone(entry));
            self.asked.push(AtomicBool::new(false));
            self.entries.len() - 1
        } else {
            let place = self.oldest();
            let old = std::mem::replace(&mut self.entries[place], Arc::clone(entry));
            self.unlink(rehash(&old.tenant), place);
            place
        };
        let Ok(place) = u32::try_from(place) else { return };
        let entries = &self.entries;
        self.places.insert_unique(hash, place, |place| rehash(&entries[*place as usize].tenant));
    }

    /// Grows the lists by an eighth where they are full: doubling would leave up to half of them empty.
    fn make_room(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            let more = (self.entries.len() / 8).max(64).min(self.most - self.entries.len());
            self.entries.reserve_exact(more);
            self.asked.reserve_exact(more);
        }
    }

    /// The next entry that was not asked for since the hand last passed it.
    fn oldest(&mut self) -> usize {
        loop {
            let place = self.hand % self.entries.len();
            self.hand = place + 1;
            if !self.asked[place].swap(false, Ordering::Relaxed) {
                return place;
            }
        }
    }

    /// Takes the way to a place out of the index.
    fn unlink(&mut self, hash: u64, place: usize) {
        let found = self.places.find_entry(hash, |known| *known as usize == place);
        if let Ok(found) = found {
            hash_table::OccupiedEntry::remove(found);
        }
    }

    fn remove(&mut self, tenant: &str, version: Version, hash: u64, rehash: impl Fn(&str) -> u64) {
        let known = self.places.find(hash, |place| self.is(*place, tenant)).copied();
        let Some(place) = known.map(|place| place as usize) else { return };
        if self.entries[place].read_at > version {
            return;
        }
        self.unlink(hash, place);
        self.entries.swap_remove(place);
        self.asked.swap_remove(place);
        // The last entry stands in the place now.
        if let Some(moved) = self.entries.get(place) {
            let (from, hash) = (self.entries.len(), rehash(&moved.tenant));
            if let Some(known) = self.places.find_mut(hash, |known| *known as usize == from) {
                *known = u32::try_from(place).unwrap_or(u32::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(number: u32) -> TenantId {
        TenantId::parse(&format!("t{number}")).unwrap()
    }

    fn entry(number: u32, read_at: u64) -> Arc<Entry> {
        Arc::new(Entry::unknown(&name(number), Version(read_at)))
    }

    #[test]
    fn a_full_table_lets_go_of_what_nobody_asks_for() {
        let table = Table::new(100);
        (0..100).for_each(|number| table.put(&entry(number, 1)));
        assert_eq!(table.len(), 100);
        (0..50).for_each(|number| assert!(table.get(&name(number)).is_some()));
        (100..150).for_each(|number| table.put(&entry(number, 1)));
        assert_eq!(table.len(), 100);
        (0..50).for_each(|number| assert!(table.get(&name(number)).is_some(), "{number} is asked for"));
        (50..100).for_each(|number| assert!(table.get(&name(number)).is_none()));
    }

    #[test]
    fn many_shards_hold_no_more_than_was_asked_for() {
        let table = Table::new(10_000);
        (0..30_000).for_each(|number| table.put(&entry(number, 1)));
        assert!((9_000..=10_000).contains(&table.len()), "{}", table.len());
        let nothing = Table::new(0);
        nothing.put(&entry(1, 1));
        assert_eq!(nothing.len(), 0);
    }

    proptest! {
        #[test]
        fn it_is_a_map_of_the_newest(
            steps in proptest::collection::vec((0_u32..40, 0_u64..6, any::<bool>()), 0..300)
        ) {
            let (table, mut model) = (Table::new(1_000), BTreeMap::new());
            for (number, version, put) in steps {
                if put {
                    table.put(&entry(number, version));
                    let known = model.entry(number).or_insert(version);
                    *known = version.max(*known);
                } else {
                    table.remove(&name(number), Version(version));
                    model.retain(|known, read_at| *known != number || *read_at > version);
                }
                prop_assert_eq!(table.len(), model.len());
                for number in 0..40 {
                    let found = table.get(&name(number)).map(|entry| entry.read_at.0);
                    prop_assert_eq!(found, model.get(&number).copied());
                }
            }
        }
    }
}
