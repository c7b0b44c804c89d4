//! The audit log: one place where its lines are written, each with the hash of the one before it.
//!
//! One row holds the chain's head. It is locked after everything else, also after the version's row: whoever holds it
//! waits for nothing and commits, so that places have no gaps and become visible in the chain's order. What is to be
//! locked besides must be locked before a line is written.

use async_trait::async_trait;
use serde_json::Value;

use super::{
    classify::unreadable,
    engine::Lane,
    rows,
    session::{Arg, Record, Session, Sql, signed},
    sql::SqlStore,
};
use crate::{
    domain::time::{UnixMillis, Version},
    ports::{AuditFilter, AuditHead, AuditLine, AuditLink, AuditStore, StoreError},
    wire::audit::Hashed,
};

const LOCK_HEAD: Sql = Sql {
    postgres: "SELECT place, hash FROM audit_chain FOR UPDATE",
    sqlite: "SELECT place, hash FROM audit_chain",
};
// With PostgreSQL, a server away, the head moves in the same statement.
const INSERT: Sql = Sql {
    postgres: "WITH head AS (UPDATE audit_chain SET place = $1, at_ms = $3, hash = $12) \
               INSERT INTO audit (place, version, at_ms, actor, source, tenant, kind, detail, earlier, later, \
               previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    sqlite: "INSERT INTO audit (place, version, at_ms, actor, source, tenant, kind, detail, earlier, later, \
             previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
};
const MOVE_HEAD: Sql = Sql::same("UPDATE audit_chain SET place = $1, at_ms = $2, hash = $3");
const HEAD: Sql = Sql::same("SELECT place, hash, at_ms, start, anchor_place, anchor_hash FROM audit_chain");
macro_rules! lines {
    ($hash:literal) => {
        concat!(
            "SELECT CAST(place AS BIGINT), CAST(version AS BIGINT), CAST(at_ms AS BIGINT), CAST(actor AS TEXT), \
             CAST(source AS TEXT), CAST(tenant AS TEXT), CAST(kind AS TEXT), CAST(detail AS TEXT), \
             CAST(earlier AS TEXT), CAST(later AS TEXT), CAST(previous AS TEXT), ",
            $hash,
            " FROM audit \
             WHERE place > coalesce((SELECT max(s.place) - 1 FROM audit s WHERE s.place <= 0 AND $1 = 0), $1) \
             AND (CAST($3 AS TEXT) IS NULL OR tenant = $3) \
             AND (CAST($4 AS TEXT) IS NULL OR actor = $4) AND (CAST($5 AS TEXT) IS NULL OR kind = $5) \
             AND (CAST($6 AS BIGINT) IS NULL OR at_ms >= $6) ORDER BY place LIMIT $2"
        )
    };
}
// Places begin at 1: what stands before that was written by somebody else, and the first page shows a line of it. SQLite's
// file holds whatever was written into it. It is cast, so that what is no number any more is read all the same; and as a
// cast makes the same of `7` and `7x`, a line whose values are not of the types that are written here shows without a hash.
const LINES: Sql = Sql {
    postgres: lines!("hash"),
    sqlite: lines!(
        "CASE WHEN typeof(version) || typeof(at_ms) = 'integerinteger' \
         AND typeof(actor) || typeof(source) || typeof(kind) || typeof(detail) = 'texttexttexttext' \
         AND typeof(tenant) <> 'blob' AND typeof(earlier) <> 'blob' AND typeof(later) <> 'blob' \
         AND typeof(previous) || typeof(hash) = 'texttext' THEN CAST(hash AS TEXT) END"
    ),
};
// The oldest lines, up to the first that is too young: what is left is one piece.
const OLDEST: Sql = Sql::same(
    "SELECT CAST(coalesce(max(o.place), 0) AS BIGINT) \
     FROM (SELECT place FROM audit ORDER BY place LIMIT $2) AS o WHERE o.place < coalesce(\
     (SELECT min(y.place) FROM (SELECT place, at_ms FROM audit ORDER BY place LIMIT $2) AS y WHERE y.at_ms >= $1), \
     9223372036854775807)",
);
const MOVE_ANCHOR: Sql = Sql::same(
    "UPDATE audit_chain SET anchor_place = $1, \
     anchor_hash = (SELECT a.hash FROM audit a WHERE a.place = $1) \
     WHERE anchor_place < $1 AND EXISTS (SELECT 1 FROM audit a WHERE a.place = $1 AND a.hash IS NOT NULL)",
);
const DELETE_OLDEST: Sql = Sql::same("DELETE FROM audit WHERE place <= $1");

const NEWEST: Sql = Sql::same("SELECT version FROM head");

/// A line to be written.
pub(super) struct Entry<'a> {
    /// The version of the change; of what is no change of rights: the newest.
    pub(super) version: Version,
    pub(super) at: UnixMillis,
    pub(super) actor: &'a str,
    pub(super) source: &'a str,
    /// `None`: it concerns the installation.
    pub(super) tenant: Option<&'a str>,
    pub(super) kind: &'a str,
    pub(super) detail: &'a Value,
}

