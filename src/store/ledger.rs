//! Grants and flushes over a database: lock the buckets, load, apply the book's rules, write back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    book::{Book, Bucket, Setting, Slot, UsageKey},
    classify::unreadable,
    engine::Lane,
    nodes::LIVE_MILLIS,
    rows,
    session::{Arg, Session, Sql, bulk, signed, timed},
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
const SETTING: Sql = timed!("SELECT ", ", (SELECT count(*) FROM nodes WHERE beat_ms > ", " - $1)");
// Made in the order of the batch and then locked by id: both orders are the same for all, so nobody waits in a circle.
const MAKE_BUCKETS: Sql = bulk!(
    "INSERT INTO buckets (tenant, meter, span, start_ms, epoch, end_ms, allocated, used) \
     SELECT v->>0, v->>1, v->>2, CAST(v->>3 AS BIGINT), CAST(v->>4 AS BIGINT), CAST(v->>5 AS BIGINT), 0, 0 FROM",
    "WHERE NOT EXISTS (SELECT 1 FROM buckets b WHERE b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT)) \
     ON CONFLICT (tenant, meter, span, start_ms, epoch) DO NOTHING"
);
const LOCK_BUCKETS: Sql = bulk!(
    "SELECT CAST(v->>5 AS BIGINT), b.id, b.end_ms, b.limit_units, b.allocated, b.used, b.wanted_until_ms FROM",
    "JOIN buckets b ON b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT) ORDER BY b.id",
    "FOR UPDATE OF b"
);
const SLOTS: Sql = bulk!(
    "SELECT CAST(v->>3 AS BIGINT), s.granted, s.used, s.refunded, s.sealed FROM",
    "JOIN slots s ON s.bucket_id = CAST(v->>0 AS BIGINT) AND s.incarnation = v->>1 \
       AND s.seq = CAST(v->>2 AS BIGINT)"
);
const WRITE_BUCKETS: Sql = Sql {
    postgres: "UPDATE buckets b SET end_ms = CAST(v->>1 AS BIGINT), limit_units = CAST(v->>2 AS BIGINT), \
               allocated = CAST(v->>3 AS BIGINT), used = CAST(v->>4 AS BIGINT), \
               wanted_until_ms = CAST(v->>5 AS BIGINT) \
               FROM json_array_elements(CAST($1 AS json)) AS r(v) WHERE b.id = CAST(v->>0 AS BIGINT)",
    sqlite: "UPDATE buckets SET end_ms = v->>1, limit_units = v->>2, allocated = v->>3, used = v->>4, \
             wanted_until_ms = v->>5 FROM (SELECT value AS v FROM json_each($1)) AS r WHERE id = v->>0",
};
const WRITE_SLOTS: Sql = bulk!(
    "INSERT INTO slots (bucket_id, incarnation, seq, granted, used, refunded, sealed) \
     SELECT CAST(v->>0 AS BIGINT), v->>1, CAST(v->>2 AS BIGINT), CAST(v->>3 AS BIGINT), CAST(v->>4 AS BIGINT), \
            CAST(v->>5 AS BIGINT), CAST(v->>6 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (bucket_id, incarnation, seq) DO UPDATE SET granted = excluded.granted, \
     used = excluded.used, refunded = excluded.refunded, sealed = excluded.sealed"
);
const ADD_USAGE: Sql = bulk!(
    "INSERT INTO usage_hours (tenant, meter, hour_ms, units) \
     SELECT v->>0, v->>1, CAST(v->>2 AS BIGINT), CAST(v->>3 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (tenant, meter, hour_ms) DO UPDATE SET units = usage_hours.units + excluded.units"
);
const OTHERS: Sql = bulk!(
    "SELECT CAST(v->>5 AS BIGINT), CAST(coalesce(sum(s.used - s.refunded), 0) AS BIGINT), \
     CAST(coalesce(sum(CASE WHEN s.sealed = 0 AND n.incarnation IS NULL AND s.granted > s.used - s.refunded \
       THEN s.granted - s.used + s.refunded END), 0) AS BIGINT) FROM",
    "JOIN buckets b ON b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT) \
     JOIN slots s ON s.bucket_id = b.id AND s.incarnation <> $2 \
     LEFT JOIN nodes n ON n.incarnation = s.incarnation GROUP BY 1"
);

fn text(rows: Vec<Value>) -> String {
    Value::Array(rows).to_string()
}

