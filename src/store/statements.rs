//! Histories, what was used of a period, and closed statements, over a database.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::json;

use super::{
    billing,
    classify::unreadable,
    engine::Lane,
    nodes::LIVE_MILLIS,
    outbox, rows,
    session::{Arg, Record, Session, Sql, timed},
    sql::SqlStore,
};
use crate::{
    domain::{
        id::{GrantId, MeterId, TenantId},
        period::Period,
        rights::Source,
        statement::{BillingFacts, BucketUse, Counted},
        time::UnixMillis,
    },
    ports::{
        ClosedStatement, Closing, ClosingRecord, NewEvent, Span, StatementHead, StatementStore, StoreError,
    },
    wire::hex,
};

const FACTS: Sql = Sql::same(
    "SELECT tenant, version, since_ms, facts FROM billing_facts WHERE tenant = $1 AND since_ms < $3 \
     AND since_ms >= coalesce((SELECT max(since_ms) FROM billing_facts WHERE tenant = $1 AND since_ms <= $2), $2) \
     ORDER BY version, step",
);
/// The buckets `b` of a tenant's period from `$2` to `$3`. One of the plan or its overage belongs to the period in which it
/// begins; of a grant whatever was used in the period.
macro_rules! of_period {
    () => {
        "b.tenant = $1 AND ((b.span IN ('month', 'overage') AND b.start_ms >= $2 AND b.start_ms < $3) \
           OR (b.span = 'grant' AND b.start_ms < $3 AND b.end_ms > $2))"
    };
}
const COUNTED: Sql = timed!(
    "SELECT b.id, b.meter, b.span, b.epoch, b.used, g.id, \
     CAST(coalesce(sum(CASE WHEN (s.lost = 1 OR (s.sealed = 0 AND n.incarnation IS NULL)) \
       AND s.granted > s.used - s.refunded THEN s.granted - s.used + s.refunded END), 0) AS BIGINT), \
     CAST(coalesce(max(CASE WHEN s.sealed = 0 AND s.lost = 0 AND n.incarnation IS NOT NULL THEN 1 END), 0) AS BIGINT), \
     CAST(coalesce(max(CASE WHEN s.sealed = 0 AND s.lost = 0 AND n.incarnation IS NULL THEN 1 END), 0) AS BIGINT) \
     FROM buckets b LEFT JOIN slots s ON s.bucket_id = b.id \
     LEFT JOIN nodes n ON n.incarnation = s.incarnation AND n.beat_ms > ",
    " - $4 LEFT JOIN grants g ON b.span = 'grant' AND g.tenant = b.tenant AND g.number = b.epoch \
       AND g.meter = b.meter \
     WHERE b.tenant = $1 AND ((b.span IN ('month', 'overage') AND b.start_ms >= $2 AND b.start_ms < $3) \
       OR (b.span = 'grant' AND b.start_ms < $3 AND b.end_ms > $2)) \
     GROUP BY b.id, b.meter, b.span, b.epoch, b.used, g.id ORDER BY b.meter, b.epoch, b.span, b.id"
);
const HOURS: Sql = Sql::same(concat!(
    "SELECT h.bucket_id, h.hour_ms, h.units FROM buckets b JOIN bucket_hours h ON h.bucket_id = b.id WHERE ",
    of_period!(),
    " AND (b.span <> 'grant' OR (h.hour_ms >= $2 AND h.hour_ms < $3)) ORDER BY h.bucket_id, h.hour_ms"
));
const GRANTED: Sql = Sql::same(concat!(
    "SELECT h.bucket_id, CAST(sum(h.units) AS BIGINT) FROM buckets b JOIN bucket_hours h ON h.bucket_id = b.id WHERE ",
    of_period!(),
    " AND b.span = 'grant' AND h.hour_ms >= $2 AND h.hour_ms < $3 GROUP BY h.bucket_id"
));
const TO_CLOSE: Sql = Sql::same(
    "SELECT tenant, bills_from_ms, bills_until_ms FROM subscriptions WHERE bills_until_ms < $1 \
     ORDER BY bills_until_ms, tenant LIMIT $2",
);
const NEXT: Sql =
    Sql::same("SELECT tenant, bills_from_ms, bills_until_ms FROM subscriptions WHERE tenant = $1");
