//! Opening a PostgreSQL database.

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    connect::ConnectError,
    engine::Engine,
    migrations,
    sql::{ACQUIRE_WITHIN, Opened},
};

/// Sessions of one node, besides one that listens.
const DATA_SESSIONS: u32 = 8;
const STEADY_SESSIONS: u32 = 4;
/// A connection idle for longer may have died unnoticed, and is tried before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
const OLDEST: i32 = 140_000;

const NO_SUCH_DATABASE: &str = "3D000";
/// Somebody else has just made it (the second as seen through the catalog's unique index).
const MADE_MEANWHILE: [&str; 2] = ["42P04", "23505"];
/// Somebody else is copying the template at this moment.
const TEMPLATE_BUSY: &str = "55006";

/// Opens the database, creating it if it is missing.
pub(super) async fn open(server: PgConnectOptions) -> Result<Opened, ConnectError> {
    let server = server
        .application_name("plangate")
        // Parameters may be secrets, and failures are reported where they matter.
        .disable_statement_logging();
    let mut connection = match server.connect().await {
        Err(error) if code(&error).as_deref() == Some(NO_SUCH_DATABASE) => {
            create(&server).await?;
            server.connect().await?
        }
        other => other?,
    };
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(&mut connection)
        .await?;
    if version < OLDEST {
        return Err(ConnectError::Schema(format!(
            "the server is PostgreSQL {}: expected 14 or newer",
            version / 10_000
        )));
    }
    // sqlx holds an advisory lock meanwhile: of several nodes that start together, one migrates and the others wait.
    migrations::postgres().run_direct(None, &mut connection, false).await?;
    connection.close().await?;

    // A lock is never held by a node that has stopped moving; what is acknowledged is on disk.
    let session = server.options([
        ("statement_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "2s"),
        ("synchronous_commit", "on"),
    ]);
    Ok(Opened {
        engine: Engine::Postgres {
            data: pool(&session, DATA_SESSIONS),
            steady: pool(&session, STEADY_SESSIONS),
            bell: Arc::default(),
        },
        listener: Some(pool(&session, 1)),
    })
}

fn pool(session: &PgConnectOptions, most: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRE_WITHIN)
        .idle_timeout(Duration::from_secs(300))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(session.clone())
}

/// Creates the database that `server` names.
async fn create(server: &PgConnectOptions) -> Result<(), ConnectError> {
    let name = server.get_database().unwrap_or_else(|| server.get_username()).to_owned();
    let not_created = |error: &sqlx::Error| ConnectError::NotCreated {
        name: name.clone(),
        reason: format!(
            "{error}; create it by hand, or let the user connect to `postgres` and create databases"
        ),
    };
    let mut connection =
        server.clone().database("postgres").connect().await.map_err(|error| not_created(&error))?;
    // A name cannot be a parameter. Quoted as an identifier it can only ever be a name.
    let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
    let mut tries = 0;
    let made = loop {
        match sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await {
            Err(error) if code(&error).as_deref() == Some(TEMPLATE_BUSY) && tries < 20 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Err(error) if code(&error).is_some_and(|code| MADE_MEANWHILE.contains(&&*code)) => break Ok(()),
            other => break other.map(drop),
        }
    };
    close_quietly(connection).await;
    made.map_err(|error| not_created(&error))
}

async fn close_quietly(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "a connection did not close cleanly");
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}
