//! Coverage: which routes, features and plans the cases try, and with which answers.

use std::collections::BTreeMap;

use super::CaseResult;
use crate::domain::{
    catalog::Catalog,
    id::{FeatureId, PlanId},
    route::OperationIx,
};

/// A request whose answer a case looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exercise {
    /// The route that covers it.
    pub(super) route: Option<OperationIx>,
    /// The tenant's plan.
    pub(super) plan: Option<PlanId>,
    /// `allow`, or the code of the refusal.
    pub(super) answer: &'static str,
    /// The feature that was missing.
    pub(super) lacking: Option<FeatureId>,
}

/// How often a thing was tried, by what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tried {
    /// Its name.
    pub name: String,
    /// `allow`, or a refusal's code, and how often that was the answer.
    pub answers: BTreeMap<&'static str, usize>,
}

/// What the cases try of the policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Every route, in the order of the file.
    pub routes: Vec<Tried>,
    /// Every feature that a route needs. It is tried where it is missing, and where a request that needs it passes.
    pub features: Vec<Tried>,
    /// Every plan, with the answers to tenants on it.
    pub plans: Vec<Tried>,
}

impl Tried {
    fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), answers: BTreeMap::new() }
    }

    fn count(&mut self, answer: &'static str) {
        *self.answers.entry(answer).or_default() += 1;
    }

    /// Whether any case tries it.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        !self.answers.is_empty()
    }
}

impl Coverage {
    pub(in crate::policy) fn of(catalog: &Catalog, results: &[CaseResult]) -> Self {
        let operations = catalog.routes.operations();
        let mut routes: Vec<Tried> =
            operations.iter().map(|operation| Tried::named(operation.name.as_str())).collect();
        let mut features: Vec<Tried> =
            catalog.features.iter().map(|feature| Tried::named(feature.id.as_str())).collect();
        let mut plans: BTreeMap<&PlanId, Tried> =
            catalog.plans.keys().map(|id| (id, Tried::named(id.as_str()))).collect();
        for exercise in results.iter().flat_map(|result| &result.exercised) {
            let Exercise { route, plan, answer, lacking } = exercise;
            if let Some(plan) = plan.as_ref().and_then(|plan| plans.get_mut(plan)) {
                plan.count(answer);
            }
            if let Some(route) = route.and_then(|ix| routes.get_mut(ix.0 as usize)) {
                route.count(answer);
            }
            let operation = route.and_then(|ix| catalog.routes.operation(ix));
            for feature in operation.iter().flat_map(|operation| operation.features.iter()) {
                let tried = features.get_mut(usize::from(feature.0));
                let missing = lacking.as_ref().map(FeatureId::as_str);
                // What was refused before features are asked, or for another one, says nothing of this one.
                if let Some(tried) = tried
                    && (*answer == "allow" || missing == Some(tried.name.as_str()))
                {
                    tried.count(answer);
                }
            }
        }
        let needed = |ix: usize| {
            operations.iter().any(|operation| operation.features.iter().any(|f| usize::from(f.0) == ix))
        };
        let features = features.into_iter().enumerate().filter(|(ix, _)| needed(*ix)).map(|(_, f)| f);
        Self { routes, features: features.collect(), plans: plans.into_values().collect() }
    }

    /// The three kinds of things, by name.
    #[must_use]
    pub fn kinds(&self) -> [(&'static str, &[Tried]); 3] {
        [("routes", &self.routes), ("features", &self.features), ("plans", &self.plans)]
    }

    /// How many things are tried, and how many there are.
    #[must_use]
    pub fn tried(&self) -> (usize, usize) {
        self.kinds()
            .iter()
            .fold((0, 0), |(tried, all), (_, things)| (tried + tried_of(things), all + things.len()))
    }

    /// How much of routes, features and plans together is tried, rounded down; of nothing it is all.
    #[must_use]
    pub fn percent(&self) -> usize {
        percent(self.tried())
    }
}

/// How many of these are tried.
pub(in crate::policy) fn tried_of(things: &[Tried]) -> usize {
    things.iter().filter(|thing| thing.is_tried()).count()
}

/// Rounded down, so that 100 is all of it.
pub(in crate::policy) fn percent((part, all): (usize, usize)) -> usize {
    (part * 100).checked_div(all).unwrap_or(100)
}