fn bucket_row(key: &BucketKey, sixth: i64) -> Value {
    json!([
        key.tenant.as_str(),
        key.meter.as_str(),
        key.window.as_str(),
        key.start.0,
        signed(key.epoch.0),
        sixth
    ])
}

fn place<T>(items: &[T], place: u64) -> Result<&T, StoreError> {
    let item = usize::try_from(place).ok().and_then(|place| items.get(place));
    item.ok_or_else(|| unreadable("a batch", format!("it has no row {place}")))
}

fn slot_row(bucket: i64, slot: &SlotKey, rest: &[i64]) -> Value {
    let mut row = vec![json!(bucket), json!(slot.incarnation.0.to_string()), json!(signed(slot.seq))];
    row.extend(rest.iter().map(|number| json!(number)));
    Value::Array(row)
}

/// The part of the ledger that one transaction has locked.
struct Loaded {
    book: Book,
    ids: BTreeMap<BucketKey, i64>,
    buckets: BTreeMap<BucketKey, Bucket>,
    slots: HashMap<SlotKey, Slot>,
}

impl Loaded {
    /// Locks the buckets of all these totals, and reads them and their slots.
    async fn load(session: &mut Session, totals: &[&SlotTotals]) -> Result<Self, StoreError> {
        let ends: BTreeMap<&BucketKey, UnixMillis> = totals.iter().map(|t| (&t.slot.bucket, t.end)).collect();
        let make = text(ends.iter().map(|(key, end)| bucket_row(key, end.0)).collect());
        session.run(MAKE_BUCKETS, &[Arg::Text(&make)]).await?;

        let keys: Vec<&BucketKey> = ends.keys().copied().collect();
        let ask = text(keys.iter().zip(0..).map(|(key, place)| bucket_row(key, place)).collect());
        let mut ids = BTreeMap::new();
        let mut book = Book::default();
        for row in session.rows(LOCK_BUCKETS, &[Arg::Text(&ask)]).await? {
            let key = *place(&keys, row.count(0)?)?;
            ids.insert(key.clone(), row.int(1)?);
            let bucket = Bucket {
                end: rows::instant(&row, 2)?,
                limit: row.maybe_int(3)?.map(|limit| u64::try_from(limit).unwrap_or(0)),
                allocated: row.count(4)?,
                used: row.count(5)?,
                wanted_until: row.maybe_int(6)?.map(UnixMillis),
            };
            book.buckets.insert(key.clone(), bucket);
        }
        let mut wanted: BTreeSet<(i64, Incarnation, u64)> = BTreeSet::new();
        let mut keys: Vec<&SlotKey> = Vec::new();
        let mut ask = Vec::new();
        for slot in totals.iter().map(|totals| &totals.slot) {
            let id =
                *ids.get(&slot.bucket).ok_or_else(|| unreadable("a bucket", "it could not be locked"))?;
            if wanted.insert((id, slot.incarnation, slot.seq)) {
                ask.push(slot_row(id, slot, &[signed(keys.len() as u64)]));
                keys.push(slot);
            }
        }
        for row in session.rows(SLOTS, &[Arg::Text(&text(ask))]).await? {
            let key = *place(&keys, row.count(0)?)?;
            let slot = Slot {
                granted: row.count(1)?,
                used: row.count(2)?,
                refunded: row.count(3)?,
                sealed: row.flag(4)?,
            };
            book.slots.insert(key.clone(), slot);
        }
        Ok(Self { ids, buckets: book.buckets.clone(), slots: book.slots.clone(), book })
    }

    /// Writes what the rules changed.
    async fn store(&self, session: &mut Session) -> Result<(), StoreError> {
        let mut buckets = Vec::new();
        for (key, bucket) in &self.book.buckets {
            if self.buckets.get(key) != Some(bucket)
                && let Some(id) = self.ids.get(key)
            {
                buckets.push(json!([
                    id,
                    bucket.end.0,
                    bucket.limit.map(signed),
                    signed(bucket.allocated),
                    signed(bucket.used),
                    bucket.wanted_until.map(|at| at.0),
                ]));
            }
        }
        let mut slots = Vec::new();
        for (key, slot) in &self.book.slots {
            if self.slots.get(key) != Some(slot)
                && let Some(id) = self.ids.get(&key.bucket)
            {
                let Slot { granted, used, refunded, sealed } = *slot;
                let numbers = [signed(granted), signed(used), signed(refunded), i64::from(sealed)];
                slots.push(slot_row(*id, key, &numbers));
            }
        }
        // Sorted by the map, so that two transactions touch the hours in the same order.
        let usage = |((tenant, meter, hour), units): (&UsageKey, &i64)| {
            json!([tenant.as_str(), meter.as_str(), hour.0, units])
        };
        let usage: Vec<Value> = self.book.usage.iter().filter(|(_, units)| **units != 0).map(usage).collect();
        for (sql, rows) in [(WRITE_BUCKETS, buckets), (WRITE_SLOTS, slots), (ADD_USAGE, usage)] {
            if !rows.is_empty() {
                session.run(sql, &[Arg::Text(&text(rows))]).await?;
            }
        }
        Ok(())
    }
}

