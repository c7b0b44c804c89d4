//! The part of the ledger that one transaction has locked: loaded into a book, and written back when the rules are done.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{
    book::{Book, Bucket, HourUse, Slot, UsageKey, hour_of},
    classify::unreadable,
    rows,
    session::{Arg, Session, Sql, bulk, signed, timed_bulk},
    warned::Warned,
};
use crate::{
    domain::time::UnixMillis,
    ports::{BucketKey, Incarnation, SlotKey, SlotTotals, Span, StoreError},
};

// Made in the order of the batch and then locked by id: both orders are the same for all, so nobody waits in a circle.
const MAKE_BUCKETS: Sql = bulk!(
    "INSERT INTO buckets (tenant, meter, span, start_ms, epoch, end_ms, allocated, used) \
     SELECT v->>0, v->>1, v->>2, CAST(v->>3 AS BIGINT), CAST(v->>4 AS BIGINT), CAST(v->>5 AS BIGINT), 0, 0 FROM",
    "WHERE NOT EXISTS (SELECT 1 FROM buckets b WHERE b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT)) \
     ON CONFLICT (tenant, meter, span, start_ms, epoch) DO NOTHING"
);
const LOCK_BUCKETS: Sql = bulk!(
    "SELECT CAST(v->>5 AS BIGINT), b.id, b.end_ms, b.limit_units, b.allocated, b.used, b.wanted_until_ms, \
     b.seeded, b.confirmed, b.marks, b.told_marks FROM",
    "JOIN buckets b ON b.tenant = v->>0 AND b.meter = v->>1 AND b.span = v->>2 \
       AND b.start_ms = CAST(v->>3 AS BIGINT) AND b.epoch = CAST(v->>4 AS BIGINT) ORDER BY b.id",
    "FOR UPDATE OF b"
);
const SLOTS: Sql = bulk!(
    "SELECT CAST(v->>3 AS BIGINT), s.granted, s.used, s.refunded, s.sealed, s.lost, s.since_ms, s.counted FROM",
    "JOIN slots s ON s.bucket_id = CAST(v->>0 AS BIGINT) AND s.incarnation = v->>1 \
       AND s.seq = CAST(v->>2 AS BIGINT)"
);
const WRITE_BUCKETS: Sql = Sql {
    postgres: "UPDATE buckets b SET end_ms = CAST(v->>1 AS BIGINT), limit_units = CAST(v->>2 AS BIGINT), \
               allocated = CAST(v->>3 AS BIGINT), used = CAST(v->>4 AS BIGINT), \
               wanted_until_ms = CAST(v->>5 AS BIGINT), seeded = CAST(v->>6 AS BIGINT), \
               confirmed = CAST(v->>7 AS BIGINT), marks = coalesce(v->>8, b.marks), \
               told_marks = CAST(v->>9 AS BIGINT) \
               FROM json_array_elements(CAST($1 AS json)) AS r(v) WHERE b.id = CAST(v->>0 AS BIGINT)",
    sqlite: "UPDATE buckets SET end_ms = v->>1, limit_units = v->>2, allocated = v->>3, used = v->>4, \
             wanted_until_ms = v->>5, seeded = v->>6, confirmed = v->>7, marks = coalesce(v->>8, marks), \
             told_marks = v->>9 \
             FROM (SELECT value AS v FROM json_each($1)) AS r WHERE id = v->>0",
};
// Who declares a slot lost holds its bucket's lock, too; nobody else writes that column.
const WRITE_SLOTS: Sql = bulk!(
    "INSERT INTO slots (bucket_id, incarnation, seq, granted, used, refunded, sealed, since_ms, counted) \
     SELECT CAST(v->>0 AS BIGINT), v->>1, CAST(v->>2 AS BIGINT), CAST(v->>3 AS BIGINT), CAST(v->>4 AS BIGINT), \
            CAST(v->>5 AS BIGINT), CAST(v->>6 AS BIGINT), CAST(v->>7 AS BIGINT), CAST(v->>8 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (bucket_id, incarnation, seq) DO UPDATE SET granted = excluded.granted, \
     used = excluded.used, refunded = excluded.refunded, sealed = excluded.sealed, \
     since_ms = excluded.since_ms, counted = excluded.counted"
);
const ADD_USAGE: Sql = bulk!(
    "INSERT INTO usage_hours (tenant, meter, hour_ms, epoch, units, no_hour, no_day, no_week) \
     SELECT v->>0, v->>1, CAST(v->>2 AS BIGINT), CAST(v->>3 AS BIGINT), CAST(v->>4 AS BIGINT), \
            CAST(v->>5 AS BIGINT), CAST(v->>6 AS BIGINT), CAST(v->>7 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (tenant, meter, hour_ms, epoch) DO UPDATE SET \
     units = usage_hours.units + excluded.units, no_hour = usage_hours.no_hour + excluded.no_hour, \
     no_day = usage_hours.no_day + excluded.no_day, no_week = usage_hours.no_week + excluded.no_week"
);
// Who adds holds the bucket's lock, so rows of one bucket are added by one transaction at a time.
const ADD_HOURS: Sql = bulk!(
    "INSERT INTO bucket_hours (bucket_id, hour_ms, units) \
     SELECT CAST(v->>0 AS BIGINT), CAST(v->>1 AS BIGINT), CAST(v->>2 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (bucket_id, hour_ms) DO UPDATE SET units = bucket_hours.units + excluded.units"
);
const UNCOUNTED: Sql = bulk!(
    "SELECT CAST(v->>5 AS BIGINT), CAST(coalesce(sum(\
       CASE v->>2 WHEN 'hour' THEN u.no_hour WHEN 'day' THEN u.no_day ELSE u.no_week END), 0) AS BIGINT) FROM",
    "LEFT JOIN usage_hours u ON u.tenant = v->>0 AND u.meter = v->>1 AND u.epoch = CAST(v->>4 AS BIGINT) \
       AND u.hour_ms >= CAST(v->>3 AS BIGINT) AND u.hour_ms < CAST(v->>6 AS BIGINT) GROUP BY 1"
);
const HELD: Sql = timed_bulk!(
    "SELECT CAST(v->>2 AS BIGINT), CAST(coalesce(sum(s.granted - s.used + s.refunded), 0) AS BIGINT) FROM",
    "JOIN slots s ON s.bucket_id = CAST(v->>0 AS BIGINT) AND s.incarnation <> v->>1 AND s.sealed = 0 \
       AND s.lost = 0 AND s.granted > s.used - s.refunded \
     JOIN nodes n ON n.incarnation = s.incarnation AND n.beat_ms > ",
    " - $2 GROUP BY 1"
);

