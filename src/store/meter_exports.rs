//! Pieces of usage that are told to a billing system, over a database.

use async_trait::async_trait;
use serde_json::json;

use super::{
    altered::Altered,
    audit::{self, Entry},
    classify::unreadable,
    engine::Lane,
    locked::text,
    once,
    pieces::{Looked, Told as Known},
    rows,
    session::{Arg, Record, Session, Sql, bulk, signed},
    sql::SqlStore,
};
use crate::{
    domain::{billing::Told, id::MeterId, time::UnixMillis},
    ports::{
        Cut, ExportOutcome, ExportState, MeterExport, MeterExportStore, Origin, RetryError, StoreError,
        TellMeter,
    },
};

/// The audit log's word for a piece that is sent again.
pub(super) const RETRIED: &str = "export.retried";
/// What that alters.
pub(super) fn retry_altered() -> Altered {
    let side = |state: ExportState| json!({ "state": state.as_str() });
    Altered { before: side(ExportState::Refused), after: side(ExportState::Waiting) }
}
/// Buckets in one transaction.
const AT_ONCE: u32 = 200;

// One node cuts at a time: this row is its lock, until the commit, so that places are in the order in which pieces are seen.
const LOCK: Sql = Sql::same(
    "INSERT INTO meta (name, value) VALUES ('meter_exports', $1) \
     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
);
const LOOK: Sql = bulk!(
    "SELECT b.id, b.tenant, b.meter, b.start_ms, b.end_ms, b.used, e.told, e.pieces, e.seen, e.seen_ms, \
     CAST(v->>1 AS BIGINT), \
     (SELECT c.customer FROM billing_customers c WHERE c.tenant = b.tenant \
      ORDER BY c.since_ms DESC, c.customer LIMIT 1) FROM",
    "JOIN buckets b ON b.meter = v->>0 \
       AND (b.span = 'overage' OR (v->>2 = 'all' AND b.span IN ('month', 'grant'))) \
     LEFT JOIN bucket_exports e ON e.bucket_id = b.id \
     WHERE b.end_ms > $2 AND EXISTS (SELECT 1 FROM billing_customers c WHERE c.tenant = b.tenant) \
       AND ((e.bucket_id IS NULL AND b.used > 0) \
         OR (e.seen_ms <= $3 AND (e.seen <> b.used OR e.told <> e.seen)) \
         OR (b.end_ms <= $3 AND e.told <> b.used)) \
     ORDER BY b.id LIMIT $4"
);
const REMEMBER: Sql = Sql::same(
    "INSERT INTO bucket_exports (bucket_id, told, pieces, seen, seen_ms) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT (bucket_id) DO UPDATE SET told = excluded.told, pieces = excluded.pieces, \
     seen = excluded.seen, seen_ms = excluded.seen_ms",
);
const ADD: Sql = Sql::same(
    "INSERT INTO meter_exports \
     (id, bucket_id, piece, tenant, customer, meter, event_name, units, at_ms, state, next_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'waiting', $10)",
);
const PIECES: Sql = Sql::same(
    "SELECT id, units, attempts FROM meter_exports \
     WHERE bucket_id = $1 AND state IN ('waiting', 'sent', 'refused') ORDER BY piece DESC",
);
// What was never tried was never had, and what was tried may have been.
const WITHDRAW: Sql = Sql::same(
    "UPDATE meter_exports SET next_ms = $2, \
     state = CASE WHEN state = 'waiting' AND attempts = 0 THEN 'withdrawn' WHEN state = 'waiting' THEN 'doubtful' \
       ELSE 'withdrawing' END \
     WHERE id = $1",
);
const CLAIM: Sql = Sql {
    postgres: "UPDATE meter_exports SET attempts = attempts + 1, next_ms = $2, \
               first_ms = coalesce(first_ms, $1) WHERE id IN (SELECT id FROM meter_exports \
                 WHERE state IN ('waiting', 'doubtful', 'withdrawing') AND next_ms <= $1 \
                 ORDER BY next_ms, place LIMIT $3 FOR UPDATE SKIP LOCKED) \
               RETURNING place, id, tenant, customer, meter, event_name, units, at_ms, state, attempts, first_ms, error",
    sqlite: "UPDATE meter_exports SET attempts = attempts + 1, next_ms = $2, \
             first_ms = coalesce(first_ms, $1) WHERE id IN (SELECT id FROM meter_exports \
               WHERE state IN ('waiting', 'doubtful', 'withdrawing') AND next_ms <= $1 \
               ORDER BY next_ms, place LIMIT $3) \
             RETURNING place, id, tenant, customer, meter, event_name, units, at_ms, state, attempts, first_ms, error",
};
// In the state in which it was tried: what was withdrawn meanwhile is still to be withdrawn.
const DONE: Sql = Sql::same(
    "UPDATE meter_exports SET error = NULL, next_ms = CASE state WHEN 'doubtful' THEN 0 ELSE next_ms END, \
     state = CASE state WHEN 'waiting' THEN 'sent' WHEN 'doubtful' THEN 'withdrawing' ELSE 'withdrawn' END \
     WHERE id = $1 AND state = $2",
);
const AGAIN: Sql =
    Sql::same("UPDATE meter_exports SET next_ms = $3, error = $4 WHERE id = $1 AND state = $2");