/// The current versions of the requests' tenants, locked.
async fn versions(
    session: &mut Session,
    requests: &[&GrantRequest],
) -> Result<HashMap<TenantId, Version>, StoreError> {
    let tenants: BTreeSet<&str> =
        requests.iter().map(|request| request.totals.slot.bucket.tenant.as_str()).collect();
    let ask = text(tenants.into_iter().map(|tenant| json!([tenant])).collect());
    let rows = session.rows(VERSIONS, &[Arg::Text(&ask)]).await?;
    rows.iter().map(|row| Ok((rows::tenant_id(row, 0)?, rows::version(row, 1)?))).collect()
}

impl SqlStore {
    async fn grant_some(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|a, b| requests[*a].totals.slot.bucket.cmp(&requests[*b].totals.slot.bucket));
        let sorted: Vec<&GrantRequest> = order.iter().map(|place| &requests[*place]).collect();

        let mut session = self.engine.begin(Lane::Steady).await?;
        let versions = versions(&mut session, &sorted).await?;
        let totals: Vec<&SlotTotals> = sorted.iter().map(|request| &request.totals).collect();
        let mut loaded = Loaded::load(&mut session, &totals).await?;
        let row = session.first(SETTING, &[Arg::Int(LIVE_MILLIS)]).await?;
        let row = row.ok_or_else(|| unreadable("the setting of a grant", "no row"))?;
        let (now, live) = (rows::instant(&row, 0)?, u32::try_from(row.int(1)?).unwrap_or(u32::MAX));
        let mut outcomes = vec![GrantOutcome::Stale; requests.len()];
        for (place, request) in order.into_iter().zip(sorted) {
            let tenant = versions.get(&request.totals.slot.bucket.tenant).copied();
            outcomes[place] = loaded.book.grant(request, Setting { tenant, live, now });
        }
        loaded.store(&mut session).await?;
        session.commit().await?;
        Ok(outcomes)
    }

    async fn flush_some(&self, totals: &[SlotTotals]) -> Result<(), StoreError> {
        let mut session = self.engine.begin(Lane::Steady).await?;
        let all: Vec<&SlotTotals> = totals.iter().collect();
        let mut loaded = Loaded::load(&mut session, &all).await?;
        for one in totals {
            loaded.book.record(one);
        }
        loaded.store(&mut session).await?;
        session.commit().await
    }
}

#[async_trait]
impl LedgerStore for SqlStore {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        self.call(self.grant_some(requests)).await
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<(), StoreError> {
        for some in totals.chunks(MOST) {
            self.call(self.flush_some(some)).await?;
        }
        Ok(())
    }

    async fn remainders(&self, _: Incarnation, buckets: &[BucketKey]) -> Result<Vec<Remainder>, StoreError> {
        Ok(vec![Remainder::default(); buckets.len()])
    }

    async fn open_slots(&self, _: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        Ok(Vec::new())
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
        let ask = text(buckets.iter().zip(0..).map(|(key, place)| bucket_row(key, place)).collect());
        let own = incarnation.0.to_string();
        self.call(async {
            let args = [Arg::Text(&ask), Arg::Text(&own)];
            for row in self.engine.read(Lane::Data, OTHERS, &args).await? {
                let place = usize::try_from(row.count(0)?).unwrap_or(usize::MAX);
                if let Some(one) = all.get_mut(place) {
                    *one = OthersUsage {
                        used: Units::saturating(row.count(1)?),
                        uncertain: Units::saturating(row.count(2)?),
                    };
                }
            }
            Ok(all)
        })
        .await
    }
}
