//! What plans said in their other versions: kept in the database, and put into each catalog before it is in force.
//!
//! The files know the plans of today alone. Tenants who came to an older version keep its terms, and so the terms of every
//! version are kept as soon as a node knows of them; what is kept of the other versions makes a catalog whole.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::bygone;
use crate::{
    clock::Clock,
    domain::{
        catalog::Catalog,
        plan::{Plan, PlanRef},
        time::UnixMillis,
    },
    ports::{KeptPlan, PlanStore, PlanTerms, Previews, StoreError},
    wire::plan::{self, DamagedTerms},
};

/// A catalog with all versions of its plans.
pub(super) struct Whole {
    /// It, with the stamp of the catalog that it was made of: nothing is compiled from that one.
    pub(super) catalog: Arc<Catalog>,
    /// Versions that cannot be read. Who is on one of them has the plan as its file has it.
    pub(super) damaged: Vec<DamagedTerms>,
}

impl Whole {
    /// For the operator.
    pub(super) fn damaged_in_words(&self) -> Vec<String> {
        let words =
            |damaged: &DamagedTerms| format!("{damaged}; tenants on it have the plan as its file has it");
        self.damaged.iter().map(words).collect()
    }
}

/// What is kept of the plans of a catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// What they say, in the place of what was kept of the same versions.
    All,
    /// Versions that were never heard of, as those who decide for some tenants only must not change what the others have.
    Unknown,
    /// Nothing: they decide for nobody.
    Nothing,
}

/// Keeps the versions of plans.
pub(super) struct PlanVersions {
    store: Arc<dyn PlanStore>,
    clock: Arc<dyn Clock>,
}

impl PlanVersions {
    pub(super) fn new(store: Arc<dyn PlanStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Keeps what the plans of a catalog say, as far as it is not kept yet, and puts the other versions into it.
    ///
    /// # Errors
    /// [`StoreError`]: the catalog must not come into force yet.
    pub(super) async fn complete(&self, catalog: &Catalog, keep: Keep) -> Result<Whole, StoreError> {
        let mut kept = self.store.kept_plans().await?;
        // Before what plans say now takes the place of what they said.
        let mut sold = self.store.kept_sold().await?;
        let new_sold = bygone::news(catalog, &kept, &sold, keep);
        if !new_sold.is_empty() {
            self.store.keep_sold(&new_sold).await?;
            sold = self.store.kept_sold().await?;
        }
        let mut news = news(catalog, &kept);
        match keep {
            Keep::All => {}
            Keep::Unknown => news.retain(|news| kept.iter().all(|kept| kept.plan.plan != news.plan)),
            Keep::Nothing => news.clear(),
        }
        if !news.is_empty() {
            for PlanTerms { plan: PlanRef { id, version }, .. } in &news {
                if kept.iter().any(|kept| kept.plan.plan.id == *id && kept.plan.plan.version == *version) {
                    tracing::info!(
                        plan = id.as_str(),
                        version = version.0,
                        "other terms for all on this version"
                    );
                } else {
                    tracing::info!(plan = id.as_str(), version = version.0, "a new version of a plan");
                }
            }
            self.store.keep_plans(&news, self.clock.now()).await?;
            // Another node may have been the first to know of a version: when that was is the store's to say.
            kept = self.store.kept_plans().await?;
        }
        let mut whole = whole(catalog, &kept);
        if let Some(bygone) = bygone::of(&whole.catalog, &kept, &sold) {
            whole.catalog = Arc::new(Catalog { bygone: Some(bygone), ..Catalog::clone(&whole.catalog) });
        }
        for damaged in whole.damaged_in_words() {
            tracing::error!("{damaged}");
        }
        Ok(whole)
    }
}

#[async_trait]
impl Previews for PlanVersions {
    async fn preview(&self, catalog: Catalog) -> Result<Catalog, StoreError> {
        let mut kept = self.store.kept_plans().await?;
        let now = self.clock.now();
        for news in news(&catalog, &kept) {
            match kept.iter_mut().find(|kept| kept.plan.plan == news.plan) {
                Some(same) => same.plan = news,
                None => kept.push(KeptPlan { plan: news, introduced: now }),
            }
        }
        Ok(Catalog::clone(&whole(&catalog, &kept).catalog))
    }
}

/// What of a catalog's plans is not kept as it is.
fn news(catalog: &Catalog, kept: &[KeptPlan]) -> Vec<PlanTerms> {
    let kept: BTreeMap<&PlanRef, &KeptPlan> = kept.iter().map(|kept| (&kept.plan.plan, kept)).collect();
    let terms = catalog
        .plans
        .values()
        .map(|plan| PlanTerms { plan: plan.reference(), terms: plan::encode(plan, catalog) });
    terms.filter(|terms| kept.get(&terms.plan).is_none_or(|kept| kept.plan.terms != terms.terms)).collect()
}

/// The catalog with what is kept. Versions of a plan that has no file any more are left out: nobody is to be on it.
fn whole(catalog: &Catalog, kept: &[KeptPlan]) -> Whole {
    let (mut whole, mut damaged) = (catalog.clone(), Vec::new());
    whole.earlier.clear();
    for KeptPlan { plan: PlanTerms { plan: reference, terms }, introduced } in kept {
        let Some(current) = whole.plans.get_mut(&reference.id) else { continue };
        if current.version == reference.version {
            *current = introduced_at(current, *introduced);
            continue;
        }
        match plan::decode(reference.clone(), terms, catalog) {
            Ok(plan) => {
                let plan = Plan { introduced: Some(*introduced), ..plan };
                whole.earlier.insert(reference.clone(), Arc::new(plan));
            }
            Err(error) => damaged.push(error),
        }
    }
    Whole { catalog: Arc::new(whole), damaged }
}

fn introduced_at(plan: &Plan, at: UnixMillis) -> Arc<Plan> {
    Arc::new(Plan { introduced: Some(at), ..plan.clone() })
}

#[cfg(test)]
mod tests;
