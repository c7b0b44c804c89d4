//! The plans under which a refused request would pass. Who is refused once is often refused again at once: each thread
//! remembers what it found last, so that a tenant that hammers at its limit costs little.

use std::{
    cell::RefCell,
    sync::{Arc, Weak},
};

use super::super::context::{Context, Route};
use crate::domain::{
    catalog::Catalog,
    denial::Denial,
    id::{MeterId, PlanId},
    money::Currency,
    period::Window,
    rate::Rate,
    spend::MoneyUnits,
    tenant::Overrides,
    transitions::State,
    units::Units,
};

/// Shows the plans as JSON, where naming plans makes sense.
pub(super) fn with_plans(denial: &Denial, context: &Context, show: impl FnOnce(&str)) {
    if context.operation().is_none() {
        return;
    }
    let Some(reason) = Reason::of(denial) else { return };
    if context.charges.is_some() {
        // The next one may be charged otherwise.
        return show(&written(denial, context));
    }
    let mut show = Some(show);
    let _ = REMEMBERED.try_with(|remembered| {
        let Ok(mut remembered) = remembered.try_borrow_mut() else { return };
        if let Some(show) = show.take() {
            show(remembered.plans(reason, denial, context));
        }
    });
    if let Some(show) = show {
        show(&written(denial, context));
    }
}

fn written(denial: &Denial, context: &Context) -> Box<str> {
    let Some(operation) = context.operation() else { return "[]".into() };
    let (own, overrides) = (context.plan(), context.overrides().map(|overrides| &**overrides));
    let charged = context.charges.as_ref().map(|charges| operation.charged(charges));
    let operation = charged.as_ref().unwrap_or(operation);
    let plans = denial.plans_that_allow(operation, &context.catalog, overrides);
    let others: Vec<&str> = plans.iter().filter(|plan| Some(*plan) != own).map(PlanId::as_str).collect();
    serde_json::to_string(&others).unwrap_or_default().into()
}

/// What the plans depend on of a denial.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reason<'a> {
    /// On nothing: any plan that admits the operation helps.
    Plan,
    Rate(&'a MeterId, Rate),
    Quota(&'a MeterId, Window, Units),
    Spend(&'a MeterId, Currency, MoneyUnits),
}

impl<'a> Reason<'a> {
    /// `None`: no plan would help.
    const fn of(denial: &'a Denial) -> Option<Self> {
        Some(match denial {
            Denial::TenantSuspended
            | Denial::RouteNotCovered
            | Denial::ConditionFailed { .. }
            | Denial::SubscriptionInactive(State::Paused | State::Unpaid) => return None,
            Denial::SubscriptionInactive(_)
            | Denial::FeatureNotInPlan { .. }
            | Denial::MeterNotInPlan { .. } => Self::Plan,
            Denial::RateLimited { meter, rate, .. } => Self::Rate(meter, *rate),
            Denial::QuotaExhausted { meter, window, used, .. } => Self::Quota(meter, *window, *used),
            Denial::SpendCapReached { meter, currency, spent, .. } => Self::Spend(meter, *currency, *spent),
        })
    }
}

/// Plans found before, and all that they depend on.
struct Found {
    // Their memory is given to nobody else while these are here, so that the same place is the same thing.
    catalog: Weak<Catalog>,
    overrides: Option<Weak<Overrides>>,
    plan: Option<PlanId>,
    route: Route,
    denial: Denial,
    plans: Box<str>,
}

impl Found {
    fn is_for(&self, reason: Reason<'_>, context: &Context) -> bool {
        let same_overrides = match (&self.overrides, context.overrides()) {
            (None, None) => true,
            (Some(known), Some(overrides)) => known.as_ptr() == Arc::as_ptr(overrides),
            _ => false,
        };
        same_overrides
            && self.route == context.route
            && self.catalog.as_ptr() == Arc::as_ptr(&context.catalog)
            && self.plan.as_ref() == context.plan()
            && Reason::of(&self.denial) == Some(reason)
    }
}

/// So much a thread remembers.
const MOST: usize = 32;

#[derive(Default)]
struct Remembered {
    found: Vec<Found>,
    last: usize,
}

thread_local! {
    static REMEMBERED: RefCell<Remembered> = RefCell::default();
}

impl Remembered {
    fn plans(&mut self, reason: Reason<'_>, denial: &Denial, context: &Context) -> &str {
        let known = self.found.iter().position(|found| found.is_for(reason, context));
        let at = known.unwrap_or_else(|| self.learn(denial, context));
        &self.found[at].plans
    }

    fn learn(&mut self, denial: &Denial, context: &Context) -> usize {
        let found = Found {
            catalog: Arc::downgrade(&context.catalog),
            overrides: context.overrides().map(Arc::downgrade),
            plan: context.plan().cloned(),
            route: context.route,
            denial: denial.clone(),
            plans: written(denial, context),
        };
        if self.found.len() < MOST {
            self.found.push(found);
            return self.found.len() - 1;
        }
        self.last = (self.last + 1) % MOST;
        self.found[self.last] = found;
        self.last
    }
}
