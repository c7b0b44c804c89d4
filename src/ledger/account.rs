//! Tenants' accounts: found once for each compiled rights, then reached directly.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    cell::Cell,
    desk::Desk,
    metrics::{LedgerMetrics, MeterUnits},
    rate_cell::RateCell,
    shared::Shared,
    slot::Slot,
};
use crate::domain::{
    id::{MeterId, TenantId},
    period::Window,
    time::{Monotonic, UnixMillis, Version},
};

const SHARDS: usize = 64;
/// The next period is prepared 1 to 10 minutes before it begins.
const LEAD_AT_LEAST: Duration = Duration::from_secs(60);
const SPREAD: Duration = Duration::from_secs(540);

/// One meter of one tenant.
#[derive(Debug)]
pub(super) struct MeterAccount {
    pub meter: MeterId,
    pub rate: RateCell,
    pub units: Arc<MeterUnits>,
    /// Every meter is counted by the month,
    month: Cell,
    /// few by anything shorter.
    shorter: OnceLock<Box<[Cell; 3]>>,
}

impl MeterAccount {
    /// The place of a window, where it was ever counted.
    pub fn cell(&self, window: Window) -> Option<&Cell> {
        match window {
            Window::Month => Some(&self.month),
            Window::Hour | Window::Day | Window::Week => {
                self.shorter.get().map(|cells| &cells[window as usize])
            }
        }
    }

    pub fn cell_or_new(&self, window: Window) -> &Cell {
        match window {
            Window::Month => &self.month,
            Window::Hour | Window::Day | Window::Week => {
                &self.shorter.get_or_init(Box::default)[window as usize]
            }
        }
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.shorter.get().into_iter().flat_map(|cells| cells.iter()).chain([&self.month])
    }
}

/// What is known of a tenant.
#[derive(Debug, Default)]
struct Known {
    /// Few, and written once each: found through a tab from the second charge on.
    meters: Vec<Arc<MeterAccount>>,
    /// Where it is charged from.
    desks: Vec<Weak<Desk>>,
}

/// One tenant.
#[derive(Debug)]
pub(super) struct Account {
    pub tenant: TenantId,
    known: RwLock<Known>,
    /// Told when a change of the tenant was applied.
    pub changed: Notify,
}

impl Account {
    fn new(tenant: TenantId) -> Arc<Self> {
        Arc::new(Self { tenant, known: RwLock::default(), changed: Notify::new() })
    }

    /// How long before its start a period is prepared. Spreads what all tenants of one anchor would do at the same instant.
    fn lead(&self) -> Duration {
        let place = self
            .tenant
            .as_str()
            .bytes()
            .fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        LEAD_AT_LEAST + SPREAD.mul_f64(f64::from(place) / f64::from(u16::MAX))
    }