const REFUSED: Sql = Sql::same(
    "UPDATE meter_exports SET error = $3, \
     state = CASE state WHEN 'waiting' THEN 'refused' WHEN 'doubtful' THEN 'withdrawn' ELSE 'stuck' END \
     WHERE id = $1 AND state = $2",
);
const UNKNOWN: Sql = Sql::same(
    "UPDATE meter_exports SET state = CASE state WHEN 'waiting' THEN 'refused' ELSE 'stuck' END, error = $3 \
     WHERE id = $1 AND state = $2",
);
const PAGE: Sql = Sql::same(
    "SELECT place, id, tenant, customer, meter, event_name, units, at_ms, state, attempts, first_ms, error \
     FROM meter_exports WHERE place > $1 AND ($2 = '' OR state = $2) ORDER BY place LIMIT $3",
);
// What was said of it stays until it is taken: the next attempt is made as one after an error.
const RETRY: Sql = Sql::same(
    "UPDATE meter_exports SET state = 'waiting', next_ms = $2, first_ms = NULL, attempts = 0 \
     WHERE id = $1 AND state = 'refused'",
);
const STATE: Sql = Sql {
    postgres: "SELECT state, tenant FROM meter_exports WHERE id = $1 FOR UPDATE",
    sqlite: "SELECT state, tenant FROM meter_exports WHERE id = $1",
};

/// A bucket to be looked at.
struct Candidate {
    bucket: i64,
    tenant: String,
    meter: String,
    customer: String,
    /// The place of its meter in what is asked.
    place: usize,
    looked: Looked,
}

fn candidate(row: &Record) -> Result<Candidate, StoreError> {
    let known = match row.maybe_int(6)? {
        None => None,
        Some(_) => Some(Known {
            told: row.count(6)?,
            pieces: row.count(7)?,
            seen: row.count(8)?,
            seen_at: rows::instant(row, 9)?,
        }),
    };
    Ok(Candidate {
        bucket: row.int(0)?,
        tenant: row.text(1)?,
        meter: row.text(2)?,
        customer: row.text(11)?,
        place: usize::try_from(row.count(10)?).unwrap_or(usize::MAX),
        looked: Looked {
            start: rows::instant(row, 3)?,
            end: rows::instant(row, 4)?,
            used: row.count(5)?,
            known,
        },
    })
}

fn state(word: &str) -> Result<ExportState, StoreError> {
    ExportState::named(word).ok_or_else(|| unreadable("an export's state", format!("`{word}`")))
}

fn export(row: &Record) -> Result<(u64, MeterExport), StoreError> {
    let export = MeterExport {
        id: row.text(1)?,
        tenant: rows::tenant_id(row, 2)?,
        customer: row.text(3)?,
        meter: MeterId::parse(&row.text(4)?).map_err(|error| unreadable("a meter's id", error))?,
        event_name: row.text(5)?,
        units: row.count(6)?,
        at: rows::instant(row, 7)?,
        state: state(&row.text(8)?)?,
        attempts: u32::try_from(row.count(9)?).unwrap_or(u32::MAX),
        first_sent: row.maybe_int(10)?.map(UnixMillis),
        error: row.maybe_text(11)?,
    };
    Ok((row.count(0)?, export))
}

impl SqlStore {
    async fn cut(&self, meters: &[TellMeter], cut: Cut) -> Result<bool, StoreError> {
        let ask = meters.iter().zip(0_i64..).map(|(meter, place)| {
            let count = if meter.count == Told::All { "all" } else { "overage" };
            json!([meter.meter.as_str(), place, count])
        });
        let ask = text(ask.collect());
        let mut session = self.engine.begin(Lane::Data).await?;
        session.run(LOCK, &[Arg::Text(&cut.now.0.to_string())]).await?;
        let args =
            [Arg::Text(&ask), Arg::Int(cut.oldest.0), Arg::Int(cut.rested.0), Arg::Int(i64::from(AT_ONCE))];
        let found: Vec<Candidate> =
            session.rows(LOOK, &args).await?.iter().map(candidate).collect::<Result<_, _>>()?;
        let installation = super::connect::Store::installation(self).simple().to_string();
        for one in &found {
            let Some(meter) = meters.get(one.place) else { continue };
            cut_one(&mut session, one, meter, cut, &installation).await?;
        }
        session.commit().await?;
        Ok(found.len() >= usize::try_from(AT_ONCE).unwrap_or(usize::MAX))
    }
}

