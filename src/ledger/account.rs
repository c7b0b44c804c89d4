//! Tenants' accounts: found once for each compiled rights, then reached directly.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    bucket::Stir,
    cell::Cell,
    desk::Desk,
    metrics::{LedgerMetrics, MeterUnits},
    rate_cell::RateCell,
    shared::Shared,
    slot::Slot,
    wish::Place,
};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::Window,
        rights::Source,
        time::{Monotonic, UnixMillis, Version},
    },
    ports::{BucketKey, Span},
};

const SHARDS: usize = 64;
/// The next period is prepared 1 to 10 minutes before it begins.
const LEAD_AT_LEAST: Duration = Duration::from_secs(60);
const SPREAD: Duration = Duration::from_secs(540);

/// One meter of one tenant, or its money in one currency.
#[derive(Debug)]
pub(super) struct MeterAccount {
    pub meter: MeterId,
    /// It counts what overage costs, and is called after the currency.
    is_money: bool,
    pub rate: RateCell,
    pub units: Arc<MeterUnits>,
    /// Tells when a source that was passed over may have units again.
    pub stir: Arc<Stir>,
    /// Every meter is counted by the month,
    month: Cell,
    /// few by anything shorter,
    shorter: OnceLock<Box<[Cell; 3]>>,
    /// and few have units from anywhere but the plan.
    others: OnceLock<Box<Others>>,
}

/// The places of sources besides the plan. One is opened, and charged, with the lock held, so that none is closed
/// meanwhile.
type Others = RwLock<Vec<(Source, Cell)>>;

impl MeterAccount {
    fn new(meter: &MeterId, is_money: bool, units: Arc<MeterUnits>) -> Arc<Self> {
        Arc::new(Self {
            meter: meter.clone(),
            is_money,
            rate: RateCell::default(),
            units,
            stir: Arc::default(),
            month: Cell::default(),
            shorter: OnceLock::new(),
            others: OnceLock::new(),
        })
    }

    fn is(&self, meter: &MeterId, is_money: bool) -> bool {
        self.is_money == is_money && self.meter == *meter
    }

    /// Asks the cell of a place, opened if need be.
    pub fn ask<R>(&self, place: Place, ask: impl FnOnce(&Cell) -> R) -> R {
        let source = match place {
            Place::Window(Window::Month) | Place::Spend => return ask(&self.month),
            Place::Window(window) => return ask(&self.shorter.get_or_init(Box::default)[window as usize]),
            Place::Overage => Source::Overage,
            Place::Grant(number, _) => Source::Grant(number),
        };
        let others = self.others.get_or_init(Box::default);
        let found = |cells: &[(Source, Cell)]| cells.iter().position(|(of, _)| *of == source);
        {
            let cells = others.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = found(&cells) {
                return ask(&cells[at].1);
            }
        }
        let mut cells = others.write().unwrap_or_else(PoisonError::into_inner);
        let at = found(&cells).unwrap_or_else(|| {
            cells.push((source, Cell::default()));
            cells.len() - 1
        });
        ask(&cells[at].1)
    }

    /// Asks the cell of a bucket, where there ever was one.
    pub fn ask_known<R>(&self, key: &BucketKey, ask: impl FnOnce(&Cell) -> R) -> Option<R> {
        let source = match key.span {
            Span::MONTH | Span::Spend => return Some(ask(&self.month)),
            Span::Window(window) => return self.shorter.get().map(|cells| ask(&cells[window as usize])),
            Span::Overage => Source::Overage,
            Span::Grant => Source::Grant(key.epoch),
        };
        let cells = self.others.get()?.read().unwrap_or_else(PoisonError::into_inner);
        cells.iter().find(|(of, _)| *of == source).map(|(_, cell)| ask(cell))
    }

