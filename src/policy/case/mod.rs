//! Cases: what the policies must say to a request, decided as the gateway does, but from the files alone.
//!
//! A case names a tenant (its plan, the `state` of its subscription, `addons`, `grants`, what it has `used`, `overrides`,
//! `timezone`, `anchor_day`, `suspended`; no plan is a tenant without subscription, no tenant an anonymous request), a
//! `request`, the instant `at` which it comes, and what to `expect`: the charge and the tenant's `limits` (as they are
//! handed to the application), or the refusal. States, add-ons and grants last: none ends by itself.
//! `used: { requests: 10 }` counts in the month alone; `used: { requests: { month: 10, day: 10 } }` names the windows.
//! Rates are unused at the start of each case.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    compile::meter_name,
    decode,
    diagnostic::{Diagnostic, Findings},
    outcome::{Expect, Outcome},
    source::{Kind, Sources},
    yaml,
};
use crate::domain::{
    catalog::{Catalog, Unmatched},
    decision::decide,
    denial::Denial,
    period::Window,
    plan::MeterIx,
    rate::RateStep,
    rights::{Entitlement, Rights},
    route::{Charge, Operation},
    tenant::Tenant,
    time::{Monotonic, UnixMillis},
    units::Units,
};

/// One case of `cases/*.yaml`.
#[derive(Debug, Clone)]
pub struct Case {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) tenant: Option<Tenant>,
    pub(super) used: BTreeMap<(String, Window), Units>,
    pub(super) method: String,
    /// Canonical; `None`: the gateway would refuse it as ambiguous.
    pub(super) path: Option<String>,
    pub(super) at: UnixMillis,
    pub(super) expect: Expect,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Its file, relative to the policy folder.
    pub file: String,
    /// Its line there.
    pub line: usize,
    /// What it expected, in words.
    pub expected: String,
    /// What the policies say, in words.
    pub got: String,
    /// Whether that is the same.
    pub passed: bool,
}

/// Reads all cases. Names are compared with the catalog, where there is one.
pub(super) fn read(sources: &Sources, catalog: Option<&Catalog>) -> (Vec<Case>, Vec<Diagnostic>) {
    let mut findings = Findings::over(sources);
    let mut cases = Vec::new();
    for (ix, source) in sources.of_kind(Kind::Cases) {
        if let Some(root) = source.text.as_deref().and_then(|text| yaml::parse(ix, text, &mut findings)) {
            cases.extend(decode::case::decode(&root, catalog, &mut findings));
        }
    }
    (cases, findings.finish())
}

/// Decides every case.
#[must_use]
pub fn run(catalog: &Arc<Catalog>, cases: &[Case]) -> Vec<CaseResult> {
    cases
        .iter()
        .map(|case| {
            let outcome = decide_case(catalog, case);
            CaseResult {
                name: case.name.clone(),
                file: case.file.clone(),
                line: case.line,
                expected: case.expect.to_string(),
                got: outcome.to_string(),
                passed: case.expect.fits(&outcome),
            }
        })
        .collect()
}

fn decide_case(catalog: &Arc<Catalog>, case: &Case) -> Outcome {
    let Some(path) = &case.path else { return Outcome::Refused("path-ambiguous") };
    let covered = catalog.routes.find(&case.method, path).and_then(|ix| catalog.routes.operation(ix));
    let operation = covered.or(match &catalog.unmatched {
        Unmatched::Allow(operation) => Some(operation),
        Unmatched::Deny => None,
    });
    if operation.is_some_and(|operation| operation.public) {
        return Outcome::Allowed { charge: BTreeMap::new(), limits: BTreeMap::new() };
    }
    let Some(tenant) = &case.tenant else { return Outcome::Refused("credential-missing") };
    let rights = match Rights::compile(tenant, catalog, case.at) {
        Ok(rights) => rights,
        Err(error) => return Outcome::Impossible(error.to_string()),
    };
    let decided = decide(&rights, operation).and_then(|entitlement| {
        let charges = operation.map_or(&[][..], |operation: &Operation| &operation.charge);
        rates(catalog, entitlement, charges)?;
        quotas(catalog, entitlement, charges, case)?;
        Ok((charges, &entitlement.offer.limits))
    });
    match decided {
        Ok((charges, limits)) => {
            let named = |c: &Charge| (meter_name(catalog, c.meter).to_owned(), c.units);
            Outcome::Allowed {
                charge: charges.iter().map(named).collect(),
                limits: limits.iter().map(|(id, limit)| (id.to_string(), *limit)).collect(),
            }
        }
        Err(denial) => Outcome::Denied(denial),
    }
}

/// A rate that nothing has used yet refuses only what is above its burst.
fn rates(catalog: &Catalog, entitlement: &Entitlement, charges: &[Charge]) -> Result<(), Denial> {
    for charge in charges {
        let (Some(rate), Some(meter)) = (entitlement.terms(charge.meter).rate, catalog.meter(charge.meter))
        else {
            continue;
        };
        if let RateStep::Refused(retry_after) = rate.step(Monotonic(0), Monotonic(0), charge.units) {
            return Err(Denial::RateLimited { meter: meter.id.clone(), rate, retry_after });
        }
    }
    Ok(())
}

fn quotas(
    catalog: &Catalog,
    entitlement: &Entitlement,
    charges: &[Charge],
    case: &Case,
) -> Result<(), Denial> {
    for window in Window::ALL {
        for charge in charges {
            let (Some(quota), Some(meter)) =
                (entitlement.terms(charge.meter).quota, catalog.meter(charge.meter))
            else {
                continue;
            };
            let used = case.used.get(&(meter.id.as_str().to_owned(), window)).copied().unwrap_or_default();
            let limit = match window {
                Window::Month => whole_month(entitlement, charge.meter, case.at),
                _ => quota.hard_limit(window),
            };
            if let Some(limit) = limit
                && used.get().saturating_add(charge.units.get()) > limit.get()
            {
                let period = entitlement.calendar.period(window, case.at);
                return Err(Denial::QuotaExhausted { meter: meter.id.clone(), window, limit, used, period });
            }
        }
    }
    Ok(())
}

/// What may be used in the month from all sources; `None`: any number.
fn whole_month(entitlement: &Entitlement, meter: MeterIx, at: UnixMillis) -> Option<Units> {
    let sources = entitlement.sources(meter, at);
    sources.iter().try_fold(Units::ZERO, |sum, source| Some(sum.saturating_add(source.limit?)))
}
