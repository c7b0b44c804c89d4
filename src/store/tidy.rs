//! Housekeeping: old hours of usage become days, and what nobody needs any more goes. A little at a time, so that no lock is
//! held for long; several nodes may do it at once.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{
    classify::unreadable,
    engine::Lane,
    locked::text,
    rows,
    session::{Arg, Session, Sql, bulk, timed},
    sql::SqlStore,
};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::{AnchorDay, BillingCalendar, Window, Zone},
        time::UnixMillis,
    },
    ports::{EVENTS_KNOWN_DAYS, StoreError, Unclaimed},
};

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Usage by the hour; then by the day. Not less than 10 days, as a week's window may yet ask for its hours.
    pub usage_hours: Duration,
    /// Usage by the day.
    pub usage_days: Duration,
    /// The audit log.
    pub audit: Duration,
}

/// What one call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tidied {
    /// Rows of hours that became days.
    pub hours: u64,
    /// Rows of days that were deleted.
    pub days: u64,
    /// Buckets that were deleted with their slots.
    pub buckets: u64,
    /// Lines of the audit log that were deleted.
    pub audit: u64,
    /// Ledger files that were forgotten: nobody has opened them for long.
    pub files: u64,
    /// Rows of trials in the shadow that are over.
    pub shadow: u64,
    /// Facts that were told long ago.
    pub events: u64,
    /// Events of Stripe that were deleted.
    pub stripe: u64,
    /// Events of Stripe that waited, and were dropped: their customers were nobody's for too long, or were too many.
    pub stripe_unclaimed: u64,
    /// Deliveries that ended long ago.
    pub messages: u64,
    /// Usage events that were forgotten: none of them is sent again.
    pub usage_events: u64,
    /// There is more to do at once.
    pub more: bool,
}

/// Rows of each kind in one call.
pub(super) const AT_ONCE: u64 = 5_000;
/// How long a bucket is kept after its end, for a late report, and a ledger file after its last use: by then the months
/// of whatever it held are over.
const BUCKETS_KEPT: i64 = 62 * DAY;
/// How long it is known what was told: longer than any month, so that nothing is told twice in one.
const EVENTS_KEPT: i64 = 40 * DAY;
/// How long an event of Stripe is kept that decides nothing and waits for nothing.
const STRIPE_KEPT: i64 = 90 * DAY;
/// Usage events in one call: there may be many in a minute.
pub(super) const EVENTS_AT_ONCE: u64 = 50_000;
/// How long usage events are known: longer than is promised, as one may be a little ahead of the clock.
const USAGE_EVENTS_KEPT: i64 = EVENTS_KNOWN_DAYS * DAY + DAY;
const LEAST_HOURS: i64 = 10 * DAY;
const DAY: i64 = 86_400_000;

/// What is older than these goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cutoffs {
    pub(super) hours: UnixMillis,
    pub(super) days: UnixMillis,
    pub(super) buckets: UnixMillis,
    pub(super) audit: UnixMillis,
    pub(super) events: UnixMillis,
    pub(super) stripe: UnixMillis,
    pub(super) usage_events: UnixMillis,
}

impl Cutoffs {
    pub(super) fn at(now: UnixMillis, keep: &Retention) -> Self {
        let before = |millis: i64| UnixMillis(now.0.saturating_sub(millis));
        let millis = |kept: Duration| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
        Self {
            hours: before(millis(keep.usage_hours).max(LEAST_HOURS)),
            days: before(millis(keep.usage_days)),
            buckets: before(BUCKETS_KEPT),
            audit: before(millis(keep.audit)),
            events: before(EVENTS_KEPT),
            stripe: before(STRIPE_KEPT),
            usage_events: before(USAGE_EVENTS_KEPT),
        }
    }
}

/// The start of the local day in which an hour begins.
pub(super) fn day_of(zone: &Zone, hour: UnixMillis) -> UnixMillis {
    let calendar = BillingCalendar::new(zone.clone(), AnchorDay::of(hour, zone));
    calendar.period(Window::Day, hour).start
}

