//! A tenant's life, call by call and by itself; and what rights it has on the way.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    addon::Addon,
    catalog::{Catalog, Digest, Meter},
    features::{FeatureIx, FeatureSet},
    id::TenantId,
    period::Zone,
    plan::{Existing, MeterIx, MeterTerms, Overage, Plan, PlanVersion, Quota},
    rights::{Rights, Source},
    subscription::UsageRule,
    units::Allowance,
};

const DAY: i64 = 86_400_000;
const REQUESTS: MeterIx = MeterIx(0);

fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

/// The 10th of January 2027: a third of the month that begins on the 1st has passed on the 11th, at 8 o'clock.
fn start() -> UnixMillis {
    at("2027-01-10T00:00:00Z")
}

fn limited(n: u64) -> Allowance {
    Allowance::Limited(Units::new(n).unwrap())
}

fn plan(name: &str, requests: u64) -> Plan {
    let quota = Some(Quota::monthly(limited(requests)));
    let meters = Box::new([MeterTerms { quota, rate: None }]);
    Plan { meters, features: FeatureSet::empty(2), ..Plan::empty(PlanId::parse(name).unwrap()) }
}

fn catalog_of(plans: impl IntoIterator<Item = Plan>) -> Catalog {
    Catalog {
        meters: vec![Meter { id: MeterId::parse("requests").unwrap(), title: None, unit: None }],
        plans: plans.into_iter().map(|plan| (plan.id.clone(), Arc::new(plan))).collect(),
        ..Catalog::empty(Digest("d".into()))
    }
}

fn catalog() -> Arc<Catalog> {
    Arc::new(catalog_of([plan("free", 100), plan("basic", 3_100), plan("pro", 31_000)]))
}

fn to(plan: &str) -> Subscribe {
    Subscribe::to(plan.parse().unwrap())
}

fn trial(days: u16, then: Option<&str>, usage: UsageRule) -> Option<TrialOffer> {
    let then = then.map(|plan| plan.parse().unwrap());
    Some(TrialOffer { days, then, usage, asked: true, again: false })
}

/// A tenant under test, with its own clock and versions.
#[derive(Clone)]
struct Life {
    tenant: Tenant,
    now: UnixMillis,
    version: u64,
}

impl Life {
    fn new() -> Self {
        let mut tenant = Tenant::new(TenantId::parse("acme").unwrap(), start());
        tenant.zone = Zone::UTC;
        Self { tenant, now: start(), version: 0 }
    }

    /// On a plan, with months from the 1st.
    fn on(plan: &str) -> Self {
        let mut life = Self::new();
        life.call(Change::Subscribe(Subscribe { anchor: Some(AnchorDay::FIRST), ..to(plan) })).unwrap();
        life
    }

    fn call(&mut self, change: Change) -> Result<Vec<Happened>, Refused> {
        let mut after = self.tenant.clone();
        let happened = after.apply(&change, self.now, Version(self.version + 1))?;
        self.version += 1;
        self.tenant = after;
        Ok(happened)
    }

    fn wait(&mut self, millis: i64) {
        self.now.0 += millis;
    }

    fn state(&self) -> State {
        self.tenant.at(self.now).state()
    }

    fn plan(&self) -> String {
        self.tenant.at(self.now).subscription.unwrap().plan.id.to_string()
    }

    fn rights(&self) -> Rights {
        Rights::compile(&self.tenant, &catalog(), self.now).unwrap()
    }

    /// The month's included units.
    fn limit(&self) -> u64 {
        self.rights().entitlement.unwrap().terms(REQUESTS).quota.unwrap().month.limit().unwrap().get()
    }
}

