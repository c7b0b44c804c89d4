//! The life of a case's tenant: its requests are decided and charged, words are carried out, the clock goes forward.
//!
//! What a change does, what a subscription entitles to, where windows begin and which source is burnt first are the
//! domain's to say; here is only what the ledger and the admin API would have done between two requests.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Case,
    book::{Book, State},
    request::Request,
};
use crate::domain::{
    catalog::{Catalog, Unmatched},
    condition::RequestFacts,
    denial::Denial,
    id::PlanId,
    period::{AnchorDay, BillingCalendar},
    plan::MeterIx,
    rate::RateStep,
    rights::{Entitlement, Rights},
    route::{Charge, Operation, OperationIx},
    subscription::Standing,
    tenant::Tenant,
    time::{Monotonic, UnixMillis, Version},
    variant::{self, Decided, decide_request},
};
use crate::policy::{compile::meter_name, outcome::Outcome};

/// See the module.
pub(super) struct Life<'c> {
    pub(super) catalog: &'c Arc<Catalog>,
    pub(super) tenant: Option<Tenant>,
    pub(super) book: Book,
    rates: BTreeMap<MeterIx, Monotonic>,
    pub(super) start: UnixMillis,
    pub(super) now: UnixMillis,
    /// The version of the last change.
    pub(super) last: Version,
}

/// What was said to a request.
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// The route that covers it.
    pub(super) route: Option<OperationIx>,
    /// The tenant's plan, whether it entitles or not.
    pub(super) plan: Option<PlanId>,
}