const NOW: Sql = timed!("SELECT ", "");
// Who rolls up at the same time takes other rows; who counts waits, and then begins the row anew.
const OLD_HOURS: Sql = Sql {
    postgres: "SELECT u.tenant, u.meter, u.hour_ms, u.epoch, u.units, t.zone FROM usage_hours u \
               LEFT JOIN tenants t ON t.id = u.tenant WHERE u.hour_ms < $1 \
               ORDER BY u.hour_ms LIMIT $2 FOR UPDATE OF u SKIP LOCKED",
    sqlite: "SELECT u.tenant, u.meter, u.hour_ms, u.epoch, u.units, t.zone FROM usage_hours u \
             LEFT JOIN tenants t ON t.id = u.tenant WHERE u.hour_ms < $1 ORDER BY u.hour_ms LIMIT $2",
};
const DELETE_HOURS: Sql = bulk!(
    "DELETE FROM usage_hours WHERE (tenant, meter, hour_ms, epoch) IN (\
     SELECT v->>0, v->>1, CAST(v->>2 AS BIGINT), CAST(v->>3 AS BIGINT) FROM",
    ")"
);
const ADD_DAYS: Sql = bulk!(
    "INSERT INTO usage_days (tenant, meter, day_ms, units) \
     SELECT v->>0, v->>1, CAST(v->>2 AS BIGINT), CAST(v->>3 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (tenant, meter, day_ms) DO UPDATE SET units = usage_days.units + excluded.units"
);
const DELETE_DAYS: Sql = Sql::same(
    "DELETE FROM usage_days WHERE (tenant, meter, day_ms) IN (\
     SELECT tenant, meter, day_ms FROM usage_days WHERE day_ms < $1 ORDER BY day_ms LIMIT $2)",
);
const DELETE_EVENTS: Sql = Sql::same(
    "DELETE FROM outbox WHERE place IN (SELECT place FROM outbox WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)",
);
// What an open slot was granted may still be used, or have been: its bucket stays until it is returned or declared lost,
// and until the statements of all its time are closed.
const OLD_BUCKETS: Sql = Sql {
    postgres: "SELECT b.id FROM buckets b WHERE b.end_ms < $1 AND NOT EXISTS (SELECT 1 FROM slots s \
                 WHERE s.bucket_id = b.id AND s.sealed = 0 AND s.lost = 0) \
               AND NOT EXISTS (SELECT 1 FROM subscriptions p WHERE p.tenant = b.tenant \
                 AND p.bills_from_ms > 0 AND p.bills_from_ms < b.end_ms) \
               ORDER BY b.end_ms LIMIT $2 FOR UPDATE OF b SKIP LOCKED",
    sqlite: "SELECT b.id FROM buckets b WHERE b.end_ms < $1 AND NOT EXISTS (SELECT 1 FROM slots s \
               WHERE s.bucket_id = b.id AND s.sealed = 0 AND s.lost = 0) \
             AND NOT EXISTS (SELECT 1 FROM subscriptions p WHERE p.tenant = b.tenant \
               AND p.bills_from_ms > 0 AND p.bills_from_ms < b.end_ms) ORDER BY b.end_ms LIMIT $2",
};
// A node may run for longer than its file would be kept: it is in use while the node is registered.
const FILES_IN_USE: Sql = Sql::same(
    "UPDATE ledger_files SET opened_ms = $1 WHERE opened_ms < $2 AND file IN (SELECT file FROM nodes)",
);
const DELETE_FILES: Sql = Sql::same(
    "DELETE FROM ledger_files WHERE opened_ms < $1 AND file IN (\
     SELECT file FROM ledger_files WHERE opened_ms < $1 ORDER BY opened_ms LIMIT $2)",
);
// The last change of the policies names the trial that runs, if any.
const DELETE_SHADOW: Sql = Sql::same("DELETE FROM policy_shadow WHERE trial <> (SELECT policies FROM head)");
const DELETE_SHADOW_TOTALS: Sql =
    Sql::same("DELETE FROM policy_shadow_totals WHERE trial <> (SELECT policies FROM head)");
const DELETE_SLOTS: Sql =
    bulk!("DELETE FROM slots WHERE bucket_id IN (SELECT CAST(v->>0 AS BIGINT) FROM", ")");
const DELETE_BUCKET_HOURS: Sql =
    bulk!("DELETE FROM bucket_hours WHERE bucket_id IN (SELECT CAST(v->>0 AS BIGINT) FROM", ")");
const DELETE_BUCKETS: Sql = bulk!("DELETE FROM buckets WHERE id IN (SELECT CAST(v->>0 AS BIGINT) FROM", ")");

