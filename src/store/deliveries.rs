//! Deliveries in the database: claimed by a node for a while, settled by what their try has led to.

use std::{collections::HashMap, time::Duration};

use serde_json::json;

use super::{
    altered::Altered,
    audit::{self, Entry},
    classify::unreadable,
    engine::Lane,
    locked::text,
    rows,
    session::{Arg, Record, Session, Sql, bulk, postgres_clock, signed, sqlite_clock, timed},
    sql::SqlStore,
    webhook_book::{DISABLED, decode_secrets, disabled_altered, disabled_detail},
    webhooks::DISCARD,
};
use crate::{
    domain::{id::WebhookId, webhook::DeliveryState},
    ports::{AttemptRow, Claim, DeliveryRow, Due, Outlook, StoreError, TRIES_KEPT, Then, Tried},
};

const OUTLOOK: Sql = timed!(
    "SELECT (SELECT count(*) FROM webhooks WHERE disabled_ms IS NULL), count(d.place), min(d.created_ms), \
     min(d.next_ms), ",
    " FROM webhooks w JOIN webhook_deliveries d ON d.webhook = w.id AND d.state = 'pending' \
     WHERE w.disabled_ms IS NULL"
);
// The clock is read once, in a query of its own, so that the index on `next_ms` is of use.
const CLAIM: Sql = Sql {
    postgres: concat!(
        "WITH due AS MATERIALIZED (SELECT x.place FROM webhooks w CROSS JOIN LATERAL (\
           SELECT y.place, y.next_ms FROM webhook_deliveries y WHERE y.webhook = w.id AND y.state = 'pending' \
           AND y.next_ms <= (SELECT ",
        postgres_clock!(),
        ") ORDER BY y.next_ms, y.place LIMIT $3 FOR UPDATE SKIP LOCKED) AS x \
         WHERE w.disabled_ms IS NULL \
         AND w.id NOT IN (SELECT t.v FROM json_array_elements_text(CAST($4 AS json)) AS t(v)) \
         ORDER BY x.next_ms, x.place LIMIT $5) \
         UPDATE webhook_deliveries d SET claimed_by = $1, attempts = d.attempts + 1, tries = d.tries + 1, \
         next_ms = $2 + ",
        postgres_clock!(),
        " FROM due WHERE d.place = due.place RETURNING d.place"
    ),
    sqlite: concat!(
        "UPDATE webhook_deliveries SET claimed_by = $1, attempts = attempts + 1, tries = tries + 1, \
         next_ms = $2 + ",
        sqlite_clock!(),
        " WHERE place IN (SELECT x.place FROM webhooks w JOIN webhook_deliveries x ON x.webhook = w.id \
           AND x.place IN (SELECT y.place FROM webhook_deliveries y WHERE y.webhook = w.id \
             AND y.state = 'pending' AND y.next_ms <= (SELECT ",
        sqlite_clock!(),
        ") ORDER BY y.next_ms, y.place LIMIT $3) \
         WHERE w.disabled_ms IS NULL AND w.id NOT IN (SELECT value FROM json_each($4)) \
         ORDER BY x.next_ms, x.place LIMIT $5) RETURNING place"
    ),
};
const CLAIMED: Sql = bulk!(
    "SELECT d.event, o.kind, d.webhook, w.url, w.secrets, o.body, d.attempts, d.tries, d.since_ms \
     FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook JOIN outbox o ON o.id = d.event \
     WHERE d.place IN (SELECT CAST(v->>0 AS BIGINT) FROM",
    ")"
);
// That the endpoint has it counts also where another node has claimed it since.
const SETTLE: Sql = timed!(
    "UPDATE webhook_deliveries SET state = $1, claimed_by = NULL, \
     ended_ms = CASE WHEN $1 = 'pending' THEN NULL ELSE ",
    " END, next_ms = $2 + ",
    " WHERE webhook = $3 AND event = $4 AND state = 'pending' AND (attempts = $5 OR $1 = 'delivered')"
);
const LOG: Sql = Sql::same(
    "INSERT INTO webhook_attempts (webhook, event, attempt, at_ms, status, error, duration_ms, answer) \
     SELECT d.webhook, d.event, CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS TEXT), \
     CAST($7 AS BIGINT), CAST($8 AS TEXT) FROM webhook_deliveries d WHERE d.webhook = $1 AND d.event = $2 \
     ON CONFLICT (webhook, event, attempt) DO NOTHING",
);
const FORGET: Sql =
    Sql::same("DELETE FROM webhook_attempts WHERE webhook = $1 AND event = $2 AND attempt <= $3");