const LOCK_TENANT: Sql = Sql {
    postgres: "SELECT version FROM tenants WHERE id = $1 FOR UPDATE",
    sqlite: "SELECT version FROM tenants WHERE id = $1",
};
// Flushes lock a bucket before they write it: while these are locked nothing is recorded that the statement lacks.
const LOCK_BUCKETS: Sql = Sql {
    postgres: "SELECT used FROM buckets WHERE tenant = $1 AND span IN ('month', 'overage') \
               AND start_ms >= $2 AND start_ms < $3 ORDER BY id FOR UPDATE",
    sqlite: "SELECT used FROM buckets WHERE tenant = $1 AND span IN ('month', 'overage') \
             AND start_ms >= $2 AND start_ms < $3 ORDER BY id",
};
const INSERT: Sql = Sql::same(
    "INSERT INTO statements (tenant, start_ms, end_ms, name, currency, total, closed_ms, digest, body) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant, start_ms) DO NOTHING",
);
const MOVE_ON: Sql =
    Sql::same("UPDATE subscriptions SET bills_from_ms = $2, bills_until_ms = $3 WHERE tenant = $1");
const CLOSED: Sql = Sql::same(
    "SELECT name, start_ms, end_ms, currency, total, closed_ms, digest, body FROM statements \
     WHERE tenant = $1 AND name >= $2 AND name < $3 ORDER BY start_ms LIMIT 1",
);
const HEADS: Sql = Sql::same(
    "SELECT name, start_ms, end_ms, currency, total, closed_ms, digest FROM statements \
     WHERE tenant = $1 AND start_ms < $2 ORDER BY start_ms DESC LIMIT $3",
);

/// What is told of a closed statement.
pub(super) fn event(record: &ClosingRecord, digest: &str) -> NewEvent {
    let mut event = record.event.clone();
    event.data["digest"] = json!(digest);
    event
}

/// A period that is known; 0 and null are not.
fn period(row: &Record) -> Result<Option<Period>, StoreError> {
    let (start, end) = (row.maybe_int(1)?, row.maybe_int(2)?);
    let known = start.zip(end).filter(|(_, end)| *end != 0);
    Ok(known.map(|(start, end)| Period { start: UnixMillis(start), end: UnixMillis(end) }))
}

fn head(row: &Record) -> Result<StatementHead, StoreError> {
    Ok(StatementHead {
        name: row.text(0)?,
        period: Period { start: rows::instant(row, 1)?, end: rows::instant(row, 2)? },
        currency: row.maybe_text(3)?,
        total: row.text(4)?,
        closed_at: rows::instant(row, 5)?,
        digest: row.text(6)?,
    })
}

fn bucket(row: &Record) -> Result<(i64, BucketUse), StoreError> {
    let number = rows::version(row, 3)?;
    let span = Span::parse(&row.text(2)?);
    let source = span.and_then(|span| span.source(number)).unwrap_or(Source::Overage);
    let grant = row.maybe_text(5)?.map(|id| GrantId::parse(&id)).transpose();
    let used = BucketUse {
        meter: MeterId::parse(&row.text(1)?).map_err(|error| unreadable("a meter's id", error))?,
        source,
        counting: number,
        grant: grant.map_err(|error| unreadable("a grant's id", error))?,
        used: row.count(4)?,
        uncertain: row.count(6)?,
        hours: Vec::new(),
    };
    Ok((row.int(0)?, used))
}

impl SqlStore {
    async fn count(&self, tenant: &TenantId, period: Period, by_hour: bool) -> Result<Counted, StoreError> {
        let of = [Arg::Text(tenant.as_str()), Arg::Int(period.start.0), Arg::Int(period.end.0)];
        let args = [of[0], of[1], of[2], Arg::Int(LIVE_MILLIS)];
        let mut counted = Counted::default();
        let mut places: HashMap<i64, usize> = HashMap::new();
        for row in self.engine.read(Lane::Data, COUNTED, &args).await? {
            let (id, mut used) = bucket(&row)?;
            let of_grant = matches!(used.source, Source::Grant(_));
            // Of a grant that goes on, whoever holds some of it goes on, too.
            counted.open |= !of_grant && row.flag(7)?;
            counted.unreturned |= !of_grant && row.flag(8)?;
            if of_grant || by_hour {
                used.used = 0;
            }
            places.insert(id, counted.buckets.len());
            counted.buckets.push(used);
        }
        let rows = self.engine.read(Lane::Data, if by_hour { HOURS } else { GRANTED }, &of).await?;
        // A bucket that was made meanwhile is not known here: it is with the next question.
        for row in rows {
            let Some(place) = places.get(&row.int(0)?) else { continue };
            let bucket = &mut counted.buckets[*place];
            if by_hour {
                bucket.hours.push((rows::instant(&row, 1)?, row.int(2)?));
            } else {
                bucket.used = u64::try_from(row.int(1)?).unwrap_or(0);
            }
        }
        if by_hour {
            // The sum of the hours that are shown: what the bucket says may be younger than they are.
            for bucket in &mut counted.buckets {
                let sum = bucket.hours.iter().map(|(_, units)| units).sum::<i64>();
                bucket.used = u64::try_from(sum).unwrap_or(0);
            }
        }
        Ok(counted)
    }

