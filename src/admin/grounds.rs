//! On what ground a tenant has a feature, a quota or a rate: the line of its plan, and what was set or added for it alone.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    present::Present,
    rights::Counts,
    rules::{RuleView, Rules},
    sources::SourceCount,
};
use crate::{
    domain::{
        addon::{Addon, Attached},
        denial::Denial,
        features::FeatureIx,
        grant::Grant,
        id::{MeterId, PlanId},
        origin::{FeatureOrigin, Origin, PlanOrigins, TermKey},
        period::Window,
        plan::{MeterIx, PlanVersion},
        rights::{Entitlement, Rights, Source},
        route::{Operation, OperationIx},
        subscription::Standing,
        transitions::State,
        units::Units,
    },
    wire::overrides,
};

/// On what ground something is so.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = Ground)]
pub(super) struct Ground {
    /// The line of the policies that says so; `null`: none does, or it stands in another version of the plan than the one
    /// in the files.
    pub(super) rule: Option<RuleView>,
    /// The plan from which the tenant's plan inherits that line; `null`: it is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    inherited_from: Option<String>,
    /// What else mattered: an override, an add-on, a grant, a trial.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) by: Vec<Applied>,
}

/// Something of the tenant's own that mattered.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct Applied {
    /// `override`, `addon`, `grant`, `rollover`, `proration`, `trial` or `grace`.
    kind: &'static str,
    /// The feature or meter that an override sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The add-on's or grant's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// How many of an add-on.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<u32>,
    /// What an override sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    value: Option<Value>,
    /// Since when, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Until when; absent: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// The line of the add-on.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<RuleView>,
}

impl Ground {
    pub(super) fn of_rule(rule: Option<RuleView>) -> Self {
        Self { rule, ..Self::default() }
    }
}

/// Everything that a decision is made of.
pub(super) struct Question<'a> {
    pub(super) present: &'a Present,
    pub(super) rights: &'a Rights,
    /// The route; `None`: no route covers the request.
    pub(super) route: Option<OperationIx>,
    /// What the request is: a route, or what becomes of those without one.
    pub(super) operation: Option<&'a Operation>,
    /// Whether the tenant may call it at all.
    pub(super) outcome: Result<(), Denial>,
    pub(super) counts: &'a Counts,
    pub(super) rules: &'a Rules,
}

