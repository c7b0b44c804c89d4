//! Facts that are told outside: written in the transaction that makes them true, each once.

use serde_json::json;

use super::session::{Arg, Session, Sql, postgres_clock, timed};
use crate::{
    ports::{EventRow, NewEvent, StoreError},
    wire::hex,
};

// With the deliveries to the endpoints that take this kind, where nobody has told it before: one statement where the
// database can, as the head may be locked meanwhile.
const INSERT: Sql = Sql {
    postgres: concat!(
        "WITH told AS (INSERT INTO outbox (id, kind, tenant, at_ms, body) VALUES ($1, $2, $3, $4, $5) \
           ON CONFLICT (id) DO NOTHING RETURNING id) \
         INSERT INTO webhook_deliveries \
           (event, webhook, state, attempts, tries, created_ms, since_ms, next_ms) \
         SELECT t.id, w.id, 'pending', 0, 0, c.ms, c.ms, c.ms FROM told t CROSS JOIN webhooks w \
         CROSS JOIN (SELECT ",
        postgres_clock!(),
        " AS ms) AS c WHERE w.disabled_ms IS NULL AND (w.events = '' OR w.events LIKE '%,' || $2 || ',%') \
         ON CONFLICT (event, webhook) DO NOTHING"
    ),
    sqlite: "INSERT INTO outbox (id, kind, tenant, at_ms, body) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO NOTHING",
};
const DELIVER: Sql = timed!(
    "INSERT INTO webhook_deliveries (event, webhook, state, attempts, tries, created_ms, since_ms, next_ms) \
     SELECT $1, w.id, 'pending', 0, 0, ",
    ", ",
    ", ",
    " FROM webhooks w WHERE w.disabled_ms IS NULL AND (w.events = '' OR w.events LIKE '%,' || $2 || ',%') \
     ON CONFLICT (event, webhook) DO NOTHING"
);

/// The id of an event: the same for everybody who tells the same fact.
pub(super) fn id(event: &NewEvent) -> String {
    format!("evt_{}", &hex::sha256(event.name.as_bytes())[..32])
}

/// What is sent, byte for byte, however often it is.
pub(super) fn body(event: &NewEvent) -> String {
    let mut data = event.data.clone();
    data["tenant"] = json!(event.tenant.as_str());
    json!({ "type": event.kind.as_str(), "timestamp": event.at.to_string(), "data": data }).to_string()
}

/// The event as it is read again.
pub(super) fn row(event: &NewEvent) -> EventRow {
    let mut data = event.data.clone();
    data["tenant"] = json!(event.tenant.as_str());
    EventRow {
        cursor: 0,
        id: id(event),
        kind: event.kind.as_str().to_owned(),
        tenant: event.tenant.clone(),
        at: event.at,
        data,
    }
}

/// Writes facts that are to be told, and to whom. Those that were told before are left out.
pub(super) async fn tell(session: &mut Session, events: &[NewEvent]) -> Result<(), StoreError> {
    for event in events {
        let (id, body) = (id(event), body(event));
        let args = [
            Arg::Text(&id),
            Arg::Text(event.kind.as_str()),
            Arg::Text(event.tenant.as_str()),
            Arg::Int(event.at.0),
            Arg::Text(&body),
        ];
        let mut made = session.run(INSERT, &args).await?;
        if session.is_sqlite() && made > 0 {
            made = session.run(DELIVER, &args[..2]).await?;
        }
        if made > 0 {
            session.ring();
        }
    }
    Ok(())
}
