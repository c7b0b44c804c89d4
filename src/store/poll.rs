//! The poll: a heartbeat, and everything that a node must hear of, in one statement.

use serde_json::Value;

use super::{
    classify::unreadable,
    engine::{Engine, Lane},
    epoch::same_database,
    feed,
    nodes::LIVE_MILLIS,
    rows,
    session::{Arg, Record, Sql, postgres_clock, signed, sqlite_clock, timed},
    sql::SqlStore,
};
use crate::{
    domain::{
        id::TenantId,
        time::{Epoch, UnixMillis, Version},
    },
    ports::{ChangeRow, Heartbeat, PollAnswer, Remainder, StoreError, Wanted},
};

/// With SQLite each heartbeat costs a write to the disk, and there is nobody else to hear of it: one that says nothing
/// new is not repeated sooner.
const QUIET_MILLIS: i64 = 900;
/// Wanted buckets in one answer.
pub(super) const MOST_WANTED: usize = 2_000;

// Whoever polls is alive and says $6 by this very statement, which reads the table as it was before.
macro_rules! awaited {
    ($list:literal) => {
        concat!(
            "(SELECT ",
            $list,
            " FROM nodes n WHERE (SELECT epoch FROM head) > 0 AND (n.owed = 1 \
               OR (n.reasserted < (SELECT epoch FROM head) \
                   AND NOT (n.incarnation = $1 AND $6 >= (SELECT epoch FROM head)))))"
        )
    };
}
macro_rules! wanted {
    ($list:literal, $live_clock:expr, $index_clock:expr) => {
        concat!(
            "(SELECT ",
            $list,
            " FROM (SELECT b.tenant, b.meter, b.span, b.start_ms, b.epoch, b.limit_units - b.allocated AS remains, \
               (SELECT coalesce(sum(s.granted - s.used + s.refunded), 0) FROM slots s JOIN nodes n \
                  ON n.incarnation = s.incarnation AND (n.incarnation = $1 OR n.beat_ms > ",
            $live_clock,
            " - $3) WHERE s.bucket_id = b.id AND s.sealed = 0 AND s.lost = 0 \
                  AND s.granted > s.used - s.refunded) AS held \
               FROM buckets b WHERE b.wanted_until_ms > ",
            $index_clock,
            " ORDER BY b.wanted_until_ms DESC LIMIT 2000) w)"
        )
    };
}
macro_rules! charged {
    ($list:literal, $index_clock:expr) => {
        concat!(
            "(SELECT ",
            $list,
            " FROM (SELECT DISTINCT l.tenant FROM (SELECT tenant FROM usage_events WHERE at_ms > ",
            $index_clock,
            " - 2000 ORDER BY at_ms DESC LIMIT 2000) l) u)"
        )
    };
}
macro_rules! successor {
    () => {
        "(SELECT count(*) FROM incarnations i JOIN nodes n ON n.name = i.name AND n.incarnation <> i.incarnation \
          WHERE i.incarnation = $1)"
    };
}
macro_rules! changes {
    () => {
        ", c.version, c.tenant, c.kind, c.at_ms FROM head h LEFT JOIN \
         (SELECT version, tenant, kind, at_ms FROM changes WHERE version > $2 \
          ORDER BY version, tenant, kind LIMIT $4) c ON true ORDER BY c.version, c.tenant, c.kind"
    };
}

// Head, clock, other live nodes, whether this one is registered, whether another has its name, epoch, whether it is the
// same database, who is awaited, what is wanted, who was charged by events; then the change, if any. The wanted and the
// charged ones are found by their indices, which takes a clock that stands still.
const POLL: Sql = Sql {
    postgres: concat!(
        "WITH beat AS (UPDATE nodes SET beat_ms = ",
        postgres_clock!(),
        ", applied = greatest(applied, $2), digest = $5, reasserted = greatest(reasserted, $6) \
         WHERE incarnation = $1 RETURNING beat_ms) SELECT h.version, ",
        postgres_clock!(),
        ", (SELECT count(*) FROM nodes n WHERE n.incarnation <> $1 AND n.beat_ms > ",
        postgres_clock!(),
        " - $3), (SELECT count(*) FROM beat), ",
        successor!(),
        ", h.epoch, ",
        same_database!(),
        ", ",
        awaited!("CAST(json_agg(n.name ORDER BY n.name) AS TEXT)"),
        ", ",
        wanted!(
            "CAST(json_agg(json_build_array(w.tenant, w.meter, w.span, w.start_ms, w.epoch, w.remains, w.held)) AS TEXT)",
            postgres_clock!(),
            "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)"
        ),
        ", ",
        charged!(
            "CAST(json_agg(u.tenant) AS TEXT)",
            "CAST(extract(epoch FROM statement_timestamp()) * 1000 AS BIGINT)"
        ),
        changes!()
    ),
    sqlite: concat!(
        "SELECT h.version, ",
        sqlite_clock!(),
        ", (SELECT count(*) FROM nodes n WHERE n.incarnation <> $1 AND n.beat_ms > ",
        sqlite_clock!(),
        " - $3), (SELECT count(*) FROM nodes n WHERE n.incarnation = $1), ",
        successor!(),
        ", h.epoch, 1, ",
        awaited!("json_group_array(n.name)"),
        ", ",
        wanted!(
            "json_group_array(json_array(w.tenant, w.meter, w.span, w.start_ms, w.epoch, w.remains, w.held))",
            sqlite_clock!(),
            sqlite_clock!()
        ),
        ", ",
        charged!("json_group_array(u.tenant)", sqlite_clock!()),
        changes!()
    ),
};
// SQLite's alone: whether what a heartbeat would say was said less than $5 ms ago.
const SAID: Sql = timed!(
    "SELECT 1 FROM nodes WHERE incarnation = $1 AND applied >= $2 AND digest = $3 AND reasserted >= $4 \
     AND beat_ms > ",
    " - $5"
);
const BEAT: Sql = timed!(
    "UPDATE nodes SET applied = max(applied, $2), digest = $3, reasserted = max(reasserted, $4), beat_ms = ",
    " WHERE incarnation = $1"
);

