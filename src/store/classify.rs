//! What a failure of the database means to whoever asked: try later, make room, or look closely.

use std::time::Duration;

use sqlx::{error::DatabaseError, postgres::PgDatabaseError};

use crate::ports::StoreError;

/// The error as the ports know it.
pub(super) fn classify(error: &sqlx::Error) -> StoreError {
    use sqlx::Error as E;
    match error {
        E::Database(database) => from_database(&**database),
        E::PoolTimedOut => StoreError::Unavailable("no free connection in time".into()),
        E::PoolClosed => StoreError::Unavailable("the store is closed".into()),
        E::Io(_) | E::Tls(_) | E::WorkerCrashed | E::BeginFailed | E::Protocol(_) => {
            StoreError::Unavailable(error.to_string())
        }
        _ => StoreError::Corrupt(error.to_string()),
    }
}

/// The statement did not end within `limit`.
pub(super) fn timed_out(limit: Duration) -> StoreError {
    StoreError::Unavailable(format!("no answer within {limit:?}"))
}

fn from_database(error: &dyn DatabaseError) -> StoreError {
    let code = error.code().unwrap_or_default();
    let text = format!("{} (code {code})", error.message());
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        postgres(&code, text)
    } else {
        sqlite(&code, text)
    }
}

/// By SQLSTATE (PostgreSQL's appendix A).
fn postgres(code: &str, text: String) -> StoreError {
    match code {
        // disk_full; program limits are about a statement, not about space.
        "53100" => StoreError::Full(text),
        // A cancelled statement, a lock not had in time, a standby that only reads or is still recovering, a database not
        // there yet.
        "57014" | "55P03" | "25006" | "55000" | "3D000" | "58030" => StoreError::Unavailable(text),
        // Connections, resources, operator's intervention, serialization and deadlock, authorization, idle time-outs.
        _ if ["08", "53", "57", "40", "28"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unavailable(text)
        }
        "25P03" => StoreError::Unavailable(text),
        _ => StoreError::Corrupt(text),
    }
}

/// By SQLite's extended result code, whose low byte is the primary one.
fn sqlite(code: &str, text: String) -> StoreError {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const READ_ONLY: u32 = 8;
    const INTERRUPTED: u32 = 9;
    const IO: u32 = 10;
    const FULL: u32 = 13;
    const CANNOT_OPEN: u32 = 14;
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(FULL) => StoreError::Full(text),
        Ok(BUSY | LOCKED | READ_ONLY | INTERRUPTED | IO | CANNOT_OPEN) => StoreError::Unavailable(text),
        _ => StoreError::Corrupt(text),
    }
}

/// Something in a row is not what this version writes.
pub(super) fn unreadable(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let full = |e| matches!(e, StoreError::Full(_));
        let away = |e| matches!(e, StoreError::Unavailable(_));
        let corrupt = |e| matches!(e, StoreError::Corrupt(_));
        assert!(full(postgres("53100", String::new())));
        for code in ["57P01", "57P03", "53300", "40001", "40P01", "08006", "55P03", "57014", "25006", "55000"]
        {
            assert!(away(postgres(code, String::new())), "{code}");
        }
        for code in ["23505", "42601", "XX001"] {
            assert!(corrupt(postgres(code, String::new())), "{code}");
        }
        assert!(full(sqlite("13", String::new())));
        for code in ["5", "517", "6", "10", "778", "8"] {
            assert!(away(sqlite(code, String::new())), "{code}");
        }
        for code in ["11", "26", "1", "2067", ""] {
            assert!(corrupt(sqlite(code, String::new())), "{code}");
        }
    }
}