/// A life in each state.
fn in_state(state: State) -> Life {
    let mut life = Life::on("basic");
    match state {
        State::None => return Life::new(),
        State::Active => {}
        State::Trialing => {
            life = Life::new();
            let trial = trial(14, None, UsageRule::Keep);
            life.call(Change::Subscribe(Subscribe { trial, ..to("basic") })).unwrap();
        }
        State::PastDue => drop(life.call(Change::PastDue { grace_days: 3 }).unwrap()),
        State::Unpaid => drop(life.call(Change::PastDue { grace_days: 0 }).unwrap()),
        State::Paused => drop(life.call(Change::Pause).unwrap()),
        State::Expired => {
            life = in_state(State::Trialing);
            life.wait(15 * DAY);
        }
        State::Canceled => drop(life.call(Change::Cancel(When::Now)).unwrap()),
    }
    assert_eq!(life.state(), state);
    life
}

#[test]
fn calls_do_what_the_table_says_and_nothing_else() {
    let later = When::At(at("2027-01-29T00:00:00Z"));
    let offer = TrialOffer { days: 7, then: None, usage: UsageRule::Keep, asked: true, again: true };
    let calls = [
        (Action::Subscribe, Change::Subscribe(to("pro"))),
        (Action::Try, Change::Subscribe(Subscribe { trial: Some(offer), ..to("pro") })),
        (Action::Schedule, Change::Subscribe(Subscribe { at: later, ..to("pro") })),
        (Action::Cancel, Change::Cancel(When::Now)),
        (Action::CancelLater, Change::Cancel(When::PeriodEnd)),
        (Action::Pause, Change::Pause),
        (Action::Resume, Change::Continue),
        (Action::PastDue, Change::PastDue { grace_days: 5 }),
        (Action::Paid, Change::Paid),
    ];
    for state in State::ALL {
        for (action, change) in &calls {
            let mut life = in_state(state);
            let done = life.call(change.clone());
            match transition(state, *action) {
                Some(target) => {
                    done.unwrap_or_else(|refused| panic!("{state:?} {action:?}: {refused}"));
                    assert_eq!(Some(life.state()), target, "{state:?} {action:?}");
                }
                None => {
                    let refused = done.expect_err("not in the table");
                    assert_eq!(refused, Refused::State { from: state, action: *action });
                    assert!(refused.to_string().contains(state.as_str()), "{refused}");
                }
            }
        }
    }
}

#[test]
fn only_some_states_entitle() {
    for state in State::ALL {
        let life = in_state(state);
        let rights = life.rights();
        assert_eq!(rights.entitlement.is_some(), state.entitles(), "{state:?}");
        assert_eq!(rights.inactive.is_some(), !state.entitles() && state != State::None, "{state:?}");
    }
}

#[test]
fn what_is_scheduled_comes_by_itself_is_replaced_and_undone() {
    let mut life = Life::on("basic");
    assert_eq!(life.call(Change::Undo), Err(Refused::NothingToUndo));
    let downgrade = Change::Subscribe(Subscribe { at: When::PeriodEnd, ..to("free") });
    life.call(downgrade.clone()).unwrap();
    life.call(Change::Undo).unwrap();
    assert_eq!(life.tenant.next_instant(), None);
    life.call(Change::Cancel(When::PeriodEnd)).unwrap();
    life.call(downgrade).unwrap();
    assert_eq!(life.rights().until, at("2027-02-01T00:00:00Z"), "the cancellation is replaced");
    life.now = at("2027-01-31T23:59:59.999Z");
    assert_eq!((life.plan().as_str(), life.limit()), ("basic", 3_100));
    life.wait(1);
    assert_eq!((life.plan().as_str(), life.limit(), life.state()), ("free", 100, State::Active));
    let happened = life.call(Change::Advance).unwrap();
    let changed = Event::PlanChanged("free".parse().unwrap());
    assert_eq!(happened, [Happened { at: at("2027-02-01T00:00:00Z"), what: changed }]);
    assert_eq!(life.call(Change::Advance).unwrap(), [], "once");
    let passed = When::At(life.now);
    assert_eq!(life.call(Change::Cancel(passed)), Err(Refused::Passed(life.now)));
}

#[test]
fn a_change_at_once_makes_an_end_of_what_was_scheduled() {
    let mut life = Life::on("basic");
    life.call(Change::Cancel(When::PeriodEnd)).unwrap();
    life.call(Change::Subscribe(to("pro"))).unwrap();
    assert_eq!(life.tenant.next_instant(), None);
}

