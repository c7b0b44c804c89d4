//! Endpoints that facts are told to: changed one at a time, so that their number and their secrets stay bounded.

use async_trait::async_trait;

use super::{
    altered::Altered,
    audit::{self, Entry},
    classify::unreadable,
    engine::Lane,
    once, rows,
    session::{Arg, Record, Session, Sql, timed},
    sql::SqlStore,
    webhook_book::{
        altered, changed, decode, decode_events, decode_secrets, detail, encode, encode_events,
        encode_secrets,
    },
};
use crate::{
    domain::{
        id::WebhookId,
        time::UnixMillis,
        webhook::{DeliveryState, Disabled, Endpoint},
    },
    ports::{
        Claim, DeliveryRow, Due, MOST_REPLAYED, Origin, Outlook, Replay, StoreError, Tried, WebhookChange,
        WebhookCommand, WebhookDone, WebhookError, WebhookStore,
    },
};

// A row that is always there and that nobody else locks.
const LOCK: Sql = Sql {
    postgres: "SELECT value FROM meta WHERE name = 'installation' FOR UPDATE",
    sqlite: "SELECT value FROM meta WHERE name = 'installation'",
};
const ALL: Sql = Sql::same(
    "SELECT id, url, description, events, secrets, created_ms, disabled_ms, disabled_why FROM webhooks \
     ORDER BY created_ms, id",
);
const ONE: Sql = Sql::same(
    "SELECT id, url, description, events, secrets, created_ms, disabled_ms, disabled_why FROM webhooks \
     WHERE id = $1",
);
const COUNT: Sql = Sql::same("SELECT count(*) FROM webhooks");
const PUT: Sql = Sql::same(
    "INSERT INTO webhooks (id, url, description, events, secrets, created_ms, disabled_ms, disabled_why) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET url = excluded.url, \
     description = excluded.description, events = excluded.events, secrets = excluded.secrets, \
     disabled_ms = excluded.disabled_ms, disabled_why = excluded.disabled_why",
);
const DELETE: Sql = Sql::same("DELETE FROM webhooks WHERE id = $1");
const DELETE_DELIVERIES: Sql = Sql::same("DELETE FROM webhook_deliveries WHERE webhook = $1");
const DELETE_ATTEMPTS: Sql = Sql::same("DELETE FROM webhook_attempts WHERE webhook = $1");
pub(super) const DISCARD: Sql = timed!(
    "UPDATE webhook_deliveries SET state = 'discarded', claimed_by = NULL, ended_ms = ",
    " WHERE webhook = $1 AND state = 'pending'"
);
const HAS_DELIVERY: Sql = Sql::same("SELECT place FROM webhook_deliveries WHERE webhook = $1 AND event = $2");
// What is under way is left to whoever has it in hand.
const REPLAY_ONE: Sql = timed!(
    "UPDATE webhook_deliveries SET state = 'pending', tries = 0, claimed_by = NULL, ended_ms = NULL, since_ms = ",
    ", next_ms = ",
    " WHERE webhook = $1 AND event = $2 AND (state <> 'pending' OR claimed_by IS NULL)"
);
const REPLAY_SINCE: Sql = timed!(
    "UPDATE webhook_deliveries SET state = 'pending', tries = 0, claimed_by = NULL, ended_ms = NULL, since_ms = ",
    ", next_ms = ",
    " WHERE place IN (SELECT place FROM webhook_deliveries WHERE webhook = $1 \
      AND state IN ('failed', 'discarded') AND created_ms >= $2 ORDER BY place LIMIT $3)"
);

fn endpoint(row: &Record) -> Result<Endpoint, StoreError> {
    Ok(Endpoint {
        id: WebhookId::parse(&row.text(0)?).map_err(|error| unreadable("a webhook's id", error))?,
        url: row.text(1)?,
        description: row.text(2)?,
        events: decode_events(&row.text(3)?)?,
        secrets: decode_secrets(&row.text(4)?)?,
        created_at: rows::instant(row, 5)?,
        disabled: match row.maybe_int(6)? {
            Some(at) => Some(Disabled { at: UnixMillis(at), why: row.maybe_text(7)?.unwrap_or_default() }),
            None => None,
        },
    })
}

