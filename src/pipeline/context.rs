//! What is known of a request beside its bytes. It moves along with the request and is never copied.

use std::{fmt, sync::Arc};

use http::HeaderValue;

use super::{language::Language, parts::Parts, request::Client};
use crate::domain::{
    catalog::{Catalog, Digest, Unmatched},
    id::{PlanId, TenantId},
    identity::Identity,
    rights::Rights,
    route::{Charge, Operation, OperationIx},
    tenant::Overrides,
    time::{Monotonic, UnixMillis, Version},
};

/// Everything about a request but its head, its body and its present stage.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) parts: Arc<Parts>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) request_id: HeaderValue,
    /// As far as it is known.
    pub(crate) subject: Option<Subject>,
    /// The request's one civil instant: every period and expiry is judged by it.
    pub(crate) arrived: UnixMillis,
    /// The same instant on the clock that measures.
    pub(crate) started: Monotonic,
    pub(crate) route: Route,
    /// What the request is charged, where that depends on it; `None`: what its operation always charges.
    pub(crate) charges: Option<Box<[Charge]>>,
    pub(crate) client: Client,
    /// A HEAD request: its answer has no body.
    pub(crate) bodiless: bool,
    /// The language in which a refusal is told.
    pub(crate) language: Language,
}

impl Context {
    pub(crate) fn operation(&self) -> Option<&Operation> {
        self.route.operation(&self.catalog)
    }

    /// What the request is charged.
    #[inline]
    pub(crate) fn charges(&self) -> &[Charge] {
        match &self.charges {
            Some(charges) => charges,
            None => self.operation().map_or(&[], |operation| &operation.charge),
        }
    }

    pub(crate) fn plan(&self) -> Option<&PlanId> {
        self.subject.as_ref()?.plan_id()
    }

    /// What was set for the tenant alone, as far as its rights are known.
    pub(crate) fn overrides(&self) -> Option<&Arc<Overrides>> {
        match &self.subject.as_ref()?.0 {
            Known::Rights(rights) => rights.overrides.as_ref(),
            Known::Identity(_) | Known::Named(_) => None,
        }
    }

    /// The version of the tenant's facts, as far as they are known, and the policies by which the request was decided.
    pub(crate) fn decided_by(&self) -> (Option<Version>, &Digest) {
        match self.subject.as_ref().map(|subject| &subject.0) {
            Some(Known::Rights(rights)) => (Some(rights.version), &rights.catalog.digest),
            Some(Known::Identity(_) | Known::Named(_)) | None => (None, &self.catalog.digest),
        }
    }
}

/// The route that a request was matched to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Operation(OperationIx),
    /// No route, but the policies let it through.
    Unmatched,
    /// No route.
    Uncovered,
    /// Below `/.plangate/`: the gateway's own, never forwarded whatever the mode.
    Own,
}

impl Route {
    pub(crate) fn operation(self, catalog: &Catalog) -> Option<&Operation> {
        match (self, &catalog.unmatched) {
            (Self::Operation(ix), _) => catalog.routes.operation(ix),
            (Self::Unmatched, Unmatched::Allow(operation)) => Some(operation),
            (Self::Unmatched, Unmatched::Deny) | (Self::Uncovered | Self::Own, _) => None,
        }
    }
}

/// For whom a request is forwarded: a reference to what the stages found, so that it costs next to nothing to pass on.
#[derive(Clone)]
pub struct Subject(Known);

#[derive(Clone)]
enum Known {
    Rights(Arc<Rights>),
    Identity(Arc<Identity>),
    Named(Arc<(TenantId, Option<PlanId>)>),
}

impl Subject {
    /// A tenant on a plan, for services that are tried without the stages.
    #[must_use]
    pub fn new(tenant: TenantId, plan: Option<PlanId>) -> Self {
        Self(Known::Named(Arc::new((tenant, plan))))
    }

    pub(crate) const fn of(rights: Arc<Rights>) -> Self {
        Self(Known::Rights(rights))
    }

    /// The same tenant, without its plan.
    pub(crate) fn without_plan(&self) -> Self {
        Self::new(self.tenant_id().clone(), None)
    }

    pub(crate) const fn identified(identity: Arc<Identity>) -> Self {
        Self(Known::Identity(identity))
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.tenant_id().as_str()
    }

    /// Its plan, where it has one.
    #[must_use]
    pub fn plan(&self) -> Option<&str> {
        self.plan_id().map(PlanId::as_str)
    }

    /// The tenant's id.
    #[must_use]
    pub fn tenant_id(&self) -> &TenantId {
        match &self.0 {
            Known::Rights(rights) => &rights.tenant,
            Known::Identity(identity) => &identity.tenant,
            Known::Named(named) => &named.0,
        }
    }

    /// The id of its plan, where it has one.
    #[must_use]
    pub fn plan_id(&self) -> Option<&PlanId> {
        match &self.0 {
            Known::Rights(rights) => rights.entitlement.as_ref().map(|entitlement| &entitlement.plan),
            Known::Identity(_) => None,
            Known::Named(named) => named.1.as_ref(),
        }
    }
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        (self.tenant(), self.plan()) == (other.tenant(), other.plan())
    }
}

impl Eq for Subject {}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("tenant", &self.tenant()).field("plan", &self.plan()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_its_tenant_and_plan_however_it_is_known() {
        let (tenant, plan) = (TenantId::parse("acme").unwrap(), PlanId::parse("basic").unwrap());
        let named = Subject::new(tenant.clone(), None);
        let credential = crate::domain::identity::Credential::Jwt;
        let identified = Subject::identified(Identity::new(tenant.clone(), credential));
        assert_eq!(named, identified);
        assert_eq!((identified.tenant(), identified.plan()), ("acme", None));
        let planned = Subject::new(tenant, Some(plan));
        assert_ne!(named, planned);
        assert_eq!(format!("{planned:?}"), "Subject { tenant: \"acme\", plan: Some(\"basic\") }");
    }
}
