//! The registry of nodes and the feed of changes, over a database.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    engine::{Engine, Lane},
    feed, rows,
    session::{Arg, Record, Sql, signed, timed},
    sql::SqlStore,
};
use crate::{
    domain::{
        catalog::Digest,
        time::{Epoch, UnixMillis},
    },
    ports::{
        ChangeRow, Heartbeat, Incarnation, Lost, LostError, NodeRow, NodeStore, Origin, PollAnswer,
        RegisterError, Registered, Registration, StoreError,
    },
};

/// A node is alive while its last heartbeat is younger than this.
pub(super) const LIVE_MILLIS: i64 = 5_000;
/// With SQLite each heartbeat costs a write to the disk, and there is nobody else to hear of it: one that says nothing
/// new is not repeated sooner.
const QUIET_MILLIS: i64 = 900;
/// A node unseen for so long is forgotten at the next registration.
const FORGOTTEN_MILLIS: i64 = 7 * 86_400_000;

const FORGET: Sql = timed!("DELETE FROM nodes WHERE beat_ms < ", " - $1");
const REGISTER: Sql = timed!(
    "INSERT INTO nodes (incarnation, name, applied, digest, beat_ms) SELECT $1, $2, h.version, $3, ",
    " FROM head h WHERE true ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, \
     applied = excluded.applied, digest = excluded.digest, beat_ms = excluded.beat_ms \
     WHERE nodes.incarnation = excluded.incarnation OR nodes.beat_ms <= excluded.beat_ms - $4 \
     OR nodes.incarnation = $5 RETURNING applied"
);
const NODES: Sql =
    timed!("SELECT name, incarnation, applied, digest, ", " - beat_ms FROM nodes ORDER BY name");
const DEREGISTER: Sql = Sql::same("DELETE FROM nodes WHERE incarnation = $1");

// Place 0 to 3: head, clock, other live nodes, whether this one is registered; then the change, if any.
const POLL: Sql = Sql {
    postgres: "WITH beat AS (UPDATE nodes SET beat_ms = CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT), \
         applied = greatest(applied, $2), digest = $5 WHERE incarnation = $1 RETURNING beat_ms) \
         SELECT h.version, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT), \
         (SELECT count(*) FROM nodes n WHERE n.incarnation <> $1 \
          AND n.beat_ms > CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - $3), \
         (SELECT count(*) FROM beat), c.version, c.tenant, c.kind, c.at_ms FROM head h LEFT JOIN \
         (SELECT version, tenant, kind, at_ms FROM changes WHERE version > $2 \
          ORDER BY version, tenant, kind LIMIT $4) c ON true ORDER BY c.version, c.tenant, c.kind",
    sqlite: "SELECT h.version, CAST(round(unixepoch('subsec') * 1000) AS INTEGER), \
             (SELECT count(*) FROM nodes n WHERE n.incarnation <> $1 \
              AND n.beat_ms > CAST(round(unixepoch('subsec') * 1000) AS INTEGER) - $3), \
             (SELECT count(*) FROM nodes n WHERE n.incarnation = $1), \
             c.version, c.tenant, c.kind, c.at_ms FROM head h LEFT JOIN \
             (SELECT version, tenant, kind, at_ms FROM changes WHERE version > $2 \
              ORDER BY version, tenant, kind LIMIT $4) c ON true ORDER BY c.version, c.tenant, c.kind",
};
// SQLite's alone: whether what a heartbeat would say was said less than $4 ms ago.
const SAID: Sql = timed!(
    "SELECT 1 FROM nodes WHERE incarnation = $1 AND applied >= $2 AND digest = $3 AND beat_ms > ",
    " - $4"
);
const BEAT: Sql = timed!(
    "UPDATE nodes SET applied = CASE WHEN applied < $2 THEN $2 ELSE applied END, digest = $3, beat_ms = ",
    " WHERE incarnation = $1"
);

fn node(row: &Record) -> Result<NodeRow, StoreError> {
    Ok(NodeRow {
        name: row.text(0)?,
        incarnation: rows::incarnation(row, 1)?,
        applied: rows::version(row, 2)?,
        digest: Digest(row.text(3)?.into()),
        beat_age: Duration::from_millis(u64::try_from(row.int(4)?).unwrap_or(0)),
    })
}