// Not where it has got another address meanwhile: that one has not said anything.
const DISABLE: Sql = timed!(
    "UPDATE webhooks SET disabled_why = $2, disabled_ms = ",
    " WHERE id = $1 AND url = $3 AND disabled_ms IS NULL"
);
// Back from the newest, of those that were there when the walk began each once. Nobody is told by this list: what is due
// is claimed by its state.
const LIST: Sql = Sql::same(
    "SELECT d.place, d.event, o.kind, o.tenant, d.state, d.attempts, d.created_ms, d.next_ms, d.ended_ms \
     FROM webhook_deliveries d JOIN outbox o ON o.id = d.event \
     WHERE d.webhook = $1 AND ($2 = '' OR d.state = $2) AND d.place < $3 ORDER BY d.place DESC LIMIT $4",
);
const ATTEMPTS: Sql = bulk!(
    "SELECT event, attempt, at_ms, status, error, duration_ms, answer FROM webhook_attempts \
     WHERE webhook = $2 AND event IN (SELECT v->>0 FROM",
    ") ORDER BY event, attempt DESC"
);

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn due(row: &Record) -> Result<Due, StoreError> {
    Ok(Due {
        event: row.text(0)?,
        kind: row.text(1)?,
        webhook: webhook(row, 2)?,
        url: row.text(3)?,
        secrets: decode_secrets(&row.text(4)?)?,
        body: row.text(5)?,
        attempt: row.count(6)?,
        tries: u32::try_from(row.count(7)?).unwrap_or(u32::MAX),
        since: rows::instant(row, 8)?,
    })
}

fn webhook(row: &Record, place: usize) -> Result<WebhookId, StoreError> {
    WebhookId::parse(&row.text(place)?).map_err(|error| unreadable("a webhook's id", error))
}

fn delivery(row: &Record) -> Result<DeliveryRow, StoreError> {
    let word = row.text(4)?;
    let state =
        DeliveryState::named(&word).ok_or_else(|| unreadable("a delivery's state", format!("`{word}`")))?;
    let next = rows::instant(row, 7)?;
    Ok(DeliveryRow {
        place: row.count(0)?,
        event: row.text(1)?,
        kind: row.text(2)?,
        tenant: rows::tenant_id(row, 3)?,
        state,
        attempts: row.count(5)?,
        created_at: rows::instant(row, 6)?,
        next_at: (state == DeliveryState::Pending).then_some(next),
        ended_at: row.maybe_int(8)?.map(crate::domain::time::UnixMillis),
        tries: Vec::new(),
    })
}

fn attempt(row: &Record) -> Result<(String, AttemptRow), StoreError> {
    let of = AttemptRow {
        attempt: row.count(1)?,
        at: rows::instant(row, 2)?,
        status: row.maybe_int(3)?.and_then(|status| u16::try_from(status).ok()),
        error: row.maybe_text(4)?,
        duration: Duration::from_millis(row.count(5)?),
        answer: row.text(6)?,
    };
    Ok((row.text(0)?, of))
}

impl SqlStore {
    pub(super) async fn read_outlook(&self) -> Result<Outlook, StoreError> {
        let rows = self.engine.read(Lane::Data, OUTLOOK, &[]).await?;
        let row = rows.first().ok_or_else(|| unreadable("the deliveries", "no row"))?;
        let now = row.int(4)?;
        let between =
            |from: i64, to: i64| Duration::from_millis(u64::try_from(to.saturating_sub(from)).unwrap_or(0));
        Ok(Outlook {
            endpoints: row.count(0)?,
            waiting: row.count(1)?,
            oldest: row.maybe_int(2)?.map_or(Duration::ZERO, |since| between(since, now)),
            next: row.maybe_int(3)?.map(|next| between(now, next)),
        })
    }

