//! Statements of lives made by hand and at random, against a recomputation instant by instant.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    addon::Addon,
    bygone::Bygone,
    catalog::{Catalog, Digest, Meter},
    command::{Change, Subscribe, TrialOffer, When},
    features::FeatureSet,
    id::TenantId,
    period::AnchorDay,
    plan::{MeterTerms, Overage, Plan, Quota},
    rights::Source,
    subscription::{Subscription, UsageRule},
    tenant::Tenant,
};

const HALF_HOUR: i64 = 1_800_000;
const DAY: i64 = 48 * HALF_HOUR;

fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

fn units(n: u64) -> Units {
    Units::saturating(n)
}

fn price(amount: &str, currency: &str) -> Option<Price> {
    Some(Price { amount: amount.parse().unwrap(), currency: currency.parse().unwrap() })
}

fn plan(id: &str, amount: &str, overage: Overage) -> Plan {
    let quota = Quota { overage, ..Quota::monthly(Allowance::Limited(units(100))) };
    Plan {
        price: price(amount, "USD"),
        meters: [MeterTerms { quota: Some(quota), rate: None }].into(),
        ..Plan::empty(id.parse().unwrap())
    }
}

fn bill(price: &str, per: u64) -> Overage {
    Overage::Bill { cap: None, price: price.parse().unwrap(), per: units(per) }
}

/// Four plans of one meter, and an add-on.
fn catalog() -> Arc<Catalog> {
    let mut catalog = Catalog::empty(Digest("d".into()));
    catalog.meters.push(Meter { id: "requests".parse().unwrap(), title: None, unit: None });
    for plan in [
        plan("basic", "19.00", bill("0.01", 10)),
        plan("pro", "100.01", bill("0.005", 1)),
        plan("soft", "7", Overage::Allow { cap: None }),
        Plan { price: None, ..plan("free", "0", Overage::Block) },
    ] {
        catalog.plans.insert(plan.id.clone(), Arc::new(plan));
    }
    let addon = Addon {
        id: "seats".parse().unwrap(),
        title: None,
        price: price("3.33", "USD"),
        plans: Vec::new(),
        features: FeatureSet::default(),
        limits: BTreeMap::new(),
        quotas: [None].into(),
    };
    catalog.addons.insert(addon.id.clone(), Arc::new(addon));
    Arc::new(catalog)
}

/// A tenant's life, with what is kept of it.
struct Life {
    tenant: Tenant,
    kept: Vec<BillingFacts>,
    /// The tenant as it was made by each change, and when.
    made: Vec<(UnixMillis, Tenant)>,
    version: u64,
}

impl Life {
    fn new(zone: &str) -> Self {
        let mut tenant = Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0));
        tenant.zone = Zone::named(zone).unwrap();
        Self { tenant, kept: Vec::new(), made: Vec::new(), version: 0 }
    }

    /// Makes a change, unless a rule is against it.
    fn change(&mut self, at: UnixMillis, change: &Change) -> bool {
        let mut after = self.tenant.clone();
        self.version += 1;
        let Ok(happened) = after.apply(change, at, Version(self.version)) else { return false };
        self.kept.extend(steps(&self.tenant, &after, &happened, at));
        self.made.push((at, after.clone()));
        self.tenant = after;
        true
    }

    fn subscribe(&mut self, at: UnixMillis, plan: &str, usage: UsageRule) {
        let asked = Subscribe { usage: Some(usage), ..Subscribe::to(plan.parse().unwrap()) };
        assert!(self.change(at, &Change::Subscribe(asked)));
    }

    fn timeline(&self, until: UnixMillis) -> Timeline {
        Timeline::new(self.kept.clone(), &self.tenant, until).unwrap()
    }

    /// The statement of the period that contains an instant.
    fn statement(&self, at: UnixMillis, used: &[BucketUse]) -> Statement {
        let timeline = self.timeline(UnixMillis(at.0 + 100 * DAY));
        let period = timeline.period_at(at).unwrap();
        reckon(&timeline, &catalog(), period, used).unwrap()
    }

    fn epoch(&self) -> Version {
        self.tenant.subscription.as_ref().map_or(Version(0), |own| own.epoch)
    }
}

fn bucket(source: Source, counting: Version, used: u64) -> BucketUse {
    BucketUse {
        meter: "requests".parse().unwrap(),
        source,
        counting,
        grant: None,
        used,
        uncertain: 0,
        hours: vec![(at("2026-11-15T10:00:00Z"), i64::try_from(used).unwrap())],
    }
}

fn amounts(statement: &Statement) -> Vec<String> {
    statement.lines.iter().map(|line| format!("{} {}", line.item.kind(), line.amount.written(2))).collect()
}

