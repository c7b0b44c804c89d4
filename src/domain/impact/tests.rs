//! The impact of catalogs made at random on tenants made at random, against a straightforward recomputation: unit by unit,
//! from the recorded hours.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    addon::Attached,
    catalog::{Catalog, Unmatched},
    diff::tests::{Dice, FEATURES, METERS, addon, catalog, declared, plan, units},
    features::FeatureIx,
    grant::{DEFAULT_PRIORITY, Grant, GrantSource},
    id::{AddonId, FeatureId, GrantId, MeterId},
    money::Price,
    period::{AnchorDay, BillingCalendar, Period, Zone},
    plan::{Existing, Overage, Plan, PlanRef, PlanVersion, Quota},
    rights::{Entitlement, Rights, Source},
    route::Operation,
    subscription::{Standing, Subscription, TrialTerms, UsageRule},
    tenant::Tenant,
    time::Version,
    units::{Allowance, Units},
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const ZONES: [&str; 5] = ["UTC", "Asia/Tokyo", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"];

fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

/// Units of a meter in an hour of UTC.
type Event = (&'static str, UnixMillis, i64);

/// A tenant and what it used.
struct Known {
    tenant: Tenant,
    events: Vec<Event>,
    spent: Vec<Spent>,
}

fn tenant(number: u64, now: UnixMillis, dice: &mut Dice) -> Tenant {
    let created = UnixMillis(now.0 - i64::try_from(dice.roll(120)).unwrap() * DAY);
    let mut tenant = Tenant::new(TenantId::parse(&format!("t{number:03}")).unwrap(), created);
    tenant.zone = Zone::named(dice.of(&ZONES)).unwrap();
    if dice.seldom() {
        tenant.overrides.features.insert(FeatureId::parse(dice.of(&FEATURES)).unwrap(), dice.often());
    }
    if dice.seldom() {
        let quota = Quota::monthly(Allowance::Limited(units(dice.roll(90))));
        tenant.overrides.quotas.insert(MeterId::parse(dice.of(&METERS)).unwrap(), quota);
    }
    if dice.seldom() {
        let (addon, quantity) = (AddonId::parse("boost").unwrap(), 1 + u32::try_from(dice.roll(2)).unwrap());
        tenant.addons.push(Attached { addon, quantity, since: created, ends_at: None });
    }
    for number in 0..dice.roll(3) {
        tenant.grants.push(Grant {
            id: GrantId::parse(&format!("g{number}")).unwrap(),
            number: Version(100 + number),
            meter: MeterId::parse(dice.of(&METERS)).unwrap(),
            units: units(dice.roll(30)),
            priority: DEFAULT_PRIORITY,
            since: UnixMillis(now.0 - i64::try_from(dice.roll(90)).unwrap() * DAY),
            expires_at: None,
            recurring: dice.often(),
            reason: None,
            source: GrantSource::Given,
        });
    }
    if dice.often() {
        let plan = PlanRef {
            id: PlanId::parse(dice.of(&["basic", "free", "pro"])).unwrap(),
            version: PlanVersion(1),
        };
        let anchor = AnchorDay::new(1 + i64::try_from(dice.roll(31)).unwrap()).unwrap();
        let mut made = Subscription::active(plan, anchor, Version(7), created);
        match dice.roll(8) {
            0 => made.state = Standing::Unpaid,
            1 => {
                let ends_at = UnixMillis(now.0 + 900 * DAY);
                let usage = UsageRule::Keep;
                made.state =
                    Standing::Trialing(TrialTerms { ends_at, then: None, usage, version: Version(7) });
            }
            _ => {}
        }
        tenant.subscription = Some(made);
    }
    tenant
}

fn known(number: u64, now: UnixMillis, dice: &mut Dice) -> Known {
    let tenant = tenant(number, now, dice);
    let mut events = Vec::new();
    for ago in 0..75 {
        for meter in METERS {
            if dice.seldom() {
                let hour = (now.0 - ago * DAY).div_euclid(HOUR) * HOUR
                    - i64::try_from(dice.roll(24)).unwrap() * HOUR;
                let units = i64::try_from(dice.roll(30)).unwrap();
                events.push((meter, UnixMillis(hour), if dice.roll(12) == 0 { -units } else { units }));
            }
        }
    }
    let mut spent = Vec::new();
    if let Some(subscription) = &tenant.subscription {
        let month = subscription.calendar(&tenant.zone).month(now).start;
        for meter in METERS {
            let id = MeterId::parse(meter).unwrap();
            let of =
                |source, counting, start, used| Spent { meter: id.clone(), source, start, counting, used };
            spent.push(of(Source::Plan, Version(7), month, dice.roll(120)));
            // Of a counting that is over.
            spent.push(of(Source::Plan, Version(3), month, 1_000));
            spent.push(of(Source::Overage, Version(7), month, dice.roll(30)));
            for grant in tenant.grants.iter().filter(|grant| grant.meter == id) {
                let start = if grant.recurring { month } else { grant.since };
                spent.push(of(Source::Grant(grant.number), grant.number, start, dice.roll(40)));
            }
        }
    }
    Known { tenant, events, spent }
}

/// What a store would tell.
fn days(lookback: &Lookback, events: &[Event], now: UnixMillis) -> Vec<DayUse> {
    let mut sums: BTreeMap<(&str, Part, i64), i64> = BTreeMap::new();
    for (meter, hour, units) in events.iter().filter(|(_, hour, _)| *hour >= lookback.from && *hour < now) {
        *sums.entry((meter, lookback.part(*hour), lookback.zone.day(*hour))).or_default() += units;
    }
    let of = |((meter, part, day), units): ((&str, Part, i64), i64)| DayUse {
        meter: MeterId::parse(meter).unwrap(),
        part,
        day,
        epoch: Some(Version(7)),
        units,
    };
    sums.into_iter().map(of).collect()
}

// ---- the naive side -------------------------------------------------------------------------------------------------

/// What one set of policies gives a tenant, seen plainly.
struct Plain<'a> {
    given: &'a Entitlement,
    catalog: &'a Catalog,
}

impl Plain<'_> {
    fn quota(&self, meter: &str) -> Option<Quota> {
        self.given.terms(self.catalog.meter_ix(meter)?).quota
    }

    fn has(&self, feature: &str) -> bool {
        self.catalog.feature_ix(feature).is_some_and(|ix| self.given.offer.features.contains(ix))
    }

    /// The month's units and those beyond them, and every grant that was there before `end`.
    fn capacity(&self, tenant: &Tenant, meter: &str, end: UnixMillis) -> (Option<u64>, Option<u64>) {
        let quota = self.quota(meter).unwrap();
        let Allowance::Limited(month) = quota.month else { return (None, None) };
        let grants = tenant.grants.iter().filter(|grant| grant.meter.as_str() == meter);
        let grants = grants.filter(|grant| grant.recurring || grant.since < end);
        let included = month.get() + grants.map(|grant| grant.units.get()).sum::<u64>();
        let all = match quota.overage {
            Overage::Block => Some(included),
            Overage::Allow { cap } | Overage::Bill { cap, .. } => cap.map(|cap| included + cap.get()),
        };
        (Some(included), all)
    }
}

