//! What was told outside, as the admin reads it.

use async_trait::async_trait;
use serde_json::json;

use super::Api;
use crate::{
    domain::{event::EventKind, time::UnixMillis},
    ports::{EventRow, EventStore, StoreError, WhichEvents},
};

/// Three events.
pub struct Told;

#[async_trait]
impl EventStore for Told {
    async fn events(&self, after: u64, limit: u32, which: &WhichEvents) -> Result<Vec<EventRow>, StoreError> {
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

#[tokio::test]
async fn what_was_told_is_paged_and_picked() {
    let api = Api::new();
    let first = json!({
        "cursor": 1, "id": "evt_1", "type": "quota.threshold", "tenant": "acme", "timestamp": "2027-01-15T08:00:00Z",
        "data": { "tenant": "acme", "threshold": 50 },
    });
    assert_eq!(api.ok("GET", "/v1/events?limit=1", "").await, json!({ "items": [first], "next": 1 }));
    let places = async |uri: &str| {
        let page = api.ok("GET", uri, "").await;
        assert_eq!(page["next"], json!(null));
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["cursor"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(places("/v1/events").await, [1, 2, 5]);
    assert_eq!(places("/v1/events?cursor=2").await, [5]);
    assert_eq!(places("/v1/events?tenant=acme").await, [1, 2]);
    assert_eq!(places("/v1/events?kind=quota.threshold&tenant=other").await, [5]);
    for uri in [
        "/v1/events?cursor=-1",
        "/v1/events?limit=501",
        "/v1/events?tenant=%20",
        "/v1/events?kind=quota",
        "/v1/events?type=quota.threshold",
    ] {
        api.refused("GET", uri, "", 400, "parameter-invalid").await;
    }
}
