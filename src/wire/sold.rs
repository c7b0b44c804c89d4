//! What a bill may need of plans and add-ons after the policies have them no more, as JSON by names: the database keeps it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    FieldError,
    terms::{self, Reader, escape},
};
use crate::domain::{
    addon::Addon,
    catalog::Catalog,
    features::FeatureSet,
    id::{AddonId, MeterId, PlanId},
    plan::{Overage, Plan, Quota},
};

/// The member that holds quotas, as in what is kept of a whole plan.
pub const QUOTAS: &str = "quotas";

/// Of a plan: the quotas that let more through than they include. All else is kept with its version.
#[must_use]
pub fn encode_plan(plan: &Plan, catalog: &Catalog) -> Value {
    let quotas = catalog.meters.iter().zip(&plan.meters).filter_map(|(meter, terms)| {
        let quota = terms.quota.filter(|quota| !matches!(quota.overage, Overage::Block))?;
        Some((meter.id.to_string(), terms::quota(&quota)))
    });
    json!({ QUOTAS: quotas.collect::<Map<_, _>>() })
}

/// Of an add-on: its name, its price, the plans that it goes with and what it adds to quotas.
#[must_use]
pub fn encode_addon(addon: &Addon, catalog: &Catalog) -> Value {
    let quotas = catalog
        .meters
        .iter()
        .zip(&addon.quotas)
        .filter_map(|(meter, quota)| Some((meter.id.to_string(), terms::quota(quota.as_ref()?))));
    let mut out = Map::new();
    if let Some(title) = &addon.title {
        out.insert("title".to_owned(), json!(title));
    }
    if let Some(price) = addon.price {
        let price = json!({ "amount": price.amount.to_string(), "currency": price.currency.to_string() });
        out.insert("price".to_owned(), price);
    }
    out.insert("plans".to_owned(), addon.plans.iter().map(|plan| json!(plan.as_str())).collect());
    out.insert(QUOTAS.to_owned(), Value::Object(quotas.collect()));
    Value::Object(out)
}

/// The names of the meters that are spoken of.
pub fn meters(document: &Value) -> impl Iterator<Item = MeterId> {
    let quotas = document.get(QUOTAS).and_then(Value::as_object).into_iter().flatten();
    quotas.filter_map(|(name, _)| MeterId::parse(name).ok())
}

/// Of what is said of a plan, the quotas that let more through than they include.
///
/// # Errors
/// Everything that is wrong with it.
pub fn overage(document: &Value) -> Result<BTreeMap<MeterId, Quota>, Vec<FieldError>> {
    let mut reader = Reader::default();
    let at = format!("/{QUOTAS}");
    let mut quotas = match document.get(QUOTAS) {
        Some(quotas) => reader.named(&at, quotas, MeterId::parse, Reader::quota),
        None => BTreeMap::new(),
    };
    quotas.retain(|_, quota| !matches!(quota.overage, Overage::Block));
    if reader.errors.is_empty() { Ok(quotas) } else { Err(reader.errors) }
}

/// Reads what [`encode_addon`] wrote, against a catalog that has its meters.
///
/// # Errors
/// Everything that is wrong with it.
pub fn decode_addon(id: AddonId, document: &Value, catalog: &Catalog) -> Result<Addon, Vec<FieldError>> {
    let mut reader = Reader::default();
    let mut addon = Addon {
        id,
        title: None,
        price: None,
        plans: Vec::new(),
        features: FeatureSet::empty(catalog.features.len()),
        limits: BTreeMap::new(),
        quotas: vec![None; catalog.meters.len()].into(),
    };
    for (key, value) in reader.object("", document) {
        let at = format!("/{}", escape(key));
        match key.as_str() {
            "title" => addon.title = reader.line(&at, value),
            "price" => addon.price = reader.price(&at, value),
            "plans" => addon.plans = plans(&mut reader, &at, value),
            QUOTAS => {
                for (meter, quota) in reader.named(&at, value, MeterId::parse, Reader::quota) {
                    let place = catalog.meter_ix(meter.as_str()).map(|ix| usize::from(ix.0));
                    if let Some(place) = place.and_then(|place| addon.quotas.get_mut(place)) {
                        *place = Some(quota);
                    }
                }
            }
            _ => reader.unknown(&at, "title, price, plans or quotas"),
        }
    }
    if reader.errors.is_empty() { Ok(addon) } else { Err(reader.errors) }
}

fn plans(reader: &mut Reader, at: &str, value: &Value) -> Vec<PlanId> {
    let Value::Array(items) = value else {
        reader.fail::<()>(at, "expected a list");
        return Vec::new();
    };
    let mut plans = Vec::new();
    for (place, item) in items.iter().enumerate() {
        plans.extend(reader.plan_id(&format!("{at}/{place}"), item));
    }
    plans
}
