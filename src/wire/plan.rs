//! What a plan says in one version, as JSON by names: the database keeps it, and each catalog reads it anew.
//!
//! Names that a catalog does not have (any more) are left out of what it reads. Nothing is lost by that: what is kept stays
//! as it is, and the next catalog that has them finds them again.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{
    FieldError,
    terms::{self, Reader, escape, kind},
};
use crate::domain::{
    catalog::Catalog,
    features::FeatureSet,
    id::{FeatureId, LimitId, MeterId, PlanId},
    money::{Currency, Price},
    plan::{ChangeAt, Changes, MeterTerms, Plan, PlanRef, Trial},
    subscription::UsageRule,
    warning::WarnAt,
};

/// What was kept of a plan is not what [`encode`] writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DamagedTerms {
    /// Which plan, in which version.
    pub plan: PlanRef,
    /// What is wrong with it.
    pub fields: Vec<FieldError>,
}

impl fmt::Display for DamagedTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what is kept of version {} of plan `{}` is damaged: ", self.plan.version, self.plan.id)?;
        let shown: Vec<String> = self.fields.iter().take(5).map(FieldError::to_string).collect();
        f.write_str(&shown.join("; "))?;
        if self.fields.len() > 5 { write!(f, "; and {} more", self.fields.len() - 5) } else { Ok(()) }
    }
}

/// Writes what a plan of this catalog says, inherited terms included; not its version, nor when tenants come to it.
#[must_use]
pub fn encode(plan: &Plan, catalog: &Catalog) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(key.to_owned(), value);
        }
    };
    put("title", plan.title.as_ref().map(|title| json!(title)));
    put("extends", plan.parent.as_ref().map(|parent| json!(parent.as_str())));
    let price =
        |price: Price| json!({ "amount": price.amount.to_string(), "currency": price.currency.to_string() });
    put("price", plan.price.map(price));
    put("spend_cap", plan.spend_cap.limit().map(|cap| json!(cap.to_string())));
    put("trial", plan.trial.as_ref().map(trial));
    put("grace", plan.grace_days.map(|days| json!({ "days": days })));
    let Changes { upgrade, downgrade } = plan.changes;
    put("changes", Some(json!({ "upgrade": upgrade.as_str(), "downgrade": downgrade.as_str() })));
    put("warn_at", plan.warn_at.as_ref().map(|warn_at| json!(warn_at.percentages())));
    let features = plan.features.iter().filter_map(|ix| catalog.feature(ix));
    put("features", Some(features.map(|feature| json!(feature.id.as_str())).collect()));
    let limits = plan.limits.iter().map(|(id, limit)| (id.to_string(), terms::allowance(*limit)));
    put("limits", Some(Value::Object(limits.collect())));
    let meters = || catalog.meters.iter().map(|meter| meter.id.to_string()).zip(&plan.meters);
    let quotas = meters().filter_map(|(id, terms)| Some((id, terms::quota(terms.quota.as_ref()?))));
    put("quotas", Some(Value::Object(quotas.collect())));
    let rates = meters().filter_map(|(id, terms)| Some((id, terms::rate(Some(terms.rate.as_ref()?)))));
    put("rates", Some(Value::Object(rates.collect())));
    Value::Object(out)
}

fn trial(trial: &Trial) -> Value {
    let then = trial.then.as_ref().map_or(BLOCK, PlanId::as_str);
    json!({ "days": trial.days, "then": then, "usage": trial.usage.as_str() })
}

/// No plan is called so.
const BLOCK: &str = "block";

/// Reads what [`encode`] wrote, against a catalog that may be another.
///
/// # Errors
/// [`DamagedTerms`] with everything that is wrong.
pub fn decode(plan: PlanRef, document: &Value, catalog: &Catalog) -> Result<Plan, DamagedTerms> {
    let mut reader = Reader::default();
    let mut read = Plan { version: plan.version, ..Plan::empty(plan.id.clone()) };
    read.features = FeatureSet::empty(catalog.features.len());
    read.meters = vec![MeterTerms::default(); catalog.meters.len()].into_boxed_slice();
    for (key, value) in reader.object("", document) {
        let at = format!("/{}", escape(key));
        reader.term(&at, key, value, &mut read, catalog);
    }
    if reader.errors.is_empty() { Ok(read) } else { Err(DamagedTerms { plan, fields: reader.errors }) }
}

impl Reader {
    fn term(&mut self, at: &str, key: &str, value: &Value, plan: &mut Plan, catalog: &Catalog) {
        match key {
            "title" => plan.title = self.line(at, value),
            "extends" => plan.parent = self.plan_id(at, value),
            "price" => plan.price = self.price(at, value),
            "spend_cap" => plan.spend_cap = self.spend_cap(at, value).unwrap_or_default(),
            "trial" => plan.trial = self.trial(at, value),
            "grace" => plan.grace_days = self.days_of(at, value, (0, 365)),
            "changes" => plan.changes = self.changes(at, value),
            "warn_at" => plan.warn_at = self.warn_at(at, value),
            "features" => self.features(at, value, &mut plan.features, catalog),
            "limits" => {
                plan.limits = self.named(at, value, LimitId::parse, Self::allowance);
                plan.limits.retain(|id, _| catalog.has_limit(id.as_str()));
            }
            "quotas" => {
                for (id, quota) in self.named(at, value, MeterId::parse, Self::quota) {
                    if let Some(terms) = meter(plan, catalog, &id) {
                        terms.quota = Some(quota);
                    }
                }
            }
            "rates" => {
                for (id, rate) in self.named(at, value, MeterId::parse, Self::rate) {
                    if let Some(terms) = meter(plan, catalog, &id) {
                        terms.rate = rate;
                    }
                }
            }
            _ => self.unknown(at, "what a plan says"),
        }
    }