fn number(limit: Option<Units>) -> u64 {
    limit.map_or(u64::MAX, Units::get)
}

/// Units by day (its start), what was given back taken from the days before.
fn by_day(
    events: &[Event],
    meter: &str,
    calendar: &BillingCalendar,
    within: Period,
) -> Vec<(UnixMillis, i64)> {
    let mut sums: BTreeMap<UnixMillis, i64> = BTreeMap::new();
    for (_, hour, units) in events.iter().filter(|(of, hour, _)| *of == meter && within.contains(*hour)) {
        *sums.entry(calendar.period(Window::Day, *hour).start).or_default() += units;
    }
    let mut days: Vec<(UnixMillis, i64)> = sums.into_iter().collect();
    for place in 0..days.len() {
        for before in (0..place).rev() {
            let take = (-days[place].1).clamp(0, days[before].1.max(0));
            days[before].1 -= take;
            days[place].1 += take;
        }
        days[place].1 = days[place].1.max(0);
    }
    days
}

/// Unit by unit: how many pass, and the day and window of the first that does not.
fn simulate(
    days: &[(UnixMillis, i64)],
    earlier: &[(UnixMillis, i64)],
    calendar: &BillingCalendar,
    (month, week, day): (u64, u64, u64),
) -> (u64, Option<(String, Window)>) {
    let mut used: BTreeMap<(Window, UnixMillis), u64> = BTreeMap::new();
    let week_of = |day: UnixMillis| (Window::Week, calendar.period(Window::Week, day).start);
    for (day, units) in earlier {
        *used.entry(week_of(*day)).or_default() += u64::try_from(*units).unwrap();
    }
    let (mut passed, mut out) = (0, None);
    for (start, units) in days {
        for _ in 0..*units {
            let of_week = *used.entry(week_of(*start)).or_default();
            let of_day = *used.entry((Window::Day, *start)).or_default();
            let spent = [
                (Window::Month, passed >= month),
                (Window::Week, of_week >= week),
                (Window::Day, of_day >= day),
            ];
            if let Some((window, _)) = spent.into_iter().find(|(_, spent)| *spent) {
                let zone = jiff::tz::TimeZone::get(calendar.zone.name()).unwrap();
                out.get_or_insert((zone.to_datetime(start.timestamp()).date().to_string(), window));
                continue;
            }
            passed += 1;
            *used.get_mut(&week_of(*start)).unwrap() += 1;
            *used.get_mut(&(Window::Day, *start)).unwrap() += 1;
        }
    }
    (passed, out)
}

