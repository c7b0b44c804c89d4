//! What was told outside, as the admin reads it.

use async_trait::async_trait;
use serde_json::json;

use super::fakes::*;
use crate::{
    domain::{event::EventKind, time::UnixMillis},
    ports::{EventRow, EventStore, StoreError, WhichEvents},
};

/// Three events.
pub struct Told;

#[async_trait]
impl EventStore for Told {
    async fn events(
        &self,
        after: u64,
        limit: u32,
        which: &WhichEvents,
    ) -> Result<Vec<EventRow>, StoreError> {
        let all = [
            (1, "acme", EventKind::QuotaThreshold, json!({ "tenant": "acme", "threshold": 50 })),
            (2, "acme", EventKind::QuotaExhausted, json!({ "tenant": "acme" })),
            (5, "other", EventKind::QuotaThreshold, json!({ "tenant": "other", "threshold": 80 })),
        ];
        let asked = all.into_iter().filter(|(cursor, tenant, kind, _)| {
            *cursor > after
                && which.tenant.as_ref().is_none_or(|one| one.as_str() == *tenant)
                && which.kind.is_none_or(|one| one == *kind)
        });
        let row = |(cursor, tenant, kind, data): (u64, &str, EventKind, _)| EventRow {
            cursor,
            id: format!("evt_{cursor}"),
            kind: kind.as_str().to_owned(),
            tenant: tenant.parse().unwrap(),
            at: UnixMillis(1_800_000_000_000),
            data,
        };
        Ok(asked.map(row).take(usize::try_from(limit).unwrap()).collect())
    }

    async fn tell_trial_ends(&self, _: UnixMillis, _: u32) -> Result<bool, StoreError> {
        Ok(false)
    }
}
