//! Opening an SQLite database.

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};

use super::{
    connect::ConnectError,
    engine::Engine,
    migrations,
    sql::{ACQUIRE_WITHIN, Opened},
};

const READERS: u32 = 4;
/// SQLite's code for a file that cannot be opened.
const CANTOPEN: &str = "14";
/// How long to wait for another process that writes (a backup, a second start).
const BUSY: Duration = Duration::from_secs(3);

/// Opens the file, creating it and its folder if they are missing.
pub(super) async fn open(path: &str) -> Result<Opened, ConnectError> {
    let path = Path::new(path);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(folder).await.map_err(|error| ConnectError::NotCreated {
            name: folder.display().to_string(),
            reason: error.to_string(),
        })?;
    }
    let file = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Each commit is on disk before it is acknowledged, also through a power loss.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        // Parameters may be secrets, and failures are reported where they matter.
        .disable_statement_logging();
    let mut connection =
        SqliteConnection::connect_with(&file).await.map_err(|error| not_opened(path, error))?;
    // The migrator takes no lock of its own here; inside a write transaction a second process waits.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrations::sqlite().run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(Opened {
        engine: Engine::Sqlite {
            writer: pool(1, file.clone()),
            readers: pool(READERS, file.pragma("query_only", "ON")),
            bell: Arc::default(),
        },
        listener: None,
    })
}

/// A file that cannot be opened is not one to wait for: a folder of that name, or no permission.
fn not_opened(path: &Path, error: sqlx::Error) -> ConnectError {
    match error.as_database_error() {
        Some(refused) if refused.code().as_deref() == Some(CANTOPEN) => ConnectError::NotCreated {
            name: path.display().to_string(),
            reason: refused.message().to_owned(),
        },
        _ => error.into(),
    }
}

fn pool(most: u32, file: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRE_WITHIN)
        .test_before_acquire(false)
        // The file is local: a connection neither dies nor costs anything while it is idle.
        .idle_timeout(None)
        .max_lifetime(None)
        .before_acquire(|connection, _| {
            // SQLite itself rolls back what a full disk or a failed write interrupts; the driver then takes the
            // transaction for still open, and would refuse every later one.
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
        .connect_lazy_with(file)
}