impl SqlStore {
    async fn retry(&self, id: &str, origin: &Origin) -> Result<bool, RetryError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let conflict = RetryError::IdempotencyConflict;
        if once::before(&mut session, origin, conflict, |_| Some(())).await?.is_some() {
            return Ok(true);
        }
        let row = session.first(STATE, &[Arg::Text(id)]).await?;
        let row = row.ok_or_else(|| RetryError::Unknown(id.to_owned()))?;
        let state = state(&row.text(0)?)?;
        if state != ExportState::Refused {
            return Err(RetryError::NotRefused(id.to_owned(), state));
        }
        session.run(RETRY, &[Arg::Text(id), Arg::Int(origin.at.0)]).await?;
        let (tenant, version) = (row.text(1)?, audit::newest(&mut session).await?);
        let entry = Entry {
            version,
            at: origin.at,
            actor: &origin.actor,
            source: &origin.source,
            tenant: Some(&tenant),
            kind: RETRIED,
            detail: &json!({ "id": id }),
        };
        let Altered { before, after } = retry_altered();
        audit::append_altered(&mut session, &entry, &before, &after).await?;
        once::keep(&mut session, origin, version, RETRIED).await?;
        session.commit().await?;
        Ok(false)
    }
}

async fn cut_one(
    session: &mut Session,
    one: &Candidate,
    meter: &TellMeter,
    cut: Cut,
    installation: &str,
) -> Result<(), StoreError> {
    let found = one.looked.found(cut);
    let (mut told, mut pieces) = one.looked.known.map_or((0, 0), |known| (known.told, known.pieces));
    if let Some(settled) = found.settled {
        if told > settled {
            for row in session.rows(PIECES, &[Arg::Int(one.bucket)]).await? {
                if told <= settled {
                    break;
                }
                session.run(WITHDRAW, &[Arg::Text(&row.text(0)?), Arg::Int(cut.now.0)]).await?;
                told = told.saturating_sub(row.count(1)?);
            }
        }
        if told < settled {
            let id = format!("{installation}-{}-{pieces}", one.bucket);
            let args = [
                Arg::Text(&id),
                Arg::Int(one.bucket),
                Arg::Int(signed(pieces)),
                Arg::Text(&one.tenant),
                Arg::Text(&one.customer),
                Arg::Text(&one.meter),
                Arg::Text(&meter.event_name),
                Arg::Int(signed(settled - told)),
                Arg::Int(found.at.0),
                Arg::Int(cut.now.0),
            ];
            session.run(ADD, &args).await?;
            told = settled;
            pieces += 1;
        }
    }
    let args = [
        Arg::Int(one.bucket),
        Arg::Int(signed(told)),
        Arg::Int(signed(pieces)),
        Arg::Int(signed(found.seen)),
        Arg::Int(found.seen_at.0),
    ];
    session.run(REMEMBER, &args).await.map(drop)
}

#[async_trait]
impl MeterExportStore for SqlStore {
    async fn cut_exports(&self, meters: &[TellMeter], cut: Cut) -> Result<bool, StoreError> {
        if meters.is_empty() {
            return Ok(false);
        }
        self.call(self.cut(meters, cut)).await
    }

    async fn claim_exports(
        &self,
        now: UnixMillis,
        until: UnixMillis,
        limit: u32,
    ) -> Result<Vec<MeterExport>, StoreError> {
        let args = [Arg::Int(now.0), Arg::Int(until.0), Arg::Int(limit.into())];
        let mut claimed: Vec<(u64, MeterExport)> = self
            .call(async { self.engine.write(Lane::Data, CLAIM, &args).await?.iter().map(export).collect() })
            .await?;
        claimed.sort_by_key(|(place, _)| *place);
        Ok(claimed.into_iter().map(|(_, export)| export).collect())
    }

    async fn end_export(&self, tried: &MeterExport, outcome: &ExportOutcome) -> Result<(), StoreError> {
        let (id, state) = (Arg::Text(&tried.id), Arg::Text(tried.state.as_str()));
        self.call(async {
            match outcome {
                ExportOutcome::Done => self.engine.write(Lane::Data, DONE, &[id, state]).await,
                ExportOutcome::Again(at, why) => {
                    self.engine.write(Lane::Data, AGAIN, &[id, state, Arg::Int(at.0), Arg::Text(why)]).await
                }
                ExportOutcome::Refused(why) => {
                    self.engine.write(Lane::Data, REFUSED, &[id, state, Arg::Text(why)]).await
                }
                ExportOutcome::Unknown(why) => {
                    self.engine.write(Lane::Data, UNKNOWN, &[id, state, Arg::Text(why)]).await
                }
            }
            .map(drop)
        })
        .await
    }

    async fn exports(
        &self,
        state: Option<ExportState>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, MeterExport)>, StoreError> {
        let state = state.map_or("", ExportState::as_str);
        self.list(PAGE, &[Arg::Int(signed(after)), Arg::Text(state), Arg::Int(limit.into())], export).await
    }

    async fn retry_export(&self, id: &str, origin: &Origin) -> Result<bool, RetryError> {
        self.call(self.retry(id, origin)).await
    }
}
