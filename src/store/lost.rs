//! Declaring a node lost: what it was granted and did not return counts as spent.

use serde_json::json;

use super::{
    audit::{self, Entry},
    classify::unreadable,
    engine::Lane,
    locked::text,
    once,
    session::{Arg, Session, Sql, timed},
    sql::SqlStore,
};
use crate::ports::{Incarnation, Lost, LostError, Origin, StoreError};

/// The audit log's word for it.
pub(super) const KIND: &str = "node.lost";

// Grants and flushes lock a bucket before they look at its slots: while these are locked, nobody seals what is lost.
const LOCK: Sql = Sql {
    postgres: "SELECT b.id FROM buckets b WHERE b.id IN (SELECT s.bucket_id FROM slots s JOIN incarnations i \
                 ON i.incarnation = s.incarnation WHERE i.name = $1 AND s.sealed = 0 AND s.lost = 0) \
               ORDER BY b.id FOR UPDATE",
    sqlite: "SELECT b.id FROM buckets b WHERE b.id IN (SELECT s.bucket_id FROM slots s JOIN incarnations i \
               ON i.incarnation = s.incarnation WHERE i.name = $1 AND s.sealed = 0 AND s.lost = 0) ORDER BY b.id",
};
const LOSE: Sql = Sql {
    postgres: "UPDATE slots s SET lost = 1 FROM json_array_elements(CAST($1 AS json)) AS r(v) \
               WHERE s.bucket_id = CAST(v->>0 AS BIGINT) AND s.sealed = 0 AND s.lost = 0 \
               AND s.incarnation IN (SELECT incarnation FROM incarnations WHERE name = $2) \
               RETURNING s.granted - s.used + s.refunded",
    sqlite: "UPDATE slots SET lost = 1 FROM (SELECT value AS v FROM json_each($1)) AS r \
             WHERE bucket_id = v->>0 AND sealed = 0 AND lost = 0 \
             AND incarnation IN (SELECT incarnation FROM incarnations WHERE name = $2) \
             RETURNING granted - used + refunded",
};
const REMOVE: Sql = Sql::same("DELETE FROM nodes WHERE name = $1");

const LEFT_BEHIND: Sql = timed!(
    "SELECT CAST(count(*) AS BIGINT), CAST(coalesce(sum(s.granted - s.used + s.refunded), 0) AS BIGINT) \
     FROM incarnations i JOIN slots s ON s.incarnation = i.incarnation AND s.sealed = 0 \
     JOIN buckets b ON b.id = s.bucket_id AND b.end_ms > ",
    " WHERE i.name = $1 AND i.incarnation <> $2 AND s.granted > s.used - s.refunded"
);

fn encode(lost: Lost) -> String {
    format!("lost:{}:{}", lost.slots, lost.units)
}

fn decode(text: &str) -> Option<Lost> {
    let (slots, units) = text.strip_prefix("lost:")?.split_once(':')?;
    Some(Lost { slots: slots.parse().ok()?, units: units.parse().ok()? })
}

impl SqlStore {
    /// See [`crate::ports::NodeStore::left_behind`].
    pub(super) async fn behind(&self, name: &str, but: Incarnation) -> Result<Lost, StoreError> {
        let but = but.0.to_string();
        let rows = self.engine.read(Lane::Data, LEFT_BEHIND, &[Arg::Text(name), Arg::Text(&but)]).await?;
        let row = rows.first().ok_or_else(|| unreadable("what was left behind", "no row"))?;
        Ok(Lost { slots: row.count(0)?, units: row.count(1)? })
    }

    /// See [`crate::ports::NodeStore::declare_lost`].
    pub(super) async fn lose(&self, name: &str, origin: &Origin) -> Result<Lost, LostError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let conflict = LostError::IdempotencyConflict;
        let before = once::before(&mut session, origin, conflict, |claimed| decode(&claimed.effect));
        if let Some(lost) = before.await? {
            return Ok(lost);
        }
        let lost = lose_slots(&mut session, name).await?;
        let registered = session.run(REMOVE, &[Arg::Text(name)]).await? > 0;
        if !registered && lost.slots == 0 {
            return Err(LostError::Unknown(name.to_owned()));
        }
        record(&mut session, name, lost, origin).await?;
        session.commit().await?;
        Ok(lost)
    }
}

async fn lose_slots(session: &mut Session, name: &str) -> Result<Lost, StoreError> {
    let mut ids = Vec::new();
    for row in session.rows(LOCK, &[Arg::Text(name)]).await? {
        ids.push(json!([row.int(0)?]));
    }
    let mut lost = Lost { slots: 0, units: 0 };
    if ids.is_empty() {
        return Ok(lost);
    }
    for row in session.rows(LOSE, &[Arg::Text(&text(ids)), Arg::Text(name)]).await? {
        lost.slots += 1;
        lost.units = lost.units.saturating_add(u64::try_from(row.int(0)?).unwrap_or(0));
    }
    Ok(lost)
}

async fn record(session: &mut Session, name: &str, lost: Lost, origin: &Origin) -> Result<(), StoreError> {
    let version = audit::newest(session).await?;
    let entry = Entry {
        version,
        at: origin.at,
        actor: &origin.actor,
        source: &origin.source,
        tenant: None,
        kind: KIND,
        detail: &detail(name, lost),
    };
    once::keep(session, origin, version, &encode(lost)).await?;
    audit::append(session, &entry).await
}

/// What the audit log says of it.
pub(super) fn detail(name: &str, lost: Lost) -> serde_json::Value {
    json!({ "node": name, "slots": lost.slots, "units": lost.units })
}
