//! A node with the real ledger, and the stores under it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use plangate::{
    clock::{Clock, SystemClock},
    domain::{
        catalog::{Catalog, Digest, Meter, Unmatched},
        command::{Change, Command},
        features::FeatureSet,
        id::{MeterId, PlanId, TenantId},
        period::AnchorDay,
        plan::{MeterIx, MeterTerms, Plan, Quota},
        rate::Rate,
        rights::Rights,
        route::{Charge, RouteTable},
        subscription::Subscription,
        tenant::Tenant,
        time::{Monotonic, UnixMillis, Version},
        units::{Allowance, Units},
    },
    freshness::Freshness,
    ledger::{EscrowLedger, LedgerParts, file::LedgerFile},
    ports::{
        BucketKey, GrantOutcome, GrantRequest, Incarnation, Ledger, LedgerStore, Origin, OthersUsage,
        Remainder, SlotTotals, StoreError, TenantStore,
    },
    store::memory::Memory,
};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

/// So much that no number of rounds reaches it.
pub const TENANT_LIMIT: u64 = 1_000_000_000_000;
/// What a request usually costs.
pub const ONE: [Charge; 1] = [Charge { meter: MeterIx(0), units: Units::ONE }];

/// A node on the machine's clock. Grants and flushes run beside the measured threads.
pub struct Node {
    pub ledger: EscrowLedger,
    pub runtime: Runtime,
    clock: Arc<SystemClock>,
    memory: Option<Arc<Memory>>,
}

impl Node {
    pub fn new(store: Arc<dyn LedgerStore>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = Arc::new(SystemClock::default());
        let ledger = EscrowLedger::new(parts(store, Arc::clone(&clock) as _, runtime.handle().clone()));
        Self { ledger, runtime, clock, memory: None }
    }

    pub fn with_memory() -> Self {
        let memory = Arc::new(Memory::new().unwrap());
        Self { memory: Some(Arc::clone(&memory)), ..Self::new(memory) }
    }

    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    pub fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// A first charge, which waits for units.
    pub fn admit(&self, rights: &Arc<Rights>) {
        let charge = self.ledger.charge(rights, &ONE, self.now()).wait();
        self.runtime.block_on(charge).unwrap().keep();
    }

    /// Makes a tenant known to the store. Its rights.
    pub fn enroll(&self, tenant: &str) -> Arc<Rights> {
        let memory = self.memory.as_ref().unwrap();
        self.runtime.block_on(enroll(&**memory, tenant, TENANT_LIMIT))
    }
}

pub fn parts(
    store: Arc<dyn LedgerStore>,
    clock: Arc<dyn Clock>,
    runtime: tokio::runtime::Handle,
) -> LedgerParts {
    LedgerParts {
        store,
        clock,
        freshness: Arc::new(Freshness::default()),
        incarnation: Incarnation(uuid::Uuid::from_u128(1)),
        file: LedgerFile::anonymous(),
        runtime,
        tracker: TaskTracker::new(),
    }
}

/// Makes a tenant known to the store. Its rights, of the version that the store calls current.
pub async fn enroll(store: &dyn TenantStore, tenant: &str, limit: u64) -> Arc<Rights> {
    let origin =
        Origin { at: UnixMillis(0), actor: "bench".into(), source: "bench".into(), idempotency: None };
    let change = Change::Enroll { plan: "pro".parse().unwrap() };
    let command = Command { tenant: TenantId::parse(tenant).unwrap(), change };
    let done = store.execute(&command, &origin).await.unwrap();
    rights_of(tenant, limit, done.version)
}

/// No rate that a thread could reach.
const RATE: Rate = Rate {
    limit: Units::saturating(10_000_000_000),
    per: Duration::from_secs(1),
    burst: Units::saturating(10_000_000_000),
};

fn catalog(limit: u64, rate: Option<Rate>) -> Arc<Catalog> {
    let quota = Quota::monthly(Allowance::Limited(Units::saturating(limit)));
    let plan = Plan {
        features: FeatureSet::default(),
        limits: BTreeMap::new(),
        meters: Box::new([MeterTerms { quota: Some(quota), rate }]),
        ..Plan::empty(PlanId::parse("pro").unwrap())
    };
    Arc::new(Catalog {
        features: vec![],
        limits: vec![],
        meters: vec![Meter { id: MeterId::parse("requests").unwrap(), title: None, unit: None }],
        plans: BTreeMap::from([(plan.id.clone(), Arc::new(plan))]),
        routes: RouteTable::default(),
        unmatched: Unmatched::Deny,
        ..Catalog::empty(Digest("bench".into()))
    })
}

/// A tenant's rights, for a store that asks for no version.
pub fn rights(tenant: &str, limit: u64) -> Arc<Rights> {
    rights_of(tenant, limit, Version(1))
}

/// The same with a rate besides.
pub fn rated(tenant: &str) -> Arc<Rights> {
    thread_local! {
        static CATALOG: Arc<Catalog> = catalog(TENANT_LIMIT, Some(RATE));
    }
    CATALOG.with(|catalog| compiled(tenant, Version(1), catalog))
}

fn rights_of(tenant: &str, limit: u64, version: Version) -> Arc<Rights> {
    thread_local! {
        static CATALOG: Arc<Catalog> = catalog(TENANT_LIMIT, None);
    }
    let catalog = if limit == TENANT_LIMIT { CATALOG.with(Arc::clone) } else { catalog(limit, None) };
    compiled(tenant, version, &catalog)
}

fn compiled(tenant: &str, version: Version, catalog: &Arc<Catalog>) -> Arc<Rights> {
    let tenant = Tenant {
        subscription: Some(Subscription::active(
            "pro".parse().unwrap(),
            AnchorDay::new(1).unwrap(),
            version,
            UnixMillis(0),
        )),
        version,
        ..Tenant::new(TenantId::parse(tenant).unwrap(), UnixMillis(0))
    };
    Arc::new(Rights::compile(&tenant, catalog, UnixMillis(0)).unwrap())
}

/// Gives what is asked for, so that the ledger alone is measured.
pub struct Generous;

#[async_trait]
impl LedgerStore for Generous {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        let granted = |request: &GrantRequest| GrantOutcome::Granted {
            granted: request.granted + request.need.max(request.want),
            used: request.totals.used,
        };
        Ok(requests.iter().map(granted).collect())
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        Ok(totals.iter().map(|totals| totals.used - totals.refunded).collect())
    }

    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
        Ok(vec![0; buckets.len()])
    }

    async fn remainders(&self, _: Incarnation, buckets: &[BucketKey]) -> Result<Vec<Remainder>, StoreError> {
        Ok(vec![Remainder::default(); buckets.len()])
    }

    async fn open_slots(&self, _: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        Ok(Vec::new())
    }

    async fn others(&self, _: Incarnation, buckets: &[BucketKey]) -> Result<Vec<OthersUsage>, StoreError> {
        Ok(vec![OthersUsage::default(); buckets.len()])
    }
}