    pub(super) async fn claim_due(&self, claim: &Claim) -> Result<Vec<Due>, StoreError> {
        let by = claim.by.0.to_string();
        let but = text(claim.but.iter().map(|id| json!(id.as_str())).collect());
        let args = [
            Arg::Text(&by),
            Arg::Int(millis(claim.lease)),
            Arg::Int(claim.each.into()),
            Arg::Text(&but),
            Arg::Int(claim.most.into()),
        ];
        let claimed = self.engine.write(Lane::Data, CLAIM, &args).await?;
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<_> =
            claimed.iter().map(|row| row.int(0).map(|place| json!([place]))).collect::<Result<_, _>>()?;
        let rows = self.engine.read(Lane::Data, CLAIMED, &[Arg::Text(&text(places))]).await?;
        rows.iter().map(due).collect()
    }

    pub(super) async fn settle(&self, tried: &Tried) -> Result<(), StoreError> {
        let Tried { event, webhook, url, row, then } = tried;
        let (state, pause) = match then {
            Then::Delivered => (DeliveryState::Delivered, Duration::ZERO),
            Then::Again(pause) => (DeliveryState::Pending, *pause),
            Then::Failed => (DeliveryState::Failed, Duration::ZERO),
            Then::Disable(_) => (DeliveryState::Discarded, Duration::ZERO),
        };
        let mut session = self.engine.begin(Lane::Data).await?;
        let (to, of) = (Arg::Text(webhook.as_str()), Arg::Text(event));
        let number = Arg::Int(signed(row.attempt));
        // The endpoint before its deliveries, as whoever disables it by hand.
        if let Then::Disable(why) = then
            && session.run(DISABLE, &[to, Arg::Text(why), Arg::Text(url)]).await? > 0
        {
            let discarded = session.run(DISCARD, &[to]).await?;
            record_disabled(&mut session, tried, why, discarded).await?;
        }
        let args = [Arg::Text(state.as_str()), Arg::Int(millis(pause)), to, of, number];
        session.run(SETTLE, &args).await?;
        let log = [
            to,
            of,
            number,
            Arg::Int(row.at.0),
            Arg::MaybeInt(row.status.map(i64::from)),
            Arg::MaybeText(row.error.as_deref()),
            Arg::Int(millis(row.duration)),
            Arg::Text(&row.answer),
        ];
        session.run(LOG, &log).await?;
        let kept = u64::from(TRIES_KEPT);
        if row.attempt > kept {
            session.run(FORGET, &[to, of, Arg::Int(signed(row.attempt - kept))]).await?;
        }
        session.commit().await
    }

    pub(super) async fn read_deliveries(
        &self,
        id: &WebhookId,
        state: Option<DeliveryState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let to = Arg::Text(id.as_str());
        let state = state.map_or("", DeliveryState::as_str);
        let before = Arg::Int(signed(before.unwrap_or(u64::MAX)));
        let args = [to, Arg::Text(state), before, Arg::Int(limit.into())];
        let rows = self.engine.read(Lane::Data, LIST, &args).await?;
        let mut list: Vec<DeliveryRow> = rows.iter().map(delivery).collect::<Result<_, _>>()?;
        let events = text(list.iter().map(|row| json!([row.event])).collect());
        let mut tries: HashMap<String, Vec<AttemptRow>> = HashMap::new();
        for row in self.engine.read(Lane::Data, ATTEMPTS, &[Arg::Text(&events), to]).await? {
            let (event, of) = attempt(&row)?;
            tries.entry(event).or_default().push(of);
        }
        for row in &mut list {
            row.tries = tries.remove(&row.event).unwrap_or_default();
        }
        Ok(list)
    }
}

async fn record_disabled(
    session: &mut Session,
    tried: &Tried,
    why: &str,
    discarded: u64,
) -> Result<(), StoreError> {
    let (kind, actor, source) = DISABLED;
    let entry = Entry {
        version: audit::newest(session).await?,
        at: tried.row.at,
        actor,
        source,
        tenant: None,
        kind,
        detail: &disabled_detail(tried.webhook.as_str(), why, discarded),
    };
    let Altered { before, after } = disabled_altered(why);
    audit::append_altered(session, &entry, &before, &after).await
}
