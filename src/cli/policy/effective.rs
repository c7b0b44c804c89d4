//! What a plan says in the end, value by value: in words, as JSON, and where it is written.

use serde_json::{Value, json};

use super::mapping;
use crate::{
    domain::{
        catalog::Catalog,
        id::PlanId,
        money::Price,
        origin::{Origin, PlanOrigins, TermKey},
        period::Window,
        plan::{Existing, MeterIx, Overage, Plan, Quota, Rollover},
        rate::Rate,
        units::{Allowance, Units},
    },
    wire::{duration, terms},
};

/// One value of a plan.
pub(super) struct Entry {
    /// One of [`SECTIONS`].
    pub(super) section: &'static str,
    pub(super) key: String,
    /// In words.
    pub(super) text: String,
    /// In the shape of the policy files.
    pub(super) json: Value,
    /// Where it is written; `None`: nowhere, it is so by default.
    pub(super) origin: Option<Origin>,
    /// The plan that it is inherited from.
    pub(super) from: Option<PlanId>,
}

/// The sections of a plan; the first is that of the keys with one value.
pub(super) const SECTIONS: [&str; 6] = ["", "features", "limits", "quotas", "rates", "stripe"];

/// All that a plan of a catalog says.
pub(super) fn entries(catalog: &Catalog, plan: &Plan) -> Vec<Entry> {
    let mut out = Collected { origins: catalog.origins.plan(&plan.id), entries: Vec::new() };
    terms_of(plan, &mut out);
    features(catalog, plan, &mut out);
    for (id, limit) in &plan.limits {
        let origin = out.origins.and_then(|origins| origins.limit(id.as_str()));
        out.add("limits", id.as_str(), allowance(*limit), terms::allowance(*limit), origin);
    }
    for (meter, (place, of_meter)) in catalog.meters.iter().zip((0..).zip(&plan.meters)) {
        let origin = out.origins.and_then(|origins| origins.quota(MeterIx(place)));
        let (text, value) = match &of_meter.quota {
            Some(found) => (quota(found, plan.price.as_ref()), terms::quota(found)),
            None => ("no quota: what is charged to it is refused".to_owned(), Value::Null),
        };
        out.add("quotas", meter.id.as_str(), text, value, origin);
    }
    for (meter, (place, of_meter)) in catalog.meters.iter().zip((0..).zip(&plan.meters)) {
        let origin = out.origins.and_then(|origins| origins.rate(MeterIx(place)));
        if origin.is_some() || of_meter.rate.is_some() {
            let found = of_meter.rate.as_ref();
            out.add("rates", meter.id.as_str(), rate(found), terms::rate(found), origin);
        }
    }
    for (key, name, origin) in mapping::selling(catalog, plan.id.as_str()) {
        let by = if key == "prices" { "sells it, by its id" } else { "sells it, by its lookup key" };
        out.add("stripe", name, by.to_owned(), json!(key), origin);
    }
    out.entries
}

struct Collected<'c> {
    origins: Option<PlanOrigins<'c>>,
    entries: Vec<Entry>,
}

impl Collected<'_> {
    fn add(&mut self, section: &'static str, key: &str, text: String, json: Value, origin: Option<Origin>) {
        let from = origin.as_ref().and_then(|origin| self.origins?.ancestor(origin)).cloned();
        self.entries.push(Entry { section, key: key.to_owned(), text, json, origin, from });
    }

    fn add_key(&mut self, key: TermKey, text: String, json: Value) {
        let origin = self.origins.and_then(|origins| origins.key(key));
        self.add("", key.as_str(), text, json, origin);
    }
}

