//! Facts that are told outside: written in the transaction that makes them true, each once.

use aws_lc_rs::digest;
use serde_json::json;

use super::session::{Arg, Session, Sql};
use crate::ports::{EventRow, NewEvent, StoreError};

const INSERT: Sql = Sql::same(
    "INSERT INTO outbox (id, kind, tenant, at_ms, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING",
);

/// The id of an event: the same for everybody who tells the same fact.
pub(super) fn id(event: &NewEvent) -> String {
    let digest = digest::digest(&digest::SHA256, event.name.as_bytes());
    let digits: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("evt_{digits}")
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

/// Writes facts that are to be told. Those that were told before are left out.
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
        session.run(INSERT, &args).await?;
    }
    Ok(())
}