/// The newest version: that of a line about what is no change of rights.
pub(super) async fn newest(session: &mut Session) -> Result<Version, StoreError> {
    let head = session.first(NEWEST, &[]).await?;
    rows::version(&head.ok_or_else(|| unreadable("head", "its row is missing"))?, 0)
}

/// Writes a line, in the transaction of what it tells of, after all that is locked in it.
pub(super) async fn append(session: &mut Session, entry: &Entry<'_>) -> Result<(), StoreError> {
    append_altered(session, entry, &Value::Null, &Value::Null).await
}

/// Writes a line that also says what was altered, as it was before and is afterwards.
pub(super) async fn append_altered(
    session: &mut Session,
    entry: &Entry<'_>,
    before: &Value,
    after: &Value,
) -> Result<(), StoreError> {
    let Entry { version, at, actor, source, tenant, kind, detail } = entry;
    let head = session.first(LOCK_HEAD, &[]).await?;
    let head = head.ok_or_else(|| unreadable("audit_chain", "its row is missing"))?;
    let (cursor, previous) = (head.count(0)? + 1, head.text(1)?);
    let hashed = Hashed {
        cursor,
        version: version.0,
        at: *at,
        actor,
        source,
        tenant: *tenant,
        kind,
        detail,
        before,
        after,
        previous: &previous,
    };
    let hash = hashed.hash();
    let (place, at) = (Arg::Int(signed(cursor)), Arg::Int(at.0));
    let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
    let (detail, before, after) = (detail.to_string(), text(before), text(after));
    let line = [
        place,
        Arg::Int(signed(version.0)),
        at,
        Arg::Text(actor),
        Arg::Text(source),
        Arg::MaybeText(*tenant),
        Arg::Text(kind),
        Arg::Text(&detail),
        Arg::MaybeText(before.as_deref()),
        Arg::MaybeText(after.as_deref()),
        Arg::Text(&previous),
        Arg::Text(&hash),
    ];
    session.run(INSERT, &line).await?;
    if session.is_sqlite() {
        session.run(MOVE_HEAD, &[place, at, Arg::Text(&hash)]).await?;
    }
    Ok(())
}

/// A document as it was written. What is not in the form that is written here shows as a text: its hash tells.
fn document(text: Option<String>) -> Value {
    let Some(text) = text else { return Value::Null };
    match serde_json::from_str::<Value>(&text) {
        // What is null is not written at all.
        Ok(value) if !value.is_null() && text == value.to_string().as_str() => value,
        _ => Value::String(text),
    }
}

fn line(row: &Record) -> Result<AuditLine, StoreError> {
    let text = |place: usize| row.maybe_text(place).map(Option::unwrap_or_default);
    Ok(AuditLine {
        cursor: u64::try_from(row.int(0)?).unwrap_or(0),
        version: row.int(1)?.cast_unsigned(),
        at: rows::instant(row, 2)?,
        actor: text(3)?,
        source: text(4)?,
        tenant: row.maybe_text(5)?,
        kind: text(6)?,
        detail: document(row.maybe_text(7)?),
        before: document(row.maybe_text(8)?),
        after: document(row.maybe_text(9)?),
        previous: row.maybe_text(10)?,
        hash: row.maybe_text(11)?,
    })
}

#[async_trait]
impl AuditStore for SqlStore {
    async fn audit_lines(
        &self,
        after: u64,
        limit: u32,
        only: &AuditFilter,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let args = [
            Arg::Int(signed(after)),
            Arg::Int(i64::from(limit)),
            Arg::MaybeText(only.tenant.as_deref()),
            Arg::MaybeText(only.actor.as_deref()),
            Arg::MaybeText(only.kind.as_deref()),
            Arg::MaybeInt(only.since.map(|since| since.0)),
        ];
        self.list(LINES, &args, line).await
    }

    async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let found = self
            .list(HEAD, &[], |row| {
                Ok(AuditHead {
                    head: AuditLink { cursor: row.count(0)?, hash: row.text(1)? },
                    at: row.maybe_int(2)?.map(UnixMillis),
                    start: row.count(3)?,
                    anchor: AuditLink { cursor: row.count(4)?, hash: row.text(5)? },
                })
            })
            .await?;
        found.into_iter().next().ok_or_else(|| unreadable("audit_chain", "its row is missing"))
    }
}

impl SqlStore {
    /// Deletes the oldest lines that were written before an instant, and keeps what the rest follows. Answers how many.
    pub(super) async fn tidy_audit(&self, before: UnixMillis, most: i64) -> Result<u64, StoreError> {
        let args = [Arg::Int(before.0), Arg::Int(most)];
        let oldest = |row: Option<&Record>| row.map_or(Ok(0), |row| row.int(0));
        // Looked at first without the lock, which writers wait for.
        if oldest(self.engine.read(Lane::Data, OLDEST, &args).await?.first())? == 0 {
            return Ok(0);
        }
        let mut session = self.engine.begin(Lane::Data).await?;
        session.first(LOCK_HEAD, &[]).await?;
        let last = Arg::Int(oldest(session.first(OLDEST, &args).await?.as_ref())?);
        session.run(MOVE_ANCHOR, &[last]).await?;
        let deleted = session.run(DELETE_OLDEST, &[last]).await?;
        session.commit().await?;
        Ok(deleted)
    }
}
