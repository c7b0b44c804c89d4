//! The audit log: one place where its lines are written.

use serde_json::Value;

use super::session::{Arg, Session, Sql, signed};
use crate::{
    domain::time::{UnixMillis, Version},
    ports::StoreError,
};

const INSERT: Sql = Sql::same(
    "INSERT INTO audit (version, at_ms, actor, source, tenant, kind, detail) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);

/// A line to be written.
pub(super) struct Entry<'a> {
    /// The version of the change; of what is no change of rights: the newest.
    pub(super) version: Version,
    pub(super) at: UnixMillis,
    pub(super) actor: &'a str,
    pub(super) source: &'a str,
    /// `None`: it concerns the installation.
    pub(super) tenant: Option<&'a str>,
    pub(super) kind: &'a str,
    pub(super) detail: &'a Value,
}

/// Writes a line, in the transaction of what it tells of.
pub(super) async fn append(session: &mut Session, entry: &Entry<'_>) -> Result<(), StoreError> {
    let Entry { version, at, actor, source, tenant, kind, detail } = entry;
    let detail = detail.to_string();
    let line = [
        Arg::Int(signed(version.0)),
        Arg::Int(at.0),
        Arg::Text(actor),
        Arg::Text(source),
        Arg::MaybeText(*tenant),
        Arg::Text(kind),
        Arg::Text(&detail),
    ];
    session.run(INSERT, &line).await.map(drop)
}
