//! The tenant of a case: its plan and what it has beside it.

use std::collections::BTreeMap;

use super::{
    Fields,
    case::{is_addon, is_feature, is_limit, is_meter, is_plan},
    named, quota, rate, scalar, spend,
};
use crate::domain::{
    addon::{Attached, MOST_OF_AN_ADDON},
    attributes::{AttributeName, AttributeValue, Attributes},
    catalog::Catalog,
    grant::{DEFAULT_PRIORITY, Grant, GrantSource},
    id::{AddonId, FeatureId, GrantId, LimitId, MeterId, PlanId, TenantId},
    period::{AnchorDay, Window, Zone},
    plan::{PlanRef, PlanVersion},
    subscription::{Standing, Subscription, TrialTerms, UsageRule},
    tenant::{Overrides, Tenant},
    time::{UnixMillis, Version},
    transitions::State,
    units::Units,
};
use crate::policy::{
    definition::Name,
    diagnostic::Findings,
    schema, suggest,
    tree::{Node, Value},
};

pub(super) type Used = BTreeMap<(String, Window), Units>;

/// What a case knows of its tenant; `None`: the request is anonymous.
pub(super) struct Known {
    pub(super) tenant: Option<Tenant>,
    pub(super) used: Used,
}

/// Reads a tenant and what it has used.
pub(super) fn tenant(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Option<Known> {
    let fields = Fields::read(node, "a tenant", schema::Tenant::KEYS, findings)?;
    let plan = match fields.get("plan") {
        Some(node) => plan(node, catalog, findings).map(Some),
        None => Some(None),
    };
    let state = fields.get("state").map(|node| state(node, findings));
    if let (Some(place), None) = (fields.key_place("state"), fields.get("plan")) {
        let help = "name its `plan`, or remove `state`".to_owned();
        findings.error_help("state-without-plan", place, "a tenant without a plan has no state", help);
    }
    let addons = fields.get("addons").map(|node| addons(node, catalog, findings)).unwrap_or_default();
    let grants = fields.get("grants").map(|node| grants(node, catalog, findings)).unwrap_or_default();
    let used = fields.get("used").map(|node| used(node, catalog, findings)).unwrap_or_default();
    let overrides =
        fields.get("overrides").map(|node| overrides(node, catalog, findings)).unwrap_or_default();
    let zone = match fields.get("timezone") {
        Some(node) => zone(node, findings),
        None => Some(Zone::UTC),
    };
    let attributes = fields.get("attributes").map(|node| attributes(node, findings)).unwrap_or_default();
    let anchor = match fields.get("anchor_day") {
        Some(node) => scalar::whole(node, "`anchor_day`", (1, 31), findings),
        None => Some(1),
    };
    let suspended = fields.get("suspended").and_then(|node| scalar::truth(node, "`suspended`", findings));
    let anchor = AnchorDay::new(i64::try_from(anchor?).ok()?).ok()?;
    let mut tenant = Tenant::new(TenantId::parse("case").ok()?, UnixMillis(0));
    tenant.zone = zone?;
    tenant.suspended = suspended.unwrap_or(false);
    let state = state.unwrap_or(Some(Standing::Active))?;
    tenant.subscription = plan?.map(|plan| {
        let active = Subscription::active(plan, anchor, Version(1), UnixMillis(0));
        Subscription { state, ..active }
    });
    tenant.addons = addons;
    tenant.grants = grants;
    tenant.overrides = overrides;
    tenant.version = Version(1);
    tenant.attributes = attributes.shared();
    Some(Known { tenant: Some(tenant), used })
}

/// Reads a time zone.
pub(super) fn zone(node: &Node, findings: &mut Findings<'_>) -> Option<Zone> {
    let text = scalar::text(node, "a time zone", findings)?;
    Zone::named(text).map_err(|e| findings.error("invalid-timezone", node.place, e.to_string())).ok()
}

/// What conditions may ask of a tenant: texts, whole numbers, truths.
fn attributes(node: &Node, findings: &mut Findings<'_>) -> Attributes {
    let mut all = Vec::new();
    for (name, at) in named(node, "`attributes`", findings) {
        let value = match &at.value {
            Value::Scalar { text, plain: true } if matches!(text.as_str(), "true" | "false") => {
                Ok(AttributeValue::Flag(text == "true"))
            }
            Value::Scalar { text, plain: true } if text.parse::<i64>().is_ok() => {
                AttributeValue::number(text.parse().unwrap_or_default())
            }
            _ => match scalar::text(at, "a text for an attribute", findings) {
                Some(text) => AttributeValue::text(text),
                None => continue,
            },
        };
        match AttributeName::parse(&name.value).and_then(|name| Ok((name, value?))) {
            Ok(attribute) => all.push(attribute),
            Err(error) => findings.error("invalid-attribute", name.place, error.to_string()),
        }
    }
    Attributes::new(all).unwrap_or_else(|error| {
        findings.error("invalid-attribute", node.place, error.to_string());
        Attributes::default()
    })
}

/// Reads the name of a plan.
pub(super) fn plan(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Option<PlanRef> {
    let text = scalar::text(node, "a plan", findings)?;
    let name = Name { value: text.to_owned(), place: node.place };
    is_plan(&name, catalog, findings).then_some(())?;
    let id = PlanId::parse(text).ok()?;
    let version = catalog.and_then(|c| c.plan(text)).map_or(PlanVersion::FIRST, |plan| plan.version);
    Some(PlanRef { id, version })
}

/// The states that a case may name, as they are long before they end.
fn standing(word: &str) -> Option<Standing> {
    let ends_at = UnixMillis::NEVER;
    let trial = TrialTerms { ends_at, then: None, usage: UsageRule::Keep, version: Version(1) };
    let all = [
        Standing::Trialing(trial),
        Standing::Active,
        Standing::PastDue { grace_ends_at: ends_at },
        Standing::Unpaid,
        Standing::Paused,
        Standing::Expired,
        Standing::Canceled { at: UnixMillis(0), undo: None },
    ];
    all.into_iter().find(|standing| standing.state().as_str() == word)
}

fn state(node: &Node, findings: &mut Findings<'_>) -> Option<Standing> {
    let text = scalar::text(node, "a state such as `paused` for `state`", findings)?;
    let found = standing(text);
    if found.is_none() {
        let known = State::ALL.into_iter().filter(|state| *state != State::None).map(State::as_str);
        let help = suggest::help(text, known);
        findings.error_help("unknown-state", node.place, format!("unknown state {}", node.describe()), help);
    }
    found
}

fn addons(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Vec<Attached> {
    let attached = |(addon, quantity)| Attached { addon, quantity, since: UnixMillis(0), ends_at: None };
    let mut out: Vec<_> = quantities(node, 1, catalog, findings).into_iter().map(attached).collect();
    out.sort_by(|a, b| a.addon.cmp(&b.addon));
    out
}

/// Reads how many of which add-ons, each at least `least`.
pub(super) fn quantities(
    node: &Node,
    least: u64,
    catalog: Option<&Catalog>,
    findings: &mut Findings<'_>,
) -> Vec<(AddonId, u32)> {
    let mut out = Vec::new();
    for (name, node) in named(node, "`addons`", findings) {
        if is_addon(&name, catalog, findings)
            && let Some(quantity) =
                scalar::whole(node, "how many", (least, MOST_OF_AN_ADDON.into()), findings)
            && let (Ok(addon), Ok(quantity)) = (AddonId::parse(&name.value), u32::try_from(quantity))
        {
            out.push((addon, quantity));
        }
    }
    out
}

fn grants(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Vec<Grant> {
    let mut out = Vec::new();
    for (number, (name, node)) in (1..).zip(named(node, "`grants`", findings)) {
        if is_meter(&name, catalog, findings)
            && let Some(units) = scalar::units(node, "granted units", 1, findings)
            && let (Ok(id), Ok(meter)) = (GrantId::parse(&format!("g{number}")), MeterId::parse(&name.value))
        {
            out.push(Grant {
                id,
                number: Version(number),
                meter,
                units,
                priority: DEFAULT_PRIORITY,
                since: UnixMillis(0),
                expires_at: None,
                recurring: false,
                reason: None,
                source: GrantSource::Given,
            });
        }
    }
    out
}

fn used(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Used {
    let mut out = Used::new();
    for (name, node) in named(node, "`used`", findings) {
        if !is_meter(&name, catalog, findings) {
            continue;
        }
        if let Value::Map(_) = &node.value {
            let Some(fields) = Fields::read(node, "`used`", schema::Used::KEYS, findings) else {
                continue;
            };
            for window in Window::ALL {
                if let Some(units) = fields
                    .get(window.as_str())
                    .and_then(|node| scalar::units(node, "units used", 0, findings))
                {
                    out.insert((name.value.clone(), window), units);
                }
            }
        } else if let Some(units) = scalar::units(node, "units used in the month", 0, findings) {
            out.insert((name.value, Window::Month), units);
        }
    }
    out
}

/// Reads overrides.
pub(super) fn overrides(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Overrides {
    let mut out = Overrides::default();
    let Some(fields) = Fields::read(node, "`overrides`", schema::Overrides::KEYS, findings) else {
        return out;
    };
    let mut section = |key: &'static str| match fields.get(key) {
        Some(node) => named(node, &format!("`{key}`"), findings),
        None => Vec::new(),
    };
    let (features, limits, quotas, rates) =
        (section("features"), section("limits"), section("quotas"), section("rates"));
    out.spend_cap = fields.get("spend_cap").and_then(|node| spend::spend_cap(node, findings));
    for (name, node) in features {
        if is_feature(&name, catalog, findings)
            && let Some(on) = scalar::truth(node, "a feature", findings)
            && let Ok(id) = FeatureId::parse(&name.value)
        {
            out.features.insert(id, on);
        }
    }
    for (name, node) in limits {
        if is_limit(&name, catalog, findings)
            && let Some(limit) = scalar::allowance(node, "a limit", findings)
            && let Ok(id) = LimitId::parse(&name.value)
        {
            out.limits.insert(id, limit);
        }
    }
    for (name, node) in quotas {
        if is_meter(&name, catalog, findings)
            && let Some(quota) = quota::quota(node, findings)
            && let Ok(id) = MeterId::parse(&name.value)
        {
            out.quotas.insert(id, quota);
        }
    }
    for (name, node) in rates {
        if is_meter(&name, catalog, findings)
            && let Some(rate) = rate::rate(node, findings)
            && let Ok(id) = MeterId::parse(&name.value)
        {
            out.rates.insert(id, rate);
        }
    }
    out
}