    /// A desk leads here from now on.
    pub fn know(&self, desk: &Arc<Desk>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.desks.retain(|desk| desk.strong_count() > 0);
        known.desks.reserve_exact(1);
        known.desks.push(Arc::downgrade(desk));
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn known(&self, meter: &MeterId) -> Option<Arc<MeterAccount>> {
        self.read().meters.iter().find(|known| known.meter == *meter).cloned()
    }

    pub fn meter(&self, meter: &MeterId, metrics: &LedgerMetrics) -> Arc<MeterAccount> {
        if let Some(known) = self.known(meter) {
            return known;
        }
        let Known { meters, .. } = &mut *self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = meters.iter().find(|known| known.meter == *meter) {
            return Arc::clone(known);
        }
        let made = Arc::new(MeterAccount {
            meter: meter.clone(),
            rate: RateCell::default(),
            units: metrics.meter(meter),
            month: Cell::default(),
            shorter: OnceLock::new(),
        });
        meters.reserve_exact(1);
        meters.push(Arc::clone(&made));
        made
    }

    /// Seals every open slot of an older version. Those that are to be recorded.
    pub fn seal(&self, shared: &Shared, below: Version) -> Vec<Arc<Slot>> {
        let mut out = Vec::new();
        for meter in &self.read().meters {
            meter.cells().for_each(|cell| cell.seal(shared, below, &mut out));
        }
        out
    }

    /// Every sealed slot that the database may know of and that is not forgotten yet.
    pub fn sealed(&self) -> Vec<Arc<Slot>> {
        let known = self.read();
        let cells = known.meters.iter().flat_map(|meter| meter.cells());
        cells.flat_map(Cell::sealed).filter(|slot| slot.concerns_database()).collect()
    }

    /// Lets go of every slot.
    pub fn forget(&self) {
        let Known { meters, desks } = &*self.read();
        desks.iter().filter_map(Weak::upgrade).for_each(|desk| desk.forget());
        meters.iter().flat_map(|meter| meter.cells()).for_each(Cell::forget);
    }

    /// Returns what has ended or is idle. Whether nothing is left that a new account would not have.
    pub fn sweep(&self, shared: &Arc<Shared>, now: UnixMillis, monotonic: Monotonic) -> bool {
        let lead = self.lead();
        let Known { meters, desks } = &*self.read();
        for cell in meters.iter().flat_map(|meter| meter.cells()) {
            cell.sweep(shared, now, monotonic, lead);
        }
        // What is sealed by now is forgotten when nobody refers to it any more: so the desks must not.
        desks.iter().filter_map(Weak::upgrade).for_each(|desk| desk.clear());
        meters.iter().fold(true, |empty, meter| {
            meter.cells().fold(empty, |empty, cell| cell.fold() && empty) && meter.rate.is_idle(monotonic)
        })
    }
}

/// Ordered, as the hasher below is: for equal histories.
type Shard = RwLock<BTreeMap<TenantId, Arc<Account>>>;

/// All open accounts.
pub(super) struct Accounts {
    shards: Box<[Shard]>,
    /// Without random keys, so that equal histories visit the accounts in the same order.
    hasher: BuildHasherDefault<DefaultHasher>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: BuildHasherDefault::default(),
        }
    }
}

impl Accounts {
    fn shard(&self, tenant: &TenantId) -> &Shard {
        let place = usize::try_from(self.hasher.hash_one(tenant) % (SHARDS as u64)).unwrap_or(0);
        &self.shards[place]
    }

    pub fn get(&self, tenant: &TenantId) -> Option<Arc<Account>> {
        self.shard(tenant).read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    pub fn open(&self, tenant: &TenantId) -> Arc<Account> {
        if let Some(account) = self.get(tenant) {
            return account;
        }
        let mut shard = self.shard(tenant).write().unwrap_or_else(PoisonError::into_inner);
        let account = shard.entry(tenant.clone()).or_insert_with(|| Account::new(tenant.clone()));
        Arc::clone(account)
    }

    pub fn all(&self) -> Vec<Arc<Account>> {
        (0..SHARDS).flat_map(|place| self.some(place)).collect()
    }

    fn some(&self, place: usize) -> Vec<Arc<Account>> {
        self.shards[place].read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Sweeps the accounts of one part in `of` of all, and closes those that have nothing left and no rights that name
    /// them.
    pub fn sweep(&self, shared: &Arc<Shared>, part: usize, of: usize) {
        let now = shared.world.clock.now();
        let monotonic = shared.monotonic();
        for place in (0..SHARDS).filter(|place| place % of == part % of) {
            let empty: Vec<TenantId> = self
                .some(place)
                .iter()
                .filter(|account| account.sweep(shared, now, monotonic))
                .map(|account| account.tenant.clone())
                .collect();
            if empty.is_empty() {
                continue;
            }
            let mut shard = self.shards[place].write().unwrap_or_else(PoisonError::into_inner);
            for tenant in empty {
                // With no other owner no rights lead to it, and under this lock none can come to. Swept again, as it
                // may have been used since.
                let close = shard.get(&tenant).is_some_and(|account| {
                    Arc::strong_count(account) == 1 && account.sweep(shared, now, monotonic)
                });
                if close {
                    shard.remove(&tenant);
                }
            }
        }
    }
}
