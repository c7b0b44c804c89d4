//! The tenants and their plan: two meters, one of them with a day's limit beside the month's.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::FutureExt;
use plangate::{
    domain::{
        catalog::{Catalog, Digest, Meter},
        command::{Change, Command},
        id::{MeterId, PlanId, TenantId},
        period::Window,
        plan::{MeterIx, MeterTerms, Plan, Quota},
        rights::Rights,
        route::Charge,
        tenant::Overrides,
        time::{UnixMillis, Version},
        units::{Allowance, Units},
    },
    ports::{BucketKey, Origin, Span, TenantStore},
    store::memory::Memory,
};

pub const TOKENS: MeterIx = MeterIx(0);
pub const REQUESTS: MeterIx = MeterIx(1);
pub const METERS: [(MeterIx, &str); 2] = [(TOKENS, "ai_tokens"), (REQUESTS, "requests")];

/// The limits of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub tokens: u64,
    pub requests: u64,
    pub requests_a_day: u64,
}

impl Limits {
    pub fn of(&self, meter: &str, span: Span) -> Option<u64> {
        match (meter, span) {
            ("ai_tokens", Span::MONTH) => Some(self.tokens),
            ("requests", Span::MONTH) => Some(self.requests),
            ("requests", Span::Window(Window::Day)) => Some(self.requests_a_day),
            _ => None,
        }
    }

    /// The greater of each.
    pub fn or(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            requests: self.requests.max(other.requests),
            requests_a_day: self.requests_a_day.max(other.requests_a_day),
        }
    }

    fn overrides(&self) -> Overrides {
        let limited = |n| Allowance::Limited(units(n));
        let requests =
            Quota { day: Some(limited(self.requests_a_day)), ..Quota::monthly(limited(self.requests)) };
        let quotas = [("ai_tokens", Quota::monthly(limited(self.tokens))), ("requests", requests)];
        let quotas = quotas.map(|(meter, quota)| (MeterId::parse(meter).unwrap(), quota));
        Overrides { quotas: BTreeMap::from(quotas), ..Overrides::default() }
    }
}

pub fn units(n: u64) -> Units {
    Units::new(n).unwrap()
}

pub fn charge(meter: MeterIx, n: u64) -> Charge {
    Charge { meter, units: units(n) }
}

pub fn catalog() -> Arc<Catalog> {
    let meter = |id| Meter { id: MeterId::parse(id).unwrap(), title: None, unit: None };
    let plan = Plan {
        meters: Box::new([MeterTerms::default(), MeterTerms::default()]),
        ..Plan::empty(PlanId::parse("basic").unwrap())
    };
    Arc::new(Catalog {
        meters: METERS.map(|(_, id)| meter(id)).into(),
        plans: BTreeMap::from([(plan.id.clone(), Arc::new(plan))]),
        ..Catalog::empty(Digest("simulated".into()))
    })
}

fn execute(store: &Memory, tenant: &TenantId, at: UnixMillis, change: Change) -> Version {
    let origin = Origin { at, actor: "simulation".into(), source: "test".into(), idempotency: None };
    let command = Command { tenant: tenant.clone(), change };
    store.execute(&command, &origin).now_or_never().unwrap().unwrap().version
}

/// Makes a tenant, or changes its limits. The version of that.
pub fn set_limits(store: &Memory, tenant: &TenantId, at: UnixMillis, limits: &Limits) -> Version {
    execute(store, tenant, at, Change::Enroll { plan: "basic".parse().unwrap() });
    execute(store, tenant, at, Change::SetOverrides(limits.overrides()))
}

/// A tenant's rights, compiled as a node does it.
pub fn rights(store: &Memory, tenant: &TenantId, catalog: &Arc<Catalog>) -> Arc<Rights> {
    let snapshot = store.tenant(tenant).now_or_never().unwrap().unwrap();
    Arc::new(Rights::compile(&snapshot.value.unwrap(), catalog, UnixMillis(0)).unwrap())
}

/// The buckets that a charge of this meter counts in.
pub fn buckets(rights: &Rights, meter: &str, now: UnixMillis) -> Vec<BucketKey> {
    let entitlement = rights.entitlement.as_ref().unwrap();
    let (ix, _) = METERS.into_iter().find(|(_, name)| *name == meter).unwrap();
    let quota = entitlement.terms(ix).quota.unwrap();
    let key = |window: Window| BucketKey {
        tenant: rights.tenant.clone(),
        meter: MeterId::parse(meter).unwrap(),
        span: window.into(),
        start: entitlement.calendar.period(window, now).start,
        epoch: entitlement.epoch,
    };
    Window::ALL.into_iter().filter(|window| quota.counts(*window)).map(key).collect()
}