/// The state of a meter in a window; between them the word for what is beyond its limit.
pub(super) type Metered = (MeterIx, Option<&'static str>, State);

/// How a request that is not asked for its answer comes.
#[derive(Clone, Copy)]
pub(super) enum Haste {
    /// So slowly that no rate minds.
    Slow,
    /// In this very instant.
    Now,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl<'c> Life<'c> {
    /// The beginning of a case.
    pub(super) fn begin(catalog: &'c Arc<Catalog>, case: &Case) -> Self {
        let mut tenant = case.tenant.clone();
        let mut last = Version(1);
        if let Some(tenant) = &mut tenant {
            // No change may come to the number of a grant that the case begins with.
            last = Version(tenant.grants.iter().map(|grant| grant.number.0).fold(last.0, u64::max));
            if let Some(subscription) = &mut tenant.subscription {
                subscription.rolls_at = subscription.calendar(&tenant.zone).month(case.at).end;
            }
        }
        let (book, rates) = (Book::default(), BTreeMap::new());
        let mut life = Self { catalog, tenant, book, rates, start: case.at, now: case.at, last };
        life.count_used(case);
        life
    }

    /// Counts what the tenant has used before; it was entitled then, whatever has become of it.
    fn count_used(&mut self, case: &Case) {
        if case.used.is_empty() {
            return;
        }
        let Some(mut then) = self.tenant.clone() else { return };
        if let Some(subscription) = then.subscription.as_mut().filter(|s| !s.state.state().entitles()) {
            subscription.state = Standing::Active;
        }
        let entitlement = Rights::compile(&then, self.catalog, self.now).ok().and_then(|r| r.entitlement);
        let Some(entitlement) = entitlement else { return };
        for ((meter, window), units) in &case.used {
            if let Some(meter) = self.catalog.meter_ix(meter) {
                self.book.add(&entitlement, meter, *window, self.now, units.get());
            }
        }
    }

    fn rights(&self) -> Option<Result<Rights, String>> {
        let tenant = self.tenant.as_ref()?;
        Some(Rights::compile(tenant, self.catalog, self.now).map_err(text))
    }

    fn route(&self, request: &Request) -> Option<OperationIx> {
        self.catalog.routes.find(&request.method, request.path.as_deref().ok()?)
    }

    fn operation(&self, route: Option<OperationIx>) -> Option<&'c Operation> {
        let covered = route.and_then(|ix| self.catalog.routes.operation(ix));
        covered.or(match &self.catalog.unmatched {
            Unmatched::Allow(operation) => Some(operation),
            Unmatched::Deny => None,
        })
    }

    /// What is charged by a request that needs a tenant; `None`: there is nothing to charge it to.
    pub(super) fn charges(&self, request: &Request) -> Option<Cow<'c, [Charge]>> {
        if self.public(request).is_some() || request.path.is_err() {
            return None;
        }
        let rights = self.rights()?.ok()?;
        match self.decided(&rights, request).chosen {
            Some(chosen) => Some(chosen.charges),
            None => Some(Cow::Borrowed(&*self.operation(self.route(request))?.charge)),
        }
    }

    /// The public route that lets a request through.
    fn public(&self, request: &Request) -> Option<OperationIx> {
        variant::public(self.catalog, self.route(request)?, &self.facts(request), |_| {})
    }

    /// What the policies say of a tenant's request, as far as units are there.
    fn decided<'r>(&self, rights: &'r Rights, request: &Request) -> Decided<'r, 'c> {
        decide_request(rights, self.catalog, self.route(request), self.facts(request))
    }

    fn facts<'q>(&self, request: &'q Request) -> RequestFacts<'q> {
        RequestFacts {
            method: &request.method,
            path: request.path.as_deref().unwrap_or_default(),
            query: request.query.as_deref().unwrap_or_default(),
            headers: &request.seen,
            client: request.client,
            now: self.now,
            tenant: None,
        }
    }

    /// Decides a request, and charges it where it is let through.
    pub(super) fn decide(&mut self, request: &Request) -> Answer {
        let plan = self.present().and_then(|tenant| tenant.subscription).map(|s| s.plan.id);
        let mut route = self.route(request);
        let outcome = self.outcome(request, &mut route).unwrap_or_else(|outcome| outcome);
        Answer { outcome, route, plan }
    }

    /// What is said to a request; `route` is the one that decides it in the end.
    fn outcome(&mut self, request: &Request, route: &mut Option<OperationIx>) -> Result<Outcome, Outcome> {
        if let Err(why) = &request.path {
            return Err(Outcome::Refused("path-ambiguous", text(why)));
        }
        if let Some(open) = self.public(request) {
            *route = Some(open);
            return Ok(Outcome::Allowed { charge: BTreeMap::new(), limits: BTreeMap::new() });
        }
        let rights = self.rights().ok_or_else(|| {
            Outcome::Refused(
                "credential-missing",
                "the case names no tenant, and the route is not public".into(),
            )
        })?;
        let rights = rights.map_err(Outcome::Impossible)?;
        let Decided { chosen, outcome } = self.decided(&rights, request);
        let charges = match chosen {
            Some(chosen) => {
                *route = chosen.route;
                chosen.charges
            }
            None => Cow::Borrowed(&[][..]),
        };
        let entitlement = outcome.map_err(Outcome::Denied)?;
        self.admit(entitlement, &charges, Haste::Now, 1).map_err(Outcome::Denied)?;
        let limits = rights.entitlement.iter().flat_map(|entitlement| &entitlement.offer.limits);
        Ok(Outcome::Allowed {
            charge: charges.iter().map(|c| (meter_name(self.catalog, c.meter).to_owned(), c.units)).collect(),
            limits: limits.map(|(id, limit)| (id.to_string(), *limit)).collect(),
        })
    }

    /// Charges a request so many times, as far as it fits; says how many times that was, at least once.
    fn admit(
        &mut self,
        entitlement: &Entitlement,
        charges: &[Charge],
        haste: Haste,
        times: u64,
    ) -> Result<u64, Denial> {
        let paced = self.paced(entitlement, charges, haste)?;
        let name = |ix| self.catalog.meter(ix).map(|meter| meter.id.clone());
        let times = self.book.fit(entitlement, charges, self.now, times, name)?;
        // What a quota refuses takes nothing of a rate.
        self.rates.extend(paced);
        self.book.charge(entitlement, charges, self.now, times);
        Ok(times)
    }

    /// What a request leaves of the rates.
    fn paced(
        &self,
        entitlement: &Entitlement,
        charges: &[Charge],
        haste: Haste,
    ) -> Result<Vec<(MeterIx, Monotonic)>, Denial> {
        let mut paced = Vec::new();
        for charge in charges {
            let (Some(rate), Some(meter)) =
                (entitlement.terms(charge.meter).rate, self.catalog.meter(charge.meter))
            else {
                continue;
            };
            let (before, now) = match haste {
                Haste::Slow => (Monotonic(0), Monotonic(0)),
                Haste::Now => (self.rates.get(&charge.meter).copied().unwrap_or_default(), self.monotonic()),
            };
            match (rate.step(before, now, charge.units), haste) {
                (RateStep::Allowed(next), Haste::Now) => paced.push((charge.meter, next)),
                (RateStep::Allowed(_), Haste::Slow) => {}
                (RateStep::Refused(retry_after), _) => {
                    return Err(Denial::RateLimited { meter: meter.id.clone(), rate, retry_after });
                }
            }
        }
        Ok(paced)
    }

    fn monotonic(&self) -> Monotonic {
        let millis = u64::try_from(self.now.0.saturating_sub(self.start.0)).unwrap_or(0);
        Monotonic(millis.saturating_mul(1_000_000))
    }

    /// Lets a request come so many times more; says how many of them were let through.
    pub(super) fn repeat(&mut self, request: &Request, times: u64, haste: Haste) -> Result<u64, String> {
        if request.path.is_err() || self.public(request).is_some() {
            return Ok(0);
        }
        let Some(rights) = self.rights().transpose()? else { return Ok(0) };
        let Decided { chosen: Some(chosen), outcome: Ok(entitlement) } = self.decided(&rights, request)
        else {
            return Ok(0);
        };
        let charges = chosen.charges;
        if let Haste::Slow = haste {
            return Ok(self.admit(entitlement, &charges, haste, times).unwrap_or(0));
        }
        // Nothing changes with one that is refused: the rest would be, too.
        let admitted = (0..times).take_while(|_| self.admit(entitlement, &charges, haste, 1).is_ok());
        u64::try_from(admitted.count()).map_err(text)
    }

    /// The tenant as it is now.
    pub(super) fn present(&self) -> Option<Tenant> {
        self.tenant.as_ref().map(|tenant| tenant.at(self.now))
    }

    /// By which the tenant's windows begin; without a subscription its days and calendar months.
    pub(super) fn calendar(&self) -> BillingCalendar {
        let Some(tenant) = self.present() else {
            return BillingCalendar::new(crate::domain::period::Zone::UTC, AnchorDay::FIRST);
        };
        match &tenant.subscription {
            Some(subscription) => subscription.calendar(&tenant.zone),
            None => BillingCalendar::new(tenant.zone, AnchorDay::FIRST),
        }
    }

    /// What the tenant has now: itself, and of some meters what it has used.
    pub(super) fn holding(&self, charges: &[Charge]) -> Option<(Tenant, Vec<Metered>)> {
        let tenant = self.present()?;
        let entitlement = self.rights().and_then(Result::ok).and_then(|rights| rights.entitlement);
        let entitlement = entitlement.as_ref();
        let states = charges.iter().filter_map(|charge| Some((charge.meter, entitlement?)));
        let states = states.flat_map(|(meter, entitlement)| {
            let beyond = super::book::beyond(entitlement, meter);
            let all = self.book.states(entitlement, meter, self.now);
            all.into_iter().map(move |state| (meter, beyond, state))
        });
        let states = states.collect();
        Some((tenant, states))
    }

    /// The plans that would allow what was refused.
    pub(super) fn plans_that_allow(&self, denial: &Denial, request: &Request) -> Vec<PlanId> {
        let overrides = self.tenant.as_ref().map(|tenant| &tenant.overrides);
        let rights = self.rights().and_then(Result::ok);
        let chosen = rights.as_ref().and_then(|rights| self.decided(rights, request).chosen);
        let operation = match &chosen {
            Some(chosen) => chosen.operation,
            None => self.operation(self.route(request)),
        };
        operation
            .map_or_else(Vec::new, |operation| denial.plans_that_allow(operation, self.catalog, overrides))
    }
}

/// In words, for `Retry-After`.
pub(super) fn in_words(span: Duration) -> String {
    let millis = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    crate::wire::duration::format(Duration::from_millis(millis))
}
