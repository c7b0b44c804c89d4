//! One worker's directory: rights that only it counts, found from the identity itself.
//!
//! A known identity's *seat* leads to its rights with neither a hash nor a look-up: they are taken if the tenant's word
//! and the catalog say that they still hold. Where they do not, the facts are asked for in the shared directory, and this
//! worker's own rights are compiled from them. All identities of a tenant share one copy here, as far as it is remembered,
//! so that they also share what the ledger keeps with it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::{Shared, TenantDirectory};
use crate::{
    domain::{
        catalog::{Catalog, Stamp},
        id::TenantId,
        identity::Identity,
        rights::Rights,
        time::{Monotonic, UnixMillis, Version},
    },
    freshness::WordPlace,
    ports::{Answer, BoxFuture, Directory, ResolveError, TriedRights},
};

/// Tenants of which a front finds the rights again for another identity.
const RECENT: usize = 1024;

/// The directory as one worker sees it. Others may use it too, and are answered as correctly, but not as fast.
pub struct DirectoryFront {
    shared: Arc<Shared>,
    /// No other front has it.
    number: u64,
    /// By the tenant's word; whoever comes later to a place takes it.
    recent: Mutex<Box<[Option<Held>]>>,
}

/// Rights, and what shows whether they still hold.
#[derive(Clone)]
struct Held {
    rights: Arc<Rights>,
    /// The newest version that was committed when the facts were read.
    read_at: Version,
    catalog: Stamp,
    /// The end of the rights, here with the rest.
    until: UnixMillis,
}

/// What rights must hold against.
#[derive(Clone, Copy)]
struct Asked {
    min_version: Version,
    catalog: Stamp,
    now: UnixMillis,
}

impl Held {
    fn holds(&self, asked: Asked) -> bool {
        self.read_at >= asked.min_version && self.catalog == asked.catalog && asked.now < self.until
    }
}

/// What an identity's seat leads to.
struct Place {
    /// Another front's rights are counted by another worker.
    front: u64,
    word: WordPlace,
    /// What was found first: no lock is needed to read it.
    first: Held,
    /// What was found when that did not hold any more.
    later: Mutex<Option<Held>>,
}

impl TenantDirectory {
    /// A directory for one worker, over this one.
    #[must_use]
    pub fn front(&self) -> DirectoryFront {
        static LAST: AtomicU64 = AtomicU64::new(0);
        DirectoryFront {
            shared: Arc::clone(&self.0),
            number: LAST.fetch_add(1, Ordering::Relaxed),
            recent: Mutex::new((0..RECENT).map(|_| None).collect()),
        }
    }
}

impl DirectoryFront {
    /// The rights, if they are in memory. The node must be known to be fresh.
    fn known(
        &self,
        identity: &Identity,
        catalog: &Arc<Catalog>,
        now: UnixMillis,
    ) -> Option<Result<Arc<Rights>, ResolveError>> {
        match identity.seat.get::<Place>() {
            Some(place) if place.front == self.number => {
                let min_version = self.shared.freshness.min_version_at(place.word);
                let asked = Asked { min_version, catalog: catalog.stamp, now };
                if place.first.holds(asked) {
                    return Some(Ok(Arc::clone(&place.first.rights)));
                }
                self.later(place, asked, &identity.tenant, catalog)
            }
            _ => self.sit(identity, catalog, now),
        }
    }

    /// The first request of an identity on this worker.
    fn sit(
        &self,
        identity: &Identity,
        catalog: &Arc<Catalog>,
        now: UnixMillis,
    ) -> Option<Result<Arc<Rights>, ResolveError>> {
        let word = self.shared.freshness.place(&identity.tenant);
        let min_version = self.shared.freshness.min_version_at(word);
        let asked = Asked { min_version, catalog: catalog.stamp, now };
        match self.find(word, asked, &identity.tenant, catalog)? {
            Ok(first) => {
                let rights = Arc::clone(&first.rights);
                let later = Mutex::default();
                identity.seat.fill(Place { front: self.number, word, first, later });
                Some(Ok(rights))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// A request of an identity whose tenant was changed since it sat down, or the policies were.
    fn later(
        &self,
        place: &Place,
        asked: Asked,
        tenant: &TenantId,
        catalog: &Arc<Catalog>,
    ) -> Option<Result<Arc<Rights>, ResolveError>> {
        let mut later = place.later.try_lock().ok();
        if let Some(Some(held)) = later.as_deref()
            && held.holds(asked)
        {
            return Some(Ok(Arc::clone(&held.rights)));
        }
        match self.find(place.word, asked, tenant, catalog)? {
            Ok(held) => {
                let rights = Arc::clone(&held.rights);
                if let Some(later) = later.as_deref_mut() {
                    *later = Some(held);
                }
                Some(Ok(rights))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Rights that another identity of the tenant has here already, or new ones from the facts in memory.
    fn find(
        &self,
        word: WordPlace,
        asked: Asked,
        tenant: &TenantId,
        catalog: &Arc<Catalog>,
    ) -> Option<Result<Held, ResolveError>> {
        let mut recent = self.recent.try_lock().ok();
        let place = recent.as_deref_mut().and_then(|recent| recent.get_mut(word.index() % RECENT));
        if let Some(Some(held)) = place.as_deref()
            && held.rights.tenant == *tenant
            && held.holds(asked)
        {
            return Some(Ok(held.clone()));
        }
        let entry = self.shared.known.get(tenant).filter(|entry| entry.read_at >= asked.min_version)?;
        let held = match self.shared.compile(&entry, tenant, catalog, asked.now) {
            Ok(rights) => {
                let until = rights.until;
                Held { rights, read_at: entry.read_at, catalog: catalog.stamp, until }
            }
            Err(error) => return Some(Err(error)),
        };
        if let Some(place) = place {
            *place = Some(held.clone());
        }
        Some(Ok(held))
    }
}

impl Directory for DirectoryFront {
    fn is_current(&self, arrived: Monotonic) -> bool {
        self.shared.is_fresh(arrived)
    }

    fn catch_up(&self) -> BoxFuture<Result<(), ResolveError>> {
        Shared::catch_up(&self.shared)
    }

    fn resolve(
        &self,
        identity: &Arc<Identity>,
        catalog: &Arc<Catalog>,
        arrived: Monotonic,
        now: UnixMillis,
    ) -> Answer<Arc<Rights>, ResolveError> {
        if self.shared.is_fresh(arrived)
            && let Some(answer) = self.known(identity, catalog, now)
        {
            self.shared.metrics.rights_hits.inc();
            return Answer::Ready(answer);
        }
        Shared::ask(&self.shared, identity, catalog, now)
    }

    fn newer(&self, identity: &Arc<Identity>, known: &Arc<Rights>) -> Answer<Arc<Rights>, ResolveError> {
        Shared::newer(&self.shared, identity, known)
    }

    fn tried(&self, tenant: &TenantId, catalog: &Arc<Catalog>, now: UnixMillis) -> Option<TriedRights> {
        self.shared.tried(tenant, catalog, now)
    }
}