#[test]
fn the_end_of_the_period_moves_with_the_anchor() {
    let mut life = Life::on("basic");
    life.call(Change::Cancel(When::PeriodEnd)).unwrap();
    let zone = Zone::named("Asia/Shanghai").unwrap();
    life.call(Change::PutTenant { name: None, zone: Some(zone), attributes: None }).unwrap();
    assert_eq!(life.tenant.next_instant(), Some(at("2027-01-31T16:00:00Z")));
    let month = life.rights().entitlement.unwrap().calendar.month(life.now);
    assert_eq!(
        month.start,
        at("2027-01-01T00:00:00Z"),
        "the running month keeps its start, and so its count"
    );
}

#[test]
fn trials_end_in_a_plan_or_in_nothing_and_are_had_once() {
    let tried = |then, usage| {
        let mut life = Life::new();
        let trial = trial(14, then, usage);
        life.call(Change::Subscribe(Subscribe { trial, ..to("pro") })).unwrap();
        life
    };
    let mut life = tried(Some("free"), UsageRule::Reset);
    let epoch = |life: &Life| life.tenant.at(life.now).subscription.unwrap().epoch;
    let in_trial = epoch(&life);
    assert_eq!(life.rights().until, at("2027-01-24T00:00:00Z"));
    life.wait(14 * DAY);
    assert_eq!((life.plan().as_str(), life.state()), ("free", State::Active));
    assert_ne!(epoch(&life), in_trial, "counting starts anew");
    let known_before = epoch(&life);
    life.call(Change::Advance).unwrap();
    assert_eq!(epoch(&life), known_before, "and does not once more when it is written down");

    let again = Subscribe { trial: trial(14, None, UsageRule::Keep), ..to("pro") };
    assert_eq!(
        life.call(Change::Subscribe(again.clone())),
        Err(Refused::TriedBefore("pro".parse().unwrap()))
    );
    let told = again.trial.map(|trial| TrialOffer { again: true, ..trial });
    life.call(Change::Subscribe(Subscribe { trial: told, ..to("pro") })).unwrap();

    let mut kept = tried(None, UsageRule::Keep);
    let in_trial = epoch(&kept);
    kept.call(Change::Subscribe(to("pro"))).unwrap();
    assert_eq!(
        (kept.state(), epoch(&kept)),
        (State::Active, in_trial),
        "converted, and what was used counts"
    );
    let mut reset = tried(None, UsageRule::Reset);
    reset.call(Change::Subscribe(to("pro"))).unwrap();
    assert_ne!(epoch(&reset), in_trial);
    let mut blocked = tried(None, UsageRule::Keep);
    blocked.wait(14 * DAY);
    assert_eq!(blocked.state(), State::Expired);
}

#[test]
fn a_plans_own_trial_is_for_the_first_plan() {
    let own = |life: &mut Life| {
        let trial = trial(14, Some("free"), UsageRule::Keep).map(|t| TrialOffer { asked: false, ..t });
        life.call(Change::Subscribe(Subscribe { trial, ..to("pro") })).unwrap();
        life.state()
    };
    assert_eq!(own(&mut Life::new()), State::Trialing);
    assert_eq!(own(&mut Life::on("basic")), State::Active, "a customer who pays is not put on trial");
    assert_eq!(own(&mut in_state(State::Canceled)), State::Active);
}

#[test]
fn the_end_of_a_trial_can_be_scheduled_over() {
    let mut life = in_state(State::Trialing);
    life.call(Change::Subscribe(Subscribe { at: When::PeriodEnd, ..to("pro") })).unwrap();
    life.wait(14 * DAY);
    assert_eq!((life.state(), life.plan().as_str()), (State::Active, "pro"), "instead of what would follow");
    let mut left = in_state(State::Trialing);
    left.call(Change::Cancel(When::PeriodEnd)).unwrap();
    left.wait(14 * DAY);
    assert_eq!(left.state(), State::Canceled);
}