#[test]
fn a_change_within_the_month_is_billed_by_time() {
    let mut life = Life::new("UTC");
    life.subscribe(at("2026-11-01T15:00:00Z"), "basic", UsageRule::Keep);
    let first = life.epoch();
    life.change(at("2026-11-11T00:00:00Z"), &Change::Attach { addon: "seats".parse().unwrap(), quantity: 2 });
    life.subscribe(at("2026-11-16T00:00:00Z"), "pro", UsageRule::Keep);
    life.change(at("2026-11-21T00:00:00Z"), &Change::Attach { addon: "seats".parse().unwrap(), quantity: 3 });
    let used = [bucket(Source::Plan, first, 100), bucket(Source::Overage, first, 1_001)];
    let statement = life.statement(at("2026-11-20T00:00:00Z"), &used);
    assert_eq!(statement.name, "2026-11-01");
    // Half of each, the first day whole; and 1,001 units of half a cent are rounded down.
    let expected = ["plan 9.50", "plan 50.01", "addon 2.22", "addon 3.33", "overage 5.00"].map(str::to_owned);
    assert_eq!(amounts(&statement), expected);
    assert_eq!(statement.total().written(2), "70.06");
    let counted = &statement.usage[0];
    assert_eq!((counted.used, counted.overage, counted.mode), (units(100), units(1_001), Some("bill")));
    assert_eq!(counted.overage_hours, [(at("2026-11-15T10:00:00Z"), units(1_001))]);
    // Another's units of the same name are nobody's here.
    let strangers = [bucket(Source::Overage, Version(77), 1_000)];
    assert_eq!(life.statement(at("2026-11-20T00:00:00Z"), &strangers).usage.len(), 1);
}

#[test]
fn each_counting_is_priced_by_its_last_plan_that_bills() {
    let mut life = Life::new("UTC");
    life.subscribe(at("2026-11-01T00:00:00Z"), "basic", UsageRule::Keep);
    let first = life.epoch();
    life.subscribe(at("2026-11-10T00:00:00Z"), "soft", UsageRule::Keep);
    life.subscribe(at("2026-11-20T00:00:00Z"), "pro", UsageRule::Reset);
    let second = life.epoch();
    let used = [bucket(Source::Overage, first, 99), bucket(Source::Overage, second, 99)];
    let statement = life.statement(at("2026-11-20T00:00:00Z"), &used);
    let overage: Vec<String> =
        amounts(&statement).into_iter().filter(|line| line.starts_with("overage")).collect();
    assert_eq!(overage, ["overage 0.09", "overage 0.49"], "at 0.01 per 10, and at 0.005 each");
    // What is allowed is shown, and costs nothing.
    let mut soft = Life::new("UTC");
    soft.subscribe(at("2026-11-01T00:00:00Z"), "soft", UsageRule::Keep);
    let used = [bucket(Source::Overage, soft.epoch(), 99)];
    let statement = soft.statement(at("2026-11-20T00:00:00Z"), &used);
    assert_eq!((amounts(&statement).len(), statement.usage[0].overage), (1, units(99)));
    assert_eq!((statement.usage[0].mode, statement.total().written(2)), (Some("allow"), "7.00".to_owned()));
}

/// The statement of the life's November by another catalog.
fn by(life: &Life, catalog: Catalog, used: &[BucketUse]) -> Statement {
    let at = at("2026-11-20T00:00:00Z");
    let timeline = life.timeline(UnixMillis(at.0 + 100 * DAY));
    reckon(&timeline, &Arc::new(catalog), timeline.period_at(at).unwrap(), used).unwrap()
}

fn nothing_at_all() -> Catalog {
    Catalog::empty(Digest("e".into()))
}

/// With another overage of `basic`, and what it said before.
fn changed(overage: Option<Overage>, before: Overage) -> Catalog {
    let mut changed = Catalog::clone(&catalog());
    let mut basic = plan("basic", "19.00", overage.unwrap_or_default());
    if overage.is_none() {
        basic.meters = [MeterTerms::default()].into();
    }
    changed.plans.insert(basic.id.clone(), Arc::new(basic));
    let said = Quota { overage: before, ..Quota::monthly(Allowance::Limited(units(70))) };
    let of_plan = BTreeMap::from([("requests".parse().unwrap(), said)]);
    let overage = BTreeMap::from([("basic".parse().unwrap(), of_plan)]);
    let bygone = Bygone { catalog: Arc::new(changed.clone()), overage };
    Catalog { bygone: Some(Arc::new(bygone)), ..changed }
}

