//! Databases whose clock a test holds, so that a year of them passes in seconds.
//!
//! PostgreSQL finds a function by the search path: one of the clock's name stands before the catalog's own there, and the
//! statements are those of production to the letter. SQLite has no such place: in tests of the library the one expression
//! that reads the clock reads a table instead.

use std::sync::Arc;

use sqlx::{
    AssertSqlSafe, PgPool, Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    connect::{Options, Store, connect},
    rows,
};
use crate::{
    domain::time::{UnixMillis, Version},
    ports::BucketKey,
};

/// The clock's functions, as the statements name them.
const POSTGRES_CLOCK: [&str; 4] = [
    "CREATE TABLE simulated_clock (now_ms BIGINT NOT NULL)",
    "INSERT INTO simulated_clock VALUES (0)",
    "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE \
     AS 'SELECT to_timestamp(now_ms / 1000.0) FROM public.simulated_clock'",
    "CREATE FUNCTION statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE \
     AS 'SELECT to_timestamp(now_ms / 1000.0) FROM public.simulated_clock'",
];
const SET: &str = "UPDATE simulated_clock SET now_ms = $1";
const RECORDED: &str = "SELECT tenant, meter, span, start_ms, epoch, used FROM buckets";

/// A database of a test's own.
pub(crate) struct Simulated {
    url: String,
    pool: Pool,
    _folder: Option<tempfile::TempDir>,
}

enum Pool {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl Simulated {
    /// A file.
    pub(crate) async fn sqlite(now: UnixMillis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plangate.db");
        let file = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What only the test writes need not be on disk.
            .synchronous(SqliteSynchronous::Off);
        let pool = SqlitePool::connect_with(file).await.unwrap();
        sqlx::query("CREATE TABLE simulated_clock (now_ms INTEGER NOT NULL)").execute(&pool).await.unwrap();
        sqlx::query("INSERT INTO simulated_clock VALUES (0)").execute(&pool).await.unwrap();
        let url = format!("sqlite://{}", path.display());
        let simulated = Self { url, pool: Pool::Sqlite(pool), _folder: Some(folder) };
        simulated.set(now).await;
        simulated
    }

    /// A database named `name`, which is made, on the server that answers at `server` (an address without a database).
    pub(crate) async fn postgres(server: &str, name: &str, now: UnixMillis) -> Self {
        let url = format!("{server}/{name}");
        let maker = PgPool::connect(&format!("{server}/postgres")).await.unwrap();
        for statement in [
            format!("CREATE DATABASE {name}"),
            format!("ALTER DATABASE {name} SET search_path = public, pg_catalog"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&maker).await.unwrap();
        }
        maker.close().await;
        let pool = PgPool::connect(&url).await.unwrap();
        for statement in POSTGRES_CLOCK {
            sqlx::raw_sql(statement).execute(&pool).await.unwrap();
        }
        let simulated = Self { url, pool: Pool::Postgres(pool), _folder: None };
        simulated.set(now).await;
        simulated
    }

    /// A store over it, as a process has one: with connections of its own, on the current runtime.
    pub(crate) async fn connect(&self) -> Arc<dyn Store> {
        connect(&self.url, &Options::default()).await.unwrap()
    }

    /// Sets its clock.
    pub(crate) async fn set(&self, now: UnixMillis) {
        match &self.pool {
            Pool::Postgres(pool) => sqlx::query(SET).bind(now.0).execute(pool).await.map(drop),
            Pool::Sqlite(pool) => sqlx::query(SET).bind(now.0).execute(pool).await.map(drop),
        }
        .unwrap();
    }

    /// What each bucket says was used.
    pub(crate) async fn recorded(&self) -> Vec<(BucketKey, u64)> {
        macro_rules! read {
            ($pool:expr) => {
                sqlx::query(RECORDED)
                    .fetch_all($pool)
                    .await
                    .unwrap()
                    .iter()
                    .map(|row| {
                        let (tenant, meter, span): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
                        let epoch = Version(u64::try_from(row.get::<i64, _>(4)).unwrap());
                        let key = rows::bucket(tenant, meter, span, UnixMillis(row.get(3)), epoch).unwrap();
                        (key, u64::try_from(row.get::<i64, _>(5)).unwrap())
                    })
                    .collect()
            };
        }
        match &self.pool {
            Pool::Postgres(pool) => read!(pool),
            Pool::Sqlite(pool) => read!(pool),
        }
    }
}
