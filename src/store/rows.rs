//! Rows of the database become domain types here, or an error that names the column.

use super::{
    classify::unreadable,
    session::{Record, Sql},
};
use crate::{
    domain::{
        id::{KeyId, MeterId, TenantId},
        identity::ApiKey,
        period::{Window, Windows},
        time::{UnixMillis, Version},
    },
    ports::{AuditRow, BucketKey, ChangeRow, Incarnation, SlotKey, SlotTotals, Span, StoreError, UsageRow},
};

/// The columns of [`key`], from place 1 on; place 0 is left for a version.
pub(super) const KEY_BY_HASH: Sql = Sql::same(
    "SELECT h.version, k.id, k.tenant, k.name, k.expires_ms, k.imported, k.created_ms \
     FROM head h LEFT JOIN keys k ON k.hash = $1",
);

pub(super) const KEY_BY_ID: Sql = Sql::same(
    "SELECT h.version, k.id, k.tenant, k.name, k.expires_ms, k.imported, k.created_ms \
     FROM head h LEFT JOIN keys k ON k.id = $1",
);

pub(super) fn version(record: &Record, place: usize) -> Result<Version, StoreError> {
    record.count(place).map(Version)
}

pub(super) fn instant(record: &Record, place: usize) -> Result<UnixMillis, StoreError> {
    record.int(place).map(UnixMillis)
}

pub(super) fn tenant_id(record: &Record, place: usize) -> Result<TenantId, StoreError> {
    TenantId::parse(&record.text(place)?).map_err(|error| unreadable("a tenant's id", error))
}

pub(super) fn incarnation(record: &Record, place: usize) -> Result<Incarnation, StoreError> {
    let text = record.text(place)?;
    uuid::Uuid::parse_str(&text).map(Incarnation).map_err(|error| unreadable("an incarnation", error))
}

/// A key of a row of [`KEY_BY_HASH`]'s shape; `None` where the join found none.
pub(super) fn key(record: &Record) -> Result<Option<ApiKey>, StoreError> {
    let Some(id) = record.maybe_text(1)? else { return Ok(None) };
    Ok(Some(ApiKey {
        id: KeyId::parse(&id).map_err(|error| unreadable("a key's id", error))?,
        tenant: tenant_id(record, 2)?,
        name: record.maybe_text(3)?,
        expires_at: record.maybe_int(4)?.map(UnixMillis),
        imported: record.flag(5)?,
        created_at: instant(record, 6)?,
    }))
}

/// A line of the feed: version, tenant, kind, instant, from `place` on.
pub(super) fn change(record: &Record, place: usize) -> Result<ChangeRow, StoreError> {
    Ok(ChangeRow {
        version: version(record, place)?,
        tenant: match record.text(place + 1)?.as_str() {
            "" => None,
            _ => Some(tenant_id(record, place + 1)?),
        },
        kind: record.text(place + 2)?,
        at: instant(record, place + 3)?,
    })
}

/// A line of the audit log.
pub(super) fn audit(record: &Record) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        cursor: record.count(0)?,
        version: version(record, 1)?,
        at: instant(record, 2)?,
        actor: record.text(3)?,
        source: record.text(4)?,
        tenant: record.maybe_text(5)?.map(|_| tenant_id(record, 5)).transpose()?,
        kind: record.text(6)?,
        detail: serde_json::from_str(&record.text(7)?)
            .map_err(|error| unreadable("an audit line's detail", error))?,
    })
}

/// An hour's or a day's usage. More given back than charged in one hour shows as none.
pub(super) fn usage(record: &Record) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        meter: MeterId::parse(&record.text(0)?).map_err(|error| unreadable("a meter's id", error))?,
        hour: instant(record, 1)?,
        window: if record.flag(3)? { Window::Day } else { Window::Hour },
        units: record.int(2)?,
    })
}

/// Windows kept as bits.
pub(super) fn windows(record: &Record, place: usize) -> Result<Windows, StoreError> {
    Ok(Windows::from_bits(u8::try_from(record.int(place)?).unwrap_or(0)))
}

/// A bucket's name, from its parts.
pub(super) fn bucket(
    tenant: &str,
    meter: &str,
    span: &str,
    start: UnixMillis,
    epoch: Version,
) -> Result<BucketKey, StoreError> {
    Ok(BucketKey {
        tenant: TenantId::parse(tenant).map_err(|error| unreadable("a tenant's id", error))?,
        meter: MeterId::parse(meter).map_err(|error| unreadable("a meter's id", error))?,
        span: Span::parse(span).ok_or_else(|| unreadable("a bucket's span", format!("`{span}`")))?,
        start,
        epoch,
    })
}

/// A slot that is open.
pub(super) fn slot(record: &Record) -> Result<SlotTotals, StoreError> {
    let (start, epoch) = (instant(record, 3)?, version(record, 4)?);
    let bucket = bucket(&record.text(0)?, &record.text(1)?, &record.text(2)?, start, epoch)?;
    Ok(SlotTotals {
        slot: SlotKey { bucket, incarnation: incarnation(record, 6)?, seq: record.count(7)? },
        end: instant(record, 5)?,
        granted: record.count(8)?,
        used: record.count(9)?,
        refunded: record.count(10)?,
        at: instant(record, 11)?,
        sealed: false,
        counted: windows(record, 12)?,
        counting: epoch,
        marks: None,
    })
}
