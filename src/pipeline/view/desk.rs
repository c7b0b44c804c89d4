//! Where the view is asked for: identity and rights as for a request, then usage and cost, each as cheaply as it can be.

use std::sync::Arc;

use super::{Asked, Shown, View, ViewRefusal, figures::Figures, shelf::Shelf};
use crate::{
    domain::{identity::Identity, rights::Rights},
    pipeline::{
        context::Subject,
        identify::{self, Credentials},
        request::Rejection,
    },
    ports::{Authenticator, Bills, BoxFuture, Directory, Ledger},
};

/// The same ports that the stages ask, and what is remembered of those who looked.
pub(crate) struct Desk<A, D, L> {
    pub(crate) authenticator: Arc<A>,
    pub(crate) directory: Arc<D>,
    pub(crate) ledger: Arc<L>,
    /// Reckons what a month costs; `None`: nobody does.
    pub(crate) bills: Option<Arc<dyn Bills>>,
    shelf: Arc<Shelf>,
}

impl<A, D, L> Desk<A, D, L> {
    pub(crate) fn new(
        (authenticator, directory, ledger): (Arc<A>, Arc<D>, Arc<L>),
        bills: Option<Arc<dyn Bills>>,
    ) -> Self {
        Self { authenticator, directory, ledger, bills, shelf: Arc::default() }
    }
}

impl<A, D, L> Clone for Desk<A, D, L> {
    fn clone(&self) -> Self {
        Self {
            authenticator: Arc::clone(&self.authenticator),
            directory: Arc::clone(&self.directory),
            ledger: Arc::clone(&self.ledger),
            bills: self.bills.clone(),
            shelf: Arc::clone(&self.shelf),
        }
    }
}

impl<A: Authenticator, D: Directory, L: Ledger> View for Desk<A, D, L> {
    fn show(&self, asked: Asked) -> BoxFuture<Shown> {
        let desk = self.clone();
        Box::pin(async move { desk.serve(asked).await })
    }
}

impl<A: Authenticator, D: Directory, L: Ledger> Desk<A, D, L> {
    async fn serve(&self, asked: Asked) -> Shown {
        let identity = match self.identify(&asked).await {
            Ok(identity) => identity,
            Err(why) => return Shown { subject: None, outcome: Err(why) },
        };
        // Before anything is asked for that is not in memory.
        if let Err(wait) = self.shelf.admit(&identity.tenant, asked.started) {
            let outcome = Err(ViewRefusal::TooOften(wait).into());
            return Shown { subject: Some(Subject::identified(identity)), outcome };
        }
        let rights = match self.resolve(&identity, &asked).await {
            Ok(rights) => rights,
            Err(why) => return Shown { subject: Some(Subject::identified(identity)), outcome: Err(why) },
        };
        let outcome = self.figures(&rights, &asked).await.map_err(Rejection::View);
        Shown { subject: Some(Subject::of(rights)), outcome }
    }

    async fn identify(&self, asked: &Asked) -> Result<Arc<Identity>, Rejection> {
        let Asked { headers, arrived, started, .. } = asked;
        let credentials = Credentials { headers, now: *arrived, started: *started };
        identify::ask(&self.authenticator, &self.directory, &credentials).wait().await
    }

    async fn resolve(&self, identity: &Arc<Identity>, asked: &Asked) -> Result<Arc<Rights>, Rejection> {
        let catalog = asked.catalog.of_tenant(&identity.tenant);
        Ok(self.directory.resolve(identity, catalog, asked.started, asked.arrived).wait().await?)
    }

    async fn figures(&self, rights: &Arc<Rights>, asked: &Asked) -> Result<Arc<Figures>, ViewRefusal> {
        let (tenant, now) = (&rights.tenant, asked.arrived);
        if let Some(seen) = self.shelf.seen(tenant, asked.started).filter(|seen| seen.hold_for(rights, now)) {
            return Ok(seen);
        }
        let unavailable = |error: crate::ports::StoreError| {
            tracing::warn!(tenant = tenant.as_str(), "a customer's usage cannot be read: {error}");
            ViewRefusal::Unavailable
        };
        let (usage, spend) = match rights.entitlement {
            Some(_) => (
                self.ledger.usage(rights, now).await.map_err(unavailable)?,
                self.ledger.spend(rights, now).await.map_err(unavailable)?,
            ),
            None => (Vec::new(), None),
        };
        let cost = match &self.bills {
            Some(bills) => bills.so_far(rights, &usage, now).await.map_err(unavailable)?,
            None => None,
        };
        let figures = Arc::new(Figures::of(rights, &usage, (cost, spend), now));
        self.shelf.keep(tenant, asked.started, &figures);
        Ok(figures)
    }
}