#[test]
fn grace_ends_and_payment_mends_it() {
    let mut life = in_state(State::PastDue);
    life.wait(3 * DAY - 1);
    assert_eq!(life.state(), State::PastDue);
    assert!(life.rights().entitlement.is_some());
    life.wait(1);
    assert_eq!(life.state(), State::Unpaid);
    life.call(Change::Subscribe(to("pro"))).unwrap();
    assert_eq!(life.state(), State::Unpaid, "another plan does not pay");
    life.call(Change::Paid).unwrap();
    assert_eq!((life.state(), life.plan().as_str()), (State::Active, "pro"));
}

#[test]
fn a_cancellation_is_taken_back_within_its_month() {
    let mut life = in_state(State::PastDue);
    life.call(Change::Cancel(When::Now)).unwrap();
    let mut late = life.clone();
    life.call(Change::Undo).unwrap();
    assert_eq!(life.state(), State::PastDue);
    late.now = at("2027-02-01T00:00:00Z");
    assert_eq!(late.call(Change::Undo), Err(Refused::NothingToUndo));
}

#[test]
fn pro_rated_limits_are_those_of_both_plans_each_for_its_time() {
    let change = |plan: &str| Change::Subscribe(Subscribe { usage: Some(UsageRule::Prorate), ..to(plan) });
    let mut life = Life::on("basic");
    // 10 of 31 days of 3,100, then 21 days of 31,000.
    life.now = at("2027-01-11T00:00:00Z");
    let epoch = life.rights().entitlement.unwrap().epoch;
    life.call(change("pro")).unwrap();
    assert_eq!(life.limit(), 1_000 + 21_000);
    assert_eq!(life.rights().entitlement.unwrap().epoch, epoch, "what was used counts");
    assert_eq!(life.rights().until, at("2027-02-01T00:00:00Z"));
    // Then 10 days more of 31,000 in place of 21, and 11 of 100: 35.48, rounded up.
    life.now = at("2027-01-21T00:00:00Z");
    life.call(change("free")).unwrap();
    assert_eq!(life.limit(), 1_000 + 10_000 + 36);
    life.now = at("2027-02-01T00:00:00Z");
    assert_eq!(life.limit(), 100);
    // The same plan, and back within the same instant: nothing changes.
    let mut same = Life::on("basic");
    same.call(change("basic")).unwrap();
    assert_eq!(same.limit(), 3_100);
    same.call(change("pro")).unwrap();
    same.call(change("basic")).unwrap();
    assert_eq!(same.limit(), 3_100);
}

#[test]
fn resetting_counts_anew_and_keeping_does_not() {
    let epoch = |usage| {
        let mut life = Life::on("basic");
        life.call(Change::Subscribe(Subscribe { usage, ..to("pro") })).unwrap();
        life.rights().entitlement.unwrap().epoch
    };
    assert_eq!(epoch(None), Version(1));
    assert_eq!(epoch(Some(UsageRule::Keep)), Version(1));
    assert_eq!(epoch(Some(UsageRule::Reset)), Version(2));
}

fn grant(units: u64, priority: u16, expires: Option<&str>, recurring: bool) -> Change {
    Change::Grant(NewGrant {
        meter: MeterId::parse("requests").unwrap(),
        units: Units::new(units).unwrap(),
        priority,
        expires_at: expires.map(at),
        recurring,
        reason: None,
    })
}

