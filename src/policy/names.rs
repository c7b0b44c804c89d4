//! Names that files use of each other: every one must be declared.

use std::collections::BTreeSet;

use super::{
    compile::Read,
    definition::{Declarations, Declared, Name, Sale},
    diagnostic::Findings,
};

/// The declared names of one kind.
struct Known<'k> {
    code: &'static str,
    kind: &'static str,
    names: Vec<&'k str>,
    /// `None`: what is declared could not be read.
    doubtful: Option<&'k BTreeSet<String>>,
}

impl<'k> Known<'k> {
    fn declared<I>(
        code: &'static str,
        kind: &'static str,
        declared: &'k [Declared<I>],
        id: fn(&I) -> &str,
        all: &'k Declarations,
    ) -> Self {
        let read = !all.unread.iter().any(|section| section.strip_suffix('s') == Some(kind));
        let names = declared.iter().map(|d| id(&d.id)).collect();
        Self { code, kind, names, doubtful: read.then_some(&all.doubtful) }
    }

    fn check<'n>(&self, used: impl IntoIterator<Item = &'n Name>, findings: &mut Findings<'_>) {
        let Some(doubtful) = self.doubtful else { return };
        for name in used {
            if doubtful.contains(&name.value) {
                continue;
            }
            if self.names.binary_search(&name.value.as_str()).is_err() {
                let shown: String = name.value.chars().take(80).collect();
                let message = format!("unknown {} `{shown}`", self.kind);
                let known = self.names.iter().copied();
                let help = findings.suggest(name.place, &name.value, known).or_else(|| {
                    let file = match self.kind {
                        "plan" => "plans/",
                        "add-on" => "addons/",
                        _ => "features.yaml",
                    };
                    self.names.is_empty().then(|| format!("{file} declares no {}", self.kind))
                });
                findings.error_help(self.code, name.place, message, help);
            }
        }
    }
}

/// The add-ons; `doubtful` are those whose file could not be read.
fn addons(read: &Read) -> Known<'_> {
    let mut names: Vec<&str> = read.addons.iter().map(|addon| addon.id.as_str()).collect();
    names.sort_unstable();
    Known { code: "unknown-addon", kind: "add-on", names, doubtful: Some(&read.unread_addons) }
}

/// Checks every name that plans, add-ons and routes use. Declarations must be sorted.
pub(super) fn check(read: &Read, findings: &mut Findings<'_>) {
    let none = BTreeSet::new();
    let plans = Known {
        code: "unknown-plan",
        kind: "plan",
        names: read.plans.keys().map(String::as_str).collect(),
        doubtful: Some(&none),
    };
    for plan in read.plans.values().flatten() {
        let then = plan.trial.as_ref().and_then(|trial| trial.then.as_ref());
        plans.check(plan.extends.iter().chain(then), findings);
    }
    for addon in &read.addons {
        plans.check(&addon.plans, findings);
    }
    if let Some(file) = &read.stripe {
        let sales = || file.prices.iter().chain(&file.lookup_keys).map(|(_, sale)| sale);
        let sold_plans =
            sales().filter_map(|sale| if let Sale::Plan(name) = sale { Some(name) } else { None });
        plans.check(sold_plans, findings);
        let sold = sales().filter_map(|sale| if let Sale::Addon(name) = sale { Some(name) } else { None });
        addons(read).check(sold, findings);
    }
    let Some(declarations) = &read.declarations else { return };
    let features =
        Known::declared("unknown-feature", "feature", &declarations.features, |id| id.as_str(), declarations);
    let limits =
        Known::declared("unknown-limit", "limit", &declarations.limits, |id| id.as_str(), declarations);
    let meters =
        Known::declared("unknown-meter", "meter", &declarations.meters, |id| id.as_str(), declarations);
    for plan in read.plans.values().flatten() {
        features.check(plan.features.iter().chain(&plan.without), findings);
        limits.check(plan.limits.iter().map(|(name, _)| name), findings);
        meters.check(plan.quotas.iter().map(|(name, _)| name), findings);
        meters.check(plan.rates.iter().map(|(name, _)| name), findings);
    }
    for addon in &read.addons {
        features.check(&addon.features, findings);
        limits.check(addon.limits.iter().map(|(name, _)| name), findings);
        meters.check(addon.quotas.iter().map(|(name, _)| name), findings);
    }
    if let Some(file) = &read.stripe {
        features.check(file.features.iter().map(|(_, feature)| feature), findings);
        meters.check(file.meters.iter().map(|(meter, _)| meter), findings);
    }
    if let Some(file) = &read.routes {
        meters.check(file.default_charge.iter().map(|(name, _)| name), findings);
        for route in &file.routes {
            features.check(&route.features, findings);
            meters.check(route.charge.iter().flatten().map(|(name, _)| name), findings);
        }
    }
}
