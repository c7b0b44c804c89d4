//! Catalogs made at random, and what is told of two of them.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    addon::Addon,
    catalog::{Digest, Feature, Limit, Meter, Unmatched},
    features::FeatureIx,
    id::{FeatureId, LimitId, MeterId},
    money::Price,
    plan::{ChangeAt, Changes, Existing, MeterTerms, Overage, Plan, PlanVersion, Quota, Rollover, Trial},
    rate::Rate,
    route::{Charge, Methods, Operation, Pattern, RouteTable},
    settlement::{CostHeader, SettleFrom},
    subscription::UsageRule,
    time::{UnixMillis, Version},
    units::{Allowance, Units},
    warning::WarnAt,
};

/// Numbers as if by chance, the same for the same seed.
pub(in crate::domain) struct Dice(pub(in crate::domain) u64);

impl Dice {
    pub(in crate::domain) fn roll(&mut self, sides: u64) -> u64 {
        // SplitMix64, as published by Steele, Lea and Flood.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub(in crate::domain) fn often(&mut self) -> bool {
        self.roll(3) > 0
    }

    pub(in crate::domain) fn seldom(&mut self) -> bool {
        self.roll(4) == 0
    }

    pub(in crate::domain) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()].clone()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.roll(2) == 0).then(|| make(self))
    }
}

pub(in crate::domain) const FEATURES: [&str; 4] = ["ai", "chat", "export", "sso"];
pub(in crate::domain) const METERS: [&str; 2] = ["requests", "tokens"];
const PLANS: [&str; 3] = ["basic", "free", "pro"];

pub(in crate::domain) fn units(n: u64) -> Units {
    Units::new(n).unwrap()
}

fn allowance(dice: &mut Dice) -> Allowance {
    if dice.seldom() { Allowance::Unlimited } else { Allowance::Limited(units(dice.roll(4) * 25)) }
}

fn price(dice: &mut Dice) -> Price {
    let amount = dice.of(&["0", "19", "19.00", "29.50"]);
    Price { amount: amount.parse().unwrap(), currency: dice.of(&["USD", "USD", "EUR"]).parse().unwrap() }
}

fn quota(dice: &mut Dice) -> Quota {
    let cap = |dice: &mut Dice| dice.maybe(|dice| units(dice.roll(3) * 20));
    Quota {
        month: allowance(dice),
        hour: dice.seldom().then(|| allowance(dice)),
        day: dice.maybe(allowance),
        week: dice.maybe(allowance),
        overage: match dice.roll(4) {
            0 => Overage::Allow { cap: cap(dice) },
            1 => Overage::Bill {
                cap: cap(dice),
                price: dice.of(&["0.002", "1", "0.50"]).parse().unwrap(),
                per: units(dice.of(&[1, 3, 1000])),
            },
            _ => Overage::Block,
        },
        rollover: match dice.roll(4) {
            0 => Some(Rollover::Percent(dice.of(&[10, 20]))),
            1 => Some(Rollover::Units(units(dice.of(&[10, 20])))),
            _ => None,
        },
    }
}

fn rate(dice: &mut Dice) -> Rate {
    let per = dice.of(&[Duration::from_secs(1), Duration::from_secs(60)]);
    Rate { limit: units(dice.of(&[5, 50])), per, burst: units(dice.of(&[5, 100])) }
}

fn features(dice: &mut Dice) -> FeatureSet {
    let mut set = FeatureSet::empty(FEATURES.len());
    (0..4).filter(|_| dice.roll(2) == 0).for_each(|ix| set.insert(FeatureIx(ix)));
    set
}

fn limits(dice: &mut Dice) -> BTreeMap<LimitId, Allowance> {
    dice.maybe(|dice| (LimitId::parse("seats").unwrap(), allowance(dice))).into_iter().collect()
}

