//! The contract, by port.

mod audit;
mod event_order;
mod exports;
mod failover;
mod ledger;
mod life;
mod lifecycle;
mod lost;
mod model;
mod nodes;
mod opening;
mod recall;
mod revisions;
mod shadow;
mod statements;
mod stripe;
mod survey;
mod tenants;
mod tidy;
mod tokens;
mod usage_events;
mod warnings;
mod webhooks;
mod windows;

use plangate::{
    domain::{
        command::{Change, Command, Subscribe},
        id::{KeyId, MeterId, TenantId},
        identity::KeyHash,
        period::{Window, Windows},
        subscription::UsageRule,
        time::{Epoch, UnixMillis, Version},
        units::Units,
    },
    ports::{BucketKey, Committed, GrantRequest, Idempotency, Incarnation, Origin, SlotKey, SlotTotals},
    store::Store,
};

use crate::START;

/// Makes one test a store of each function.
macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        mod in_memory { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(&crate::Fixture::memory()).await; }
        )+ }
        mod on_sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(&crate::Fixture::sqlite().await).await; }
        )+ }
        mod on_postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(&crate::Fixture::postgres().await).await; }
        )+ }
    };
}
pub(crate) use on_every_store;

pub fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

pub fn put(id: &str) -> Command {
    Command { tenant: tenant(id), change: Change::PutTenant { name: None, zone: None, attributes: None } }
}

pub fn change(id: &str, change: Change) -> Command {
    Command { tenant: tenant(id), change }
}

pub fn subscribe(id: &str, plan: &str, usage: UsageRule) -> Command {
    let plan = Subscribe::to(plan.parse().unwrap());
    change(id, Change::Subscribe(Subscribe { usage: Some(usage), ..plan }))
}

pub fn key(id: &str, key: &str, hash: u8) -> Command {
    let change = Change::CreateKey {
        id: KeyId::parse(key).unwrap(),
        hash: KeyHash([hash; 32]),
        name: Some("ci".into()),
        expires_at: Some(UnixMillis(77)),
        imported: true,
    };
    Command { tenant: tenant(id), change }
}

pub fn origin() -> Origin {
    Origin { at: START, actor: "admin".into(), source: "127.0.0.1".into(), idempotency: None }
}

pub fn once(key: &str, fingerprint: &str) -> Origin {
    let idempotency = Idempotency { key: key.into(), fingerprint: fingerprint.into() };
    Origin { idempotency: Some(idempotency), ..origin() }
}

pub async fn done(store: &dyn Store, command: &Command) -> Committed {
    store.execute(command, &origin()).await.unwrap()
}

pub fn node(number: u128) -> Incarnation {
    Incarnation(uuid::Uuid::from_u128(number))
}

pub fn bucket(id: &str, epoch: u64) -> BucketKey {
    BucketKey {
        tenant: tenant(id),
        meter: MeterId::parse("requests").unwrap(),
        span: Window::Month.into(),
        start: START,
        epoch: Version(epoch),
    }
}

pub fn totals(bucket: &BucketKey, of: u128, used: u64, refunded: u64) -> SlotTotals {
    SlotTotals {
        slot: SlotKey { bucket: bucket.clone(), incarnation: node(of), seq: 0 },
        end: UnixMillis(START.0 + 1_000_000),
        granted: 0,
        used,
        refunded,
        at: START,
        sealed: false,
        counted: Windows::default(),
        counting: bucket.epoch,
        marks: None,
    }
}

pub fn sealed(totals: SlotTotals) -> SlotTotals {
    SlotTotals { sealed: true, ..totals }
}

/// Asks for `need` units of a limit of 100.
pub fn ask(totals: SlotTotals, version: Version, granted: u64, need: u64) -> GrantRequest {
    GrantRequest {
        policies: Version(0),
        totals,
        limit: Units::saturating(100),
        ceiling: None,
        version,
        granted,
        need,
        demand: need,
        want: 0,
    }
}