/// An amount in 10^-12, from its text.
fn pico(text: &str) -> u128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<12}").parse().unwrap()
}

/// What is expected of one tenant, in lines.
#[allow(clippy::too_many_lines, reason = "naive from top to bottom, so that it can be read as such")]
fn expected(known: &Known, before: &Arc<Catalog>, after: &Arc<Catalog>, now: UnixMillis) -> BTreeSet<String> {
    let Known { tenant, events, spent } = known;
    let mut lines = BTreeSet::new();
    let Some(subscription) = &tenant.subscription else { return lines };
    let (was, is) = (Rights::compile(tenant, before, now), Rights::compile(tenant, after, now));
    let id = &tenant.id;
    let was = was.ok().and_then(|rights| rights.entitlement);
    let was = was.as_ref().map(|given| Plain { given, catalog: before });
    if is.is_err() && was.is_some() {
        lines.insert(format!("{id} is refused"));
    }
    let refused = is.is_err();
    let is = is.ok().and_then(|rights| rights.entitlement);
    let is = is.as_ref().map(|given| Plain { given, catalog: after });
    for feature in FEATURES {
        let has = |plain: &Option<Plain<'_>>| plain.as_ref().is_some_and(|plain| plain.has(feature));
        match (has(&was), has(&is)) {
            (true, false) if !refused => lines.insert(format!("{id} loses {feature}")),
            (false, true) => lines.insert(format!("{id} gains {feature}")),
            _ => false,
        };
    }
    let all = [
        ("GET /a", "/a"),
        ("GET /b/{x}", "/b/1"),
        ("GET /c/{*rest}", "/c/1"),
        ("any other request", "/somewhere/else"),
    ];
    for (name, path) in all {
        let routes = [before, after].into_iter().flat_map(|catalog| catalog.routes.operations());
        if name != "any other request" && routes.into_iter().all(|one| one.name != name) {
            continue;
        }
        let asked = |catalog: &Arc<Catalog>| {
            let found = catalog.routes.find("GET", path).and_then(|ix| catalog.routes.operation(ix));
            let rest = match &catalog.unmatched {
                Unmatched::Allow(rest) => Some(rest),
                Unmatched::Deny => None,
            };
            found.or(rest).cloned()
        };
        let may = |plain: &Option<Plain<'_>>, asked: &Option<Operation>| {
            let Some(asked) = asked else { return false };
            let allowed = plain.as_ref().is_some_and(|plain| {
                let mut needed = asked.features.iter();
                needed.all(|ix| plain.has(FEATURES[usize::from(ix.0)]))
                    && (asked.charge.is_empty() || plain.quota("requests").is_some())
            });
            asked.public || allowed
        };
        let (was_asked, is_asked) = (asked(before), asked(after));
        let words = |asked: &Option<Operation>| {
            asked.as_ref().map(|one| (one.public, one.features.clone(), one.charge.is_empty()))
        };
        if refused || (was.is_none() && is.is_none()) || words(&was_asked) == words(&is_asked) {
            continue;
        }
        match (may(&was, &was_asked), may(&is, &is_asked)) {
            (true, false) => lines.insert(format!("{id} may not call {name}")),
            (false, true) => lines.insert(format!("{id} may call {name}")),
            _ => false,
        };
    }
    let calendar = subscription.calendar(&tenant.zone);
    let month = calendar.month(now);
    let last = calendar.month(UnixMillis(month.start.0 - 1));
    let week_before = Period { start: calendar.period(Window::Week, last.start).start, end: last.start };
    let mut bills: [BTreeMap<String, u128>; 2] = Default::default();
    for (plain, bill) in [&was, &is].into_iter().zip(&mut bills) {
        let Some(plain) = plain else { continue };
        let trial = matches!(subscription.state, Standing::Trialing(_));
        let mut owe = |price: Option<Price>, times: u128| {
            if let Some(price) = price.filter(|_| !trial) {
                *bill.entry(price.currency.to_string()).or_default() +=
                    pico(&price.amount.to_string()) * times;
            }
        };
        owe(plain.given.offer.price, 1);
        for attached in &tenant.addons {
            let addon = plain.catalog.addons.get(attached.addon.as_str());
            let addon =
                addon.filter(|addon| addon.plans.is_empty() || addon.plans.contains(&plain.given.plan));
            owe(addon.and_then(|addon| addon.price), u128::from(attached.quantity));
        }
    }
    for meter in METERS {
        let days = by_day(events, meter, &calendar, last);
        let earlier = by_day(events, meter, &calendar, week_before);
        let mut outs = Vec::new();
        for (plain, bill) in [&was, &is].into_iter().zip(&mut bills) {
            let Some((plain, quota)) = plain.as_ref().and_then(|plain| Some((plain, plain.quota(meter)?)))
            else {
                continue;
            };
            let (included, all) = plain.capacity(tenant, meter, last.end);
            let limits = (
                all.unwrap_or(u64::MAX),
                number(quota.hard_limit(Window::Week)),
                number(quota.hard_limit(Window::Day)),
            );
            let (passed, out) = simulate(&days, &earlier, &calendar, limits);
            outs.push(out);
            let trial = matches!(subscription.state, Standing::Trialing(_));
            if let (Overage::Bill { price, per, .. }, Some(included), Some(of_plan), false) =
                (quota.overage, included, plain.given.offer.price, trial)
            {
                let beyond = u128::from(passed.saturating_sub(included));
                *bill.entry(of_plan.currency.to_string()).or_default() +=
                    pico(&price.to_string()) * beyond / u128::from(per.get());
            }
        }
        if let [was, is] = outs.as_slice() {
            let day = |out: &Option<(String, Window)>| out.clone().map_or("9999".to_owned(), |(day, _)| day);
            let word = match day(is).cmp(&day(was)) {
                std::cmp::Ordering::Less => Some("out"),
                std::cmp::Ordering::Greater => Some("spared"),
                std::cmp::Ordering::Equal => None,
            };
            lines.extend(word.map(|word| format!("{id} {meter} {word} {was:?} -> {is:?}")));
        }
        let (Some(was), Some(is)) = (&was, &is) else { continue };
        let (Some(was_quota), Some(is_quota)) = (was.quota(meter), is.quota(meter)) else { continue };
        for window in [Window::Day, Window::Week] {
            let current = calendar.period(window, now);
            let used: i64 = events
                .iter()
                .filter(|(of, hour, _)| *of == meter && current.contains(*hour) && *hour < now)
                .map(|(_, _, units)| units)
                .sum();
            let used = u64::try_from(used).unwrap_or(0);
            let limit = |quota: Quota| number(quota.hard_limit(window));
            if used >= limit(is_quota) && used < limit(was_quota) {
                lines.insert(format!("{id} {meter} over {window} {used}/{}", limit(is_quota)));
            }
        }
        let spent_up = |plain: &Plain<'_>, quota: Quota| {
            let of = |source: Source| {
                let own = spent.iter().filter(|one| one.meter.as_str() == meter && one.source == source);
                own.filter(|one| one.counting != Version(3)).map(|one| one.used).sum::<u64>()
            };
            let mut limit = number(plain.quota(meter)?.month.limit());
            let mut used = of(Source::Plan);
            match quota.overage {
                Overage::Block => {}
                Overage::Allow { cap } | Overage::Bill { cap, .. } => {
                    limit = limit.saturating_add(number(cap));
                    used += of(Source::Overage);
                }
            }
            let mut gone = used >= limit;
            for grant in tenant.grants.iter().filter(|grant| grant.meter.as_str() == meter) {
                let of_grant = of(Source::Grant(grant.number));
                gone &= of_grant >= grant.units.get();
                (used, limit) = (used + of_grant, limit.saturating_add(grant.units.get()));
            }
            gone.then_some((used, limit))
        };
        if let (None, Some((used, limit))) = (spent_up(was, was_quota), spent_up(is, is_quota)) {
            lines.insert(format!("{id} {meter} over month {used}/{limit}"));
        }
    }
    if tenant.created_at < last.end {
        let [was, is] = bills;
        for currency in was.keys().chain(is.keys()) {
            let of = |bill: &BTreeMap<String, u128>| bill.get(currency).copied().unwrap_or(0);
            if of(&was) != of(&is) {
                lines.insert(format!("{id} pays {currency} {} -> {}", of(&was), of(&is)));
            }
        }
    }
    lines
}