pub(in crate::domain) fn plan(id: &str, version: u32, dice: &mut Dice) -> Plan {
    let when = |dice: &mut Dice| dice.of(&[ChangeAt::Now, ChangeAt::PeriodEnd]);
    let meter =
        |dice: &mut Dice| MeterTerms { quota: dice.often().then(|| quota(dice)), rate: dice.maybe(rate) };
    Plan {
        version: PlanVersion(version),
        existing: dice.of(&[Existing::Stay, Existing::NextPeriod]),
        changes: Changes { upgrade: when(dice), downgrade: when(dice) },
        grace_days: dice.maybe(|dice| dice.of(&[0, 7, 14])),
        warn_at: dice.maybe(|dice| dice.of(&[WarnAt::default(), WarnAt::new(&[90]).unwrap()])),
        title: dice.maybe(|dice| dice.of(&["One", "Two"]).to_owned()),
        parent: dice.maybe(|_| PlanId::parse("free").unwrap()),
        price: dice.often().then(|| price(dice)),
        trial: dice.maybe(|dice| Trial {
            days: dice.of(&[7, 14]),
            then: dice.maybe(|_| PlanId::parse("free").unwrap()),
            usage: dice.of(&[UsageRule::Keep, UsageRule::Reset]),
        }),
        features: features(dice),
        limits: limits(dice),
        meters: (0..METERS.len()).map(|_| meter(dice)).collect(),
        ..Plan::empty(PlanId::parse(id).unwrap())
    }
}

pub(in crate::domain) fn addon(dice: &mut Dice) -> Addon {
    Addon {
        id: AddonId::parse("boost").unwrap(),
        title: None,
        price: dice.maybe(price),
        plans: dice.maybe(|dice| PlanId::parse(dice.of(&PLANS)).unwrap()).into_iter().collect(),
        features: features(dice),
        limits: limits(dice),
        quotas: (0..METERS.len())
            .map(|_| dice.maybe(|dice| Quota { overage: Overage::Block, rollover: None, ..quota(dice) }))
            .collect(),
    }
}

fn operation(name: &str, dice: &mut Dice) -> Operation {
    let public = dice.seldom();
    let meter = MeterIx(0);
    let header = CostHeader::parse("x-cost").unwrap();
    Operation {
        conditions: None,
        name: name.to_owned(),
        public,
        features: if public { FeatureSet::empty(FEATURES.len()) } else { features(dice) },
        charge: dice.often().then(|| Charge { meter, units: units(1 + dice.roll(3)) }).into_iter().collect(),
        settle: dice.seldom().then_some(SettleFrom { meter, header }).into_iter().collect(),
    }
}

fn routes(dice: &mut Dice) -> RouteTable {
    let mut names: Vec<&str> = ["/a", "/b/{x}", "/c/{*rest}"].into();
    names.retain(|_| dice.often());
    if dice.roll(2) == 0 {
        names.reverse();
    }
    let mut table = RouteTable::default();
    for path in names {
        let get = Methods::Named(vec!["GET".to_owned()]);
        let operation = operation(&format!("GET {path}"), dice);
        table.add(&get, &Pattern::parse(path).unwrap(), operation).unwrap();
    }
    table
}

pub(in crate::domain) fn declared() -> Catalog {
    Catalog {
        features: FEATURES.map(|id| Feature { id: FeatureId::parse(id).unwrap(), title: None }).into(),
        limits: vec![Limit { id: LimitId::parse("seats").unwrap(), title: None }],
        meters: METERS.map(|id| Meter { id: MeterId::parse(id).unwrap(), title: None, unit: None }).into(),
        ..Catalog::empty(Digest("x".into()))
    }
}

pub(in crate::domain) fn catalog(dice: &mut Dice) -> Catalog {
    let mut catalog = declared();
    for id in PLANS {
        if dice.often() {
            let version = 1 + u32::from(dice.seldom());
            catalog.plans.insert(PlanId::parse(id).unwrap(), Arc::new(plan(id, version, dice)));
        }
    }
    if dice.often() {
        catalog.addons.insert(AddonId::parse("boost").unwrap(), Arc::new(addon(dice)));
    }
    catalog.routes = routes(dice);
    if dice.seldom() {
        catalog.unmatched = Unmatched::Allow(operation("", dice));
    }
    catalog
}

