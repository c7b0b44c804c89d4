//! The background work of a node in the simulated history: lives, statements, and what the billing system is told.

use std::{sync::Arc, time::Duration};

use super::{billing::Billing, ground::Ground};
use crate::{
    app::{
        lifecycle::{Lifecycle, LifecycleParts, closing::Closer},
        meter_events::{MeterEventParts, MeterEventSettings, MeterEvents},
    },
    domain::catalog::Catalog,
    freshness::Freshness,
    ports::{Incarnation, Policies},
    store::Store,
};

struct Fixed(Arc<Catalog>);

impl Policies for Fixed {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }
}

pub(super) struct Jobs {
    /// As the node's administrators reach it, too.
    pub(super) store: Arc<dyn Store>,
    lifecycle: Lifecycle,
    closer: Closer,
    exports: MeterEvents,
}

impl Jobs {
    pub(super) async fn new(
        number: u128,
        ground: &Ground,
        catalog: &Arc<Catalog>,
        freshness: &Arc<Freshness>,
        billing: &Arc<Billing>,
    ) -> Self {
        let store = ground.connect().await;
        let policies: Arc<dyn Policies> = Arc::new(Fixed(Arc::clone(catalog)));
        let parts = |run| LifecycleParts {
            tenants: Arc::clone(&store) as _,
            lives: Arc::clone(&store) as _,
            events: Arc::clone(&store) as _,
            policies: Arc::clone(&policies),
            freshness: Arc::clone(freshness),
            clock: Arc::clone(&ground.clock) as _,
            run: Incarnation(uuid::Uuid::from_u128(run)),
        };
        let exports = MeterEvents::new(MeterEventParts {
            store: Arc::clone(&store) as _,
            policies: Arc::clone(&policies),
            freshness: Arc::clone(freshness),
            clock: Arc::clone(&ground.clock) as _,
            settings: MeterEventSettings {
                base: "http://127.0.0.1:1".into(),
                key: "sk_test_year".into(),
                rest: Duration::from_secs(3_600),
                outgoing: Arc::clone(billing) as _,
            },
        });
        Self {
            lifecycle: Lifecycle::new(parts(100 + number)),
            closer: Closer::new(parts(200 + number), Arc::clone(&store) as _),
            exports,
            store,
        }
    }

    /// All that is due.
    pub(super) async fn turn(&mut self) {
        while self.lifecycle.turn().await.unwrap() {}
        while self.closer.turn().await.unwrap() {}
        self.exports.turn().await.unwrap();
    }
}
