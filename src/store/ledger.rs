//! Grants and flushes over a database: lock the buckets, load, apply the book's rules, write back.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use serde_json::json;

use super::{
    book::Setting,
    classify::unreadable,
    engine::Lane,
    epoch::{self, GRACE_MILLIS, NOTIFY},
    locked::{Locked, bucket_row, text},
    nodes::LIVE_MILLIS,
    outbox, rows,
    session::{Arg, Session, Sql, bulk, timed, timed_bulk},
    sql::SqlStore,
};
use crate::{
    domain::{
        id::TenantId,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{
        BucketKey, GrantOutcome, GrantRequest, Incarnation, LedgerStore, OthersUsage, Remainder, SlotKey,
        SlotTotals, StoreError,
    },
};

/// Totals in one transaction.
const MOST: usize = 5_000;

// Held to the commit: a change of these tenants waits, so no grant is made under facts that are being replaced.
const VERSIONS: Sql =
    bulk!("SELECT t.id, t.version FROM", "JOIN tenants t ON t.id = v->>0 ORDER BY t.id", "FOR SHARE OF t");
const NOW: Sql = timed!("SELECT ", "");
const OTHERS: Sql = timed_bulk!(
    "SELECT CAST(v->>5 AS BIGINT), CAST(coalesce(sum(s.used - s.refunded), 0) AS BIGINT), \
     CAST(coalesce(sum(CASE WHEN (s.lost = 1 OR (s.sealed = 0 AND n.incarnation IS NULL)) \
       AND s.granted > s.used - s.refunded THEN s.granted - s.used + s.refunded END), 0) AS BIGINT), \
     (SELECT CAST(coalesce(sum(\
        CASE b.span WHEN 'hour' THEN u.no_hour WHEN 'day' THEN u.no_day ELSE u.no_week END), 0) AS BIGINT) \
      FROM usage_hours u WHERE b.span IN ('hour', 'day', 'week') AND u.tenant = b.tenant AND u.meter = b.meter \
        AND u.epoch = b.epoch AND u.hour_ms > b.start_ms - 3600000 AND u.hour_ms < b.end_ms) FROM",
    "JOIN buckets b ON b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT) \
     LEFT JOIN slots s ON s.bucket_id = b.id AND s.incarnation <> $2 \
     LEFT JOIN nodes n ON n.incarnation = s.incarnation AND n.beat_ms > ",
    " - $3 GROUP BY 1, b.id"
);
const RECORDED: Sql = bulk!(
    "SELECT CAST(v->>5 AS BIGINT), b.used FROM",
    "JOIN buckets b ON b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT)"
);
const REMAINDERS: Sql = timed_bulk!(
    "SELECT CAST(v->>5 AS BIGINT), b.limit_units - b.allocated, \
     CAST(coalesce(sum(CASE WHEN n.incarnation IS NOT NULL THEN s.granted - s.used + s.refunded END), 0) AS BIGINT) \
     FROM",
    "JOIN buckets b ON b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT) \
     LEFT JOIN slots s ON s.bucket_id = b.id AND s.incarnation <> $2 AND s.sealed = 0 AND s.lost = 0 \
       AND s.granted > s.used - s.refunded \
     LEFT JOIN nodes n ON n.incarnation = s.incarnation AND n.beat_ms > ",
    " - $3 GROUP BY 1, b.id"
);
const OPEN_SLOTS: Sql = bulk!(
    "SELECT b.tenant, b.meter, b.span, b.start_ms, b.epoch, b.end_ms, s.incarnation, s.seq, s.granted, s.used, \
     s.refunded, s.since_ms, s.counted FROM",
    "JOIN slots s ON s.incarnation = v->>0 AND s.sealed = 0 AND s.lost = 0 \
     JOIN buckets b ON b.id = s.bucket_id ORDER BY s.incarnation, s.bucket_id, s.seq"
);

/// The current versions of tenants, locked.
pub(super) async fn versions(
    session: &mut Session,
    tenants: impl Iterator<Item = &TenantId>,
) -> Result<HashMap<TenantId, Version>, StoreError> {
    let tenants: BTreeSet<&str> = tenants.map(TenantId::as_str).collect();
    let ask = text(tenants.into_iter().map(|tenant| json!([tenant])).collect());
    let rows = session.rows(VERSIONS, &[Arg::Text(&ask)]).await?;
    rows.iter().map(|row| Ok((rows::tenant_id(row, 0)?, rows::version(row, 1)?))).collect()
}

/// What all grants of a transaction depend on; `None`: the database is not the one that the epoch began with.
pub(super) async fn setting(session: &mut Session) -> Result<Option<Setting>, StoreError> {
    let row = session.first(epoch::SETTING, &[Arg::Int(LIVE_MILLIS)]).await?;
    let row = row.ok_or_else(|| unreadable("the setting of a grant", "no row"))?;
    if !row.flag(6)? {
        return Ok(None);
    }
    let now = rows::instant(&row, 0)?;
    let young = now.0.saturating_sub(row.int(4)?) < GRACE_MILLIS;
    Ok(Some(Setting {
        tenant: None,
        live: u32::try_from(row.int(1)?).unwrap_or(u32::MAX),
        applied: row.maybe_int(2)?.map(|applied| Version(u64::try_from(applied).unwrap_or(0))),
        withheld: row.int(3)? > 0 && (young || row.int(5)? > 0),
        policies: rows::version(&row, 7)?,
        now,
    }))
}

impl SqlStore {
    async fn grant_all(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        if let Some(outcomes) = self.grant_some(requests).await? {
            return Ok(outcomes);
        }
        self.advance_epoch().await?;
        let outcomes = self.grant_some(requests).await?;
        outcomes.ok_or_else(|| StoreError::Unavailable("the database is failing over".into()))
    }

    /// One transaction; `None`: the database has failed over, and nothing was done.
    async fn grant_some(&self, requests: &[GrantRequest]) -> Result<Option<Vec<GrantOutcome>>, StoreError> {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|a, b| requests[*a].totals.slot.bucket.cmp(&requests[*b].totals.slot.bucket));
        let sorted: Vec<&GrantRequest> = order.iter().map(|place| &requests[*place]).collect();

        let mut session = self.engine.begin(Lane::Steady).await?;
        let tenants = sorted.iter().map(|request| &request.totals.slot.bucket.tenant);
        let versions = versions(&mut session, tenants).await?;
        let totals: Vec<&SlotTotals> = sorted.iter().map(|request| &request.totals).collect();
        let mut locked = Locked::load(&mut session, &totals).await?;
        let Some(setting) = setting(&mut session).await? else { return Ok(None) };
        // After the setting: what a node had recorded before it applied a version is seen.
        locked.seed(&mut session, &totals).await?;
        let mut outcomes = vec![GrantOutcome::Stale; requests.len()];
        for (place, request) in order.into_iter().zip(sorted) {
            let tenant = versions.get(&request.totals.slot.bucket.tenant).copied();
            outcomes[place] = locked.book.grant(request, Setting { tenant, ..setting });
        }
        locked.write_slots(&mut session).await?;
        let asked = ask_back(&mut session, &mut locked, requests, &mut outcomes, setting.now).await?;
        locked.write_buckets(&mut session).await?;
        outbox::tell(&mut session, &locked.book.take_facts()).await?;
        let freed = locked.book.take_freed().is_some_and(|until| until > setting.now);
        self.finish(session, asked || freed).await?;
        Ok(Some(outcomes))
    }

    async fn flush_some(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        let mut session = self.engine.begin(Lane::Steady).await?;
        let all: Vec<&SlotTotals> = totals.iter().collect();
        let mut locked = Locked::load(&mut session, &all).await?;
        for one in totals {
            locked.book.record(one);
        }
        let mut freed = false;
        if let Some(until) = locked.book.take_freed()
            && let Some(row) = session.first(NOW, &[]).await?
        {
            let now = rows::instant(&row, 0)?;
            freed = until > now;
            locked.book.forget_wishes(now);
        }
        locked.write_slots(&mut session).await?;
        locked.write_buckets(&mut session).await?;
        outbox::tell(&mut session, &locked.book.take_facts()).await?;
        self.finish(session, freed).await?;
        Ok(totals.iter().map(|one| locked.book.used(&one.slot.bucket)).collect())
    }

    /// Commits, and wakes all nodes where there is something to hear.
    pub(super) async fn finish(&self, mut session: Session, wakes: bool) -> Result<(), StoreError> {
        if wakes && self.engine.notifies() {
            session.run(NOTIFY, &[Arg::Text("wanted")]).await?;
        }
        session.commit().await?;
        if wakes {
            self.wake();
        }
        Ok(())
    }
}

