//! Stripe's webhooks in a serving node: the listener's secrets, and the job for what was told and is not in force yet.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{config::StripeConfig, start_error::StartError};
use crate::{
    clock::Clock,
    domain::time::UnixMillis,
    ports::{Origin, Policies, StoreError, StripeStore},
};

/// From turn to turn.
const EACH: Duration = Duration::from_secs(5);
/// An event that came so lately is being looked at by who received it.
const SETTLED_MILLIS: i64 = 5_000;
/// How many customers are looked at in one turn.
const AT_ONCE: u32 = 50;

/// The secrets of the endpoint: those of the configuration, and those of a file, which is read again and again so that
/// they can be rotated without a restart.
pub(super) struct Secrets {
    fixed: Vec<String>,
    file: Option<PathBuf>,
    current: RwLock<Arc<[String]>>,
}

impl Secrets {
    /// Reads them.
    pub(super) fn open(config: &StripeConfig) -> Result<Arc<Self>, StartError> {
        let fixed: Vec<String> = config.webhook_secrets.iter().map(|secret| secret.0.clone()).collect();
        let (file, current) = (config.webhook_secrets_file.clone(), RwLock::new(Arc::from(Vec::new())));
        let secrets = Self { fixed, file, current };
        let key = "stripe.webhook_secrets_file";
        let text = secrets.file.as_ref().map_or(Ok(String::new()), |file| {
            std::fs::read_to_string(file).map_err(|source| StartError::File {
                key,
                file: file.display().to_string(),
                source,
            })
        })?;
        if secrets.take(&text) == 0 {
            let detail = "expected at least one secret: nothing could be believed".to_owned();
            return Err(StartError::Value { key: "stripe.webhook_secrets", detail });
        }
        Ok(Arc::new(secrets))
    }

    /// Those that are valid now.
    pub(super) fn current(&self) -> Arc<[String]> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes those of the file's text, one a line, beside the others; answers how many there are.
    fn take(&self, text: &str) -> usize {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let all: Arc<[String]> = self.fixed.iter().cloned().chain(lines.map(str::to_owned)).collect();
        let count = all.len();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = all;
        count
    }

    /// Reads the file again. One that cannot be read, or is empty, leaves the secrets as they are.
    async fn read_again(&self) {
        let Some(file) = &self.file else { return };
        match tokio::fs::read_to_string(file).await {
            Ok(text) if !text.trim().is_empty() => {
                self.take(&text);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("stripe.webhook_secrets_file cannot be read any more: {error}"),
        }
    }
}

/// The job of one node that has the listener.
pub(super) struct StripeJob {
    pub(super) store: Arc<dyn StripeStore>,
    pub(super) policies: Arc<dyn Policies>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) secrets: Arc<Secrets>,
}

impl StripeJob {
    /// Turn after turn until `end`.
    pub(super) async fn run(self, end: CancellationToken) {
        let mut well = true;
        while end.run_until_cancelled(tokio::time::sleep(EACH)).await.is_some() {
            // A turn that is broken off has looked at some customers wholly.
            let Some(answer) = end.run_until_cancelled(self.turn()).await else { return };
            if let (Err(error), true) = (&answer, well) {
                tracing::warn!("events of Stripe wait to be applied, tried again: {error}");
            }
            well = answer.is_ok();
        }
    }

    /// Looks at what nobody else has looked at.
    pub(super) async fn turn(&self) -> Result<(), StoreError> {
        self.secrets.read_again().await;
        let now = self.clock.now();
        let before = UnixMillis(now.0.saturating_sub(SETTLED_MILLIS));
        let origin =
            Origin { at: now, actor: "stripe".to_owned(), source: "schedule".to_owned(), idempotency: None };
        let mut failed = None;
        for customer in self.store.customers_to_fold(before, AT_ONCE).await? {
            let catalog = self.policies.catalog();
            // One customer's trouble is not another's.
            if let Err(error) = self.store.fold_customer(&customer, &catalog, &origin).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