#[test]
fn sources_are_burnt_by_priority_then_expiry_then_age() {
    let mut life = Life::on("basic");
    for (units, priority, expires, recurring) in [
        (1, 100, None, false),
        (2, 100, Some("2027-03-01T00:00:00Z"), false),
        (3, 100, Some("2027-01-20T00:00:00Z"), false),
        (4, 5, None, false),
        (5, 100, Some("2027-03-01T00:00:00Z"), false),
        (6, 100, None, true),
    ] {
        life.call(grant(units, priority, expires, recurring)).unwrap();
    }
    let order = |life: &Life| -> Vec<u64> {
        let rights = life.rights();
        let sources = rights.entitlement.as_ref().unwrap().sources(REQUESTS, life.now);
        sources.iter().map(|source| source.limit.unwrap().get()).collect()
    };
    // The recurring one's units are lost with the month, as the plan's: the plan's are older.
    assert_eq!(order(&life), [4, 3, 3_100, 6, 2, 5, 1]);
    life.now = at("2027-01-20T00:00:00Z");
    assert_eq!(order(&life), [4, 3_100, 6, 2, 5, 1], "what has expired is gone, without a message");
    let expired = life.call(Change::Advance).unwrap();
    assert_eq!(expired[0].what, Event::GrantExpired(GrantId::parse("g4").unwrap()));
    life.call(Change::VoidGrant(GrantId::parse("g2").unwrap())).unwrap();
    assert_eq!(order(&life), [4, 3_100, 6, 2, 5]);
    let unknown = GrantId::parse("g2").unwrap();
    assert_eq!(life.call(Change::VoidGrant(unknown.clone())), Err(Refused::NoGrant(unknown)));
}

#[test]
fn overage_comes_last_and_no_limit_needs_nothing_else() {
    let mut soft = plan("soft", 10);
    let cap = Some(Units::new(5).unwrap());
    soft.meters[0].quota.as_mut().unwrap().overage = Overage::Allow { cap };
    let mut free = plan("unlimited", 0);
    free.meters[0].quota = Some(Quota::monthly(Allowance::Unlimited));
    let catalog = Arc::new(catalog_of([soft, free]));
    let sources = |name: &str| {
        let mut life = Life::on(name);
        life.call(grant(7, 1000, None, false)).unwrap();
        let rights = Rights::compile(&life.tenant, &catalog, life.now).unwrap();
        rights.entitlement.unwrap().sources(REQUESTS, life.now)
    };
    let kinds: Vec<Source> = sources("soft").iter().map(|terms| terms.source).collect();
    assert_eq!(kinds, [Source::Plan, Source::Grant(Version(2)), Source::Overage]);
    let unlimited = sources("unlimited");
    assert_eq!((unlimited.len(), unlimited[0].limit), (1, None));
}

#[test]
fn grants_are_bounded_in_number_and_time() {
    let mut life = Life::on("basic");
    assert!(matches!(life.call(grant(1, 1, Some("2027-01-10T00:00:00Z"), false)), Err(Refused::Passed(_))));
    for _ in 0..MOST_GRANTS {
        life.call(grant(1, 1, None, false)).unwrap();
    }
    assert_eq!(life.call(grant(1, 1, None, false)), Err(Refused::TooManyGrants));
}

#[test]
fn add_ons_add_up_and_overrides_have_the_last_word() {
    let mut more = FeatureSet::empty(2);
    more.insert(FeatureIx(1));
    let addon = Addon {
        id: AddonId::parse("more").unwrap(),
        title: None,
        price: None,
        plans: vec![PlanId::parse("basic").unwrap()],
        features: more,
        limits: Default::default(),
        quotas: Box::new([Some(Quota { day: Some(limited(1)), ..Quota::monthly(limited(50)) })]),
    };
    let plain = catalog();
    let addons = [(addon.id.clone(), Arc::new(addon))].into();
    let catalog = Arc::new(Catalog { addons, ..(*plain).clone() });
    let mut life = Life::on("basic");
    let id = AddonId::parse("more").unwrap();
    life.call(Change::Attach { addon: id.clone(), quantity: 3 }).unwrap();
    let offer = |life: &Life| {
        Rights::compile(&life.tenant, &catalog, life.now).unwrap().entitlement.unwrap().offer.clone()
    };
    let quota = offer(&life).meters[0].quota.unwrap();
    assert_eq!((quota.month, quota.day), (limited(3_250), None), "what the plan does not limit stays so");
    assert!(offer(&life).features.contains(FeatureIx(1)));
    let detach = |at| Change::Detach { addon: id.clone(), at };
    life.call(detach(When::PeriodEnd)).unwrap();
    assert_eq!(offer(&life).meters[0].quota.unwrap().month, limited(3_250));
    life.now = at("2027-02-01T00:00:00Z");
    assert_eq!(offer(&life).meters[0].quota.unwrap().month, limited(3_100));
    assert_eq!(life.call(detach(When::Now)), Err(Refused::NoAddon(id.clone())));
    life.call(Change::Attach { addon: id.clone(), quantity: 1 }).unwrap();
    life.call(Change::Subscribe(to("pro"))).unwrap();
    assert_eq!(offer(&life).meters[0].quota.unwrap().month, limited(31_000), "it does not go with this plan");
}

