//! Connections: which pool a statement goes to.

use std::sync::Arc;

use sqlx::{PgPool, SqlitePool};
use tokio::sync::Notify;

use super::{
    classify::classify,
    session::{Arg, On, Record, Session, Sql, postgres_arguments, sqlite_arguments},
};
use crate::ports::StoreError;

/// What a statement is for. Reads of an administrator must never keep a node from a grant or a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Tenants, keys, changes, usage.
    Data,
    /// Grants, flushes, heartbeats.
    Steady,
}

/// The pools of one database.
pub(super) enum Engine {
    /// PostgreSQL.
    Postgres {
        /// For [`Lane::Data`].
        data: PgPool,
        /// For [`Lane::Steady`].
        steady: PgPool,
        /// See [`Engine::bell`].
        bell: Arc<Notify>,
    },
    /// SQLite: one connection writes, so that no writer waits in vain for another.
    Sqlite {
        /// The one that writes.
        writer: SqlitePool,
        /// Those that read.
        readers: SqlitePool,
        /// See [`Engine::bell`].
        bell: Arc<Notify>,
    },
}

impl Engine {
    fn postgres<'a>(data: &'a PgPool, steady: &'a PgPool, lane: Lane) -> &'a PgPool {
        match lane {
            Lane::Data => data,
            Lane::Steady => steady,
        }
    }

    /// Begins a write transaction.
    pub(super) async fn begin(&self, lane: Lane) -> Result<Session, StoreError> {
        let on = match self {
            // Named, as a database's own default may differ: locks are re-read after they are had.
            Self::Postgres { data, steady, .. } => Self::postgres(data, steady, lane)
                .begin_with("BEGIN ISOLATION LEVEL READ COMMITTED")
                .await
                .map(On::Postgres),
            Self::Sqlite { writer, .. } => writer.begin_with("BEGIN IMMEDIATE").await.map(On::Sqlite),
        };
        Ok(Session::new(on.map_err(|error| classify(&error))?, self.bell()))
    }

    /// Rung when something was committed that is to be delivered.
    pub(super) const fn bell(&self) -> &Arc<Notify> {
        match self {
            Self::Postgres { bell, .. } | Self::Sqlite { bell, .. } => bell,
        }
    }

    /// One statement in a snapshot of its own that only reads.
    pub(super) async fn read(
        &self,
        lane: Lane,
        sql: Sql,
        args: &[Arg<'_>],
    ) -> Result<Vec<Record>, StoreError> {
        match self {
            Self::Postgres { .. } => self.write(lane, sql, args).await,
            Self::Sqlite { readers, .. } => sqlx::query_with(sql.sqlite, sqlite_arguments(args)?)
                .fetch_all(readers)
                .await
                .map(|rows| rows.into_iter().map(Record::Sqlite).collect())
                .map_err(|error| classify(&error)),
        }
    }

    /// One statement that is a transaction of its own, and its rows.
    pub(super) async fn write(
        &self,
        lane: Lane,
        sql: Sql,
        args: &[Arg<'_>],
    ) -> Result<Vec<Record>, StoreError> {
        match self {
            Self::Postgres { data, steady, .. } => sqlx::query_with(sql.postgres, postgres_arguments(args)?)
                .fetch_all(Self::postgres(data, steady, lane))
                .await
                .map(|rows| rows.into_iter().map(Record::Postgres).collect()),
            Self::Sqlite { writer, .. } => sqlx::query_with(sql.sqlite, sqlite_arguments(args)?)
                .fetch_all(writer)
                .await
                .map(|rows| rows.into_iter().map(Record::Sqlite).collect()),
        }
        .map_err(|error| classify(&error))
    }

    /// Whether the database notifies by itself who listens.
    pub(super) const fn notifies(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        match self {
            Self::Postgres { data, steady, .. } => {
                data.close().await;
                steady.close().await;
            }
            Self::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}