    fn each(&self, mut see: impl FnMut(&Cell)) {
        self.shorter.get().into_iter().flat_map(|cells| cells.iter()).for_each(&mut see);
        see(&self.month);
        if let Some(others) = self.others.get() {
            others.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|(_, cell)| see(cell));
        }
    }

    /// Forgets what is settled. Whether nothing is left then.
    fn fold(&self) -> bool {
        let cells = self.shorter.get().into_iter().flat_map(|cells| cells.iter()).chain([&self.month]);
        // Each is folded, also after one that has something left.
        let empty = cells.filter(|cell| !cell.fold()).count() == 0;
        let Some(others) = self.others.get() else { return empty };
        let mut others = others.write().unwrap_or_else(PoisonError::into_inner);
        others.retain(|(_, cell)| !cell.fold());
        empty && others.is_empty()
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

    /// The buckets that are charged here.
    pub fn charged(&self) -> Vec<BucketKey> {
        let mut keys = Vec::new();
        for meter in &self.read().meters {
            meter.each(|cell| keys.extend(cell.charged()));
        }
        keys
    }

    /// What is known of the meter, or the money, of a bucket.
    pub fn known(&self, key: &BucketKey) -> Option<Arc<MeterAccount>> {
        self.find(&key.meter, key.span == Span::Spend)
    }

    fn find(&self, meter: &MeterId, is_money: bool) -> Option<Arc<MeterAccount>> {
        self.read().meters.iter().find(|known| known.is(meter, is_money)).cloned()
    }

    pub fn meter(&self, meter: &MeterId, metrics: &LedgerMetrics) -> Arc<MeterAccount> {
        self.find(meter, false).unwrap_or_else(|| self.make(meter, false, || metrics.meter(meter)))
    }

    /// The money of a currency. It is no meter of the plans, and none of the metrics.
    pub fn money(&self, currency: &MeterId) -> Arc<MeterAccount> {
        self.find(currency, true).unwrap_or_else(|| self.make(currency, true, Arc::default))
    }

    fn make(
        &self,
        meter: &MeterId,
        is_money: bool,
        units: impl FnOnce() -> Arc<MeterUnits>,
    ) -> Arc<MeterAccount> {
        let Known { meters, .. } = &mut *self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = meters.iter().find(|known| known.is(meter, is_money)) {
            return Arc::clone(known);
        }
        let made = MeterAccount::new(meter, is_money, units());
        meters.reserve_exact(1);
        meters.push(Arc::clone(&made));
        made
    }

    /// Seals every open slot of an older version. Those that are to be recorded.
    pub fn seal(&self, shared: &Shared, below: Version) -> Vec<Arc<Slot>> {
        let mut out = Vec::new();
        for meter in &self.read().meters {
            meter.each(|cell| cell.seal(shared, below, &mut out));
        }
        out
    }

    /// Every sealed slot that the database may know of and that is not forgotten yet.
    pub fn sealed(&self) -> Vec<Arc<Slot>> {
        let mut out = Vec::new();
        self.read().meters.iter().for_each(|meter| meter.each(|cell| out.extend(cell.sealed())));
        out.retain(|slot| slot.concerns_database());
        out
    }

    /// Lets go of every slot.
    pub fn forget(&self) {
        let Known { meters, desks } = &*self.read();
        desks.iter().filter_map(Weak::upgrade).for_each(|desk| desk.forget());
        meters.iter().for_each(|meter| meter.each(Cell::forget));
    }

    /// Returns what has ended or is idle. Whether nothing is left that a new account would not have.
    pub fn sweep(&self, shared: &Arc<Shared>, now: UnixMillis, monotonic: Monotonic) -> bool {
        let lead = self.lead();
        let Known { meters, desks } = &*self.read();
        meters.iter().for_each(|meter| meter.each(|cell| cell.sweep(shared, now, monotonic, lead)));
        // What is sealed by now is forgotten when nobody refers to it any more: so the desks must not.
        desks.iter().filter_map(Weak::upgrade).for_each(|desk| desk.clear());
        meters.iter().filter(|meter| !(meter.fold() && meter.rate.is_idle(monotonic))).count() == 0
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
