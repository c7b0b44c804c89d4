//! One way to run a statement on either database, so that what a transaction means is written down once.

use std::sync::Arc;

use sqlx::{Arguments, Postgres, Row, Sqlite, Transaction, postgres::PgRow, sqlite::SqliteRow};
use tokio::sync::Notify;

use super::classify::{classify, unreadable};
use crate::ports::StoreError;

/// A statement, as each database spells it.
#[derive(Clone, Copy)]
pub(super) struct Sql {
    pub(super) postgres: &'static str,
    pub(super) sqlite: &'static str,
}

impl Sql {
    /// A statement that both spell alike.
    pub(super) const fn same(text: &'static str) -> Self {
        Self { postgres: text, sqlite: text }
    }
}

/// A statement over many rows at once, given as `$1`: a JSON array of arrays, read as rows `r(v)` whose columns are
/// `v->>0`, `v->>1`, ... The text after the second part is PostgreSQL's alone.
macro_rules! bulk {
    ($before:literal, $after:literal) => {
        bulk!($before, $after, "")
    };
    ($before:literal, $after:literal, $postgres:literal) => {
        $crate::store::session::Sql {
            postgres: concat!(
                $before,
                " json_array_elements(CAST($1 AS json)) AS r(v) ",
                $after,
                " ",
                $postgres
            ),
            sqlite: concat!($before, " (SELECT value AS v FROM json_each($1)) AS r ", $after),
        }
    };
}
pub(super) use bulk;

