//! Housekeeping of what was told outside: deliveries that ended long ago. They go before the facts that they are of.

use serde_json::json;

use super::{
    engine::Lane,
    locked::text,
    session::{Arg, Sql, bulk, timed},
    sql::SqlStore,
};
use crate::{domain::time::UnixMillis, ports::StoreError};

/// How long deliveries are kept once they have ended.
pub(super) const DELIVERIES_KEPT: i64 = 30 * 86_400_000;

// The endpoint was disabled or deleted at the very moment when they were written.
const DISCARD_LOST: Sql = timed!(
    "UPDATE webhook_deliveries SET state = 'discarded', claimed_by = NULL, ended_ms = ",
    " WHERE state = 'pending' AND webhook NOT IN (SELECT id FROM webhooks WHERE disabled_ms IS NULL)"
);
const DELETE_DELIVERIES: Sql = Sql::same(
    "DELETE FROM webhook_deliveries WHERE place IN (SELECT place FROM webhook_deliveries \
     WHERE created_ms < $1 AND state <> 'pending' ORDER BY created_ms LIMIT $2) RETURNING webhook, event",
);
const DELETE_ATTEMPTS: Sql =
    bulk!("DELETE FROM webhook_attempts WHERE (webhook, event) IN (SELECT v->>0, v->>1 FROM", ")");

impl SqlStore {
    /// How many deliveries were deleted.
    pub(super) async fn tidy_messages(&self, now: UnixMillis, most: i64) -> Result<u64, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        session.run(DISCARD_LOST, &[]).await?;
        let before = Arg::Int(now.0.saturating_sub(DELIVERIES_KEPT));
        let mut gone = Vec::new();
        for row in session.rows(DELETE_DELIVERIES, &[before, Arg::Int(most)]).await? {
            gone.push(json!([row.text(0)?, row.text(1)?]));
        }
        let deleted = gone.len() as u64;
        if deleted > 0 {
            session.run(DELETE_ATTEMPTS, &[Arg::Text(&text(gone))]).await?;
        }
        session.commit().await?;
        Ok(deleted)
    }
}
