//! Stripe's events of customers that are nobody's are kept for long, and not for ever: bounded by age and by number.

use super::{
    classify::unreadable,
    engine::Lane,
    rows,
    session::{Arg, Record, Sql, signed},
    sql::SqlStore,
};
use crate::{
    domain::time::UnixMillis,
    ports::{DroppedEvents, StoreError, Unclaimed},
};

// Whoever folds or links a customer holds it shared until the end of its transaction: nobody becomes a tenant's while
// events of nobody are dropped.
const LOCK: Sql = Sql {
    postgres: "SELECT CAST(pg_advisory_xact_lock(hashtextextended('stripe', 0)) AS TEXT)",
    sqlite: "SELECT 1",
};
const DROP_OLD: Sql = Sql::same(
    "DELETE FROM stripe_events WHERE place IN (SELECT e.place FROM stripe_events e \
     WHERE e.decides = 1 AND e.due = 0 AND e.received_ms < $1 \
     AND NOT EXISTS (SELECT 1 FROM billing_customers b WHERE b.customer = e.customer) \
     ORDER BY e.received_ms LIMIT $2)",
);
const COUNT: Sql = Sql::same(
    "SELECT COUNT(*) FROM stripe_events e WHERE e.state IN ('waiting', 'unmapped') AND e.due = 0 \
     AND NOT EXISTS (SELECT 1 FROM billing_customers b WHERE b.customer = e.customer)",
);
// First those that nothing depends on, and of the others the oldest.
const DROP_MOST: Sql = Sql::same(
    "DELETE FROM stripe_events WHERE place IN (SELECT e.place FROM stripe_events e \
     WHERE e.state IN ('waiting', 'unmapped') AND e.due = 0 \
     AND NOT EXISTS (SELECT 1 FROM billing_customers b WHERE b.customer = e.customer) \
     ORDER BY e.decides, e.received_ms, e.place LIMIT $1)",
);
const NOTE: Sql = Sql::same(
    "INSERT INTO stripe_dropped (one, events, last_ms) VALUES (1, $1, $2) ON CONFLICT (one) \
     DO UPDATE SET events = stripe_dropped.events + excluded.events, last_ms = excluded.last_ms",
);
const DROPPED: Sql = Sql::same("SELECT events, last_ms FROM stripe_dropped");

impl SqlStore {
    /// See [`crate::ports::StripeStore::drop_unclaimed`].
    pub(super) async fn drop_unclaimed_once(&self, bounds: &Unclaimed) -> Result<u64, StoreError> {
        let at_once = signed(bounds.at_once);
        let mut session = self.engine.begin(Lane::Data).await?;
        session.rows(LOCK, &[]).await?;
        let old = [Arg::Int(bounds.before.0), Arg::Int(at_once)];
        let mut dropped = session.run(DROP_OLD, &old).await?;
        let count = session.first(COUNT, &[]).await?.ok_or_else(|| unreadable("a count", "no row"))?;
        let over = count.count(0)?.saturating_sub(bounds.most).min(bounds.at_once.saturating_sub(dropped));
        if over > 0 {
            dropped += session.run(DROP_MOST, &[Arg::Int(signed(over))]).await?;
        }
        if dropped > 0 {
            session.run(NOTE, &[Arg::Int(signed(dropped)), Arg::Int(bounds.now.0)]).await?;
        }
        session.commit().await?;
        Ok(dropped)
    }

    /// See [`crate::ports::StripeStore::dropped_events`].
    pub(super) async fn dropped_once(&self) -> Result<DroppedEvents, StoreError> {
        let row = |record: &Record| {
            Ok(DroppedEvents { events: record.count(0)?, last: Some(rows::instant(record, 1)?) })
        };
        Ok(self.list(DROPPED, &[], row).await?.into_iter().next().unwrap_or_default())
    }
}

impl Unclaimed {
    /// How long housekeeping keeps them: longer than a year, as of whatever is sold by the year Stripe tells something once
    /// a year.
    pub(super) const KEPT_DAYS: i64 = 400;
    /// How many it keeps.
    pub(super) const MOST: u64 = 100_000;

    /// The bounds that housekeeping holds to.
    pub(super) fn at(now: UnixMillis, at_once: u64) -> Self {
        let before = UnixMillis(now.0.saturating_sub(Self::KEPT_DAYS * 86_400_000));
        Self { now, before, most: Self::MOST, at_once }
    }
}
