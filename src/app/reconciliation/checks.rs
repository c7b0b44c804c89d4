//! That all the books of the year agree.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use serde_json::Value;

use super::world::World;
use crate::{
    domain::{
        id::{MeterId, TenantId},
        money::{Decimal, Total},
        period::Period,
        time::UnixMillis,
        units::Units,
    },
    ports::Span,
};

/// What the statements of a tenant say of a meter in a period.
#[derive(Default, Clone, Copy)]
struct Billed {
    used: u64,
    overage: u64,
    grants: u64,
}

impl Billed {
    const fn all(self) -> u64 {
        self.used + self.overage + self.grants
    }
}

/// How much there was to compare.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) statements: u32,
    pub(super) overage: u32,
    pub(super) capped: u32,
    /// Months that were compared to the unit.
    pub(super) months: u32,
    /// Months of which some units may be counted in the one beside, by grants that went on.
    pub(super) blurred: u32,
    pub(super) answers: u32,
    pub(super) told: u64,
}

type Key = (TenantId, MeterId, UnixMillis);

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))
}

fn meter(value: &Value) -> MeterId {
    MeterId::parse(value["meter"].as_str().unwrap()).unwrap()
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

/// The hours of a number come to it.
fn hours_make_up(value: &Value, hours: &str, name: &str) {
    let sum: u64 = items(value, hours).map(|hour| hour[1].as_u64().unwrap()).sum();
    assert_eq!(sum, number(value, name), "{hours} of {value}");
}

fn cents(value: &Value) -> i128 {
    let text = value.as_str().unwrap();
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 2, "{text} is paid in cents");
    sign * format!("{whole}{fraction}").parse::<i128>().unwrap()
}

/// Its lines come to its total; overage is priced from its units, and never rounded up, nor billed above the cap.
fn is_exact(statement: &Value, seen: &mut Seen) {
    seen.statements += 1;
    let sum: i128 = items(statement, "lines").map(|line| cents(&line["amount"])).sum();
    assert_eq!(sum, cents(&statement["total"]), "{statement}");
    let mut overage = 0;
    for line in items(statement, "lines") {
        match line["kind"].as_str().unwrap() {
            "overage" => {
                let price: Decimal = line["price"].as_str().unwrap().parse().unwrap();
                let (per, units) = (number(line, "per"), number(line, "units"));
                let exact = Total::metered(price, Units::saturating(per), Units::saturating(units));
                let exact = exact.to_string();
                let (whole, fraction) = exact.split_once('.').unwrap();
                let floor: i128 = format!("{whole}{}", &fraction[..2]).parse().unwrap();
                assert_eq!(cents(&line["amount"]), floor, "{line}");
                overage += floor;
                seen.overage += 1;
            }
            "spend_cap" => {
                assert!(overage + cents(&line["amount"]) <= 2_500, "above the cap: {statement}");
                seen.capped += 1;
            }
            _ => {}
        }
    }
}

/// Every closed statement of the year.
async fn statements(world: &World, seen: &mut Seen) -> BTreeMap<Key, Billed> {
    let mut billed: BTreeMap<Key, Billed> = BTreeMap::new();
    for tenant in &world.tenants {
        let heads = world.store().closed_statements(tenant, None, 500).await.unwrap();
        assert!(heads.len() >= world.course.statements, "{tenant} has {} statements", heads.len());
        for pair in heads.windows(2) {
            assert!(pair[1].period.end <= pair[0].period.start, "{tenant}: periods overlap");
            assert_ne!(pair[1].name, pair[0].name, "{tenant}");
        }
        for head in heads {
            let closed = world.store().closed_statement(tenant, &head.name).await.unwrap().unwrap();
            let body: Value = serde_json::from_str(&closed.body).unwrap();
            is_exact(&body, seen);
            let key = |meter| (tenant.clone(), meter, head.period.start);
            for usage in items(&body, "usage") {
                hours_make_up(usage, "hours", "used");
                hours_make_up(usage, "overage_hours", "overage");
                assert_eq!(number(usage, "uncertain"), 0, "every file came back: {usage}");
                let entry = billed.entry(key(meter(usage))).or_default();
                entry.used += number(usage, "used");
                entry.overage += number(usage, "overage");
            }
            for grant in items(&body, "grants") {
                hours_make_up(grant, "hours", "used");
                billed.entry(key(meter(grant))).or_default().grants += number(grant, "used");
            }
        }
    }
    billed
}

/// What the ledger's buckets come to, closed or not.
async fn ledger(world: &World) -> BTreeMap<(TenantId, MeterId), Billed> {
    let mut all: BTreeMap<(TenantId, MeterId), Billed> = BTreeMap::new();
    let deleted = world.tidied.iter().cloned();
    let recorded = world.ground.recorded().await.into_iter().chain(deleted);
    for (key, used) in recorded.filter(|(key, _)| key.span.is_source()) {
        let entry = all.entry((key.tenant, key.meter)).or_default();
        match key.span {
            Span::Overage => entry.overage += used,
            Span::Grant => entry.grants += used,
            _ => entry.used += used,
        }
    }
    all
}

/// What is recorded is what was served, whatever has just happened.
pub(super) async fn nothing_is_lost(world: &World) {
    world.flush().await;
    let recorded = ledger(world).await;
    for (key, served) in served(world) {
        let recorded = recorded.get(&key).copied().unwrap_or_default();
        assert_eq!(recorded.all(), served, "{key:?} after {}", world.last);
    }
    for (key, recorded) in &recorded {
        let served = world.served.keys().any(|(tenant, meter, _)| *tenant == key.0 && *meter == key.1);
        assert!(served || recorded.all() == 0, "{key:?} after {}", world.last);
    }
}