/// Rows as one parameter.
pub(super) fn text(rows: Vec<Value>) -> String {
    Value::Array(rows).to_string()
}

/// What names a bucket, and a sixth number.
pub(super) fn bucket_row(key: &BucketKey, sixth: i64) -> Value {
    json!([
        key.tenant.as_str(),
        key.meter.as_str(),
        key.span.as_str(),
        key.start.0,
        signed(key.epoch.0),
        sixth
    ])
}

/// The item that a row speaks of.
pub(super) fn place<T>(items: &[T], place: u64) -> Result<&T, StoreError> {
    let item = usize::try_from(place).ok().and_then(|place| items.get(place));
    item.ok_or_else(|| unreadable("a batch", format!("it has no row {place}")))
}

fn slot_row(bucket: i64, slot: &SlotKey, rest: &[i64]) -> Value {
    let mut row = vec![json!(bucket), json!(slot.incarnation.0.to_string()), json!(signed(slot.seq))];
    row.extend(rest.iter().map(|number| json!(number)));
    Value::Array(row)
}

/// The locked part.
pub(super) struct Locked {
    pub(super) book: Book,
    ids: BTreeMap<BucketKey, i64>,
    buckets: BTreeMap<BucketKey, Bucket>,
    slots: HashMap<SlotKey, Slot>,
}

impl Locked {
    /// Locks the buckets of all these totals, making those that are missing, and reads them and their slots.
    pub(super) async fn load(session: &mut Session, totals: &[&SlotTotals]) -> Result<Self, StoreError> {
        let mut locked = Self::lock(session, totals).await?;
        locked.read_slots(session, totals).await?;
        locked.buckets.clone_from(&locked.book.buckets);
        locked.slots.clone_from(&locked.book.slots);
        Ok(locked)
    }