#[test]
fn what_policies_do_not_have_any_more_is_priced_as_it_last_was() {
    let mut life = Life::new("UTC");
    life.subscribe(at("2026-11-01T00:00:00Z"), "basic", UsageRule::Keep);
    life.change(at("2026-11-11T00:00:00Z"), &Change::Attach { addon: "seats".parse().unwrap(), quantity: 2 });
    let used = [bucket(Source::Plan, life.epoch(), 100), bucket(Source::Overage, life.epoch(), 1_001)];
    let whole = life.statement(at("2026-11-20T00:00:00Z"), &used);
    assert_eq!((whole.total().written(2).as_str(), whole.unpriced.len()), ("24.44", 0));
    let bygone = Some(Arc::new(Bygone { catalog: catalog(), overage: BTreeMap::new() }));
    assert_eq!(by(&life, Catalog { bygone, ..nothing_at_all() }, &used), whole);

    // The plan is there, and lets nothing through any more: what was let through is billed as it was.
    for now in [Some(Overage::Block), None] {
        let statement = by(&life, changed(now, bill("0.01", 10)), &used);
        assert_eq!((statement.total(), statement.unpriced.len()), (whole.total(), 0), "{now:?}");
        let included = if now.is_some() { 100 } else { 70 };
        let counted = &statement.usage[0];
        assert_eq!(
            (counted.mode, counted.included),
            (Some("bill"), Some(Allowance::Limited(units(included)))),
            "{now:?}"
        );
    }
    // What it says now goes before what it said; and what was let through for nothing costs nothing.
    for (now, before, overage) in [
        (bill("0.02", 10), bill("0.01", 10), "2.00"),
        (Overage::Allow { cap: None }, bill("0.01", 10), "0.00"),
        (Overage::Block, Overage::Allow { cap: None }, "0.00"),
    ] {
        let statement = by(&life, changed(Some(now), before), &used);
        let sum = statement.sum(|item| matches!(item, Item::Overage { .. }));
        assert_eq!((sum.written(2).as_str(), statement.unpriced.len()), (overage, 0), "{now:?}");
    }
    // Nothing of it is shown where nothing was used of it.
    let unused = by(&life, changed(None, bill("0.01", 10)), &[]);
    assert_eq!((unused.usage.len(), unused.unpriced.len()), (0, 0));
}

#[test]
fn what_cannot_be_priced_is_said() {
    let mut life = Life::new("UTC");
    life.subscribe(at("2026-11-01T00:00:00Z"), "basic", UsageRule::Keep);
    life.change(at("2026-11-11T00:00:00Z"), &Change::Attach { addon: "seats".parse().unwrap(), quantity: 2 });
    let used = [bucket(Source::Overage, life.epoch(), 1_001)];
    let said = |catalog: Catalog| -> Vec<(&'static str, &'static str)> {
        let statement = by(&life, catalog, &used);
        statement.unpriced.iter().map(|lost| (lost.kind(), lost.reason())).collect()
    };
    let kinds = |catalog| said(catalog).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(nothing_at_all()), ["plan", "addon", "overage"]);
    assert_eq!(kinds(Catalog { addons: BTreeMap::new(), ..Catalog::clone(&catalog()) }), ["addon"]);
    let mut blocks = Catalog::clone(&catalog());
    blocks.plans.insert("basic".parse().unwrap(), Arc::new(plan("basic", "19.00", Overage::Block)));
    assert_eq!(kinds(blocks), ["overage"]);
    let mut free = Catalog::clone(&catalog());
    let basic = Plan { price: None, ..plan("basic", "0", bill("0.01", 10)) };
    free.plans.insert(basic.id.clone(), Arc::new(basic));
    assert_eq!(said(free), [("overage", "the plan that bills these units has no price, and so no currency")]);
    // A trial is free, whatever is known of it.
    let mut tried = Life::new("UTC");
    let trial = TrialOffer { days: 60, then: None, usage: UsageRule::Keep, asked: true, again: false };
    let asked = Subscribe { trial: Some(trial), ..Subscribe::to("pro".parse().unwrap()) };
    tried.change(at("2026-11-01T00:00:00Z"), &Change::Subscribe(asked));
    let used = [bucket(Source::Overage, tried.epoch(), 1_000)];
    assert_eq!(by(&tried, nothing_at_all(), &used).unpriced, []);
}

