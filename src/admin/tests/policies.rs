//! The policies of these tests: three plans, one of them in two versions, and two add-ons.

use std::{sync::Arc, time::Duration};

use super::fakes::units;
use crate::domain::{
    addon::Addon,
    catalog::{Catalog, Digest, Feature, Limit, Meter, Unmatched},
    features::{FeatureIx, FeatureSet},
    id::{AddonId, FeatureId, LimitId, MeterId, PlanId},
    money::Price,
    plan::{ChangeAt, Changes, Existing, MeterIx, MeterTerms, Overage, Plan, PlanVersion, Quota, Trial},
    rate::Rate,
    route::{Charge, Methods, Operation, Pattern, RouteTable},
    subscription::UsageRule,
    units::Allowance,
};

fn price(amount: &str) -> Option<Price> {
    Some(Price { amount: amount.parse().unwrap(), currency: "USD".parse().unwrap() })
}

fn limited(n: u64) -> Allowance {
    Allowance::Limited(units(n))
}

fn set(features: &[u16]) -> FeatureSet {
    let mut set = FeatureSet::empty(2);
    features.iter().for_each(|ix| set.insert(FeatureIx(*ix)));
    set
}

fn seats(n: u64) -> std::collections::BTreeMap<LimitId, Allowance> {
    [(LimitId::parse("seats").unwrap(), limited(n))].into()
}

fn plan(id: &str, cost: &str, features: &[u16], limit: u64, meters: [MeterTerms; 2]) -> Plan {
    Plan {
        price: price(cost),
        features: set(features),
        limits: seats(limit),
        meters: Box::new(meters),
        ..Plan::empty(PlanId::parse(id).unwrap())
    }
}

/// `team`, dearer than the others, has a trial and rules of its own, and admits nothing.
fn team(version: u32, trial_days: u16) -> Plan {
    let free = Some(PlanId::parse("free").unwrap());
    Plan {
        version: PlanVersion(version),
        title: Some("Team".to_owned()),
        trial: Some(Trial { days: trial_days, then: free, usage: UsageRule::Reset }),
        changes: Changes { upgrade: ChangeAt::Now, downgrade: ChangeAt::PeriodEnd },
        grace_days: Some(3),
        ..plan("team", "49.00", &[], 10, [MeterTerms::default(); 2])
    }
}

/// The same with `team` in its second version, to which its tenants come at the end of their month.
pub fn newer(introduced: crate::domain::time::UnixMillis) -> Arc<Catalog> {
    let mut newer = (*catalog()).clone();
    let second = Plan { existing: Existing::NextPeriod, introduced: Some(introduced), ..team(2, 30) };
    let first = newer.plans.insert(second.id.clone(), Arc::new(second)).unwrap();
    newer.earlier.insert(first.reference(), first);
    Arc::new(newer)
}

fn addon(
    id: &str,
    plans: &[&str],
    cost: &str,
    features: &[u16],
    requests: Option<u64>,
) -> (AddonId, Arc<Addon>) {
    let addon = Addon {
        id: AddonId::parse(id).unwrap(),
        title: Some(id.to_uppercase()),
        price: price(cost),
        plans: plans.iter().map(|id| PlanId::parse(id).unwrap()).collect(),
        features: set(features),
        limits: seats(2),
        quotas: Box::new([None, requests.map(|n| Quota::monthly(limited(n)))]),
    };
    (addon.id.clone(), Arc::new(addon))
}

fn routes() -> RouteTable {
    let mut table = RouteTable::default();
    let tokens = |n| Charge { meter: MeterIx(0), units: units(n) };
    let requests = |n| Charge { meter: MeterIx(1), units: units(n) };
    let mut add = |route: &str, public: bool, feature: Option<u16>, charge: Vec<Charge>| {
        let (methods, path) = route.split_once(' ').unwrap();
        let mut features = FeatureSet::empty(2);
        feature.into_iter().for_each(|ix| features.insert(FeatureIx(ix)));
        let (charge, settle) = (charge.into(), Box::default());
        let operation =
            Operation { name: route.to_owned(), public, features, charge, settle, conditions: None };
        let methods = Methods::Named(methods.split('|').map(str::to_owned).collect());
        table.add(&methods, &Pattern::parse(path).unwrap(), operation).unwrap();
    };
    add("GET /healthz", true, None, vec![]);
    add("GET /v1/messages/{id}", false, Some(0), vec![requests(1)]);
    add("GET /v1/export", false, Some(1), vec![requests(10)]);
    add("POST /v1/bulk", false, None, vec![requests(200)]);
    add("POST /v1/ai", false, None, vec![tokens(1), requests(1)]);
    table
}

/// Plans `free` (chat, 100 requests) and `pro` (chat and export, 1000 requests, tokens with overage), and `team`.
pub fn catalog() -> Arc<Catalog> {
    let rate = Rate { limit: units(50), per: Duration::from_secs(1), burst: units(100) };
    let hard = |n, day| MeterTerms {
        quota: Some(Quota { day: Some(limited(day)), ..Quota::monthly(limited(n)) }),
        rate: Some(rate),
    };
    let soft = Quota { overage: Overage::Allow { cap: Some(units(5)) }, ..Quota::monthly(limited(10)) };
    let ids = ["chat", "export"];
    Arc::new(Catalog {
        features: ids.map(|id| Feature { id: FeatureId::parse(id).unwrap(), title: None }).into(),
        limits: vec![Limit { id: LimitId::parse("seats").unwrap(), title: None }],
        meters: ["ai_tokens", "requests"]
            .map(|id| Meter { id: MeterId::parse(id).unwrap(), title: None, unit: None })
            .into(),
        plans: [
            plan("free", "0", &[0], 1, [MeterTerms::default(), hard(100, 20)]),
            plan("pro", "19.00", &[0, 1], 5, [MeterTerms { quota: Some(soft), rate: None }, hard(1000, 200)]),
            team(1, 14),
        ]
        .into_iter()
        .map(|plan| (plan.id.clone(), Arc::new(plan)))
        .collect(),
        addons: [addon("boost", &[], "5", &[1], Some(50)), addon("desks", &["pro", "team"], "9", &[], None)]
            .into(),
        routes: routes(),
        unmatched: Unmatched::Deny,
        ..Catalog::empty(Digest("d1".into()))
    })
}