impl SqlStore {
    /// See [`super::Store::tidy`].
    pub(super) async fn tidy_once(&self, keep: &Retention) -> Result<Tidied, StoreError> {
        let clock = self.engine.read(Lane::Data, NOW, &[]).await?;
        let now = rows::instant(clock.first().ok_or_else(|| unreadable("the clock", "no row"))?, 0)?;
        let old = Cutoffs::at(now, keep);
        let most = super::session::signed(AT_ONCE);
        let hours = self.roll_up(old.hours, most).await?;
        let buckets = self.delete_buckets(old.buckets, most).await?;
        let mut session = self.engine.begin(Lane::Data).await?;
        let days = session.run(DELETE_DAYS, &[Arg::Int(old.days.0), Arg::Int(most)]).await?;
        let events = session.run(DELETE_EVENTS, &[Arg::Int(old.events.0), Arg::Int(most)]).await?;
        session.commit().await?;
        let audit = self.tidy_audit(old.audit, most).await?;
        let files = self.forget_files(now, old.buckets, most).await?;
        let shadow = self.forget_trials().await?;
        let stripe = self.forget_stripe_events(old.stripe, most).await?;
        let stripe_unclaimed = self.drop_unclaimed_once(&Unclaimed::at(now, AT_ONCE)).await?;
        let messages = self.tidy_messages(now, most).await?;
        let full = [hours, buckets, days, audit, files, stripe, stripe_unclaimed, events, messages];
        let more = full.contains(&AT_ONCE);
        let usage_events = self.forget_usage_events(old.usage_events).await?;
        let unnumbered = self.number_some_facts().await?;
        let more = more || unnumbered || usage_events == EVENTS_AT_ONCE;
        Ok(Tidied {
            hours,
            days,
            buckets,
            audit,
            files,
            shadow,
            stripe,
            stripe_unclaimed,
            events,
            messages,
            usage_events,
            more,
        })
    }

    async fn roll_up(&self, before: UnixMillis, most: i64) -> Result<u64, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let mut gone = Vec::new();
        let mut days: BTreeMap<(TenantId, MeterId, UnixMillis), i64> = BTreeMap::new();
        for row in session.rows(OLD_HOURS, &[Arg::Int(before.0), Arg::Int(most)]).await? {
            let tenant = rows::tenant_id(&row, 0)?;
            let meter = MeterId::parse(&row.text(1)?).map_err(|error| unreadable("a meter's id", error))?;
            let hour = rows::instant(&row, 2)?;
            gone.push(json!([tenant.as_str(), meter.as_str(), hour.0, row.int(3)?]));
            // A tenant that is gone has no zone any more, nor has one that this machine does not know.
            let zone = row.maybe_text(5)?.and_then(|zone| Zone::named(&zone).ok()).unwrap_or(Zone::UTC);
            *days.entry((tenant, meter, day_of(&zone, hour))).or_default() += row.int(4)?;
        }
        let rolled = gone.len() as u64;
        if rolled > 0 {
            let days = days
                .into_iter()
                .map(|((tenant, meter, day), units)| json!([tenant.as_str(), meter.as_str(), day.0, units]));
            session.run(DELETE_HOURS, &[Arg::Text(&text(gone))]).await?;
            session.run(ADD_DAYS, &[Arg::Text(&text(days.collect()))]).await?;
        }
        session.commit().await?;
        Ok(rolled)
    }

    async fn forget_files(&self, now: UnixMillis, before: UnixMillis, most: i64) -> Result<u64, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let day = Arg::Int(now.0.saturating_sub(DAY));
        session.run(FILES_IN_USE, &[Arg::Int(now.0), day]).await?;
        let files = session.run(DELETE_FILES, &[Arg::Int(before.0), Arg::Int(most)]).await?;
        session.commit().await?;
        Ok(files)
    }

    /// A trial's rows are few: they go at once.
    async fn forget_trials(&self) -> Result<u64, StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let rows = session.run(DELETE_SHADOW, &[]).await? + session.run(DELETE_SHADOW_TOTALS, &[]).await?;
        session.commit().await?;
        Ok(rows)
    }

    async fn delete_buckets(&self, before: UnixMillis, most: i64) -> Result<u64, StoreError> {
        let mut session: Session = self.engine.begin(Lane::Data).await?;
        let mut ids = Vec::new();
        for row in session.rows(OLD_BUCKETS, &[Arg::Int(before.0), Arg::Int(most)]).await? {
            ids.push(json!([row.int(0)?]));
        }
        let deleted = ids.len() as u64;
        if deleted > 0 {
            let ids = text(ids);
            session.run(DELETE_SLOTS, &[Arg::Text(&ids)]).await?;
            session.run(DELETE_BUCKET_HOURS, &[Arg::Text(&ids)]).await?;
            session.run(DELETE_BUCKETS, &[Arg::Text(&ids)]).await?;
        }
        session.commit().await?;
        Ok(deleted)
    }
}
