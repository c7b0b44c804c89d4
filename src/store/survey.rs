//! What many tenants used, read by one statement a page.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    classify::unreadable,
    engine::Lane,
    locked::text,
    rows,
    session::{Arg, Record, Sql, bulk},
    settled,
    sql::SqlStore,
};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        impact::{DayUse, Lookback, Part, Spent},
        rights::Source,
        stripe::StripeEvent,
        time::{UnixMillis, Version},
    },
    ports::{Span, StoreError, SurveyStore},
};

/// Times at which a zone's offset changes that a lookback, of some seventy days, is told of.
const CHANGES: usize = 3;

// Each hour is put to the tenant's own day: by the zone's offset, which changes at the instants that come with it.
const USED: Sql = bulk!(
    "WITH w AS MATERIALIZED (SELECT v->>0 AS tenant, CAST(v->>1 AS BIGINT) AS since, \
       CAST(v->>2 AS BIGINT) AS last_ms, CAST(v->>3 AS BIGINT) AS month_ms, CAST(v->>4 AS BIGINT) AS o0, \
       CAST(v->>5 AS BIGINT) AS t1, CAST(v->>6 AS BIGINT) AS o1, CAST(v->>7 AS BIGINT) AS t2, \
       CAST(v->>8 AS BIGINT) AS o2, CAST(v->>9 AS BIGINT) AS t3, CAST(v->>10 AS BIGINT) AS o3 FROM",
    "), u AS (\
       SELECT w.*, h.meter, h.hour_ms AS at, h.epoch AS epoch, h.units FROM w \
       JOIN usage_hours h ON h.tenant = w.tenant AND h.hour_ms >= w.since AND h.hour_ms < $2 \
       UNION ALL SELECT w.*, d.meter, d.day_ms, CAST(-1 AS BIGINT), d.units FROM w \
       JOIN usage_days d ON d.tenant = w.tenant AND d.day_ms >= w.since AND d.day_ms < $2) \
     SELECT u.tenant, u.meter, \
       CASE WHEN u.at >= u.month_ms THEN CAST(2 AS BIGINT) WHEN u.at >= u.last_ms THEN CAST(1 AS BIGINT) \
         ELSE CAST(0 AS BIGINT) END AS part, \
       (u.at + CASE WHEN u.at < u.t1 THEN u.o0 WHEN u.at < u.t2 THEN u.o1 WHEN u.at < u.t3 THEN u.o2 \
         ELSE u.o3 END) / 86400000 AS day, \
       u.epoch, CAST(sum(u.units) AS BIGINT) FROM u GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"
);
const SPENT: Sql = bulk!(
    "WITH w AS MATERIALIZED (SELECT v->>0 AS tenant FROM",
    ") SELECT b.tenant, b.meter, b.span, b.start_ms, b.epoch, b.used FROM w JOIN buckets b ON b.tenant = w.tenant \
     AND b.span IN ('month', 'overage', 'grant') AND b.start_ms <= $2 AND b.end_ms > $2 \
     ORDER BY b.tenant, b.meter, b.span, b.start_ms, b.epoch"
);
/// Of more events of one customer, which there never are once they are tidied up, the latest are looked at.
const MOST_TOLD: i64 = 500;
const TOLD: Sql = bulk!(
    "WITH w AS MATERIALIZED (SELECT v->>0 AS tenant FROM",
    "), r AS (SELECT w.tenant, e.place, \
       row_number() OVER (PARTITION BY e.customer ORDER BY e.decides DESC, e.created_ms DESC) AS number \
       FROM w JOIN billing_customers b ON b.tenant = w.tenant \
       JOIN stripe_events e ON e.customer = b.customer AND e.state <> 'failed') \
     SELECT r.tenant, e.body FROM r JOIN stripe_events e ON e.place = r.place WHERE r.number <= $2"
);

/// A lookback as the statement takes it.
fn row(lookback: &Lookback, until: UnixMillis) -> Value {
    let Lookback { tenant, zone, from, last, month } = lookback;
    let mut offsets = zone.offsets(*from, until).into_iter().map(|(at, offset)| (at.0, offset));
    let (_, first) = offsets.next().unwrap_or_default();
    let mut row = vec![json!(tenant.as_str()), json!(from.0), json!(last.0), json!(month.0), json!(first)];
    let mut latest = first;
    for _ in 0..CHANGES {
        let (at, offset) = offsets.next().unwrap_or((i64::MAX, latest));
        latest = offset;
        row.extend([json!(at), json!(offset)]);
    }
    Value::Array(row)
}

fn meter(record: &Record) -> Result<MeterId, StoreError> {
    MeterId::parse(&record.text(1)?).map_err(|error| unreadable("a meter's id", error))
}

fn day(record: &Record) -> Result<DayUse, StoreError> {
    Ok(DayUse {
        meter: meter(record)?,
        part: Part::of(record.int(2)?),
        day: record.int(3)?,
        epoch: u64::try_from(record.int(4)?).ok().map(Version),
        units: record.int(5)?,
    })
}

fn spent(record: &Record) -> Result<Spent, StoreError> {
    let counting = rows::version(record, 4)?;
    let span = Span::parse(&record.text(2)?);
    let source = span.and_then(|span| span.source(counting)).unwrap_or(Source::Plan);
    Ok(Spent {
        meter: meter(record)?,
        source,
        start: rows::instant(record, 3)?,
        counting,
        used: record.count(5)?,
    })
}

impl SqlStore {
    /// The rows of a statement over these tenants, by tenant.
    async fn by_tenant<T: Send>(
        &self,
        sql: Sql,
        ask: Vec<Value>,
        bound: i64,
        read: fn(&Record) -> Result<T, StoreError>,
    ) -> Result<HashMap<TenantId, Vec<T>>, StoreError> {
        if ask.is_empty() {
            return Ok(HashMap::new());
        }
        let ask = text(ask);
        self.call(async {
            let mut all: HashMap<TenantId, Vec<T>> = HashMap::new();
            for row in self.engine.read(Lane::Data, sql, &[Arg::Text(&ask), Arg::Int(bound)]).await? {
                all.entry(rows::tenant_id(&row, 0)?).or_default().push(read(&row)?);
            }
            Ok(all)
        })
        .await
    }
}

#[async_trait]
impl SurveyStore for SqlStore {
    async fn used_of(
        &self,
        tenants: &[Lookback],
        until: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<DayUse>>, StoreError> {
        let ask = tenants.iter().map(|one| row(one, until)).collect();
        self.by_tenant(USED, ask, until.0, day).await
    }

    async fn spent_of(
        &self,
        tenants: &[Lookback],
        now: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<Spent>>, StoreError> {
        let ask = tenants.iter().map(|one| json!([one.tenant.as_str()])).collect();
        self.by_tenant(SPENT, ask, now.0, spent).await
    }

    async fn told_of(&self, tenants: &[TenantId]) -> Result<HashMap<TenantId, Vec<StripeEvent>>, StoreError> {
        let ask = tenants.iter().map(|tenant| json!([tenant.as_str()])).collect();
        let told = self.by_tenant(TOLD, ask, MOST_TOLD, |row| Ok(settled::meaning(&row.text(1)?))).await?;
        Ok(told
            .into_iter()
            .map(|(tenant, events)| (tenant, events.into_iter().flatten().collect()))
            .collect())
    }
}