#[test]
fn a_trial_and_what_is_refused_cost_nothing_and_a_suspension_does() {
    let mut life = Life::new("UTC");
    let trial = TrialOffer {
        days: 10,
        then: Some("basic".parse().unwrap()),
        usage: UsageRule::Reset,
        asked: true,
        again: false,
    };
    let asked = Subscribe { trial: Some(trial), ..Subscribe::to("pro".parse().unwrap()) };
    life.change(at("2026-11-01T00:00:00Z"), &Change::Subscribe(asked));
    let tried = life.epoch();
    life.change(at("2026-11-12T00:00:00Z"), &Change::Suspend);
    life.change(at("2026-11-21T00:00:00Z"), &Change::Pause);
    let used = [bucket(Source::Overage, tried, 1_000)];
    let statement = life.statement(at("2026-11-25T00:00:00Z"), &used);
    assert_eq!(amounts(&statement), ["plan 0.00", "plan 6.33", "plan 0.00"]);
    let states: Vec<State> = statement
        .lines
        .iter()
        .filter_map(|line| match line.item {
            Item::Plan { state, .. } => Some(state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [State::Trialing, State::Active, State::Paused]);
    assert!(statement.usage.iter().any(|count| count.overage == units(1_000)), "it is shown");
}

#[test]
fn what_is_uncertain_is_shown_and_not_billed() {
    let mut life = Life::new("UTC");
    life.subscribe(at("2026-11-01T00:00:00Z"), "pro", UsageRule::Keep);
    let lost = BucketUse { uncertain: 500, ..bucket(Source::Overage, life.epoch(), 0) };
    let grant =
        BucketUse { grant: Some("g7".parse().unwrap()), ..bucket(Source::Grant(Version(7)), Version(7), 12) };
    let statement = life.statement(at("2026-11-25T00:00:00Z"), &[lost, grant]);
    assert_eq!(amounts(&statement), ["plan 100.01"]);
    assert_eq!(statement.usage[0].uncertain, units(500));
    assert_eq!((statement.grants[0].used, statement.grants[0].grant.as_str()), (units(12), "g7"));
}

#[test]
fn nothing_kept_is_as_it_is_now() {
    let mut tenant = Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0));
    assert_eq!(Timeline::new(Vec::new(), &tenant, at("2027-01-01T00:00:00Z")), None);
    let anchor = AnchorDay::new(5).unwrap();
    let since = at("2026-03-05T10:00:00Z");
    tenant.subscription = Some(Subscription::active("basic".parse().unwrap(), anchor, Version(3), since));
    let timeline = Timeline::new(Vec::new(), &tenant, at("2027-01-01T00:00:00Z")).unwrap();
    let period = timeline.period_at(at("2026-11-25T00:00:00Z")).unwrap();
    assert_eq!(name(period.start, &tenant.zone), "2026-11-05");
    let statement = reckon(&timeline, &catalog(), period, &[]).unwrap();
    assert_eq!(statement.total().written(2), "19.00");
}

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "Australia/Lord_Howe"];

fn some_change(number: u8, plan: usize, zone: usize, anchor: i64) -> Change {
    let plan = ["basic", "pro", "soft", "free"][plan % 4];
    let subscribe = |usage, trial, at, anchor| {
        Change::Subscribe(Subscribe {
            usage: Some(usage),
            trial,
            at,
            anchor,
            ..Subscribe::to(plan.parse().unwrap())
        })
    };
    let anchor = AnchorDay::new(anchor).ok();
    let trial = TrialOffer {
        days: 9,
        then: Some("pro".parse().unwrap()),
        usage: UsageRule::Keep,
        asked: true,
        again: true,
    };
    match number % 13 {
        0 => subscribe(UsageRule::Keep, None, When::Now, None),
        1 => subscribe(UsageRule::Reset, None, When::Now, anchor),
        2 => subscribe(UsageRule::Prorate, None, When::PeriodEnd, None),
        3 => subscribe(UsageRule::Keep, None, When::PeriodEnd, anchor),
        4 => subscribe(UsageRule::Keep, Some(trial), When::Now, None),
        5 => Change::PutTenant { name: None, zone: Zone::named(ZONES[zone % 5]).ok(), attributes: None },
        6 => Change::Pause,
        7 => Change::Continue,
        8 => Change::PastDue { grace_days: 4 },
        9 => Change::Paid,
        10 => Change::Cancel(When::Now),
        11 => Change::Undo,
        _ => Change::Cancel(When::PeriodEnd),
    }
}

