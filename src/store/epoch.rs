//! The database's epoch: raised when the server is not the one that it was, as a standby or a restored backup may have
//! forgotten what was acknowledged before.

use super::{
    classify::unreadable,
    engine::{Engine, Lane},
    session::{Arg, Sql, postgres_clock, sqlite_clock},
    sql::SqlStore,
};
use crate::ports::StoreError;

/// After a failover nothing is granted for so long, however few nodes there are: who lost their registration with it are
/// to find that out.
pub(super) const GRACE_MILLIS: i64 = 1_000;
/// How far the version jumps with the epoch: every node finds a gap in the feed, and no version is ever given out twice.
pub(super) const VERSIONS_SKIPPED: u64 = 1 << 20;

/// The server's own identity. The timeline is read from where it writes: the checkpoint's lags behind a promotion.
macro_rules! system_id {
    () => {
        "(SELECT CAST(system_identifier AS TEXT) FROM pg_control_system())"
    };
}
macro_rules! timeline {
    () => {
        "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
    };
}
/// Whether `head` as `h` was written by this server in this life of it.
macro_rules! same_database {
    () => {
        concat!(
            "CASE WHEN h.system_id = ",
            $crate::store::epoch::system_id!(),
            " AND h.timeline = ",
            $crate::store::epoch::timeline!(),
            " THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END"
        )
    };
}
pub(super) use {same_database, system_id, timeline};

/// Announces something to all nodes.
pub(super) const NOTIFY: Sql = Sql { postgres: "SELECT pg_notify('plangate', $1)", sqlite: "SELECT $1" };

/// What every grant depends on: clock, live nodes, their oldest version, epoch and since when, nodes that are awaited,
/// whether it is the same database, the version of the policies in force.
pub(super) const SETTING: Sql = Sql {
    postgres: concat!(
        "SELECT ",
        postgres_clock!(),
        ", (SELECT count(*) FROM nodes WHERE beat_ms > ",
        postgres_clock!(),
        " - $1), (SELECT min(applied) FROM nodes WHERE beat_ms > ",
        postgres_clock!(),
        " - $1), h.epoch, h.epoch_since_ms, \
         (SELECT count(*) FROM nodes n WHERE n.reasserted < h.epoch OR n.owed = 1), ",
        same_database!(),
        ", h.policies FROM head h"
    ),
    sqlite: concat!(
        "SELECT ",
        sqlite_clock!(),
        ", (SELECT count(*) FROM nodes WHERE beat_ms > ",
        sqlite_clock!(),
        " - $1), (SELECT min(applied) FROM nodes WHERE beat_ms > ",
        sqlite_clock!(),
        " - $1), h.epoch, h.epoch_since_ms, \
         (SELECT count(*) FROM nodes n WHERE n.reasserted < h.epoch OR n.owed = 1), 1, h.policies FROM head h"
    ),
};

/// Bumps the version, unless the database has failed over.
pub(super) const BUMP: Sql = Sql {
    postgres: concat!(
        "UPDATE head h SET version = version + 1 WHERE 1 = ",
        same_database!(),
        " RETURNING version"
    ),
    sqlite: "UPDATE head SET version = version + 1 RETURNING version",
};

const IDENTITY: Sql = Sql { postgres: concat!("SELECT ", system_id!()), sqlite: "SELECT ''" };
const ADOPT: &str = concat!(
    "UPDATE head SET system_id = ",
    system_id!(),
    ", timeline = ",
    timeline!(),
    " WHERE system_id = ''"
);
// Of several nodes that see the difference at once one makes the change; the others wait for its end, and then see none.
const ADVANCE: &str = concat!(
    "UPDATE head h SET epoch = epoch + 1, version = version + $1, epoch_since_ms = ",
    postgres_clock!(),
    ", system_id = ",
    system_id!(),
    ", timeline = ",
    timeline!(),
    " WHERE 0 = ",
    same_database!(),
    " RETURNING epoch"
);
const fn postgres_only(text: &'static str) -> Sql {
    Sql { postgres: text, sqlite: "SELECT 0 WHERE 0" }
}

/// The server's identity: empty where the database is a file of its own. The first to open a database notes it down.
pub(super) async fn adopt(engine: &Engine) -> Result<String, StoreError> {
    engine.write(Lane::Data, postgres_only(ADOPT), &[]).await?;
    let rows = engine.read(Lane::Data, IDENTITY, &[]).await?;
    rows.first().ok_or_else(|| unreadable("the server's identity", "no row"))?.text(0)
}

impl SqlStore {
    /// Begins a new epoch, if nobody has yet.
    pub(super) async fn advance_epoch(&self) -> Result<(), StoreError> {
        let skipped = Arg::Int(super::session::signed(VERSIONS_SKIPPED));
        let rows = self.engine.write(Lane::Steady, postgres_only(ADVANCE), &[skipped]).await?;
        if let Some(row) = rows.first() {
            let epoch = row.int(0)?;
            tracing::warn!(
                epoch,
                "the database has failed over: nothing is granted until every node has recorded its slots again"
            );
            self.engine.write(Lane::Steady, NOTIFY, &[Arg::Text("epoch")]).await?;
        }
        Ok(())
    }
}