fn names(text: Option<String>) -> Result<Vec<String>, StoreError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let mut names: Vec<String> =
        serde_json::from_str(&text).map_err(|error| unreadable("a list of names", error))?;
    names.sort_unstable();
    Ok(names)
}

fn charged(text: Option<String>) -> Result<Vec<TenantId>, StoreError> {
    let tenant = |name: &String| TenantId::parse(name).map_err(|error| unreadable("a tenant's id", error));
    names(text)?.iter().map(tenant).collect()
}

fn wanted(text: Option<String>) -> Result<Vec<Wanted>, StoreError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let rows: Vec<[Value; 7]> =
        serde_json::from_str(&text).map_err(|error| unreadable("the wanted buckets", error))?;
    let count = |value: &Value| value.as_i64().and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
    let wanted = |[tenant, meter, span, start, epoch, left, held]: &[Value; 7]| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let start = UnixMillis(start.as_i64().unwrap_or(0));
        Ok(Wanted {
            bucket: rows::bucket(&text(tenant), &text(meter), &text(span), start, Version(count(epoch)))?,
            remainder: Remainder { left: count(left), held: count(held) },
        })
    };
    rows.iter().map(wanted).collect()
}

impl SqlStore {
    async fn poll_rows(&self, beat: &Heartbeat) -> Result<Vec<Record>, StoreError> {
        let incarnation = beat.incarnation.0.to_string();
        let (own, digest) = (Arg::Text(&incarnation), Arg::Text(&beat.digest.0));
        let (applied, reasserted) = (Arg::Int(signed(beat.applied.0)), Arg::Int(signed(beat.reasserted.0)));
        let most = Arg::Int(i64::try_from(feed::PAGE + 1).unwrap_or(i64::MAX));
        let poll = [own, applied, Arg::Int(LIVE_MILLIS), most, digest, reasserted];
        match &self.engine {
            // One statement: one snapshot, and a transaction of its own.
            Engine::Postgres { .. } => self.engine.write(Lane::Steady, POLL, &poll).await,
            Engine::Sqlite { .. } => {
                let said = [own, applied, digest, reasserted, Arg::Int(QUIET_MILLIS)];
                if !self.engine.read(Lane::Steady, SAID, &said).await?.is_empty() {
                    return self.engine.read(Lane::Steady, POLL, &poll).await;
                }
                let mut session = self.engine.begin(Lane::Steady).await?;
                session.run(BEAT, &[own, applied, digest, reasserted]).await?;
                let rows = session.rows(POLL, &poll).await?;
                session.commit().await?;
                Ok(rows)
            }
        }
    }

    /// See [`crate::ports::NodeStore::poll`].
    pub(super) async fn poll_once(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError> {
        let mut rows = self.poll_rows(beat).await?;
        let same = |rows: &[Record]| match rows.first() {
            Some(row) => row.flag(6),
            None => Err(StoreError::Corrupt("the version row is missing".into())),
        };
        if !same(&rows)? {
            self.advance_epoch().await?;
            rows = self.poll_rows(beat).await?;
            if !same(&rows)? {
                return Err(StoreError::Unavailable("the database is failing over".into()));
            }
        }
        let first = rows.first().ok_or_else(|| StoreError::Corrupt("the version row is missing".into()))?;
        let head = rows::version(first, 0)?;
        let live = u32::try_from(first.count(2)?).unwrap_or(u32::MAX).saturating_add(1);
        let (registered, succeeded) = (first.flag(3)?, first.flag(4)?);
        let changes: Vec<ChangeRow> = if first.maybe_int(10)?.is_some() {
            rows.iter().map(|row| rows::change(row, 10)).collect::<Result<_, _>>()?
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
            superseded: !registered && succeeded,
            forgotten: !registered && !succeeded,
            epoch: Epoch(first.count(5)?),
            awaited: names(first.maybe_text(7)?)?,
            wanted: wanted(first.maybe_text(8)?)?,
            charged: charged(first.maybe_text(9)?)?,
        })
    }
}