/// What a plan's time comes to, half an hour by half an hour, as the tenant was in each.
fn recomputed(life: &Life, period: Period, catalog: &Catalog) -> Total {
    let first = &life.made.iter().find(|(_, tenant)| tenant.subscription.is_some()).unwrap();
    let (mut sum, mut now) = (0_u128, period.start);
    while now < period.end {
        let made = life.made.iter().rev().find(|(at, tenant)| *at <= now && tenant.subscription.is_some());
        let zone = &first.1.zone;
        let early =
            made.is_none() && zone.day(now) == zone.day(first.0) && zone.day(period.start) == zone.day(now);
        if let Some((_, tenant)) = made.or(early.then_some(*first)) {
            let tenant = tenant.at(now.max(first.0));
            let plan = &tenant.subscription.as_ref().unwrap().plan;
            let paid = matches!(tenant.state(), State::Active | State::PastDue);
            if let (true, Some(price)) = (paid, catalog.plan_in(plan).and_then(|plan| plan.price)) {
                sum += Total::of(price.amount, 1).smallest();
            }
        }
        now = UnixMillis(now.0 + HALF_HOUR);
    }
    let steps = u128::try_from((period.end.0 - period.start.0) / HALF_HOUR).unwrap();
    Total::of_smallest(sum / steps).rounded(2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_life_is_billed_instant_by_instant(
        zone in 0..5_usize,
        changes in prop::collection::vec((any::<u8>(), 0..4_usize, 0..5_usize, 1..=31_i64, 1..900_i64), 1..12),
        looks in prop::collection::vec(any::<bool>(), 12),
        units in 0..1_000_000_u64,
    ) {
        let catalog = catalog();
        let start = at("2026-10-20T13:30:00Z");
        let mut life = Life::new(ZONES[zone]);
        // The same life, of which nobody wrote down in time what came by itself.
        let mut late = Life::new(ZONES[zone]);
        life.subscribe(start, "basic", UsageRule::Keep);
        late.subscribe(start, "basic", UsageRule::Keep);
        let mut now = start;
        for ((number, plan, zone, anchor, wait), look) in changes.into_iter().zip(looks) {
            now = UnixMillis(now.0 + wait * HALF_HOUR);
            let change = some_change(number, plan, zone, anchor);
            if look {
                life.change(UnixMillis(now.0 - HALF_HOUR), &Change::Advance);
                late.version += 1;
            }
            prop_assert_eq!(life.change(now, &change), late.change(now, &change));
        }
        let until = UnixMillis(now.0 + 40 * DAY);
        let (timeline, lately) = (life.timeline(until), late.timeline(until));
        let mut period = timeline.period_at(start).unwrap();
        while period.start < now {
            let epoch = timeline.at(period.start).unwrap().tenant.subscription.as_ref().unwrap().epoch;
            let used = [bucket(Source::Overage, epoch, units)];
            let statement = reckon(&timeline, &catalog, period, &used).unwrap();
            let plans = statement.sum(|item| matches!(item, Item::Plan { .. }));
            prop_assert_eq!(plans, recomputed(&life, period, &catalog), "{:?}", statement.lines);
            prop_assert_eq!(statement.total(), plans.plus(statement.sum(|item| !matches!(item, Item::Plan { .. }))));
            let same = reckon(&lately, &catalog, period, &used).unwrap();
            prop_assert_eq!(&same.lines, &statement.lines);
            // Every line's time is the period's, and no two are at the same time.
            let mut end = period.start;
            for line in &statement.lines {
                let Item::Plan { span, .. } = &line.item else { continue };
                prop_assert!(span.start >= end && span.start < span.end && span.end <= period.end);
                end = span.end;
            }
            let next = timeline.period_from(period.end).unwrap();
            prop_assert_eq!(next.start, period.end);
            prop_assert!(next.end > next.start);
            for inside in [period.start, UnixMillis(period.end.0 - 1)] {
                prop_assert_eq!(timeline.period_at(inside), Some(period));
            }
            period = next;
        }
    }

    #[test]
    fn the_total_never_depends_on_the_order_in_which_usage_is_read(
        units in prop::collection::vec(0..100_000_u64, 1..6),
        by in 0..6_usize,
    ) {
        let mut life = Life::new("UTC");
        life.subscribe(at("2026-11-01T00:00:00Z"), "pro", UsageRule::Keep);
        let mut used: Vec<BucketUse> =
            units.iter().map(|units| bucket(Source::Overage, life.epoch(), *units)).collect();
        let one = life.statement(at("2026-11-05T00:00:00Z"), &used);
        let by = by % used.len();
        used.rotate_left(by);
        let other = life.statement(at("2026-11-05T00:00:00Z"), &used);
        prop_assert_eq!(one.total(), other.total());
        // Half a cent each, rounded down once.
        let sum: u64 = units.iter().sum();
        let expected = Total::metered("0.005".parse().unwrap(), Units::ONE, Units::saturating(sum));
        prop_assert_eq!(other.sum(|item| matches!(item, Item::Overage { .. })), expected.rounded_down(2));
    }
}