/// The keys with one value. What is neither written nor has a default is left out; the title and the parent stand above.
fn terms_of(plan: &Plan, out: &mut Collected<'_>) {
    if let Some(title) = &plan.title {
        out.add_key(TermKey::Title, title.clone(), json!(title));
    }
    out.add_key(TermKey::Version, plan.version.to_string(), json!(plan.version.0));
    if out.origins.is_some_and(|origins| origins.key(TermKey::Existing).is_some()) {
        let word = match plan.existing {
            Existing::Stay => "stay".to_owned(),
            Existing::NextPeriod => "next_period".to_owned(),
            Existing::On(day) => day.to_string(),
        };
        out.add_key(TermKey::Existing, word.clone(), json!(word));
    }
    if let Some(Price { amount, currency }) = plan.price {
        let value = json!({ "amount": amount.to_string(), "currency": currency.to_string() });
        out.add_key(TermKey::Price, format!("{amount} {currency} a month"), value);
    }
    if let Some(cap) = plan.spend_cap.limit() {
        let currency = plan.price.map(|price| format!(" {}", price.currency)).unwrap_or_default();
        out.add_key(TermKey::SpendCap, format!("{cap}{currency} of overage a month"), json!(cap.to_string()));
    } else if out.origins.is_some_and(|origins| origins.key(TermKey::SpendCap).is_some()) {
        out.add_key(TermKey::SpendCap, plan.spend_cap.to_string(), json!(plan.spend_cap.to_string()));
    }
    if let Some(trial) = &plan.trial {
        let then = trial.then.as_ref().map_or("block", PlanId::as_str);
        let usage = trial.usage.as_str();
        let more = if usage == "keep" { String::new() } else { format!(", usage {usage}") };
        let value = json!({ "days": trial.days, "then": then, "usage": usage });
        out.add_key(TermKey::Trial, format!("{}, then {then}{more}", days(trial.days)), value);
    }
    let grace = plan.grace_days.unwrap_or(Plan::GRACE_DAYS);
    out.add_key(TermKey::Grace, days(grace), json!({ "days": grace }));
    let (up, down) = (plan.changes.upgrade.as_str(), plan.changes.downgrade.as_str());
    let value = json!({ "upgrade": up, "downgrade": down });
    out.add_key(TermKey::Changes, format!("upgrade {up}, downgrade {down}"), value);
    let warn_at = plan.warn_at.clone().unwrap_or_default();
    let percent = if warn_at.percentages().is_empty() { "" } else { " percent" };
    out.add_key(TermKey::WarnAt, format!("{warn_at}{percent}"), json!(warn_at.percentages()));
}

fn features(catalog: &Catalog, plan: &Plan, out: &mut Collected<'_>) {
    let taken = out.origins.map(|origins| origins.taken_away()).unwrap_or_default();
    for (place, feature) in (0..).map(crate::domain::features::FeatureIx).zip(&catalog.features) {
        let id = feature.id.as_str();
        if plan.features.contains(place) {
            let origin =
                out.origins.and_then(|origins| origins.feature(place)).map(|found| found.at().clone());
            out.add("features", id, feature.title.clone().unwrap_or_default(), json!(true), origin);
        } else if let Some(origin) = taken.get(&place) {
            out.add("features", id, "taken away".to_owned(), json!(false), Some(origin.clone()));
        }
    }
}

fn days(number: u16) -> String {
    if number == 1 { "1 day".to_owned() } else { format!("{number} days") }
}

fn quota(quota: &Quota, price: Option<&Price>) -> String {
    let mut out = match quota.month {
        Allowance::Unlimited => "unlimited".to_owned(),
        Allowance::Limited(units) => format!("{} / month", grouped(units)),
    };
    let windows = [(Window::Week, quota.week), (Window::Day, quota.day), (Window::Hour, quota.hour)];
    for (window, found) in windows {
        if let Some(found) = found {
            out += &format!(", {} / {}", allowance(found), window.as_str());
        }
    }
    let currency = price.map(|price| format!(" {}", price.currency)).unwrap_or_default();
    let beyond = |cap: Option<Units>| match cap {
        Some(cap) => format!("; up to {} beyond it", grouped(cap)),
        None => "; beyond it".to_owned(),
    };
    match quota.overage {
        Overage::Block => {}
        Overage::Allow { cap } => out += &format!("{} let through", beyond(cap)),
        Overage::Bill { cap, price, per } => {
            out += &format!("{} at {price}{currency} per {}", beyond(cap), grouped(per));
        }
    }
    match quota.rollover {
        None => {}
        Some(Rollover::Percent(share)) => out += &format!("; unused: at most {share}% into the next month"),
        Some(Rollover::Units(units)) => {
            out += &format!("; unused: at most {} into the next month", grouped(units));
        }
    }
    out
}

fn rate(rate: Option<&Rate>) -> String {
    rate.map_or_else(
        || "unlimited".to_owned(),
        |rate| {
            let per = duration::format(rate.per);
            format!("{} / {per}, {} at once", grouped(rate.limit), grouped(rate.burst))
        },
    )
}

fn allowance(allowance: Allowance) -> String {
    allowance.limit().map_or_else(|| "unlimited".to_owned(), grouped)
}

/// `2000000` as `2,000,000`.
fn grouped(units: Units) -> String {
    let digits = units.get().to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