/// Completes refusals by what others hold, and asks those to give it back; whether anybody was asked.
async fn ask_back(
    session: &mut Session,
    locked: &mut Locked,
    requests: &[GrantRequest],
    outcomes: &mut [GrantOutcome],
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let mut refused: Vec<(&GrantRequest, &mut u64)> = Vec::new();
    for (request, outcome) in requests.iter().zip(outcomes) {
        if let GrantOutcome::Exhausted { held, .. } = outcome {
            refused.push((request, held));
        }
    }
    if refused.is_empty() {
        return Ok(false);
    }
    let slots: Vec<&SlotKey> = refused.iter().map(|(request, _)| &request.totals.slot).collect();
    let all = locked.held(session, &slots, LIVE_MILLIS).await?;
    for ((request, place), held) in refused.into_iter().zip(&all) {
        *place = *held;
        if *held > 0 {
            locked.book.want(&request.totals.slot.bucket, now);
        } else {
            locked.book.refuse(request);
        }
    }
    Ok(all.iter().any(|held| *held > 0))
}

fn buckets_by_place(buckets: &[BucketKey]) -> String {
    text(buckets.iter().zip(0..).map(|(key, place)| bucket_row(key, place)).collect())
}

#[async_trait]
impl LedgerStore for SqlStore {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.call(self.grant_all(requests)).await
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        let mut used = Vec::with_capacity(totals.len());
        for some in totals.chunks(MOST) {
            used.extend(self.call(self.flush_some(some)).await?);
        }
        Ok(used)
    }

    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
        let mut all = vec![0; buckets.len()];
        if buckets.is_empty() {
            return Ok(all);
        }
        let ask = buckets_by_place(buckets);
        self.call(async {
            for row in self.engine.read(Lane::Steady, RECORDED, &[Arg::Text(&ask)]).await? {
                if let Some(one) = usize::try_from(row.count(0)?).ok().and_then(|place| all.get_mut(place)) {
                    *one = row.count(1)?;
                }
            }
            Ok(all)
        })
        .await
    }

    async fn remainders(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<Remainder>, StoreError> {
        let mut all = vec![Remainder::default(); buckets.len()];
        if buckets.is_empty() {
            return Ok(all);
        }
        let (ask, own) = (buckets_by_place(buckets), incarnation.0.to_string());
        self.call(async {
            let args = [Arg::Text(&ask), Arg::Text(&own), Arg::Int(LIVE_MILLIS)];
            for row in self.engine.read(Lane::Steady, REMAINDERS, &args).await? {
                if let Some(one) = usize::try_from(row.count(0)?).ok().and_then(|place| all.get_mut(place)) {
                    let left = row.maybe_int(1)?.and_then(|left| u64::try_from(left).ok()).unwrap_or(0);
                    *one = Remainder { left, held: row.count(2)? };
                }
            }
            Ok(all)
        })
        .await
    }

    async fn open_slots(&self, incarnations: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        if incarnations.is_empty() {
            return Ok(Vec::new());
        }
        let ask: BTreeSet<String> = incarnations.iter().map(|one| one.0.to_string()).collect();
        let ask = text(ask.into_iter().map(|one| json!([one])).collect());
        self.call(async {
            let rows = self.engine.read(Lane::Data, OPEN_SLOTS, &[Arg::Text(&ask)]).await?;
            rows.iter().map(rows::slot).collect()
        })
        .await
    }

    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError> {
        let mut all = vec![OthersUsage::default(); buckets.len()];
        if buckets.is_empty() {
            return Ok(all);
        }
        let (ask, own) = (buckets_by_place(buckets), incarnation.0.to_string());
        self.call(async {
            let args = [Arg::Text(&ask), Arg::Text(&own), Arg::Int(LIVE_MILLIS)];
            for row in self.engine.read(Lane::Data, OTHERS, &args).await? {
                if let Some(one) = usize::try_from(row.count(0)?).ok().and_then(|place| all.get_mut(place)) {
                    let uncounted = u64::try_from(row.int(3)?).unwrap_or(0);
                    *one = OthersUsage {
                        used: Units::saturating(row.count(1)?.saturating_add(uncounted)),
                        uncertain: Units::saturating(row.count(2)?),
                    };
                }
            }
            Ok(all)
        })
        .await
    }
}
