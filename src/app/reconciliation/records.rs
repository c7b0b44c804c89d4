//! That what is written down beside the books of the simulated history is whole: the rows of usage, what was told, and the
//! audit log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{checks::served, world::World};
use crate::{
    clock::Clock,
    domain::{id::MeterId, period::Period, time::UnixMillis},
    ports::{AuditFilter, AuditLine, AuditLink, EventRow, WhichEvents},
    wire::audit_chain::{Chain, Link},
};

const PAGE: u32 = 500;
/// Less than what was told is kept.
const TOLD_MILLIS: i64 = 39 * 86_400_000;

/// All of it.
pub(super) async fn are_whole(world: &World) {
    usage(world).await;
    facts(world).await;
    audit(world).await;
    world.events_are_known().await;
}

/// The rows of usage, by the hour and by the day, come to what was served.
async fn usage(world: &World) {
    let always = Period { start: UnixMillis(0), end: UnixMillis(i64::MAX / 2) };
    let served = served(world);
    for tenant in &world.tenants {
        let mut rows: BTreeMap<MeterId, i64> = BTreeMap::new();
        for row in world.store().usage(tenant, always).await.unwrap() {
            *rows.entry(row.meter).or_default() += row.units;
        }
        for ((_, meter), served) in served.iter().filter(|((whose, _), _)| whose == tenant) {
            let rows = rows.remove(meter).unwrap_or(0);
            assert_eq!(u64::try_from(rows).unwrap(), *served, "{tenant} {meter}: usage and served");
        }
        assert!(rows.values().all(|units| *units == 0), "{tenant}: {rows:?} of what nobody served");
    }
}

/// Each closed statement was told once, as it is.
async fn facts(world: &World) {
    let (mut all, mut after): (Vec<EventRow>, u64) = (Vec::new(), 0);
    loop {
        let page = world.store().events(after, PAGE, &WhichEvents::default()).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.cursor;
        all.extend(page);
    }
    let ids: BTreeSet<&str> = all.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), all.len(), "an id twice");
    let kept = world.ground.clock.now().0 - TOLD_MILLIS;
    for tenant in &world.tenants {
        let heads = world.store().closed_statements(tenant, None, PAGE).await.unwrap();
        for head in heads.iter().filter(|head| head.closed_at.0 > kept) {
            let told = all.iter().filter(|row| {
                row.kind == "statement.closed"
                    && row.tenant == *tenant
                    && row.data["statement"] == head.name.as_str()
                    && row.data["digest"] == head.digest.as_str()
                    && row.data["total"] == head.total.as_str()
            });
            assert_eq!(told.count(), 1, "{tenant}: {head:?}");
        }
    }
}

/// No line of the audit log is wrong or missing, though the oldest were tidied away.
async fn audit(world: &World) {
    let link = |AuditLink { cursor, hash }: AuditLink| Link { cursor, hash };
    let head = world.store().audit_head().await.unwrap();
    let mut chain = Chain::after(link(head.anchor), head.start);
    chain.expect(link(head.head));
    loop {
        let page = world.store().audit_lines(chain.last(), PAGE, &AuditFilter::default()).await.unwrap();
        if page.is_empty() {
            break;
        }
        page.iter().for_each(|line| chain.read(&shown(line)).unwrap());
    }
    let verified = chain.finish().unwrap();
    assert!(verified.lines > 5, "{verified:?}");
}

/// A line as the admin API shows it.
fn shown(line: &AuditLine) -> serde_json::Value {
    json!({
        "cursor": line.cursor, "version": line.version, "at": line.at.to_string(), "actor": line.actor,
        "source": line.source, "tenant": line.tenant, "kind": line.kind, "detail": line.detail,
        "before": line.before, "after": line.after, "previous": line.previous, "hash": line.hash,
    })
}