impl SqlStore {
    async fn attempt_webhook(
        &self,
        command: &WebhookCommand,
        origin: &Origin,
    ) -> Result<(WebhookDone, Result<(), StoreError>), WebhookError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let conflict = WebhookError::IdempotencyConflict;
        let before = once::before(&mut session, origin, conflict, |claimed| decode(&claimed.effect));
        if let Some(done) = before.await? {
            return Ok((done, Ok(())));
        }
        session.rows(LOCK, &[]).await?;
        let id = Arg::Text(command.id.as_str());
        let before = session.first(ONE, &[id]).await?.as_ref().map(endpoint).transpose()?;
        let count = match session.first(COUNT, &[]).await? {
            Some(row) => usize::try_from(row.count(0)?).unwrap_or(usize::MAX),
            None => 0,
        };
        let after = changed(before.as_ref(), count, command, origin.at)?;
        let deliveries = match (&after, &command.change) {
            (Some(_), WebhookChange::Replay(replay)) => {
                session.ring();
                run_replay(&mut session, &command.id, replay).await?
            }
            (Some(endpoint), _) => {
                put(&mut session, endpoint).await?;
                session.ring();
                if endpoint.disabled.is_some() { session.run(DISCARD, &[id]).await? } else { 0 }
            }
            (None, _) => {
                session.run(DELETE, &[id]).await?;
                session.run(DELETE_ATTEMPTS, &[id]).await?;
                session.run(DELETE_DELIVERIES, &[id]).await?
            }
        };
        let done = WebhookDone { id: command.id.clone(), deliveries, replayed: false };
        let altered = altered(before.as_ref(), after.as_ref());
        record(&mut session, (command, &altered), &done, origin).await?;
        let end = session.commit().await;
        Ok((done, end))
    }

    async fn carry_out_webhook(
        &self,
        command: &WebhookCommand,
        origin: &Origin,
    ) -> Result<WebhookDone, WebhookError> {
        match self.attempt_webhook(command, origin).await? {
            (done, Ok(())) => Ok(done),
            // Whether the commit took place is not known; the idempotency key's own row tells.
            (first, Err(StoreError::Unavailable(_))) if origin.idempotency.is_some() => {
                let (again, end) = self.attempt_webhook(command, origin).await?;
                end?;
                let own = again.id == first.id;
                Ok(WebhookDone { replayed: again.replayed && !own, ..again })
            }
            (_, Err(error)) => Err(error.into()),
        }
    }
}

async fn put(session: &mut Session, endpoint: &Endpoint) -> Result<(), StoreError> {
    let (events, secrets) = (encode_events(&endpoint.events), encode_secrets(&endpoint.secrets));
    let args = [
        Arg::Text(endpoint.id.as_str()),
        Arg::Text(&endpoint.url),
        Arg::Text(&endpoint.description),
        Arg::Text(&events),
        Arg::Text(&secrets),
        Arg::Int(endpoint.created_at.0),
        Arg::MaybeInt(endpoint.disabled.as_ref().map(|disabled| disabled.at.0)),
        Arg::MaybeText(endpoint.disabled.as_ref().map(|disabled| disabled.why.as_str())),
    ];
    session.run(PUT, &args).await.map(drop)
}

async fn run_replay(session: &mut Session, id: &WebhookId, replay: &Replay) -> Result<u64, WebhookError> {
    let webhook = Arg::Text(id.as_str());
    match replay {
        Replay::One(event) => {
            let args = [webhook, Arg::Text(event)];
            if session.first(HAS_DELIVERY, &args).await?.is_none() {
                return Err(WebhookError::NoDelivery(id.clone(), event.clone()));
            }
            Ok(session.run(REPLAY_ONE, &args).await?)
        }
        Replay::Since(since) => {
            let args = [webhook, Arg::Int(since.0), Arg::Int(MOST_REPLAYED.into())];
            Ok(session.run(REPLAY_SINCE, &args).await?)
        }
    }
}

async fn record(
    session: &mut Session,
    (command, altered): (&WebhookCommand, &Altered),
    done: &WebhookDone,
    origin: &Origin,
) -> Result<(), StoreError> {
    let version = audit::newest(session).await?;
    let entry = Entry {
        version,
        at: origin.at,
        actor: &origin.actor,
        source: &origin.source,
        tenant: None,
        kind: command.change.kind(),
        detail: &detail(command, done.deliveries),
    };
    audit::append_altered(session, &entry, &altered.before, &altered.after).await?;
    once::keep(session, origin, version, &encode(done)).await
}

#[async_trait]
impl WebhookStore for SqlStore {
    async fn webhooks(&self) -> Result<Vec<Endpoint>, StoreError> {
        self.list(ALL, &[], endpoint).await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.list(ONE, &[Arg::Text(id.as_str())], endpoint).await?.pop())
    }

    async fn change_webhook(
        &self,
        command: &WebhookCommand,
        origin: &Origin,
    ) -> Result<WebhookDone, WebhookError> {
        self.call(self.carry_out_webhook(command, origin)).await
    }

    async fn deliveries(
        &self,
        id: &WebhookId,
        state: Option<DeliveryState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        self.call(self.read_deliveries(id, state, before, limit)).await
    }

    async fn outlook(&self) -> Result<Outlook, StoreError> {
        self.call(self.read_outlook()).await
    }

    async fn claim_deliveries(&self, claim: &Claim) -> Result<Vec<Due>, StoreError> {
        self.call(self.claim_due(claim)).await
    }

    async fn settle_delivery(&self, tried: &Tried) -> Result<(), StoreError> {
        self.call(self.settle(tried)).await
    }

    async fn told(&self) {
        self.engine.bell().notified().await;
    }
}