    async fn lock(session: &mut Session, totals: &[&SlotTotals]) -> Result<Self, StoreError> {
        let overages = totals.iter().filter(|t| t.slot.bucket.span == Span::Overage);
        // With an overage its month: neither is granted without a look at the other.
        let months: Vec<(BucketKey, UnixMillis)> = overages.map(|t| (t.slot.bucket.month(), t.end)).collect();
        let mut ends: BTreeMap<&BucketKey, UnixMillis> =
            months.iter().map(|(key, end)| (key, *end)).collect();
        ends.extend(totals.iter().map(|totals| (&totals.slot.bucket, totals.end)));
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
                seeded: row.count(7)?,
                confirmed: rows::version(&row, 8)?,
                warned: Warned { marks: row.maybe_text(9)?.map(Into::into), told: row.count(10)? },
            };
            book.buckets.insert(key.clone(), bucket);
        }
        Ok(Self { ids, book, buckets: BTreeMap::new(), slots: HashMap::new() })
    }

    async fn read_slots(&mut self, session: &mut Session, totals: &[&SlotTotals]) -> Result<(), StoreError> {
        let mut known: BTreeSet<(i64, Incarnation, u64)> = BTreeSet::new();
        let mut keys: Vec<&SlotKey> = Vec::new();
        let mut ask = Vec::new();
        for slot in totals.iter().map(|totals| &totals.slot) {
            let id = self.id(&slot.bucket)?;
            if known.insert((id, slot.incarnation, slot.seq)) {
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
                lost: row.flag(5)?,
                since: rows::instant(&row, 6)?,
                counted: rows::windows(&row, 7)?,
            };
            self.book.slots.insert(key.clone(), slot);
        }
        Ok(())
    }

    fn id(&self, bucket: &BucketKey) -> Result<i64, StoreError> {
        let id = self.ids.get(bucket).copied();
        id.ok_or_else(|| unreadable("a bucket", "it could not be locked"))
    }

    /// Lets the buckets of shorter windows count what was recorded so far without being counted in them.
    pub(super) async fn seed(
        &mut self,
        session: &mut Session,
        totals: &[&SlotTotals],
    ) -> Result<(), StoreError> {
        let shorter = totals.iter().filter(|totals| totals.slot.bucket.span.is_shorter());
        let ends: BTreeMap<&BucketKey, UnixMillis> = shorter.map(|t| (&t.slot.bucket, t.end)).collect();
        if ends.is_empty() {
            return Ok(());
        }
        let keys: Vec<&BucketKey> = ends.keys().copied().collect();
        let ask = ends.iter().zip(0..).map(|((key, end), place)| {
            json!([
                key.tenant.as_str(),
                key.meter.as_str(),
                key.span.as_str(),
                hour_of(key.start).0,
                signed(key.epoch.0),
                place,
                end.0
            ])
        });
        for row in session.rows(UNCOUNTED, &[Arg::Text(&text(ask.collect()))]).await? {
            let key = *place(&keys, row.count(0)?)?;
            self.book.seed(key, ends[key], u64::try_from(row.int(1)?).unwrap_or(0));
        }
        Ok(())
    }

    /// What other live nodes hold of a bucket, slot by slot as written in this transaction.
    pub(super) async fn held(
        &self,
        session: &mut Session,
        asking: &[&SlotKey],
        live_millis: i64,
    ) -> Result<Vec<u64>, StoreError> {
        let mut held = vec![0; asking.len()];
        let mut ask = Vec::new();
        for (slot, place) in asking.iter().zip(0..) {
            ask.push(json!([self.id(&slot.bucket)?, slot.incarnation.0.to_string(), i64::from(place)]));
        }
        for row in session.rows(HELD, &[Arg::Text(&text(ask)), Arg::Int(live_millis)]).await? {
            if let Some(one) = usize::try_from(row.count(0)?).ok().and_then(|place| held.get_mut(place)) {
                *one = row.count(1)?;
            }
        }
        Ok(held)
    }

    /// Writes the slots that the rules changed.
    pub(super) async fn write_slots(&self, session: &mut Session) -> Result<(), StoreError> {
        let mut slots = Vec::new();
        for (key, slot) in &self.book.slots {
            if self.slots.get(key) != Some(slot) {
                let Slot { granted, used, refunded, sealed, lost: _, since, counted } = *slot;
                let numbers = [
                    signed(granted),
                    signed(used),
                    signed(refunded),
                    i64::from(sealed),
                    since.0,
                    i64::from(counted.bits()),
                ];
                slots.push(slot_row(self.id(&key.bucket)?, key, &numbers));
            }
        }
        write(session, WRITE_SLOTS, slots).await
    }

    /// Writes the buckets that the rules changed, and the usage.
    pub(super) async fn write_buckets(&self, session: &mut Session) -> Result<(), StoreError> {
        let mut buckets = Vec::new();
        for (key, bucket) in &self.book.buckets {
            let before = self.buckets.get(key);
            if before != Some(bucket) {
                // Hardly ever others than before.
                let marks = &bucket.warned.marks;
                let marks =
                    marks.as_deref().filter(|_| before.map(|before| &before.warned.marks) != Some(marks));
                buckets.push(json!([
                    self.id(key)?,
                    bucket.end.0,
                    bucket.limit.map(signed),
                    signed(bucket.allocated),
                    signed(bucket.used),
                    bucket.wanted_until.map(|at| at.0),
                    signed(bucket.seeded),
                    signed(bucket.confirmed.0),
                    marks,
                    signed(bucket.warned.told),
                ]));
            }
        }
        write(session, WRITE_BUCKETS, buckets).await?;
        // Sorted by the map, so that two transactions touch the hours in the same order.
        let usage = |((tenant, meter, hour, epoch), used): (&UsageKey, &HourUse)| {
            let [no_hour, no_day, no_week] = used.uncounted;
            json!([
                tenant.as_str(),
                meter.as_str(),
                hour.0,
                signed(epoch.0),
                used.units,
                no_hour,
                no_day,
                no_week
            ])
        };
        let changed = self.book.usage.iter().filter(|(_, used)| **used != HourUse::default());
        write(session, ADD_USAGE, changed.map(usage).collect()).await?;
        let mut hours = Vec::new();
        for ((bucket, hour), units) in self.book.hours.iter().filter(|(_, units)| **units != 0) {
            hours.push(json!([self.id(bucket)?, hour.0, units]));
        }
        write(session, ADD_HOURS, hours).await
    }
}

async fn write(session: &mut Session, sql: Sql, rows: Vec<Value>) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    session.run(sql, &[Arg::Text(&text(rows))]).await.map(drop)
}