// ---- what was reckoned ----------------------------------------------------------------------------------------------

fn reckoned(impact: &Impact) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for one in impact.missing.values().flat_map(|group| &group.first) {
        lines.insert(format!("{} is refused", one.tenant));
    }
    for (feature, Both { lost, gained }) in &impact.features {
        lines.extend(lost.first.iter().map(|one| format!("{} loses {feature}", one.tenant)));
        lines.extend(gained.first.iter().map(|one| format!("{} gains {feature}", one.tenant)));
    }
    for Rerouted { routes, who, .. } in &impact.routes {
        for name in routes {
            let of = |group: &Group<Touched>, word: &str| -> Vec<String> {
                group.first.iter().map(|one| format!("{} may {word} {name}", one.tenant)).collect()
            };
            lines.extend(of(&who.lost, "not call").into_iter().chain(of(&who.gained, "call")));
        }
    }
    for Over { tenant, meter, window, used, limit } in &impact.over.first {
        lines.insert(format!("{tenant} {meter} over {window} {used}/{limit}"));
    }
    let out = |out: &Option<Exhausted>| out.map(|out| (out.date().to_string(), out.window));
    for (word, group) in [("out", &impact.ran_out), ("spared", &impact.spared)] {
        for RanOut { tenant, meter, before, after } in &group.first {
            lines.insert(format!("{tenant} {meter} {word} {:?} -> {:?}", out(before), out(after)));
        }
    }
    for (currency, cost) in &impact.cost {
        for Bill { tenant, before, after } in cost.dearer.first.iter().chain(&cost.cheaper.first) {
            let pico = |total: &Total| pico(&total.to_string());
            lines.insert(format!("{tenant} pays {currency} {} -> {}", pico(before), pico(after)));
        }
    }
    lines
}

