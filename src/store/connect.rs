//! Opening a store by its address: choose the kind, make what is missing, bring the schema up to date.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::migrate::MigrateError;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    classify::classify,
    postgres,
    sql::SqlStore,
    sqlite,
    tidy::{Retention, Tidied},
};
use crate::ports::{
    AuditStore, EventStore, KeyStore, LedgerStore, LifecycleStore, MeterExportStore, NodeStore, PlanStore,
    RevisionStore, ShadowStore, StatementStore, StoreError, StripeStore, SurveyStore, TenantStore,
    TokenStore, UsageEventStore, WebhookStore,
};

/// A whole store: coerces to an `Arc` of any of its ports.
#[async_trait]
pub trait Store:
    TenantStore
    + EventStore
    + KeyStore
    + LedgerStore
    + NodeStore
    + LifecycleStore
    + MeterExportStore
    + PlanStore
    + RevisionStore
    + ShadowStore
    + StatementStore
    + SurveyStore
    + AuditStore
    + TokenStore
    + StripeStore
    + WebhookStore
    + UsageEventStore
{
    /// The database's own identity, made with it: a ledger file of another database must not be used with this one.
    fn installation(&self) -> Uuid;

    /// What the database is besides: its installation and, where a server has it, the server's own identity, which a copy
    /// of the installation on another server does not share.
    fn identity(&self) -> String;

    /// Rolls up old usage and deletes what is no longer kept: a bounded piece of it, and whether there is more.
    async fn tidy(&self, keep: &Retention) -> Result<Tidied, StoreError>;

    /// Closes all connections, once the statements under way are done. Later calls find the store unavailable.
    async fn close(&self);
}

/// What the store's background work belongs to.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Tracks the task that listens for notifications.
    pub tasks: TaskTracker,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// Why a store could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The address has no meaning; no use in trying again.
    #[error("`{url}` is not a database: {expected}")]
    Address {
        /// The address, without its password.
        url: String,
        /// What was expected.
        expected: String,
    },
    /// The database does not exist and may not be made, or its folder cannot be; no use in trying again.
    #[error("`{name}` does not exist and could not be created: {reason}")]
    NotCreated {
        /// The database or file.
        name: String,
        /// What the server or the system said.
        reason: String,
    },
    /// A newer version made this schema, or somebody changed it; no use in trying again.
    #[error("the database's schema does not fit this version: {0}")]
    Schema(String),
    /// Not reachable or not well; trying later may help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(classify(&error))
    }
}

impl From<MigrateError> for ConnectError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Schema(other.to_string()),
        }
    }
}

const EXPECTED: &str = "expected sqlite://PATH or postgres://USER@HOST/NAME";
/// Another node's migration may be under way; beyond this something is stuck.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// Opens the store at an address: `sqlite://PATH`, `postgres://...` or `postgresql://...`.
///
/// A missing SQLite file (with its folder) or PostgreSQL database is created, and the schema is brought up to date, safely
/// when several nodes start together. Must be called on the runtime that outlives all use of the store: its connections
/// belong to that one, also where a request worker asks from another.
///
/// # Errors
/// [`ConnectError::Store`] where trying again may help; the others are for a person to mend.
pub async fn connect(url: &str, options: &Options) -> Result<Arc<dyn Store>, ConnectError> {
    let address = |expected: String| ConnectError::Address { url: without_password(url), expected };
    let opening = async {
        if let Some(path) = url.strip_prefix("sqlite://") {
            if path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
                return Err(address("expected the path of a file after sqlite://".into()));
            }
            sqlite::open(path).await
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let server =
                url.parse().map_err(|error: sqlx::Error| address(format!("{EXPECTED} ({error})")))?;
            postgres::open(server).await
        } else {
            Err(address(EXPECTED.into()))
        }
    };
    let opened = tokio::time::timeout(OPEN_WITHIN, opening)
        .await
        .map_err(|_| StoreError::Unavailable(format!("it could not be opened within {OPEN_WITHIN:?}")))??;
    Ok(Arc::new(SqlStore::start(opened, options).await?))
}

/// An address as it may be shown: what stands between `:` and the last `@` of the authority is hidden.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Without a scheme nobody knows what part of it is secret.
        return url.split([':', '@']).next().unwrap_or_default().to_owned();
    };
    let shown = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:***@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    };
    match shown.split_once('?') {
        Some((before, query)) if query.contains("password") => format!("{before}?***"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("postgres://me:se@cret@host/db"), "postgres://me:***@host/db");
        assert_eq!(without_password("postgres://me@host/db"), "postgres://me@host/db");
        assert_eq!(without_password("postgres://host/db?password=x"), "postgres://host/db?***");
        assert_eq!(without_password("me:secret@host"), "me");
    }

    #[tokio::test]
    async fn addresses_that_mean_nothing() {
        for url in
            ["", "mysql://host/db", "sqlite://", "sqlite://:memory:", "plangate.db", "postgres://host:x/db"]
        {
            let error = connect(url, &Options::default()).await.err().unwrap();
            assert!(matches!(error, ConnectError::Address { .. }), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_worth_another_try() {
        // Port 1 of the loopback is closed.
        let error = connect("postgres://me@127.0.0.1:1/db", &Options::default()).await.err().unwrap();
        assert!(matches!(error, ConnectError::Store(StoreError::Unavailable(_))), "{error}");
    }
}
