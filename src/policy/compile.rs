//! From definitions to the catalog: names resolved, parents applied, routes in their table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    decode,
    definition::{AddonFile, Declarations, Declared, Name, PlanFile, RoutesFile, StripeFile},
    diagnostic::{Diagnostic, Findings, Location, Severity},
    inherit, lint, names, origins, routes,
    source::{Kind, Sources},
    stripe, yaml,
};
use crate::domain::{
    addon::Addon,
    catalog::{Catalog, Feature, Limit, Meter, Unmatched},
    id::{LimitId, PlanId},
    plan::{MeterIx, Plan},
};

/// What was made of a folder.
pub(super) struct Compiled {
    /// `None`: there are errors among the diagnostics.
    pub(super) catalog: Option<Catalog>,
    /// Its routes as they were written, in the order of its operations.
    pub(super) routes: Option<RoutesFile>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Everything that was read of a folder. What is `None` could not be read, and nothing is said about what refers to it.
pub(super) struct Read {
    pub(super) declarations: Option<Declarations>,
    /// By id. A file that could not be read has an entry, too.
    pub(super) plans: BTreeMap<String, Option<PlanFile>>,
    pub(super) addons: Vec<AddonFile>,
    pub(super) routes: Option<RoutesFile>,
    pub(super) stripe: Option<StripeFile>,
    /// Names of add-ons whose files could not be read.
    pub(super) unread_addons: BTreeSet<String>,
}

/// Compiles a folder.
pub(super) fn compile(sources: &Sources) -> Compiled {
    let mut findings = Findings::over(sources);
    for problem in &sources.problems {
        findings.push(problem.clone());
    }
    let read = read(sources, &mut findings);
    names::check(&read, &mut findings);
    let order = inherit::order(&read.plans, &mut findings);
    let rules = read.routes.as_ref().map(|file| routes::read(file, &read, &mut findings));
    let mut catalog = None;
    if !findings.has_errors()
        && let (Some(declarations), Some(file), Some(table)) = (&read.declarations, &read.routes, rules)
    {
        let built = assemble(sources, declarations, &read, &order, (file, table));
        lint::check(&built, &read, &mut findings);
        catalog = Some(built);
    }
    Compiled { catalog, routes: read.routes, diagnostics: findings.finish() }
}

fn read(sources: &Sources, findings: &mut Findings<'_>) -> Read {
    let unreadable = sources
        .problems
        .iter()
        .any(|p| p.code.starts_with("folder-") && matches!(p.location.file.as_str(), "" | "plans"));
    let mut read = Read {
        declarations: None,
        plans: BTreeMap::new(),
        addons: Vec::new(),
        routes: None,
        stripe: None,
        unread_addons: BTreeSet::new(),
    };
    let mut found = [false; 2];
    for (ix, source) in sources.iter() {
        if source.kind == Kind::Cases {
            continue;
        }
        let root = source.text.as_deref().and_then(|text| yaml::parse(ix, text, findings));
        match source.kind {
            Kind::Features => {
                found[0] = true;
                read.declarations = root.map(|root| {
                    let mut found = decode::features::decode(&root, findings);
                    // Look-ups and the catalog's places go by this order.
                    found.features.sort_by(|a, b| a.id.cmp(&b.id));
                    found.limits.sort_by(|a, b| a.id.cmp(&b.id));
                    found.meters.sort_by(|a, b| a.id.cmp(&b.id));
                    found
                });
            }
            Kind::Routes => {
                found[1] = true;
                read.routes = root.and_then(|root| decode::routes::decode(&root, findings));
            }
            Kind::Stripe => {
                read.stripe = root.and_then(|root| decode::stripe::decode(&root, findings));
            }
            Kind::Addon => {
                let addon = root.and_then(|root| decode::addon::decode(ix, &source.name, &root, findings));
                if addon.is_none() {
                    read.unread_addons.insert(decode::own_name::stem(&source.name).to_owned());
                }
                read.addons.extend(addon);
            }
            _ => {
                let plan = root.and_then(|root| decode::plan::decode(ix, &source.name, &root, findings));
                read.plans.insert(decode::own_name::stem(&source.name).to_owned(), plan);
            }
        }
    }
    if !unreadable {
        missing(
            !found[0],
            "features.yaml",
            "features.yaml",
            "`features: {}`, `limits: {}` and `meters: {}`",
            findings,
        );
        missing(!found[1], "routes.yaml", "routes.yaml", "`routes:` and a list of routes", findings);
        missing(read.plans.is_empty(), "plans", "plan", "`plan: free` in plans/free.yaml", findings);
    }
    read
}

fn missing(is: bool, file: &str, what: &str, content: &str, findings: &mut Findings<'_>) {
    if is {
        findings.push(Diagnostic {
            severity: Severity::Error,
            code: "file-missing",
            message: format!("the folder has no {what}"),
            location: Location { file: file.to_owned(), span: None, excerpt: None },
            help: Some(format!("create it, with {content}")),
            related: Vec::new(),
        });
    }
}

fn assemble(
    sources: &Sources,
    declarations: &Declarations,
    read: &Read,
    order: &[String],
    (file, routes::Compiled { table, unmatched }): (&RoutesFile, routes::Compiled),
) -> Catalog {
    let mut plans: BTreeMap<PlanId, Arc<Plan>> = BTreeMap::new();
    for id in order {
        if let Some(Some(written)) = read.plans.get(id) {
            let parent = written.extends.as_ref().and_then(|name| plans.get(name.value.as_str()));
            let plan = inherit::plan(written, parent.map(|plan| &**plan), declarations);
            plans.insert(plan.id.clone(), Arc::new(plan));
        }
    }
    let unmatched = if file.unmatched_allowed { Unmatched::Allow(unmatched) } else { Unmatched::Deny };
    Catalog {
        features: map(&declarations.features, |d| Feature { id: d.id.clone(), title: d.title.clone() }),
        limits: map(&declarations.limits, |d| Limit { id: d.id.clone(), title: d.title.clone() }),
        meters: map(&declarations.meters, |d| Meter {
            id: d.id.clone(),
            title: d.title.clone(),
            unit: d.unit.clone(),
        }),
        plans,
        addons: read
            .addons
            .iter()
            .map(|file| (file.id.clone(), Arc::new(addon(file, declarations))))
            .collect(),
        routes: table,
        unmatched,
        stripe: Arc::new(read.stripe.as_ref().map(stripe::map).unwrap_or_default()),
        origins: Arc::new(origins::of(sources, declarations, read)),
        ..Catalog::empty(sources.digest())
    }
}

fn addon(file: &AddonFile, declarations: &Declarations) -> Addon {
    let mut quotas = vec![None; declarations.meters.len()].into_boxed_slice();
    for (name, quota) in &file.quotas {
        let place = inherit::meter_ix(declarations, &name.value);
        if let Some(entry) = place.and_then(|ix| quotas.get_mut(usize::from(ix.0))) {
            *entry = Some(*quota);
        }
    }
    let limit = |(name, limit): &(Name, _)| Some((LimitId::parse(&name.value).ok()?, *limit));
    Addon {
        id: file.id.clone(),
        title: file.title.clone(),
        price: file.price,
        plans: file.plans.iter().filter_map(|name| PlanId::parse(&name.value).ok()).collect(),
        features: routes::feature_set(&file.features, declarations),
        limits: file.limits.iter().filter_map(limit).collect(),
        quotas,
    }
}

fn map<I, T>(declared: &[Declared<I>], make: impl Fn(&Declared<I>) -> T) -> Vec<T> {
    declared.iter().map(make).collect()
}

/// The meter at a place, as the files name it.
pub(super) fn meter_name(catalog: &Catalog, ix: MeterIx) -> &str {
    catalog.meter(ix).map_or("?", |meter| meter.id.as_str())
}