fn assess(all: &[Known], before: &Arc<Catalog>, after: &Arc<Catalog>, now: UnixMillis) -> Impact {
    let mut assessment = Assessment::new(Arc::clone(before), Arc::clone(after), now);
    for one in all {
        let lookback = assessment.lookback(&one.tenant);
        let days = lookback.map_or_else(Vec::new, |lookback| days(&lookback, &one.events, now));
        assessment.add(&one.tenant, &days, &one.spent);
    }
    assessment.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_figures_are_those_of_a_plain_recomputation(seed: u64, hours in 0i64..9_000) {
        let dice = &mut Dice(seed);
        let now = UnixMillis(at("2026-01-05T00:20:00Z").0 + hours * HOUR);
        let (before, after) = (Arc::new(catalog(dice)), Arc::new(catalog(dice)));
        let all: Vec<Known> = (0..12).map(|number| known(number, now, dice)).collect();
        let impact = assess(&all, &before, &after, now);
        let plain: BTreeSet<String> =
            all.iter().flat_map(|known| expected(known, &before, &after, now)).collect();
        prop_assert_eq!(reckoned(&impact), plain);
        prop_assert_eq!(impact.tenants, 12);
        prop_assert!(assess(&all, &before, &before, now).losing == 0);
    }
}

/// The property above would hold of catalogs that never differ, too.
#[test]
fn the_random_ones_have_something_of_everything() {
    let now = at("2026-06-05T13:20:00Z");
    let mut lines = BTreeSet::new();
    for seed in 0..60 {
        let dice = &mut Dice(seed);
        let (before, after) = (Arc::new(catalog(dice)), Arc::new(catalog(dice)));
        let all: Vec<Known> = (0..12).map(|number| known(number, now, dice)).collect();
        lines.extend(reckoned(&assess(&all, &before, &after, now)));
    }
    for kind in [
        "is refused",
        "loses export",
        "gains export",
        "may not call GET /a",
        "may call GET /c",
        "may call any other",
        "over day",
        "over week",
        "over month",
        "out None",
        "out Some",
        "spared Some",
        "pays USD",
        "Week",
        "Day",
    ] {
        assert!(lines.iter().any(|line| line.contains(kind)), "{kind}");
    }
}