/// Changes one thing, or nothing.
fn altered(catalog: &Catalog, dice: &mut Dice) -> Catalog {
    let mut other = catalog.clone();
    let some_plan = other.plans.keys().next().cloned();
    match (dice.roll(8), some_plan) {
        (0, Some(id)) => {
            other.plans.remove(&id);
        }
        (1..=3, Some(id)) => {
            let again = plan(id.as_str(), 1, dice);
            let plan = Arc::make_mut(other.plans.get_mut(&id).unwrap());
            match dice.roll(8) {
                0 => plan.price = again.price,
                1 => plan.limits = again.limits,
                2 => plan.meters = again.meters,
                3 => plan.features = again.features,
                4 => plan.trial = again.trial,
                5 => plan.grace_days = again.grace_days,
                6 => plan.version = again.version,
                _ => plan.existing = again.existing,
            }
        }
        (4, _) => other.routes = routes(dice),
        (5, _) => other.addons.clear(),
        (6, _) => other.features[0].title = dice.maybe(|_| "Intelligence".to_owned()),
        _ => {}
    }
    other
}

/// Equal by what they hold, as their own `==` says; both declare the same names in the same order.
fn same(a: &Catalog, b: &Catalog) -> bool {
    let plans = |catalog: &Catalog| -> Vec<Plan> {
        catalog.plans.values().map(|plan| Plan { introduced: None, ..(**plan).clone() }).collect()
    };
    let routes = |catalog: &Catalog| {
        let mut all = catalog.routes.operations().to_vec();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    };
    plans(a) == plans(b)
        && a.addons == b.addons
        && routes(a) == routes(b)
        && a.unmatched == b.unmatched
        && (&a.features, &a.limits, &a.meters) == (&b.features, &b.limits, &b.meters)
}

/// What is no difference.
fn again(catalog: &Catalog) -> Catalog {
    let mut again = (*catalog.own_copy()).clone();
    again.stamp = crate::domain::catalog::Stamp::new();
    again.digest = Digest("y".into());
    again.deployed = Version(7);
    for plan in again.plans.values_mut() {
        Arc::make_mut(plan).introduced = Some(UnixMillis(5));
    }
    again
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(seed: u64) {
        let catalog = catalog(&mut Dice(seed));
        prop_assert_eq!(diff(&catalog, &again(&catalog)), vec![]);
    }

    #[test]
    fn something_is_told_where_something_differs(seed: u64, steps in 0..3) {
        let dice = &mut Dice(seed);
        let before = catalog(dice);
        let after = (0..steps).fold(before.clone(), |catalog, _| altered(&catalog, dice));
        prop_assert_eq!(diff(&before, &again(&after)).is_empty(), same(&before, &after));
    }

    #[test]
    fn the_way_back_is_the_mirror(one: u64, other: u64) {
        let (before, after) = (catalog(&mut Dice(one)), catalog(&mut Dice(other)));
        let (there, back) = (diff(&before, &after), diff(&after, &before));
        prop_assert_eq!(there.len(), back.len());
        for (there, back) in there.iter().zip(&back) {
            prop_assert_eq!((&there.subject, &there.aspect), (&back.subject, &back.aspect));
            prop_assert_eq!((&there.before, &there.after), (&back.after, &back.before));
            // Who is on the other version of a plan keeps what it has, whichever way; and a plan that is new concerns nobody.
            let moot = matches!(&there.subject, Subject::Plan(id)
                if before.plans.get(id).map(|plan| plan.version) != after.plans.get(id).map(|plan| plan.version));
            if !moot && !there.aspect.is_empty() {
                let mirrored = match there.bearing {
                    Bearing::Gain => Bearing::Loss,
                    Bearing::Loss => Bearing::Gain,
                    Bearing::Neither => Bearing::Neither,
                };
                prop_assert_eq!(back.bearing, mirrored, "{:?}", there);
            }
        }
    }
}

fn told(before: &Plan, after: &Plan) -> Vec<String> {
    let of = |plan: &Plan| {
        let mut catalog = declared();
        catalog.plans.insert(plan.id.clone(), Arc::new(plan.clone()));
        catalog
    };
    let line = |change: &Change| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let (before, after) = (text(&change.before), text(&change.after));
        format!("{}: {before} -> {after} ({})", change.aspect, change.bearing.as_str())
    };
    diff(&of(before), &of(after)).iter().map(line).collect()
}

fn pro(edit: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = Plan {
        features: FeatureSet::empty(FEATURES.len()),
        meters: vec![MeterTerms::default(); METERS.len()].into(),
        ..Plan::empty(PlanId::parse("pro").unwrap())
    };
    plan.meters[0].quota = Some(Quota::monthly(Allowance::Limited(units(100))));
    plan.price = Some(Price { amount: "19.00".parse().unwrap(), currency: "USD".parse().unwrap() });
    edit(&mut plan);
    plan
}

