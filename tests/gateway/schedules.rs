//! What is to happen at an instant: in force on every node at that instant, and written down once, whoever is killed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use plangate::{
    clock::SystemClock,
    domain::{
        command::{Change, Command, Subscribe, When},
        time::{UnixMillis, Version},
    },
    ports::Origin,
    store::{self, Options, Store},
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::{
    client::get, cluster::Cluster, postgres::Postgres, process::eventually, upstream::Upstream,
};

/// How far a node's clock, and a request on its way, may be off.
const AROUND: Duration = Duration::from_millis(200);

/// The database, and what the test knows of its tenants.
struct Scene {
    store: Arc<dyn Store>,
    keys: BTreeMap<String, String>,
}

impl Scene {
    async fn open(cluster: &Cluster, database: &str, tenants: usize) -> Self {
        let mut keys = BTreeMap::new();
        for number in 0..tenants {
            let name = format!("t{number:02}");
            let key = cluster.node(number % 3).admin.tenant(&name, "small").await;
            keys.insert(name, key);
        }
        Self { store: store::connect(database, &Options::default()).await.unwrap(), keys }
    }

    /// As if somebody had asked for it, at this moment.
    async fn change(&self, tenant: &str, change: Change) {
        let origin = Origin {
            at: SystemClock::uncorrected(),
            actor: "test".into(),
            source: "test".into(),
            idempotency: None,
        };
        let command = Command { tenant: tenant.parse().unwrap(), change };
        self.store.execute(&command, &origin).await.unwrap();
    }

    async fn to_big(&self, tenant: &str, at: UnixMillis) {
        let asked = Subscribe { at: When::At(at), ..Subscribe::to("big".parse().unwrap()) };
        self.change(tenant, Change::Subscribe(asked)).await;
    }

    /// How each node that lives answers what only the bigger plan may.
    async fn export(&self, cluster: &Cluster, tenant: &str) -> Vec<u16> {
        let asked = get("/v1/export/all").key(&self.keys[tenant]);
        let nodes = cluster.alive().map(|node| asked.send(node.data));
        futures_util::future::join_all(nodes).await.into_iter().map(|answer| answer.status).collect()
    }

    /// How often something was written down, by tenant.
    async fn written(&self, kind: &str) -> BTreeMap<String, u32> {
        let mut count = BTreeMap::new();
        for line in self.store.audit(0, 10_000).await.unwrap().into_iter().filter(|line| line.kind == kind) {
            assert_eq!((line.actor.as_str(), line.source.as_str()), ("system", "schedule"));
            *count.entry(line.tenant.unwrap().to_string()).or_default() += 1;
        }
        count
    }

    async fn nothing_is_due(&self) {
        eventually("everything is written down", async || {
            self.store.due(SystemClock::uncorrected(), 1).await.unwrap().is_empty()
        })
        .await;
    }

    /// Whatever was written, its versions are whole: each has a line in the feed, and there is no gap.
    async fn is_without_gap(&self) {
        let changes = self.store.changes(Version(0), 10_000).await.unwrap();
        let mut versions: Vec<u64> = changes.iter().map(|row| row.version.0).collect();
        versions.dedup();
        assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>());
    }
}

/// An instant that is so far ahead, by both clocks.
fn ahead(wait: Duration) -> (UnixMillis, Instant) {
    (SystemClock::uncorrected() + wait, Instant::now() + wait)
}

#[tokio::test]
async fn a_schedule_is_kept_whoever_dies() {
    const TENANTS: u32 = 12;
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let mut cluster = Cluster::start(&upstream, &database).await;
    let scene = Scene::open(&cluster, &database, 12).await;
    let names: Vec<String> = scene.keys.keys().cloned().collect();
    // They are warm on every node: what is decided then is decided from memory.
    assert_eq!(scene.export(&cluster, "t00").await, [403; 3]);
    assert_eq!(scene.export(&cluster, "t11").await, [403; 3]);

    // One after the other within a second, and one that ends.
    let (at, begins) = ahead(Duration::from_millis(1_500));
    for (number, name) in (0..).zip(&names) {
        scene.to_big(name, at + Duration::from_millis(80) * number).await;
    }
    scene.change("t05", Change::Cancel(When::At(at))).await;
    sleep_until(begins - 2 * AROUND).await;
    let early = scene.export(&cluster, "t00").await;
    // On a machine that has no time for this, it says nothing.
    if Instant::now() < begins - AROUND / 4 {
        assert_eq!(early, [403; 3], "not before its time");
    }
    sleep_until(begins + AROUND).await;
    assert_eq!(scene.export(&cluster, "t00").await, [200; 3]);
    assert_eq!(scene.export(&cluster, "t05").await, [402; 3]);
    let written = scene.written("subscription.changed").await;
    if Instant::now() < begins + 2 * AROUND {
        assert!(written.is_empty(), "in force before anything was written");
    }

    // Two of three die while the changes are being written down, each at another moment.
    sleep_until(begins + Duration::from_millis(700)).await;
    cluster.kill(0);
    sleep_until(begins + Duration::from_millis(1_000)).await;
    cluster.kill(2);
    sleep_until(begins + 80 * Duration::from_millis(TENANTS.into()) + AROUND).await;
    assert_eq!(scene.export(&cluster, "t11").await, [200], "the one that lives needs nobody");
    cluster.start_again(0).await;
    cluster.start_again(2).await;
    assert_eq!(scene.export(&cluster, "t11").await, [200; 3]);
    scene.nothing_is_due().await;
    let once = |but: &str| names.iter().filter(|name| *name != but).map(|name| (name.clone(), 1)).collect();
    let changed: BTreeMap<String, u32> = once("t05");
    assert_eq!(scene.written("subscription.changed").await, changed);

    // Nobody is there when the next ones are due, and for a while after.
    let (at, begins) = ahead(Duration::from_millis(600));
    for name in ["t00", "t01", "t02"] {
        scene.change(name, Change::Cancel(When::At(at))).await;
    }
    for node in 0..3 {
        cluster.kill(node);
    }
    sleep_until(begins + Duration::from_secs(1)).await;
    assert!(!scene.written("subscription.canceled").await.contains_key("t00"));
    for node in 0..3 {
        cluster.start_again(node).await;
    }
    // Whether or not it is written down by now.
    assert_eq!(scene.export(&cluster, "t01").await, [402; 3]);
    scene.nothing_is_due().await;
    // A turn of each node later it is so still.
    sleep(Duration::from_millis(4_300)).await;
    let ended = ["t00", "t01", "t02", "t05"].map(|name| (name.to_owned(), 1));
    assert_eq!(scene.written("subscription.canceled").await, BTreeMap::from(ended));
    assert_eq!(scene.written("subscription.changed").await, changed);
    scene.is_without_gap().await;
    scene.store.close().await;
}
