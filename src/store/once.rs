//! Calls that have one effect: an idempotency key is claimed in the transaction of what a call does, and keeps what came of
//! it.

use super::{
    rows,
    session::{Arg, Session, Sql, signed},
};
use crate::{
    domain::time::{UnixMillis, Version},
    ports::{Idempotency, Origin, StoreError},
};

const CLAIM: Sql = Sql::same(
    "INSERT INTO idempotency (key, fingerprint, version, effect, at_ms) VALUES ($1, $2, 0, '', $3) \
     ON CONFLICT (key) DO NOTHING",
);
const CLAIMED: Sql = Sql::same("SELECT fingerprint, version, effect FROM idempotency WHERE key = $1");
const KEEP: Sql = Sql::same("UPDATE idempotency SET version = $2, effect = $3 WHERE key = $1");

/// What a key was used for.
pub(super) struct Claimed {
    pub(super) fingerprint: String,
    pub(super) version: Version,
    pub(super) effect: String,
}

/// Claims a key for this transaction; answers what it was used for where an earlier one has it. Of two at once the second
/// waits here for the end of the first.
pub(super) async fn claim(
    session: &mut Session,
    idempotency: &Idempotency,
    at: UnixMillis,
) -> Result<Option<Claimed>, StoreError> {
    let Idempotency { key, fingerprint } = idempotency;
    if session.run(CLAIM, &[Arg::Text(key), Arg::Text(fingerprint), Arg::Int(at.0)]).await? > 0 {
        return Ok(None);
    }
    let Some(row) = session.first(CLAIMED, &[Arg::Text(key)]).await? else {
        // Pruned in this very moment.
        return Err(StoreError::Unavailable("the idempotency key's record has just expired".into()));
    };
    let (fingerprint, effect) = (row.text(0)?, row.text(2)?);
    Ok(Some(Claimed { fingerprint, version: rows::version(&row, 1)?, effect }))
}

/// What this very call, as its origin names it, led to before, as `read` finds it in what was kept. `None`: it is to be made
/// now, and [`keep`] is to be called in this transaction.
///
/// # Errors
/// `conflict`: the key belongs to another call; and those of the database.
pub(super) async fn before<T, E: From<StoreError>>(
    session: &mut Session,
    origin: &Origin,
    conflict: E,
    read: impl FnOnce(&Claimed) -> Option<T>,
) -> Result<Option<T>, E> {
    let Some(idempotency) = &origin.idempotency else { return Ok(None) };
    let Some(claimed) = claim(session, idempotency, origin.at).await? else { return Ok(None) };
    let own = claimed.fingerprint == idempotency.fingerprint;
    own.then(|| read(&claimed)).flatten().map(Some).ok_or(conflict)
}

/// Keeps what a call led to beside its key, where it has one.
pub(super) async fn keep(
    session: &mut Session,
    origin: &Origin,
    version: Version,
    effect: &str,
) -> Result<(), StoreError> {
    let Some(Idempotency { key, .. }) = &origin.idempotency else { return Ok(()) };
    let outcome = [Arg::Text(key), Arg::Int(signed(version.0)), Arg::Text(effect)];
    session.run(KEEP, &outcome).await.map(drop)
}