// ---- what the random ones do not have -------------------------------------------------------------------------------

const NOW: &str = "2026-03-20T10:00:00Z";

fn on(id: &str, plan: &str) -> Tenant {
    let mut tenant = Tenant::new(TenantId::parse(id).unwrap(), at("2025-01-01T00:00:00Z"));
    let anchor = AnchorDay::new(1).unwrap();
    tenant.subscription =
        Some(Subscription::active(plan.parse().unwrap(), anchor, Version(1), tenant.created_at));
    tenant
}

/// A catalog with these plans.
fn with(plans: &[Plan]) -> Arc<Catalog> {
    let mut catalog = declared();
    catalog.plans = plans.iter().map(|plan| (plan.id.clone(), Arc::new(plan.clone()))).collect();
    Arc::new(catalog)
}

/// Plan `pro` in a version, with or without export.
fn pro(version: u32, export: bool) -> Plan {
    let mut made = plan("pro", version, &mut Dice(5));
    made.existing = Existing::Stay;
    made.features.insert(FeatureIx(2));
    if !export {
        made.features.remove(FeatureIx(2));
    }
    made
}

fn who(group: &Group<Touched>) -> Vec<(String, Option<String>)> {
    group.first.iter().map(|one| (one.tenant.to_string(), one.from.map(|at| at.to_string()))).collect()
}

fn one(tenant: Tenant) -> Vec<Known> {
    vec![Known { tenant, events: Vec::new(), spent: Vec::new() }]
}

