//! The steps of a start that wait for the database: patiently, and saying so in `/readyz`.

use std::{sync::Arc, time::Duration};

use super::start::{Ground, StartError};
use crate::{
    ports::{RegisterError, Registered, Registration, StoreError},
    store::{self, ConnectError, Store},
    sync::Feed,
};

/// Between two tries to reach the database at the start: doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Ground {
    /// Waits with growing pauses until `attempt` succeeds, saying in `/readyz` what for.
    pub(super) async fn patiently<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, StartError>
    where
        F: Future<Output = Result<Result<T, StartError>, StoreError>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => {
                    tracing::warn!("waiting for the database: {error}");
                    self.board.waiting_for(format!("waiting for the database: {error}"));
                }
            }
            tokio::select! {
                () = self.background.stop.cancelled() => return Err(StartError::Stopped),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    pub(super) async fn open_store(&self) -> Result<Arc<dyn Store>, StartError> {
        let options = store::Options {
            tasks: self.background.tracker().clone(),
            shutdown: self.background.end.clone(),
        };
        self.patiently(|| async {
            match store::connect(&self.config.database, &options).await {
                Ok(store) => Ok(Ok(store)),
                Err(ConnectError::Store(error @ StoreError::Unavailable(_))) => Err(error),
                Err(error) => Ok(Err(StartError::Database(error))),
            }
        })
        .await
    }

    pub(super) async fn register(
        &self,
        store: &Arc<dyn Store>,
        registration: &Registration,
    ) -> Result<Registered, StartError> {
        self.patiently(|| async {
            match store.register(registration).await {
                // Nothing is cached yet, so everything up to here is in force.
                Ok(registered) => {
                    self.freshness.set_applied(registered.version);
                    Ok(Ok(registered))
                }
                Err(RegisterError::Store(error)) => Err(error),
                Err(taken) => Ok(Err(StartError::Name(taken))),
            }
        })
        .await
    }

    /// A node registers, then polls, then serves.
    pub(super) async fn until_fresh(&self, feed: &Feed) -> Result<(), StartError> {
        self.patiently(|| async {
            feed.catch_up().await;
            if feed.is_failing() {
                return Err(StoreError::Unavailable("changes cannot be polled".to_owned()));
            }
            Ok(Ok(()))
        })
        .await
    }
}