/// PostgreSQL's clock, in milliseconds since 1970.
macro_rules! postgres_clock {
    () => {
        "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}
pub(super) use postgres_clock;

/// SQLite's clock, in milliseconds since 1970.
#[cfg(not(test))]
macro_rules! sqlite_clock {
    () => {
        "CAST(round(unixepoch('subsec') * 1000) AS INTEGER)"
    };
}
/// The same, where a test holds it; see [`super::simulated`]. Tests of the library open an SQLite database by that alone.
#[cfg(test)]
macro_rules! sqlite_clock {
    () => {
        "(SELECT now_ms FROM simulated_clock)"
    };
}
pub(super) use sqlite_clock;

/// A statement in whose gaps the database's clock stands.
macro_rules! timed {
    ($first:literal $(, $rest:literal)+) => {
        $crate::store::session::Sql {
            postgres: concat!($first $(, $crate::store::session::postgres_clock!(), $rest)+),
            sqlite: concat!($first $(, $crate::store::session::sqlite_clock!(), $rest)+),
        }
    };
}
pub(super) use timed;

/// A statement over many rows, as [`bulk`], in whose further gaps the database's clock stands.
macro_rules! timed_bulk {
    ($before:literal, $first:literal $(, $rest:literal)+) => {
        $crate::store::session::Sql {
            postgres: concat!(
                $before, " json_array_elements(CAST($1 AS json)) AS r(v) ",
                $first $(, $crate::store::session::postgres_clock!(), $rest)+
            ),
            sqlite: concat!(
                $before, " (SELECT value AS v FROM json_each($1)) AS r ",
                $first $(, $crate::store::session::sqlite_clock!(), $rest)+
            ),
        }
    };
}
pub(super) use timed_bulk;

/// A statement's parameter.
#[derive(Clone, Copy)]
pub(super) enum Arg<'a> {
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    MaybeInt(Option<i64>),
    MaybeText(Option<&'a str>),
}

macro_rules! arguments {
    ($kind:ty, $args:expr) => {{
        let mut arguments = <$kind>::default();
        for arg in $args {
            match *arg {
                Arg::Int(value) => arguments.add(value),
                Arg::Text(value) => arguments.add(value.to_owned()),
                Arg::Bytes(value) => arguments.add(value.to_owned()),
                Arg::MaybeInt(value) => arguments.add(value),
                Arg::MaybeText(value) => arguments.add(value.map(str::to_owned)),
            }
            .map_err(|error| unreadable("a statement's parameter", error))?;
        }
        arguments
    }};
}

pub(super) fn postgres_arguments(args: &[Arg<'_>]) -> Result<sqlx::postgres::PgArguments, StoreError> {
    Ok(arguments!(sqlx::postgres::PgArguments, args))
}

pub(super) fn sqlite_arguments(args: &[Arg<'_>]) -> Result<sqlx::sqlite::SqliteArguments, StoreError> {
    Ok(arguments!(sqlx::sqlite::SqliteArguments, args))
}

/// A row of either database, read by place.
pub(super) enum Record {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl Record {
    pub(super) fn int(&self, place: usize) -> Result<i64, StoreError> {
        match self {
            Self::Postgres(row) => row.try_get(place),
            Self::Sqlite(row) => row.try_get(place),
        }
        .map_err(|error| classify(&error))
    }

    pub(super) fn maybe_int(&self, place: usize) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Postgres(row) => row.try_get(place),
            Self::Sqlite(row) => row.try_get(place),
        }
        .map_err(|error| classify(&error))
    }

    pub(super) fn text(&self, place: usize) -> Result<String, StoreError> {
        match self {
            Self::Postgres(row) => row.try_get(place),
            Self::Sqlite(row) => row.try_get(place),
        }
        .map_err(|error| classify(&error))
    }

    pub(super) fn maybe_text(&self, place: usize) -> Result<Option<String>, StoreError> {
        match self {
            Self::Postgres(row) => row.try_get(place),
            Self::Sqlite(row) => row.try_get(place),
        }
        .map_err(|error| classify(&error))
    }

    /// A number that is never negative.
    pub(super) fn count(&self, place: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(place)?).map_err(|error| unreadable("a negative number", error))
    }

    pub(super) fn flag(&self, place: usize) -> Result<bool, StoreError> {
        Ok(self.int(place)? != 0)
    }
}

/// A number as the databases hold it; above 2^63 - 1, that.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A write transaction. Dropped without [`Session::commit`], nothing of it happened.
pub(super) struct Session {
    on: On,
    bell: Arc<Notify>,
    rings: bool,
}

/// Where it is.
pub(super) enum On {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

impl Session {
    pub(super) fn new(on: On, bell: &Arc<Notify>) -> Self {
        Self { on, bell: Arc::clone(bell), rings: false }
    }

    /// Has the bell rung once this is committed: there is something to deliver.
    pub(super) const fn ring(&mut self) {
        self.rings = true;
    }

    pub(super) const fn is_sqlite(&self) -> bool {
        matches!(self.on, On::Sqlite(_))
    }

    /// Runs a statement; answers how many rows it touched.
    pub(super) async fn run(&mut self, sql: Sql, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        match &mut self.on {
            On::Postgres(transaction) => sqlx::query_with(sql.postgres, postgres_arguments(args)?)
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
            On::Sqlite(transaction) => sqlx::query_with(sql.sqlite, sqlite_arguments(args)?)
                .execute(&mut **transaction)
                .await
                .map(|done| done.rows_affected()),
        }
        .map_err(|error| classify(&error))
    }

    /// Runs a statement and reads its rows.
    pub(super) async fn rows(&mut self, sql: Sql, args: &[Arg<'_>]) -> Result<Vec<Record>, StoreError> {
        match &mut self.on {
            On::Postgres(transaction) => sqlx::query_with(sql.postgres, postgres_arguments(args)?)
                .fetch_all(&mut **transaction)
                .await
                .map(|rows| rows.into_iter().map(Record::Postgres).collect()),
            On::Sqlite(transaction) => sqlx::query_with(sql.sqlite, sqlite_arguments(args)?)
                .fetch_all(&mut **transaction)
                .await
                .map(|rows| rows.into_iter().map(Record::Sqlite).collect()),
        }
        .map_err(|error| classify(&error))
    }

    /// Runs a statement and reads its first row.
    pub(super) async fn first(&mut self, sql: Sql, args: &[Arg<'_>]) -> Result<Option<Record>, StoreError> {
        Ok(self.rows(sql, args).await?.into_iter().next())
    }

    /// Makes it durable. After an error that is [`StoreError::Unavailable`] it may have happened nevertheless.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let end = match self.on {
            On::Postgres(transaction) => transaction.commit().await,
            On::Sqlite(transaction) => transaction.commit().await,
        };
        // Also where the end is not known: to look in vain costs little.
        if self.rings {
            self.bell.notify_one();
        }
        end.map_err(|error| classify(&error))
    }
}