impl SqlStore {
    async fn list_nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.engine.read(Lane::Steady, NODES, &[]).await?.iter().map(node).collect()
    }

    async fn poll_rows(&self, beat: &Heartbeat) -> Result<Vec<Record>, StoreError> {
        let incarnation = beat.incarnation.0.to_string();
        let (own, digest) = (Arg::Text(&incarnation), Arg::Text(&beat.digest.0));
        let applied = Arg::Int(signed(beat.applied.0));
        let most = Arg::Int(i64::try_from(feed::PAGE + 1).unwrap_or(i64::MAX));
        let live = Arg::Int(LIVE_MILLIS);
        match &self.engine {
            // One statement: one snapshot, and a transaction of its own.
            Engine::Postgres { .. } => {
                self.engine.write(Lane::Steady, POLL, &[own, applied, live, most, digest]).await
            }
            Engine::Sqlite { .. } => {
                let quiet = Arg::Int(QUIET_MILLIS);
                if !self.engine.read(Lane::Steady, SAID, &[own, applied, digest, quiet]).await?.is_empty() {
                    return self.engine.read(Lane::Steady, POLL, &[own, applied, live, most]).await;
                }
                let mut session = self.engine.begin(Lane::Steady).await?;
                session.run(BEAT, &[own, applied, digest]).await?;
                let rows = session.rows(POLL, &[own, applied, live, most]).await?;
                session.commit().await?;
                Ok(rows)
            }
        }
    }

    async fn poll_once(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError> {
        let rows = self.poll_rows(beat).await?;
        let first = rows.first().ok_or_else(|| StoreError::Corrupt("the version row is missing".into()))?;
        let head = rows::version(first, 0)?;
        let live = u32::try_from(first.count(2)?).unwrap_or(u32::MAX).saturating_add(1);
        let changes: Vec<ChangeRow> = if first.maybe_int(4)?.is_some() {
            rows.iter().map(|row| rows::change(row, 4)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let page = feed::page(beat.applied, head, changes);
        Ok(PollAnswer {
            changes: page.changes,
            upto: page.upto,
            gap: page.gap,
            live_nodes: live,
            database_now: UnixMillis(first.int(1)?),
            superseded: first.int(3)? == 0,
            forgotten: false,
            epoch: Epoch(0),
            awaited: Vec::new(),
            wanted: Vec::new(),
        })
    }
}

#[async_trait]
impl NodeStore for SqlStore {
    async fn register(&self, node: &Registration) -> Result<Registered, RegisterError> {
        let incarnation = node.incarnation.0.to_string();
        let replaces = node.file.to_string();
        self.call(async {
            self.engine.write(Lane::Steady, FORGET, &[Arg::Int(FORGOTTEN_MILLIS)]).await?;
            // Between the refusal and the look at who is there the other may have gone: then once more.
            for _ in 0..3 {
                let args = [
                    Arg::Text(&incarnation),
                    Arg::Text(&node.name),
                    Arg::Text(&node.digest.0),
                    Arg::Int(LIVE_MILLIS),
                    Arg::Text(&replaces),
                ];
                if let Some(row) = self.engine.write(Lane::Steady, REGISTER, &args).await?.first() {
                    return Ok(Registered { version: rows::version(row, 0)?, epoch: Epoch(0) });
                }
                if let Some(other) =
                    self.list_nodes().await?.into_iter().find(|other| other.name == node.name)
                {
                    return Err(RegisterError::NameTaken { name: other.name, age: other.beat_age });
                }
            }
            Err(StoreError::Unavailable(format!("nodes named `{}` come and go all the time", node.name))
                .into())
        })
        .await
    }

    async fn poll(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError> {
        self.call(self.poll_once(beat)).await
    }

    async fn deregister(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        let incarnation = incarnation.0.to_string();
        self.call(async {
            self.engine.write(Lane::Steady, DEREGISTER, &[Arg::Text(&incarnation)]).await.map(drop)
        })
        .await
    }

    async fn declare_lost(&self, name: &str, _: &Origin) -> Result<Lost, LostError> {
        Err(LostError::Unknown(name.to_owned()))
    }

    async fn open_file(&self, _: Uuid, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.call(self.list_nodes()).await
    }

    async fn changed(&self) {
        self.woken.notified().await;
    }
}
