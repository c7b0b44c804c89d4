//! Meter: takes the units. The ledger is the authority on whether they are there.

use std::sync::Arc;

use super::{
    context::Route,
    decide::ask,
    facts::Copied,
    matching,
    parts::Parts,
    request::{Granted, Metered, Rejection},
    stage::{Check, StageLayer},
};
use crate::{
    domain::{
        decision::{decide, decide_charged},
        denial::Denial,
        identity::Identity,
        rights::Rights,
        route::Charge,
        time::{Monotonic, UnixMillis},
    },
    ports::{Answer, BoxFuture, ChargeError, Directory, Hold, Ledger},
};

/// Charges a [`Ledger`]; asks the [`Directory`] once more where the rights turn out to be older than the ledger's.
pub struct Meter<L, D> {
    ledger: Arc<L>,
    directory: Arc<D>,
}

impl<L, D> Clone for Meter<L, D> {
    fn clone(&self) -> Self {
        Self { ledger: Arc::clone(&self.ledger), directory: Arc::clone(&self.directory) }
    }
}

/// The layer of this stage.
pub fn layer<L: Ledger, D: Directory>(ledger: Arc<L>, directory: Arc<D>) -> StageLayer<Meter<L, D>> {
    StageLayer::new(Meter { ledger, directory })
}

/// The units taken, and what the request was decided by in the end, where that had to be asked anew.
pub struct Taken {
    hold: Hold,
    anew: Option<Anew>,
}

/// What a request was decided by in the end.
struct Anew {
    rights: Arc<Rights>,
    route: Route,
    /// What it was charged, where that depends on the request.
    charges: Option<Box<[Charge]>>,
}

impl<L: Ledger, D: Directory, B> Check<Granted<B>> for Meter<L, D> {
    type Proof = Taken;
    type Next = Metered<B>;

    #[inline]
    fn check(&self, request: &mut Granted<B>) -> Answer<Taken, Rejection> {
        let context = &request.head.context;
        let charges = context.charges();
        if charges.is_empty() {
            return Answer::Ready(Ok(Taken { hold: Hold::empty(), anew: None }));
        }
        let charged = if context.charges.is_none() {
            self.ledger.charge(&request.rights, charges, context.arrived)
        } else {
            self.ledger.charge_once(&request.rights, charges, context.arrived)
        };
        match charged {
            Answer::Ready(Ok(hold)) => Answer::Ready(Ok(Taken { hold, anew: None })),
            Answer::Ready(Err(ChargeError::Outdated)) => {
                Answer::Pending(self.again(request, Box::pin(async { Err(ChargeError::Outdated) })))
            }
            Answer::Ready(Err(error)) => Answer::Ready(Err(rejection(error))),
            Answer::Pending(pending) => Answer::Pending(self.again(request, pending)),
        }
    }

    #[inline]
    fn pass(request: Granted<B>, taken: Taken) -> Metered<B> {
        let Granted { mut head, identity, mut rights } = request;
        if let Some(Anew { rights: newer, route, charges }) = taken.anew {
            (head.context.catalog, head.context.route) = (Arc::clone(&newer.catalog), route);
            head.context.charges = charges;
            rights = newer;
        }
        Metered { head, identity, rights, hold: taken.hold }
    }
}

/// What a second try needs of the request. As long as the policies are the same, its conditions are not asked again: it came
/// before the change.
struct Again {
    identity: Arc<Identity>,
    rights: Arc<Rights>,
    charges: Box<[Charge]>,
    /// The charges depend on the request.
    computed: bool,
    arrived: UnixMillis,
    started: Monotonic,
    route: Route,
    copied: Copied,
    parts: Arc<Parts>,
}

impl<L: Ledger, D: Directory> Meter<L, D> {
    /// Waits for the first answer; where the tenant was changed meanwhile, decides and charges once more.
    fn again<B>(
        &self,
        request: &Granted<B>,
        first: BoxFuture<Result<Hold, ChargeError>>,
    ) -> BoxFuture<Result<Taken, Rejection>> {
        let again = Again {
            identity: Arc::clone(&request.identity),
            rights: Arc::clone(&request.rights),
            charges: request.head.context.charges().into(),
            arrived: request.head.context.arrived,
            started: request.head.context.started,
            route: request.head.context.route,
            computed: request.head.context.charges.is_some(),
            copied: Copied::of(&request.head),
            parts: Arc::clone(&request.head.context.parts),
        };
        let (ledger, directory) = (Arc::clone(&self.ledger), Arc::clone(&self.directory));
        Box::pin(async move {
            match first.await {
                Err(ChargeError::Outdated) => {}
                first => return first.map(|hold| Taken { hold, anew: None }).map_err(rejection),
            }
            let mut rights = Arc::clone(&again.rights);
            if !again.policies_changed() {
                rights = directory.newer(&again.identity, &again.rights).wait().await?;
            }
            if again.policies_changed() {
                return again.by_other_policies(&*ledger, &*directory).await;
            }
            let operation = again.route.operation(&rights.catalog);
            if operation.is_none() {
                return Err(Rejection::Denied(Denial::RouteNotCovered));
            }
            decide_charged(&rights, operation, &again.charges)?;
            let second = ledger.charge(&rights, &again.charges, again.arrived).wait().await;
            let charges = again.computed.then_some(again.charges);
            let anew = Anew { rights, route: again.route, charges };
            Ok(Taken { hold: second.map_err(rejection)?, anew: Some(anew) })
        })
    }
}

impl Again {
    /// Whether others decide for the tenant now than those by which the request was decided.
    fn policies_changed(&self) -> bool {
        self.parts.review.catalog(&self.identity.tenant).stamp != self.rights.catalog.stamp
    }

    /// Decides and charges wholly by the policies of now: nothing of what the ones before said is left.
    async fn by_other_policies(
        &self,
        ledger: &impl Ledger,
        directory: &impl Directory,
    ) -> Result<Taken, Rejection> {
        let catalog = self.parts.review.catalog(&self.identity.tenant);
        let mut route = matching::route(&catalog, self.copied.method(), self.copied.path());
        let rights = directory.resolve(&self.identity, &catalog, self.started, self.arrived).wait().await?;
        let mut computed = None;
        match route.operation(&catalog) {
            Some(operation) if operation.conditions.is_some() => {
                let asked = ask(&catalog, &rights, route, &self.copied.facts());
                if let Err(Denial::ConditionFailed { route, .. }) = &asked.outcome {
                    self.parts.metrics.condition_failed(route);
                }
                asked.outcome?;
                (route, computed) = (asked.route, asked.charges);
            }
            Some(operation) if operation.public => {}
            operation => drop(decide(&rights, operation)?),
        }
        let charges = match (&computed, route.operation(&catalog)) {
            (Some(charges), _) => charges,
            (None, Some(operation)) if !operation.public => &operation.charge,
            (None, _) => &[][..],
        };
        let hold = match charges {
            [] => Hold::empty(),
            charges => ledger.charge(&rights, charges, self.arrived).wait().await.map_err(rejection)?,
        };
        Ok(Taken { hold, anew: Some(Anew { rights, route, charges: computed }) })
    }
}

fn rejection(error: ChargeError) -> Rejection {
    match error {
        ChargeError::Denied(denial) => Rejection::Denied(denial),
        ChargeError::Unavailable | ChargeError::Outdated => Rejection::LedgerUnavailable,
    }
}