#[test]
fn tenants_stay_on_their_version_or_move_when_the_file_says_so() {
    let old = PlanRef { id: PlanId::parse("basic").unwrap(), version: PlanVersion(1) };
    let versions = |existing, introduced| {
        let new = Plan { version: PlanVersion(2), existing, introduced, ..plan("basic", 500) };
        let mut catalog = catalog_of([new]);
        catalog.earlier.insert(old.clone(), Arc::new(plan("basic", 3_100)));
        Arc::new(catalog)
    };
    let life = Life::on("basic");
    let limit = |catalog: &Arc<Catalog>, now: &str| {
        let rights = Rights::compile(&life.tenant, catalog, at(now)).unwrap();
        let limit = rights.entitlement.unwrap().terms(REQUESTS).quota.unwrap().month.limit().unwrap();
        (limit.get(), rights.until)
    };
    let stay = versions(Existing::Stay, Some(start()));
    assert_eq!(limit(&stay, "2030-01-01T00:00:00Z"), (3_100, UnixMillis::NEVER));
    assert_eq!(stay.moved_to(&life.tenant, at("2030-01-01T00:00:00Z")), None);
    let february = at("2027-02-01T00:00:00Z");
    for existing in [Existing::NextPeriod, Existing::On(jiff::civil::date(2027, 2, 1))] {
        let moving = versions(existing, Some(start()));
        assert_eq!(limit(&moving, "2027-01-31T23:59:59Z"), (3_100, february));
        assert_eq!(limit(&moving, "2027-02-01T00:00:00Z"), (500, UnixMillis::NEVER));
        assert_eq!(moving.moved_to(&life.tenant, february).unwrap().version, PlanVersion(2));
    }
    let unknown = versions(Existing::NextPeriod, None);
    assert_eq!(limit(&unknown, "2030-01-01T00:00:00Z").0, 3_100, "not before it is known since when");
}

#[test]
fn what_is_left_of_a_month_is_rolled_over_once() {
    let mut life = Life::on("basic");
    let meter = MeterId::parse("requests").unwrap();
    assert_eq!(life.tenant.rollover_due(life.now), None);
    life.now = at("2027-02-01T00:00:30Z");
    let (month, epoch) = life.tenant.rollover_due(life.now).unwrap();
    assert_eq!((month.start, epoch), (at("2027-01-01T00:00:00Z"), Version(1)));
    let unused = [(meter, Units::new(620).unwrap())];
    life.tenant.roll_over(&unused, life.now, Version(2));
    assert_eq!(life.tenant.rollover_due(life.now), None);
    let sources = life.rights().entitlement.unwrap().sources(REQUESTS, life.now);
    assert_eq!(sources[0].limit.unwrap().get(), 620, "burnt before the plan's");
    assert_eq!(sources[0].period.end, at("2027-03-01T00:00:00Z"));
    // Nobody was there for two months: what is left of the one before the last is lost.
    life.now = at("2027-04-02T00:00:00Z");
    assert!(life.tenant.rollover_due(life.now).is_some());
    life.tenant.advance(life.now);
    life.tenant.roll_over(&unused, life.now, Version(3));
    assert_eq!((life.tenant.grants.len(), life.tenant.rollover_due(life.now)), (0, None));
}

