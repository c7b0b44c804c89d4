//! Ports in memory, as small as the tests allow.

mod access;
mod ledger;
mod nodes;
mod policies;
mod tenants;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub use nodes::node;

use super::policies::catalog;
use crate::{
    admin::AdminState,
    clock::{Clock, ManualClock},
    domain::{
        catalog::Catalog,
        command::Command,
        id::TenantId,
        identity::ApiKey,
        impact::{DayUse, Spent},
        period::{Period, Window},
        rights::Source,
        tenant::Tenant,
        time::{UnixMillis, Version},
        units::Units,
    },
    pipeline::refusals::Refusals,
    ports::*,
};

pub fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

pub fn units(n: u64) -> Units {
    Units::new(n).unwrap()
}

/// Units used and uncertain of what is beside the plan's, by meter and source.
pub type UsedOfSources = BTreeMap<(&'static str, Source), (u64, u64)>;

/// Units used and uncertain, by meter and window; the month's are the plan's own.
pub type UsedUnits = BTreeMap<(&'static str, Window), (u64, u64)>;

/// Everything a test may look at or break.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub catalog: Mutex<Arc<Catalog>>,
    pub tenants: Mutex<BTreeMap<TenantId, Tenant>>,
    pub grants: Mutex<BTreeMap<TenantId, Vec<GrantRow>>>,
    pub keys: Mutex<Vec<ApiKey>>,
    pub log: Mutex<Vec<(Command, Origin)>>,
    pub done: Mutex<BTreeMap<String, (String, Committed)>>,
    pub used: Mutex<UsedUnits>,
    pub beside: Mutex<UsedOfSources>,
    pub rows: Mutex<Vec<UsageRow>>,
    pub asked_usage: Mutex<Vec<Period>>,
    pub nodes: Mutex<Vec<NodeRow>>,
    pub waited: Mutex<Vec<Version>>,
    pub pending: Mutex<Vec<String>>,
    pub failure: Mutex<Option<StoreError>>,
    pub panics: AtomicBool,
    pub version: AtomicU64,
    pub made: AtomicU64,
    /// What the compiler makes of files with a `routes.yaml`; `None`: the catalog of these tests.
    pub candidate: Mutex<Option<Catalog>>,
    pub days: Mutex<HashMap<TenantId, Vec<DayUse>>>,
    pub spent: Mutex<HashMap<TenantId, Vec<Spent>>>,
    /// Holds a survey up until something is sent.
    pub held: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    pub events: Arc<super::usage_events::Events>,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: ManualClock::at(at("2026-11-22T10:00:00Z")),
            catalog: Mutex::new(catalog()),
            tenants: Mutex::default(),
            grants: Mutex::default(),
            keys: Mutex::default(),
            log: Mutex::default(),
            done: Mutex::default(),
            used: Mutex::default(),
            beside: Mutex::default(),
            rows: Mutex::default(),
            asked_usage: Mutex::default(),
            nodes: Mutex::default(),
            waited: Mutex::default(),
            pending: Mutex::default(),
            failure: Mutex::default(),
            panics: AtomicBool::new(false),
            version: AtomicU64::new(0),
            made: AtomicU64::new(0),
            candidate: Mutex::default(),
            days: Mutex::default(),
            spent: Mutex::default(),
            held: Mutex::default(),
            events: Arc::default(),
        })
    }

    pub fn state(self: &Arc<Self>, token: Option<&str>) -> AdminState {
        let world = Arc::new(Fake(Arc::clone(self)));
        let ready = Arc::clone(self);
        AdminState {
            tenants: world.clone(),
            lifecycle: world.clone(),
            events: Arc::new(crate::admin::tests::event_log::Told),
            exports: Arc::new(crate::store::memory::Memory::new().unwrap()),
            nodes: world.clone(),
            policies: world.clone(),
            compiler: world.clone(),
            revisions: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            shadow: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            webhooks: Arc::new(crate::store::memory::Memory::with_clock(self.clock.clone()).unwrap()),
            outgoing: Arc::new(crate::admin::tests::webhooks::Endpoints::default()),
            folder: Arc::new(|| None),
            stripe: Arc::new(crate::admin::tests::no_stripe::NoStripe),
            survey: world.clone(),
            usage_events: self.events.clone(),
            statements: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            bills: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            previews: world.clone(),
            ledger: world.clone(),
            keys: world.clone(),
            barrier: world,
            clock: self.clock.clone(),
            node: "a".to_owned(),
            age: Arc::new(|| Some(Duration::from_millis(85))),
            refusals: Arc::new(Refusals::of_workers(1)),
            metrics: Arc::new(|| "plangate_connections 1\n# EOF\n".to_owned()),
            readiness: Arc::new(move || {
                let reasons: Vec<String> =
                    ready.failure.lock().unwrap().iter().map(ToString::to_string).collect();
                Readiness { ready: reasons.is_empty(), reasons }
            }),
            audit: Arc::new(Fake(Arc::clone(self))),
            tokens: Arc::new(crate::store::memory::Memory::new().unwrap()),
            token_issuer: Arc::new(Fake(Arc::clone(self))),
            trusts: Arc::new(|_| false),
            token: token.map(str::to_owned),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        assert!(!self.panics.load(Ordering::SeqCst), "a defect that the test asked for");
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    pub fn last(&self) -> (Command, Origin) {
        self.log.lock().unwrap().last().unwrap().clone()
    }
}

/// Each port, by what the world holds.
struct Fake(Arc<World>);

/// The time now, for a look.
pub fn now(world: &World) -> UnixMillis {
    world.clock.now()
}
