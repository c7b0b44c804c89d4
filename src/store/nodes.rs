//! The registry of nodes and the feed of changes, over a database.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    engine::Lane,
    rows,
    session::{Arg, Record, Sql, signed, timed},
    sql::SqlStore,
};
use crate::{
    domain::{
        catalog::Digest,
        time::{Epoch, UnixMillis},
    },
    ports::{
        Heartbeat, Incarnation, Lost, LostError, NodeRow, NodeStore, Origin, PollAnswer, RegisterError,
        Registered, Registration, StoreError,
    },
};

/// A node is alive while its last heartbeat is younger than this.
pub(super) const LIVE_MILLIS: i64 = 5_000;
/// A node unseen for so long is forgotten at the next registration.
const FORGOTTEN_MILLIS: i64 = 7 * 86_400_000;

// Not one that is awaited after a failover: it may still return what others must not be granted.
const FORGET: Sql = timed!(
    "DELETE FROM nodes WHERE owed = 0 AND reasserted >= (SELECT epoch FROM head) AND beat_ms < ",
    " - $1"
);
// Runs whose slots are all returned or lost.
const FORGET_RUNS: Sql = timed!(
    "DELETE FROM incarnations WHERE NOT EXISTS (SELECT 1 FROM nodes n WHERE n.incarnation = incarnations.incarnation) \
     AND NOT EXISTS (SELECT 1 FROM slots s WHERE s.incarnation = incarnations.incarnation \
       AND s.sealed = 0 AND s.lost = 0) AND started_ms < ",
    " - $1"
);
// What the run before has not recorded since a failover, the one with its file does: it is awaited as that one was. With
// another file it cannot; then what the other left behind is owed until the node is declared lost.
const REGISTER: Sql = timed!(
    "INSERT INTO nodes (incarnation, name, applied, digest, file, reasserted, beat_ms) \
     SELECT $1, $2, h.version, $3, $5, h.epoch, ",
    " FROM head h WHERE true ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, \
     applied = excluded.applied, digest = excluded.digest, beat_ms = excluded.beat_ms, file = excluded.file, \
     reasserted = CASE WHEN nodes.reasserted < excluded.reasserted \
       AND (nodes.file = excluded.file OR nodes.incarnation = excluded.incarnation) \
       THEN nodes.reasserted ELSE excluded.reasserted END, \
     owed = CASE WHEN nodes.reasserted < excluded.reasserted \
       AND nodes.file <> excluded.file AND nodes.incarnation <> excluded.incarnation THEN 1 ELSE nodes.owed END \
     WHERE nodes.incarnation = excluded.incarnation OR nodes.file = excluded.file \
     OR nodes.beat_ms <= excluded.beat_ms - $4 \
     RETURNING applied, (SELECT epoch FROM head)"
);
const REMEMBER: Sql = timed!(
    "INSERT INTO incarnations (incarnation, name, started_ms) VALUES ($1, $2, ",
    ") ON CONFLICT (incarnation) DO UPDATE SET name = excluded.name"
);
const FILE: Sql = Sql {
    postgres: "SELECT opens FROM ledger_files WHERE file = $1 FOR UPDATE",
    sqlite: "SELECT opens FROM ledger_files WHERE file = $1",
};
const OPENED: Sql = timed!(
    "INSERT INTO ledger_files (file, opens, opened_ms) VALUES ($1, $2, ",
    ") ON CONFLICT (file) DO UPDATE SET opened_ms = excluded.opened_ms, \
     opens = CASE WHEN ledger_files.opens < excluded.opens THEN excluded.opens ELSE ledger_files.opens END"
);
const NODES: Sql =
    timed!("SELECT name, incarnation, applied, digest, ", " - beat_ms, beat_ms FROM nodes ORDER BY name");
const DEREGISTER: Sql = Sql::same("DELETE FROM nodes WHERE incarnation = $1");

fn node(row: &Record) -> Result<NodeRow, StoreError> {
    Ok(NodeRow {
        name: row.text(0)?,
        incarnation: rows::incarnation(row, 1)?,
        applied: rows::version(row, 2)?,
        digest: Digest(row.text(3)?.into()),
        beat_age: Duration::from_millis(u64::try_from(row.int(4)?).unwrap_or(0)),
        beat: UnixMillis(row.int(5)?),
    })
}

impl SqlStore {
    async fn list_nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.engine.read(Lane::Steady, NODES, &[]).await?.iter().map(node).collect()
    }

    /// Whether this run has the name now.
    async fn take_name(&self, node: &Registration) -> Result<Option<Registered>, StoreError> {
        let (incarnation, file) = (node.incarnation.0.to_string(), node.file.to_string());
        let mut session = self.engine.begin(Lane::Steady).await?;
        let args = [
            Arg::Text(&incarnation),
            Arg::Text(&node.name),
            Arg::Text(&node.digest.0),
            Arg::Int(LIVE_MILLIS),
            Arg::Text(&file),
        ];
        let Some(row) = session.first(REGISTER, &args).await? else { return Ok(None) };
        session.run(REMEMBER, &[Arg::Text(&incarnation), Arg::Text(&node.name)]).await?;
        session.commit().await?;
        Ok(Some(Registered { version: rows::version(&row, 0)?, epoch: Epoch(row.count(1)?) }))
    }
}

#[async_trait]
impl NodeStore for SqlStore {
    async fn register(&self, node: &Registration) -> Result<Registered, RegisterError> {
        self.call(async {
            for forget in [FORGET, FORGET_RUNS] {
                self.engine.write(Lane::Steady, forget, &[Arg::Int(FORGOTTEN_MILLIS)]).await?;
            }
            // Between the refusal and the look at who is there the other may have gone: then once more.
            for _ in 0..3 {
                if let Some(registered) = self.take_name(node).await? {
                    return Ok(registered);
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

    async fn declare_lost(&self, name: &str, origin: &Origin) -> Result<Lost, LostError> {
        self.call(self.lose(name, origin)).await
    }

    async fn left_behind(&self, name: &str, but: Incarnation) -> Result<Lost, StoreError> {
        self.call(self.behind(name, but)).await
    }

    async fn open_file(&self, file: Uuid, opens: u64) -> Result<u64, StoreError> {
        let file = file.to_string();
        self.call(async {
            let mut session = self.engine.begin(Lane::Steady).await?;
            let before = session.first(FILE, &[Arg::Text(&file)]).await?;
            let before = before.map_or(Ok(0), |row| row.count(0))?;
            session.run(OPENED, &[Arg::Text(&file), Arg::Int(signed(opens))]).await?;
            session.commit().await?;
            Ok(before)
        })
        .await
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.call(self.list_nodes()).await
    }

    async fn changed(&self) {
        self.woken.notified().await;
    }
}
