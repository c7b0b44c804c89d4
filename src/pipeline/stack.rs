//! The whole stack, put together: `Respond(Match(Identify(Resolve(Decide(Meter(Settle(Forward)))))))`.
//!
//! Each stage takes the form that only the stage before it can make, so a stack in another order does not compile.

use std::sync::Arc;

use tower::{Layer, ServiceBuilder};

use super::{
    cors::Cors,
    decide::{self, Decide},
    identify::{self, Identify},
    matching::Match,
    meter::{self, Meter},
    observe::{Mode, Observe},
    parts::Parts,
    refusals::RefusalRing,
    resolve::{self, Resolve},
    respond::Respond,
    review::Reviewer,
    settle::{Settle, SettleLayer},
    shadow::{Shadower, Trials},
    stage::Stage,
    strip::Strip,
    view::Desk,
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    ports::{Authenticator, Bills, Directory, Ledger, Policies},
};

/// What the stages ask.
pub struct Gateway<P, A, D, L> {
    /// The catalog in force.
    pub policies: Arc<P>,
    /// Credential to tenant.
    pub authenticator: Arc<A>,
    /// Tenant to rights.
    pub directory: Arc<D>,
    /// Units.
    pub ledger: Arc<L>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Who may read refusals from a browser.
    pub cors: Arc<Cors>,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// Remembers what was refused.
    pub refusals: Arc<RefusalRing>,
    /// What is counted while other policies are tried.
    pub trials: Arc<Trials>,
    /// What customers' months cost, for their own view; `None`: it says nothing of that.
    pub bills: Option<Arc<dyn Bills>>,
}

impl<P, A, D, L> Clone for Gateway<P, A, D, L> {
    fn clone(&self) -> Self {
        Self {
            policies: Arc::clone(&self.policies),
            authenticator: Arc::clone(&self.authenticator),
            directory: Arc::clone(&self.directory),
            ledger: Arc::clone(&self.ledger),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            cors: Arc::clone(&self.cors),
            mode: self.mode,
            refusals: Arc::clone(&self.refusals),
            trials: Arc::clone(&self.trials),
            bills: self.bills.clone(),
        }
    }
}

/// The stages that check, around a forwarding service.
type Checked<A, D, L, F> =
    Stage<Identify<A, D>, Stage<Resolve<D>, Stage<Decide, Stage<Meter<L, D>, Settle<F>>>>>;

/// The whole stack around a forwarding service.
pub type Stack<P, A, D, L, F> =
    Respond<Match<P, D, Observe<Checked<A, D, L, Strip<A, F>>, Strip<A, F>>, Strip<A, F>>>;

impl<P, A, D, L, F> Layer<F> for Gateway<P, A, D, L>
where
    P: Policies,
    A: Authenticator,
    D: Directory,
    L: Ledger,
    F: Clone,
{
    type Service = Stack<P, A, D, L, F>;

    fn layer(&self, forward: F) -> Self::Service {
        let forward = Strip::new(Arc::clone(&self.authenticator), forward);
        let checked = ServiceBuilder::new()
            .layer(identify::layer(Arc::clone(&self.authenticator), Arc::clone(&self.directory)))
            .layer(resolve::layer(Arc::clone(&self.directory)))
            .layer(decide::layer())
            .layer(meter::layer(Arc::clone(&self.ledger), Arc::clone(&self.directory)))
            .layer(SettleLayer)
            .service(forward.clone());
        let observe = Observe { checked, forward: forward.clone() };
        let review = Reviewer {
            policies: Arc::clone(&self.policies),
            authenticator: Arc::clone(&self.authenticator),
            directory: Arc::clone(&self.directory),
        };
        let shadow = Shadower {
            trials: Arc::clone(&self.trials),
            directory: Arc::clone(&self.directory),
            ledger: Arc::clone(&self.ledger),
        };
        let asked = (Arc::clone(&self.authenticator), Arc::clone(&self.directory), Arc::clone(&self.ledger));
        let parts = Parts {
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            cors: Arc::clone(&self.cors),
            mode: self.mode,
            secret_header: self.authenticator.key_header(),
            refusals: Arc::clone(&self.refusals),
            review: Arc::new(review),
            shadow: Arc::new(shadow),
            view: Arc::new(Desk::new(asked, self.bills.clone())),
        };
        Respond {
            inner: Match::new(Arc::clone(&self.policies), Arc::clone(&self.directory), observe, forward),
            parts: Arc::new(parts),
        }
    }
}