#[test]
#[allow(clippy::too_many_lines, reason = "a list of changes")]
fn each_change_says_whom_it_favours() {
    let bill = |price: &str, per| Overage::Bill {
        cap: Some(units(10)),
        price: price.parse().unwrap(),
        per: units(per),
    };
    let quota = |edit: fn(&mut Quota)| move |plan: &mut Plan| edit(plan.meters[0].quota.as_mut().unwrap());
    let overage =
        |overage: Overage| move |plan: &mut Plan| plan.meters[0].quota.as_mut().unwrap().overage = overage;
    let cases: [(Plan, Plan, &str); 13] = [
        (pro(|_| {}), pro(|p| p.features.insert(FeatureIx(2))), "features.export: - -> export (gain)"),
        (
            pro(|_| {}),
            pro(|p| {
                p.price = Some(Price { amount: "29".parse().unwrap(), currency: "USD".parse().unwrap() })
            }),
            "price: 19.00 USD -> 29 USD (loss)",
        ),
        (
            pro(|_| {}),
            pro(quota(|q| q.month = Allowance::Unlimited)),
            "quotas.requests.limit: 100 -> unlimited (gain)",
        ),
        (
            pro(|_| {}),
            pro(quota(|q| q.day = Some(Allowance::Limited(units(5))))),
            "quotas.requests.day: - -> 5 (loss)",
        ),
        (pro(|_| {}), pro(|p| p.meters[0].quota = None), "quotas.requests: 100 a month -> - (loss)"),
        (
            pro(|_| {}),
            pro(overage(Overage::Allow { cap: None })),
            "quotas.requests.overage: block -> allow, without a cap (gain)",
        ),
        (
            pro(overage(bill("0.002", 1))),
            pro(overage(bill("1", 1000))),
            "quotas.requests.overage: bill 0.002 per 1, up to 10 more -> bill 1 per 1000, up to 10 more (gain)",
        ),
        (
            pro(|_| {}),
            pro(overage(bill("1", 1))),
            "quotas.requests.overage: block -> bill 1 per 1, up to 10 more (neither)",
        ),
        (
            pro(|_| {}),
            pro(quota(|q| q.rollover = Some(Rollover::Percent(20)))),
            "quotas.requests.rollover: - -> 20% (gain)",
        ),
        (
            pro(|_| {}),
            pro(|p| {
                p.meters[0].rate =
                    Some(Rate { limit: units(5), per: Duration::from_secs(1), burst: units(9) });
            }),
            "rates.requests: - -> 5 per 1s, burst 9 (loss)",
        ),
        (pro(|_| {}), pro(|p| p.grace_days = Some(3)), "grace: - -> 3 days (loss)"),
        (
            pro(|p| p.warn_at = Some(WarnAt::new(&[]).unwrap())),
            pro(|p| p.warn_at = Some(WarnAt::new(&[90, 70]).unwrap())),
            "warn_at: none -> 70, 90 (neither)",
        ),
        (
            pro(|p| p.limits = [(LimitId::parse("seats").unwrap(), Allowance::Limited(units(5)))].into()),
            pro(|p| p.limits = [(LimitId::parse("seats").unwrap(), Allowance::Limited(units(3)))].into()),
            "limits.seats: 5 -> 3 (loss)",
        ),
    ];
    for (before, after, line) in cases {
        assert_eq!(told(&before, &after), [line]);
    }
}

#[test]
fn a_new_version_is_nothing_to_those_who_stay_on_the_old() {
    let second = |existing: Existing| {
        pro(|plan| {
            plan.version = PlanVersion(2);
            plan.existing = existing;
            plan.price = None;
        })
    };
    let lines = told(&pro(|_| {}), &second(Existing::Stay));
    assert_eq!(lines, ["version: 1 -> 2 (neither)", "price: 19.00 USD -> - (neither)"]);
    let lines = told(&pro(|_| {}), &second(Existing::NextPeriod));
    assert_eq!(
        lines,
        [
            "version: 1 -> 2 (neither)",
            "existing: stay -> next_period (neither)",
            "price: 19.00 USD -> - (gain)"
        ]
    );
}