#[test]
fn the_docs_have_the_same_table() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/lifecycle.md")).unwrap();
    for (from, action, to) in TRANSITIONS {
        let to = to.map_or("the state before", State::as_str);
        let row = format!("| `{}` | {} | `{to}` |", from.as_str(), action.as_str())
            .replace("`the state before`", "the state before");
        assert!(docs.contains(&row), "docs/lifecycle.md lacks this row:\n{row}");
    }
    let rows = docs
        .lines()
        .filter(|line| State::ALL.iter().any(|s| line.starts_with(&format!("| `{}` | ", s.as_str()))));
    assert_eq!(rows.count(), TRANSITIONS.len() + State::ALL.len(), "rows that the code does not have");
}

fn change() -> impl Strategy<Value = Change> {
    let when = prop_oneof![
        Just(When::Now),
        Just(When::PeriodEnd),
        (1i64..60).prop_map(|days| When::At(UnixMillis(start().0 + days * DAY + 1))),
    ];
    let usage = prop_oneof![Just(UsageRule::Keep), Just(UsageRule::Reset), Just(UsageRule::Prorate)];
    let plan = prop_oneof![Just("free"), Just("basic"), Just("pro")];
    let trial = prop::option::of((1u16..20, prop::bool::ANY, prop::bool::ANY));
    prop_oneof![
        4 => (plan, when.clone(), usage, trial, prop::option::of(1i64..=31)).prop_map(|(plan, at, usage, trial, anchor)| {
            let trial = trial.map(|(days, follows, again)| TrialOffer {
                days,
                then: follows.then(|| "free".parse().unwrap()),
                usage,
                asked: true,
                again,
            });
            let trial = trial.filter(|_| at == When::Now);
            let anchor = anchor.map(|day| AnchorDay::new(day).unwrap());
            Change::Subscribe(Subscribe { at, anchor, usage: Some(usage), trial, ..to(plan) })
        }),
        2 => when.prop_map(Change::Cancel),
        1 => Just(Change::Undo),
        1 => Just(Change::Pause),
        1 => Just(Change::Continue),
        1 => (0u16..5).prop_map(|grace_days| Change::PastDue { grace_days }),
        1 => Just(Change::Paid),
        1 => (1u64..9, 0u16..200, prop::option::of(1i64..30), prop::bool::ANY).prop_map(|(units, priority, days, recurring)| {
            Change::Grant(NewGrant {
                meter: MeterId::parse("requests").unwrap(),
                units: Units::new(units).unwrap(),
                priority,
                expires_at: days.map(|days| UnixMillis(start().0 + days * DAY)),
                recurring,
                reason: None,
            })
        }),
    ]
}

proptest! {
    /// Whether, when and how often somebody writes down what has happened makes no difference to anybody's rights.
    #[test]
    fn writing_down_changes_nothing_but_the_record(
        steps in prop::collection::vec((change(), 0i64..20 * DAY, prop::bool::ANY), 1..12),
        ahead in 0i64..90 * DAY,
    ) {
        let (mut lazy, mut eager) = (Life::new(), Life::new());
        for (change, wait, write) in steps {
            lazy.wait(wait);
            eager.wait(wait);
            if write {
                eager.tenant.advance(eager.now);
            }
            prop_assert_eq!(lazy.call(change.clone()).err(), eager.call(change).err());
            prop_assert_eq!(lazy.tenant.at(lazy.now), eager.tenant.at(eager.now));
            let later = UnixMillis(lazy.now.0 + ahead);
            let between = lazy.tenant.at(UnixMillis(lazy.now.0 + ahead / 2));
            prop_assert_eq!(between.at(later), lazy.tenant.at(later));
            // Nothing changes before the instant that is given.
            let rights = lazy.rights();
            let last = UnixMillis(rights.until.0.saturating_sub(1).min(later.0).max(lazy.now.0));
            let then = Rights::compile(&lazy.tenant, &catalog(), last).unwrap();
            prop_assert_eq!(then.until, rights.until);
            let state = |rights: &Rights| rights.entitlement.as_ref().map(|e| (e.state, e.epoch, e.plan.clone(), Arc::clone(&e.offer)));
            prop_assert_eq!(state(&then), state(&rights));
        }
    }
}