/// What was served over all months.
fn served(world: &World) -> BTreeMap<(TenantId, MeterId), u64> {
    let mut served: BTreeMap<(TenantId, MeterId), u64> = BTreeMap::new();
    for ((tenant, meter, _), units) in &world.served {
        *served.entry((tenant.clone(), meter.clone())).or_default() += units;
    }
    served
}

/// The rows of usage, by the hour and by the day, come to what was served.
async fn usage_is_whole(world: &World) {
    let always = Period { start: UnixMillis(0), end: UnixMillis(i64::MAX / 2) };
    for tenant in &world.tenants {
        let mut rows: BTreeMap<MeterId, i64> = BTreeMap::new();
        for row in world.store().usage(tenant, always).await.unwrap() {
            *rows.entry(row.meter).or_default() += row.units;
        }
        for ((_, meter), served) in served(world).into_iter().filter(|((whose, _), _)| whose == tenant) {
            let rows = rows.remove(&meter).unwrap_or(0);
            assert_eq!(u64::try_from(rows).unwrap(), served, "{tenant} {meter}: usage and served");
        }
        assert!(rows.values().all(|units| *units == 0), "{tenant}: {rows:?} of what nobody served");
    }
}

/// There are no differences.
pub(super) async fn agree(world: &World) -> Seen {
    let mut seen = Seen::default();
    let billed = statements(world, &mut seen).await;
    let recorded = ledger(world).await;
    by_month(world, &billed, &mut seen);
    nothing_is_lost(world).await;
    usage_is_whole(world).await;
    seen.answers = headers_were_right(world, &billed);
    seen.told = billing_was_told(world, &billed, &recorded);
    seen
}

/// What each month's statement says is what was served in it.
fn by_month(world: &World, billed: &BTreeMap<Key, Billed>, seen: &mut Seen) {
    for (key, units) in &world.served {
        let (tenant, meter, start) = key;
        let of_meter = |(whose, of, _): &Key| (whose, of) == (tenant, meter);
        let Some(said) = billed.get(key) else {
            let later = billed.keys().filter(|(whose, ..)| whose == tenant).any(|(.., later)| later > start);
            assert!(
                *units == 0 || !later,
                "{units} {meter} of {tenant} in the month from {start}: no statement"
            );
            continue;
        };
        let next = billed.range((Excluded(key), Unbounded)).next().filter(|(next, _)| of_meter(next));
        // A month that is blurred may share the units of a grant with the one before it.
        let mut blurred = world.blurred.range(key..).take_while(|other| of_meter(other));
        let until = next.map_or(UnixMillis(i64::MAX), |((.., next), _)| *next);
        let blurred = blurred.any(|(.., other)| *other <= until);
        if said.grants == 0 && next.is_none_or(|(_, next)| next.grants == 0) || !blurred {
            assert_eq!(said.all(), *units, "{tenant} {meter} in the month from {start}");
            seen.months += 1;
        } else {
            assert!(said.used + said.overage <= *units, "{tenant} {meter} in the month from {start}");
            seen.blurred += 1;
        }
    }
    for (key, said) in billed {
        let served = world.served.contains_key(key) || world.blurred.contains(key);
        assert!(said.all() == 0 || served, "{key:?}: billed for what nobody served");
    }
}

/// What the last answer of a month said is what its statement says.
fn headers_were_right(world: &World, billed: &BTreeMap<Key, Billed>) -> u32 {
    let mut answers = 0;
    let last =
        world.said.iter().filter(|((_, meter, _), said)| meter.as_str() == "ai_tokens" && said.is_exact());
    for (key, said) in last {
        let Some(billed) = billed.get(key) else { continue };
        assert_eq!(said.limit - said.remaining, billed.all(), "{key:?}: the last answer and the statement");
        answers += 1;
    }
    answers
}

/// The billing system knows just what was billed, in the month in which it was.
fn billing_was_told(
    world: &World,
    billed: &BTreeMap<Key, Billed>,
    recorded: &BTreeMap<(TenantId, MeterId), Billed>,
) -> u64 {
    let book = world.billing.0.lock().unwrap();
    let told = |tenant: &TenantId, name: &str, within: &dyn Fn(i64) -> bool| -> u64 {
        let customer = format!("cus_{tenant}");
        let own = book.events.values().filter(|event| event.customer == customer && event.name == name);
        own.filter(|event| within(event.seconds)).map(|event| event.value).sum()
    };
    for ((tenant, meter), recorded) in recorded {
        let (name, expected) = match meter.as_str() {
            "ai_tokens" => ("tokens_over", recorded.overage),
            _ => ("requests_used", recorded.all()),
        };
        assert_eq!(told(tenant, name, &|_| true), expected, "{tenant} {meter}: told and recorded");
    }
    for tenant in &world.tenants {
        let tokens =
            billed.iter().filter(|((whose, meter, _), _)| whose == tenant && meter.as_str() == "ai_tokens");
        let starts: Vec<(UnixMillis, u64)> =
            tokens.map(|((.., start), billed)| (*start, billed.overage)).collect();
        for pair in starts.windows(2) {
            let within = |seconds: i64| seconds * 1_000 >= pair[0].0.0 && seconds * 1_000 < pair[1].0.0;
            assert_eq!(told(tenant, "tokens_over", &within), pair[0].1, "{tenant} from {}", pair[0].0);
        }
    }
    book.events.len() as u64
}
