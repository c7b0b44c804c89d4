//! A node with a ledger over a store in memory, a clock that stands still, and tenants made to measure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use super::store::MemoryStore;
use crate::{
    clock::{Clock, ManualClock},
    domain::{
        catalog::{Catalog, Digest, Meter, Unmatched},
        features::FeatureSet,
        id::{MeterId, PlanId, TenantId},
        period::{AnchorDay, Window},
        plan::{MeterIx, MeterTerms, Overage, Plan, Quota},
        rights::Rights,
        route::{Charge, RouteTable},
        subscription::Subscription,
        tenant::Tenant,
        time::{UnixMillis, Version},
        units::{Allowance, Units},
    },
    freshness::Freshness,
    ledger::{EscrowLedger, LedgerParts, file::LedgerFile},
    ports::{Answer, BucketKey, ChargeError, Hold, Incarnation, Ledger, WindowUsage},
};

/// 2026-03-15T10:30:00Z.
pub const START: UnixMillis = UnixMillis(1_773_570_600_000);
pub const REQUESTS: MeterIx = MeterIx(1);
pub const TOKENS: MeterIx = MeterIx(0);

pub fn units(n: u64) -> Units {
    Units::new(n).unwrap()
}

pub fn monthly(limit: u64) -> Quota {
    Quota::monthly(Allowance::Limited(units(limit)))
}

pub fn unlimited() -> Quota {
    Quota::monthly(Allowance::Unlimited)
}

pub fn soft(limit: u64) -> Quota {
    Quota { overage: Overage::Allow { cap: None }, ..monthly(limit) }
}

pub fn terms(quota: Quota) -> MeterTerms {
    MeterTerms { quota: Some(quota), rate: None }
}

pub fn charge(meter: MeterIx, n: u64) -> Charge {
    Charge { meter, units: units(n) }
}

pub fn catalog(requests: MeterTerms, tokens: MeterTerms) -> Arc<Catalog> {
    let meter = |id| Meter { id: MeterId::parse(id).unwrap(), title: None, unit: None };
    let plan = Plan {
        features: FeatureSet::default(),
        limits: BTreeMap::new(),
        meters: Box::new([tokens, requests]),
        ..Plan::empty(PlanId::parse("basic").unwrap())
    };
    Arc::new(Catalog {
        features: vec![],
        limits: vec![],
        meters: vec![meter("ai_tokens"), meter("requests")],
        plans: BTreeMap::from([(plan.id.clone(), Arc::new(plan))]),
        routes: RouteTable::default(),
        unmatched: Unmatched::Deny,
        ..Catalog::empty(Digest("test".into()))
    })
}

pub fn tenant(name: &str, version: u64, epoch: u64) -> Tenant {
    Tenant {
        subscription: Some(Subscription::active(
            "basic".parse().unwrap(),
            AnchorDay::new(1).unwrap(),
            Version(epoch),
            START,
        )),
        version: Version(version),
        ..Tenant::new(TenantId::parse(name).unwrap(), START)
    }
}

pub fn rights(version: u64, catalog: &Arc<Catalog>) -> Arc<Rights> {
    Arc::new(Rights::compile(&tenant("acme", version, 1), catalog, START).unwrap())
}

pub fn requests(quota: Quota) -> Arc<Rights> {
    rights(1, &catalog(terms(quota), terms(unlimited())))
}

pub fn bucket(rights: &Rights, meter: &str, window: Window, now: UnixMillis) -> BucketKey {
    let entitlement = rights.entitlement.as_ref().unwrap();
    BucketKey {
        tenant: rights.tenant.clone(),
        meter: MeterId::parse(meter).unwrap(),
        span: window.into(),
        start: entitlement.calendar.period(window, now).start,
        epoch: entitlement.epoch,
    }
}

/// One node. Its background work runs on the test's own runtime.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    pub freshness: Arc<Freshness>,
    pub ledger: EscrowLedger,
    runs: u128,
}

impl World {
    pub fn new() -> Self {
        let (store, clock) = (Arc::new(MemoryStore::default()), ManualClock::at(START));
        let freshness = Arc::new(Freshness::default());
        let ledger = Self::node(&store, &clock, &freshness, 1);
        Self { store, clock, freshness, ledger, runs: 1 }
    }

    pub fn node(
        store: &Arc<MemoryStore>,
        clock: &Arc<ManualClock>,
        freshness: &Arc<Freshness>,
        incarnation: u128,
    ) -> EscrowLedger {
        Self::on_file(store, clock, freshness, incarnation, LedgerFile::anonymous())
    }

    pub fn on_file(
        store: &Arc<MemoryStore>,
        clock: &Arc<ManualClock>,
        freshness: &Arc<Freshness>,
        incarnation: u128,
        file: LedgerFile,
    ) -> EscrowLedger {
        EscrowLedger::new(LedgerParts {
            store: store.clone(),
            clock: clock.clone(),
            freshness: freshness.clone(),
            incarnation: Incarnation(uuid::Uuid::from_u128(incarnation)),
            file,
            runtime: tokio::runtime::Handle::current(),
            tracker: TaskTracker::new(),
        })
    }

    /// Another node on the same store.
    pub fn other(&mut self) -> EscrowLedger {
        self.runs += 1;
        Self::node(&self.store, &self.clock, &self.freshness, self.runs)
    }

    /// A clean stop and start.
    pub async fn restart(&mut self) {
        self.ledger.drain().await;
        self.ledger = self.other();
    }

    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    pub async fn charge(&self, rights: &Arc<Rights>, charges: &[Charge]) -> Result<Hold, ChargeError> {
        charge_on(&self.ledger, rights, charges, self.now()).await
    }

    /// Charges requests of one unit until one is refused. How many passed, and the refusal.
    pub async fn exhaust(&self, rights: &Arc<Rights>) -> (u64, ChargeError) {
        let mut passed = 0;
        loop {
            match self.charge(rights, &[charge(REQUESTS, 1)]).await {
                Ok(hold) => hold.keep(),
                Err(error) => return (passed, error),
            }
            passed += 1;
        }
    }

    pub async fn used(&self, rights: &Arc<Rights>, meter: &str, window: Window) -> WindowUsage {
        let usage = self.ledger.usage(rights, self.now()).await.unwrap();
        let usage = usage.into_iter().find(|usage| usage.meter.as_str() == meter).unwrap();
        usage.windows.into_iter().find(|usage| usage.window == window).unwrap()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

pub async fn charge_on(
    ledger: &EscrowLedger,
    rights: &Arc<Rights>,
    charges: &[Charge],
    now: UnixMillis,
) -> Result<Hold, ChargeError> {
    ledger.charge(rights, charges, now).wait().await
}

/// The answer from memory.
pub fn at_once(world: &World, rights: &Arc<Rights>, charges: &[Charge]) -> Result<Hold, ChargeError> {
    match world.ledger.charge(rights, charges, world.now()) {
        Answer::Ready(result) => result,
        Answer::Pending(_) => panic!("the database was asked"),
    }
}