#[test]
fn who_is_on_an_older_version_loses_nothing_until_it_is_taken_over() {
    let before = with(&[pro(1, true)]);
    let second = |existing| {
        let newer = Plan { existing, introduced: Some(at(NOW)), ..pro(2, false) };
        let mut after = (*with(&[newer])).clone();
        let first = Arc::new(pro(1, true));
        after.earlier.insert(first.reference(), first);
        Arc::new(after)
    };
    let stays = assess(&one(on("acme", "pro")), &before, &second(Existing::Stay), at(NOW));
    assert_eq!((stays.losing, stays.features.len()), (0, 0));
    let comes = assess(&one(on("acme", "pro")), &before, &second(Existing::NextPeriod), at(NOW));
    let then = Some("2026-04-01T00:00:00Z".to_owned());
    assert_eq!((comes.losing, who(&comes.features["export"].lost)), (1, vec![("acme".to_owned(), then)]));
    let new = assess(&one(on("acme", "pro@2")), &before, &second(Existing::Stay), at(NOW));
    assert_eq!(who(&new.features["export"].lost), [("acme".to_owned(), None)]);
}

#[test]
fn a_scheduled_plan_that_would_be_missing_is_seen_beforehand() {
    let mut tenant = on("acme", "pro");
    let ends_at = at("2026-03-25T00:00:00Z");
    let then = Some("free".parse().unwrap());
    let trial = TrialTerms { ends_at, then, usage: UsageRule::Keep, version: Version(1) };
    tenant.subscription.as_mut().unwrap().state = Standing::Trialing(trial);
    let free = Plan { id: PlanId::parse("free").unwrap(), ..pro(1, false) };
    let impact = assess(&one(tenant), &with(&[pro(1, true), free]), &with(&[pro(1, true)]), at(NOW));
    let gone = &impact.missing[&PlanId::parse("free").unwrap()];
    assert_eq!(who(gone), [("acme".to_owned(), Some(ends_at.to_string()))]);
    assert_eq!(impact.losing, 1);
}

#[test]
fn lists_are_cut_and_their_totals_are_not() {
    let all: Vec<Known> = (0..250).flat_map(|number| one(on(&format!("t{number:03}"), "pro"))).collect();
    let impact = assess(&all, &with(&[pro(1, true)]), &with(&[pro(1, false)]), at(NOW));
    let lost = &impact.features["export"].lost;
    assert_eq!((lost.total, lost.first.len(), impact.losing), (250, LONGEST_LIST, 250));
    assert_eq!(lost.first[99].tenant.as_str(), "t099");
    let gone = assess(&all, &with(&[pro(1, true)]), &with(&[]), at(NOW));
    assert_eq!((gone.missing[&PlanId::parse("pro").unwrap()].total, gone.features.len()), (250, 0));
}

#[test]
fn an_addon_or_an_override_keeps_what_the_plan_gives_away() {
    let mut after = (*with(&[pro(1, false)])).clone();
    let boost = addon(&mut Dice(3));
    let mut features = boost.features.clone();
    features.insert(FeatureIx(2));
    let boost = crate::domain::addon::Addon { plans: Vec::new(), features, ..boost };
    after.addons.insert(boost.id.clone(), Arc::new(boost));
    let (before, after) = (with(&[pro(1, true)]), Arc::new(after));
    let mut kept = on("kept", "pro");
    kept.overrides.features.insert(FeatureId::parse("export").unwrap(), true);
    let mut bought = on("bought", "pro");
    let (addon, since) = (AddonId::parse("boost").unwrap(), at("2026-01-01T00:00:00Z"));
    bought.addons.push(Attached { addon, quantity: 1, since, ends_at: None });
    let all: Vec<Known> = [kept, bought, on("plain", "pro")].into_iter().flat_map(one).collect();
    let impact = assess(&all, &before, &after, at(NOW));
    assert_eq!(who(&impact.features["export"].lost), [("plain".to_owned(), None)]);
}