    async fn close_one(&self, closing: &Closing) -> Result<bool, StoreError> {
        let tenant = Arg::Text(closing.tenant.as_str());
        let mut session = self.engine.begin(Lane::Data).await?;
        let Some(row) = session.first(LOCK_TENANT, &[tenant]).await? else { return Ok(false) };
        if rows::version(&row, 0)? != closing.version {
            return Ok(false);
        }
        let Some(row) = session.first(NEXT, &[tenant]).await? else { return Ok(false) };
        if row.maybe_int(2)?.is_none() || period(&row)? != closing.period {
            return Ok(false);
        }
        if let Some(record) = &closing.record
            && !insert(&mut session, closing, record).await?
        {
            return Ok(false);
        }
        let (from, until) = (closing.next.map(|next| next.start.0), closing.next.map(|next| next.end.0));
        session.run(MOVE_ON, &[tenant, Arg::MaybeInt(from), Arg::MaybeInt(until)]).await?;
        session.commit().await?;
        Ok(true)
    }
}

async fn insert(
    session: &mut Session,
    closing: &Closing,
    record: &ClosingRecord,
) -> Result<bool, StoreError> {
    let tenant = Arg::Text(closing.tenant.as_str());
    let (start, end) = (Arg::Int(record.period.start.0), Arg::Int(record.period.end.0));
    let mut units = 0_u64;
    for row in session.rows(LOCK_BUCKETS, &[tenant, start, end]).await? {
        units = units.saturating_add(row.count(0)?);
    }
    if units != record.units {
        return Ok(false);
    }
    let digest = hex::sha256(record.body.as_bytes());
    let args = [
        tenant,
        start,
        end,
        Arg::Text(&record.name),
        Arg::MaybeText(record.currency.as_deref()),
        Arg::Text(&record.total),
        Arg::Int(record.at.0),
        Arg::Text(&digest),
        Arg::Text(&record.body),
    ];
    // One that is there stays; only what comes next is said.
    if session.run(INSERT, &args).await? > 0 {
        outbox::tell(session, &[event(record, &digest)]).await?;
    }
    Ok(true)
}

#[async_trait]
impl StatementStore for SqlStore {
    async fn billing_facts(&self, tenant: &TenantId, span: Period) -> Result<Vec<BillingFacts>, StoreError> {
        let args = [Arg::Text(tenant.as_str()), Arg::Int(span.start.0), Arg::Int(span.end.0)];
        self.list(FACTS, &args, billing::entry).await
    }

    async fn counted(&self, tenant: &TenantId, period: Period, by_hour: bool) -> Result<Counted, StoreError> {
        self.call(self.count(tenant, period, by_hour)).await
    }

    async fn to_close(
        &self,
        ended: UnixMillis,
        limit: u32,
    ) -> Result<Vec<(TenantId, Option<Period>)>, StoreError> {
        let args = [Arg::Int(ended.0), Arg::Int(i64::from(limit))];
        self.list(TO_CLOSE, &args, |row| Ok((rows::tenant_id(row, 0)?, period(row)?))).await
    }

    async fn next_to_close(&self, tenant: &TenantId) -> Result<Option<Period>, StoreError> {
        let found = self.list(NEXT, &[Arg::Text(tenant.as_str())], period).await?;
        Ok(found.into_iter().next().flatten())
    }

    async fn close_period(&self, closing: &Closing) -> Result<bool, StoreError> {
        self.call(self.close_one(closing)).await
    }

    async fn closed_statement(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> Result<Option<ClosedStatement>, StoreError> {
        let after = format!("{name}~");
        let args = [Arg::Text(tenant.as_str()), Arg::Text(name), Arg::Text(&after)];
        let read = |row: &Record| Ok(ClosedStatement { head: head(row)?, body: row.text(7)? });
        Ok(self.list(CLOSED, &args, read).await?.into_iter().next())
    }

    async fn closed_statements(
        &self,
        tenant: &TenantId,
        before: Option<UnixMillis>,
        limit: u32,
    ) -> Result<Vec<StatementHead>, StoreError> {
        let before = before.map_or(i64::MAX, |before| before.0);
        let args = [Arg::Text(tenant.as_str()), Arg::Int(before), Arg::Int(i64::from(limit))];
        self.list(HEADS, &args, head).await
    }
}
