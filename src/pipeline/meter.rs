//! Meter: takes the units. The ledger is the authority on whether they are there.

use std::sync::Arc;

use super::{
    context::Route,
    request::{Granted, Metered, Rejection},
    stage::{Check, StageLayer},
};
use crate::{
    domain::{
        decision::decide_charged, denial::Denial, identity::Identity, rights::Rights, route::Charge, time::UnixMillis,
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

/// The units taken, and under which rights, where these had to be read anew.
pub struct Taken {
    hold: Hold,
    rights: Option<Arc<Rights>>,
}

impl<L: Ledger, D: Directory, B> Check<Granted<B>> for Meter<L, D> {
    type Proof = Taken;
    type Next = Metered<B>;

    #[inline]
    fn check(&self, request: &mut Granted<B>) -> Answer<Taken, Rejection> {
        let context = &request.head.context;
        let charges = context.charges();
        if charges.is_empty() {
            return Answer::Ready(Ok(Taken { hold: Hold::empty(), rights: None }));
        }
        let charged = if context.charges.is_none() {
            self.ledger.charge(&request.rights, charges, context.arrived)
        } else {
            self.ledger.charge_once(&request.rights, charges, context.arrived)
        };
        match charged {
            Answer::Ready(Ok(hold)) => Answer::Ready(Ok(Taken { hold, rights: None })),
            Answer::Ready(Err(ChargeError::Outdated)) => {
                Answer::Pending(self.again(request, Box::pin(async { Err(ChargeError::Outdated) })))
            }
            Answer::Ready(Err(error)) => Answer::Ready(Err(rejection(error))),
            Answer::Pending(pending) => Answer::Pending(self.again(request, pending)),
        }
    }

    #[inline]
    fn pass(request: Granted<B>, taken: Taken) -> Metered<B> {
        let rights = taken.rights.unwrap_or(request.rights);
        Metered { head: request.head, identity: request.identity, rights, hold: taken.hold }
    }
}

/// What a second try needs of the request. Its conditions are not asked again: it came before the change.
struct Again {
    identity: Arc<Identity>,
    rights: Arc<Rights>,
    charges: Box<[Charge]>,
    arrived: UnixMillis,
    route: Route,
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
            route: request.head.context.route,
        };
        let (ledger, directory) = (Arc::clone(&self.ledger), Arc::clone(&self.directory));
        Box::pin(async move {
            match first.await {
                Err(ChargeError::Outdated) => {}
                first => return first.map(|hold| Taken { hold, rights: None }).map_err(rejection),
            }
            let rights = directory.newer(&again.identity, &again.rights).wait().await?;
            let operation = again.route.operation(&rights.catalog);
            if operation.is_none() {
                return Err(Rejection::Denied(Denial::RouteNotCovered));
            }
            decide_charged(&rights, operation, &again.charges)?;
            let second = ledger.charge(&rights, &again.charges, again.arrived).wait().await;
            Ok(Taken { hold: second.map_err(rejection)?, rights: Some(rights) })
        })
    }
}

fn rejection(error: ChargeError) -> Rejection {
    match error {
        ChargeError::Denied(denial) => Rejection::Denied(denial),
        ChargeError::Unavailable | ChargeError::Outdated => Rejection::LedgerUnavailable,
    }
}