impl Question<'_> {
    fn ground(&self, plan: Option<PlanOrigins<'_>>, at: Option<Origin>, by: Vec<Applied>) -> Ground {
        let inherited = at.as_ref().and_then(|at| plan?.ancestor(at));
        Ground {
            inherited_from: inherited.map(ToString::to_string),
            rule: at.map(|at| self.rules.line(&at)),
            by,
        }
    }

    fn origins(&self, given: &Entitlement) -> Option<PlanOrigins<'_>> {
        self.rules.plan(&given.plan, given.plan_version)
    }

    /// Why the tenant has a feature, or has it not.
    pub(super) fn feature(&self, given: &Entitlement, ix: FeatureIx) -> Ground {
        let plan = self.origins(given);
        let written = plan.and_then(|plan| plan.feature(ix)).map(|found| found.at().clone());
        // What the tenant lacks, and no file says anything of, is missing in the plan's.
        let missing = || plan.filter(|_| !given.offer.features.contains(ix)).map(|plan| plan.name());
        let at = written.or_else(missing);
        let id = self.rights.catalog.feature(ix).map(|feature| &feature.id);
        let set = id.and_then(|id| Some((id, self.overrides()?.features.get(id)?)));
        if let Some((id, on)) = set {
            return self.ground(plan, at, vec![override_of(id.as_str(), json!(on))]);
        }
        let by = self.addons(|addon| addon.features.contains(ix), |lines| lines.feature(ix));
        self.ground(plan, at, by)
    }

    /// Why a meter's window has the limit that it has.
    pub(super) fn quota(
        &self,
        given: &Entitlement,
        (ix, meter): (MeterIx, &MeterId),
        window: Window,
    ) -> Ground {
        let plan = self.origins(given);
        let at = plan.and_then(|plan| plan.quota(ix));
        if let Some(quota) = self.overrides().and_then(|overrides| overrides.quotas.get(meter)) {
            return self.ground(plan, at, vec![override_of(meter.as_str(), overrides::quota(quota))]);
        }
        let adds = |addon: &Addon| {
            let quota = addon.quotas.get(usize::from(ix.0)).copied().flatten();
            quota.is_some_and(|quota| window == Window::Month || quota.hard_limit(window).is_some())
        };
        let mut by = self.addons(adds, |lines| lines.quota(ix).map(FeatureOrigin::Given));
        let mixture = self.present.subscription().and_then(|subscription| subscription.mixture.as_ref());
        if let Some(mixture) =
            mixture.filter(|m| window == Window::Month && m.month.contains(self.present.now))
        {
            by.push(Applied {
                kind: "proration",
                since: Some(mixture.month.start.to_string()),
                until: Some(mixture.month.end.to_string()),
                ..Applied::default()
            });
        }
        self.ground(plan, at, by)
    }

    /// Why a meter has the rate that it has.
    pub(super) fn rate(&self, given: &Entitlement, (ix, meter): (MeterIx, &MeterId)) -> Ground {
        let plan = self.origins(given);
        let set = self.overrides().and_then(|overrides| overrides.rates.get(meter));
        let by = set.map(|rate| override_of(meter.as_str(), overrides::rate(rate.as_ref())));
        self.ground(plan, plan.and_then(|plan| plan.rate(ix)), by.into_iter().collect())
    }

    /// Why the spend cap is what it is.
    pub(super) fn spend_cap(&self, given: &Entitlement) -> Ground {
        let plan = self.origins(given);
        let set = self.overrides().and_then(|overrides| overrides.spend_cap);
        let by = set.map(|cap| override_of("spend_cap", json!(cap.to_string())));
        self.ground(plan, plan.and_then(|plan| plan.key(TermKey::SpendCap)), by.into_iter().collect())
    }

    /// A plan's own line, where nothing else is to be pointed at.
    pub(super) fn plan(&self, given: &Entitlement) -> Ground {
        let plan = self.origins(given);
        self.ground(plan, plan.map(|plan| plan.name()), Vec::new())
    }

    /// Why the subscription entitles, or does not.
    pub(super) fn subscription(&self) -> Ground {
        let Some(subscription) = self.present.subscription() else { return Ground::default() };
        let reference = match &self.rights.entitlement {
            Some(given) => (&given.plan, given.plan_version),
            None => (&subscription.plan.id, subscription.plan.version),
        };
        self.standing(reference, &subscription.state)
    }

    fn standing(&self, (id, version): (&PlanId, PlanVersion), standing: &Standing) -> Ground {
        let plan = self.rules.plan(id, version);
        let until = |kind, until: String| Applied { kind, until: Some(until), ..Applied::default() };
        let (key, by) = match standing {
            Standing::Trialing(terms) => {
                (Some(TermKey::Trial), Some(until("trial", terms.ends_at.to_string())))
            }
            Standing::PastDue { grace_ends_at } => {
                (Some(TermKey::Grace), Some(until("grace", grace_ends_at.to_string())))
            }
            other => (
                match other.state() {
                    State::Expired => Some(TermKey::Trial),
                    State::Unpaid => Some(TermKey::Grace),
                    _ => None,
                },
                None,
            ),
        };
        let at = plan.map(|plan| key.and_then(|key| plan.key(key)).unwrap_or_else(|| plan.name()));
        self.ground(plan, at, by.into_iter().collect())
    }

    fn overrides(&self) -> Option<&crate::domain::tenant::Overrides> {
        self.rights.overrides.as_deref()
    }

    /// The add-ons in force that matter, each with its line.
    fn addons(
        &self,
        matters: impl Fn(&Addon) -> bool,
        line: impl Fn(&crate::domain::origin::Lines) -> Option<FeatureOrigin>,
    ) -> Vec<Applied> {
        let catalog = &self.rights.catalog;
        let attached =
            self.present.tenant.addons.iter().filter(|attached| self.present.is_in_force(attached));
        let mattering = attached
            .filter(|attached| catalog.addon(attached.addon.as_str()).is_some_and(|addon| matters(addon)));
        let applied = mattering.map(|Attached { addon, quantity, since, ends_at }| {
            let at = catalog.origins.addon(addon).and_then(&line);
            Applied {
                kind: "addon",
                id: Some(addon.to_string()),
                quantity: Some(*quantity),
                since: Some(since.to_string()),
                until: ends_at.map(|at| at.to_string()),
                rule: at.map(|at| self.rules.line(at.at())),
                ..Applied::default()
            }
        });
        applied.collect()
    }

    /// The grants from which so many units would be taken.
    pub(super) fn burnt(&self, meter: &MeterId, sources: &[SourceCount], units: Units) -> Vec<Applied> {
        let mut needed = units;
        let mut burnt = Vec::new();
        for source in sources {
            let taken = source.left().map_or(needed, |left| left.min(needed));
            needed = needed.saturating_sub(taken);
            if let Source::Grant(number) = source.terms.source
                && taken > Units::ZERO
            {
                let is_it = |grant: &&Grant| (grant.number, &grant.meter) == (number, meter);
                burnt.extend(self.present.tenant.grants.iter().find(is_it).map(grant));
            }
        }
        burnt
    }
}

fn override_of(name: &str, value: Value) -> Applied {
    Applied { kind: "override", name: Some(name.to_owned()), value: Some(value), ..Applied::default() }
}

fn grant(grant: &Grant) -> Applied {
    Applied {
        kind: grant.source.as_str(),
        id: Some(grant.id.to_string()),
        since: Some(grant.since.to_string()),
        until: grant.expires_at.map(|at| at.to_string()),
        ..Applied::default()
    }
}
