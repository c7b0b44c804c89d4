//! The order in which facts are read: each gets its number once it is there for everybody to see.
//!
//! What a row gets as it is written says nothing of when its transaction ends: of two that are open at once the one that
//! wrote later may commit first, and a reader that has come to its place would never see the other. Facts are told by
//! transactions that must not wait for each other, so PostgreSQL's are numbered afterwards, by whoever reads them and by
//! housekeeping, under one row that is locked until the commit, as versions are under the head. SQLite has one writer at a
//! time, and its places are in the order of commits already.

use super::{
    engine::Lane,
    session::{Arg, Sql},
    sql::SqlStore,
};
use crate::ports::StoreError;

/// Facts that are numbered in one transaction. Whoever tells one of them a second time waits for its end.
const AT_ONCE: i64 = 2_000;

const NEW: Sql = Sql::same("SELECT place FROM outbox WHERE number IS NULL LIMIT 1");
const LOCK: Sql = Sql::same("SELECT last FROM outbox_order WHERE one = 1 FOR UPDATE");
// One that is deleted in this very moment leaves a gap.
const NUMBER: Sql = Sql::same(
    "WITH fresh AS (SELECT f.place, row_number() OVER (ORDER BY f.place) AS nth FROM (\
       SELECT place FROM outbox WHERE number IS NULL ORDER BY place LIMIT $1) AS f), \
     numbered AS (UPDATE outbox o SET number = r.last + fresh.nth FROM fresh, outbox_order r \
       WHERE r.one = 1 AND o.place = fresh.place RETURNING o.number) \
     UPDATE outbox_order SET last = (SELECT max(number) FROM numbered) \
     WHERE one = 1 AND EXISTS (SELECT 1 FROM numbered) RETURNING (SELECT count(*) FROM numbered)",
);

impl SqlStore {
    /// Numbers all facts that can be seen and have no number yet.
    pub(super) async fn number_facts(&self) -> Result<(), StoreError> {
        while self.number_some_facts().await? {}
        Ok(())
    }

    /// Numbers the next facts; answers whether there may be more.
    pub(super) async fn number_some_facts(&self) -> Result<bool, StoreError> {
        if !self.engine.notifies() || self.engine.read(Lane::Data, NEW, &[]).await?.is_empty() {
            return Ok(false);
        }
        let mut session = self.engine.begin(Lane::Data).await?;
        session.rows(LOCK, &[]).await?;
        // A statement of its own: it sees what was numbered while the lock was waited for.
        let done = session.first(NUMBER, &[Arg::Int(AT_ONCE)]).await?;
        session.commit().await?;
        done.map_or(Ok(false), |row| Ok(row.int(0)? >= AT_ONCE))
    }
}
