//! Meter: takes the units. The ledger is the authority on whether they are there.

use std::{sync::Arc, time::Duration};

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

/// How often a request is decided once more: each time as its tenant, or the policies, were changed while it waited.
const MOST_TRIES: u32 = 8;
/// A request that has waited for so long is not decided once more.
const PATIENCE: Duration = Duration::from_secs(2);

/// What another try needs of the request. As long as the policies are the same, its conditions are not asked again: it came
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
    /// Waits for the first answer; where the tenant was changed meanwhile, or the policies, decides and charges once more.
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
            let mut again = again;
            for _ in 0..MOST_TRIES {
                if again.parts.clock.monotonic().since(again.started) > PATIENCE {
                    break;
                }
                again.decide_anew(&*directory).await?;
                let charged = match &*again.charges {
                    [] => Ok(Hold::empty()),
                    charges => ledger.charge(&again.rights, charges, again.arrived).wait().await,
                };
                match charged {
                    Err(ChargeError::Outdated) => {}
                    Err(error) => return Err(rejection(error)),
                    Ok(hold) => return Ok(Taken { hold, anew: Some(again.into()) }),
                }
            }
            Err(Rejection::LedgerUnavailable)
        })
    }
}

impl From<Again> for Anew {
    fn from(again: Again) -> Self {
        let Again { rights, route, charges, computed, .. } = again;
        Self { rights, route, charges: computed.then_some(charges) }
    }
}

impl Again {
    /// Decides by the newest rights: wholly by the policies of now, where these are others than before.
    async fn decide_anew(&mut self, directory: &impl Directory) -> Result<(), Rejection> {
        if !self.policies_changed() {
            self.rights = directory.newer(&self.identity, &self.rights).wait().await?;
        }
        if self.policies_changed() {
            return self.by_other_policies(directory).await;
        }
        let operation = self.route.operation(&self.rights.catalog);
        if operation.is_none() {
            return Err(Rejection::Denied(Denial::RouteNotCovered));
        }
        decide_charged(&self.rights, operation, &self.charges)?;
        Ok(())
    }

    /// Whether others decide for the tenant now than those by which the request was decided.
    fn policies_changed(&self) -> bool {
        self.parts.review.catalog(&self.identity.tenant).stamp != self.rights.catalog.stamp
    }

    /// Nothing of what the policies before said is left.
    async fn by_other_policies(&mut self, directory: &impl Directory) -> Result<(), Rejection> {
        let catalog = self.parts.review.catalog(&self.identity.tenant);
        let mut route = matching::route(&catalog, self.copied.method(), self.copied.path());
        let rights = directory.resolve(&self.identity, &catalog, self.started, self.arrived).wait().await?;
        let mut computed = None;
        match route.operation(&catalog) {
            Some(operation) if operation.conditions.is_some() => {
                let asked = ask(&self.parts.metrics, &catalog, &rights, route, &self.copied.facts());
                asked.outcome?;
                (route, computed) = (asked.route, asked.charges);
            }
            Some(operation) if operation.public => {}
            operation => drop(decide(&rights, operation)?),
        }
        self.computed = computed.is_some();
        self.charges = match (computed, route.operation(&catalog)) {
            (Some(charges), _) => charges,
            (None, Some(operation)) if !operation.public => operation.charge.clone(),
            (None, _) => Box::default(),
        };
        (self.rights, self.route) = (rights, route);
        Ok(())
    }
}

fn rejection(error: ChargeError) -> Rejection {
    match error {
        ChargeError::Denied(denial) => Rejection::Denied(denial),
        ChargeError::Unavailable | ChargeError::Outdated => Rejection::LedgerUnavailable,
    }
}
