//! Deciding an exchange again that was let in before: the same questions in the same order, less the charge.

use std::sync::Arc;

use super::{context::Route, request::Rejection};
use crate::{
    domain::{
        catalog::Catalog,
        decision::decide,
        id::TenantId,
        identity::{Credential, Identity},
        rights::Rights,
        route::{Operation, OperationIx},
        time::{Monotonic, UnixMillis, Version},
    },
    ports::{Answer, Authenticator, Directory, Policies},
};

/// An exchange as it was last decided.
pub(crate) struct Case {
    pub(crate) identity: Arc<Identity>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) route: Route,
    /// The version at which its credential was last found to stand.
    pub(crate) verified: Version,
    /// The instant by which it is decided now, on both clocks.
    pub(crate) arrived: UnixMillis,
    pub(crate) started: Monotonic,
}

/// An exchange that may go on, as it was decided now.
pub(crate) struct Reviewed {
    pub(crate) rights: Arc<Rights>,
    pub(crate) route: Route,
    pub(crate) verified: Version,
}

/// Decides exchanges again.
pub(crate) trait Review: Send + Sync {
    /// Whether the exchange may go on. From memory where nothing was changed.
    fn review(&self, case: Case) -> Answer<Reviewed, Rejection>;

    /// The policies that decide for a tenant now.
    fn catalog(&self, tenant: &TenantId) -> Arc<Catalog>;
}

/// The same ports that the stages ask.
pub(super) struct Reviewer<P, A, D> {
    pub(super) policies: Arc<P>,
    pub(super) authenticator: Arc<A>,
    pub(super) directory: Arc<D>,
}

impl<P, A, D> Clone for Reviewer<P, A, D> {
    fn clone(&self) -> Self {
        Self {
            policies: Arc::clone(&self.policies),
            authenticator: Arc::clone(&self.authenticator),
            directory: Arc::clone(&self.directory),
        }
    }
}

impl<P: Policies, A: Authenticator, D: Directory> Review for Reviewer<P, A, D> {
    fn catalog(&self, tenant: &TenantId) -> Arc<Catalog> {
        Arc::clone(self.policies.catalog().of_tenant(tenant))
    }

    fn review(&self, case: Case) -> Answer<Reviewed, Rejection> {
        match self.at_once(&case) {
            Some(answer) => Answer::Ready(answer),
            None => {
                let reviewer = self.clone();
                Answer::Pending(Box::pin(async move { reviewer.patiently(case).await }))
            }
        }
    }
}

impl<P: Policies, A: Authenticator, D: Directory> Reviewer<P, A, D> {
    /// The answer, if it is in memory.
    fn at_once(&self, case: &Case) -> Option<Result<Reviewed, Rejection>> {
        if !self.directory.is_current(case.started) {
            return None;
        }
        let stands = self.authenticator.stands(&case.identity, case.verified, case.arrived);
        let Answer::Ready(stands) = stands else { return None };
        let catalog = self.policies.catalog();
        let own = catalog.of_tenant(&case.identity.tenant);
        let Answer::Ready(rights) = self.directory.resolve(&case.identity, own, case.started, case.arrived)
        else {
            return None;
        };
        Some(stands.map_err(Rejection::from).and_then(|verified| decide_again(case, rights?, verified)))
    }

    async fn patiently(&self, case: Case) -> Result<Reviewed, Rejection> {
        if !self.directory.is_current(case.started) {
            self.directory.catch_up().await?;
        }
        let verified = self.authenticator.stands(&case.identity, case.verified, case.arrived).wait().await?;
        // As one whose credential makes no tenants: a stream must not bring back the tenant that was deleted.
        let identity = Identity::new(case.identity.tenant.clone(), Credential::Ongoing);
        let catalog = self.policies.catalog();
        let own = catalog.of_tenant(&identity.tenant);
        let rights = self.directory.resolve(&identity, own, case.started, case.arrived).wait().await?;
        decide_again(&case, rights, verified)
    }
}

fn decide_again(case: &Case, rights: Arc<Rights>, verified: Version) -> Result<Reviewed, Rejection> {
    let route = route_now(case, &rights);
    let operation = route.operation(&rights.catalog);
    if !operation.is_some_and(|operation| operation.public) {
        decide(&rights, operation)?;
    }
    Ok(Reviewed { rights, route, verified })
}

/// The route in the catalog of `rights`. The path is known no more: it is found again by how the policies write it.
fn route_now(case: &Case, rights: &Rights) -> Route {
    let before = &case.rights.catalog;
    if before.stamp == rights.catalog.stamp {
        return case.route;
    }
    let unmatched = match Route::Unmatched.operation(&rights.catalog) {
        Some(_) => Route::Unmatched,
        None => Route::Uncovered,
    };
    match (case.route, case.route.operation(before)) {
        (Route::Operation(_), Some(known)) => {
            let routes = rights.catalog.routes.operations();
            let named = |operation: &Operation| operation.name == known.name;
            // Of several of one name the one with the condition that held: it is not asked again, as what it was asked of is
            // known no more.
            let same = |operation: &Operation| named(operation) && operation.when() == known.when();
            let place = routes.iter().position(same).or_else(|| routes.iter().position(named));
            let place = place.and_then(|place| u32::try_from(place).ok());
            place.map_or(unmatched, |place| Route::Operation(OperationIx(place)))
        }
        _ => unmatched,
    }
}