    fn text<'v>(&mut self, at: &str, value: &'v Value) -> Option<&'v str> {
        value.as_str().or_else(|| self.fail(at, format!("expected a text, got {}", kind(value))))
    }

    pub(super) fn line(&mut self, at: &str, value: &Value) -> Option<String> {
        let text = self.text(at, value)?;
        if text.chars().count() > 200 || text.chars().any(char::is_control) {
            return self.fail(at, "expected one line of at most 200 characters");
        }
        Some(text.to_owned())
    }

    pub(super) fn plan_id(&mut self, at: &str, value: &Value) -> Option<PlanId> {
        let text = self.text(at, value)?;
        PlanId::parse(text).map_err(|error| self.fail::<()>(at, error.to_string())).ok()
    }

    pub(super) fn price(&mut self, at: &str, value: &Value) -> Option<Price> {
        let (mut amount, mut currency) = (None, None);
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            match key.as_str() {
                "amount" => amount = Some(self.decimal(&at, value)?),
                "currency" => {
                    let parsed = self.text(&at, value)?.parse::<Currency>();
                    currency = Some(parsed.map_err(|error| self.fail::<()>(&at, error.to_string())).ok()?);
                }
                _ => self.unknown(&at, "amount or currency"),
            }
        }
        let price = amount.zip(currency).map(|(amount, currency)| Price { amount, currency });
        price.or_else(|| self.fail(at, "`amount` and `currency` are both needed"))
    }

    fn trial(&mut self, at: &str, value: &Value) -> Option<Trial> {
        let (mut days, mut then, mut usage) = (None, None, UsageRule::Keep);
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            match key.as_str() {
                "days" => days = Some(self.days(&at, value, (1, 3650))?),
                "then" if value.as_str() == Some(BLOCK) => then = Some(None),
                "then" => then = Some(Some(self.plan_id(&at, value)?)),
                "usage" => {
                    usage = match value.as_str() {
                        Some("keep") => UsageRule::Keep,
                        Some("reset") => UsageRule::Reset,
                        _ => return self.fail(&at, format!("expected keep or reset, got {}", kind(value))),
                    }
                }
                _ => self.unknown(&at, "days, then or usage"),
            }
        }
        let trial = days.zip(then).map(|(days, then)| Trial { days, then, usage });
        trial.or_else(|| self.fail(at, "`days` and `then` are both needed"))
    }

    fn days(&mut self, at: &str, value: &Value, (least, most): (u64, u64)) -> Option<u16> {
        let days = value.as_u64().filter(|days| (least..=most).contains(days));
        let days = days.and_then(|days| u16::try_from(days).ok());
        days.or_else(|| self.fail(at, format!("expected {least} to {most} days, got {}", kind(value))))
    }

    fn days_of(&mut self, at: &str, value: &Value, bounds: (u64, u64)) -> Option<u16> {
        let mut days = None;
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            if key == "days" {
                days = Some(self.days(&at, value, bounds)?);
            } else {
                self.unknown(&at, "days");
            }
        }
        days.or_else(|| self.fail(at, "`days` is missing"))
    }

    fn changes(&mut self, at: &str, value: &Value) -> Changes {
        let mut changes = Changes::default();
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            let when = value.as_str().and_then(ChangeAt::named);
            let place = match key.as_str() {
                "upgrade" => &mut changes.upgrade,
                "downgrade" => &mut changes.downgrade,
                _ => {
                    self.unknown(&at, "upgrade or downgrade");
                    continue;
                }
            };
            match when {
                Some(when) => *place = when,
                None => {
                    self.fail::<()>(&at, format!("expected now or period_end, got {}", kind(value)));
                }
            }
        }
        changes
    }

    fn warn_at(&mut self, at: &str, value: &Value) -> Option<WarnAt> {
        let numbers =
            value.as_array().and_then(|all| all.iter().map(Value::as_u64).collect::<Option<Vec<_>>>());
        let Some(numbers) = numbers else {
            return self.fail(at, format!("expected a list of percentages, got {}", kind(value)));
        };
        WarnAt::new(&numbers).map_err(|error| self.fail::<()>(at, error.to_string())).ok()
    }

    fn features(&mut self, at: &str, value: &Value, set: &mut FeatureSet, catalog: &Catalog) {
        let Value::Array(items) = value else {
            self.fail::<()>(at, format!("expected a list, got {}", kind(value)));
            return;
        };
        for (place, item) in items.iter().enumerate() {
            let at = format!("{at}/{place}");
            let Some(text) = self.text(&at, item) else { continue };
            match FeatureId::parse(text) {
                Ok(id) => catalog.feature_ix(id.as_str()).into_iter().for_each(|ix| set.insert(ix)),
                Err(error) => {
                    self.fail::<()>(&at, error.to_string());
                }
            }
        }
    }
}

fn meter<'p>(plan: &'p mut Plan, catalog: &Catalog, id: &MeterId) -> Option<&'p mut MeterTerms> {
    plan.meters.get_mut(usize::from(catalog.meter_ix(id.as_str())?.0))
}

#[cfg(test)]
mod tests;
