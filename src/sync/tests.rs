//! The feed and the barrier over a registry that the test holds in its hand.

mod barrier;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    domain::{
        catalog::{Catalog, Digest},
        id::{MeterId, TenantId},
        period::Window,
        time::{Epoch, UnixMillis, Version},
    },
    freshness::{Freshness, Knowledge},
    ports::{
        BucketKey, ChangeRow, Deployments, Heartbeat, Incarnation, Lost, LostError, NodeRow, NodeStore,
        Origin, Policies, PollAnswer, RegisterError, Registered, Registration, Remainder, StoreError, Wanted,
    },
};

/// Counts how often the policies were asked for; refuses while told to.
#[derive(Default)]
struct Deployed {
    asked: AtomicU64,
    refuses: AtomicBool,
}

#[async_trait]
impl Deployments for Deployed {
    async fn obey(&self) -> Result<(), StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.refuses.load(Ordering::SeqCst) {
            true => Err(StoreError::Corrupt("this version cannot use the policies".to_owned())),
            false => Ok(()),
        }
    }
}

#[derive(Default)]
struct Registry {
    changes: Mutex<Vec<ChangeRow>>,
    others: Mutex<Vec<barrier::Other>>,
    polls: AtomicU64,
    readings: AtomicU64,
    /// Nothing is answered, and nothing refused.
    silent: AtomicBool,
    reported: AtomicU64,
    away: AtomicBool,
    superseded: AtomicBool,
    gap: AtomicBool,
    ahead_millis: Mutex<i64>,
    epoch: AtomicU64,
    reasserted: AtomicU64,
    forgotten: AtomicBool,
    wanted: Mutex<Vec<Wanted>>,
    charged: Mutex<Vec<TenantId>>,
}

#[async_trait]
impl NodeStore for Registry {
    async fn register(&self, _: &Registration) -> Result<Registered, RegisterError> {
        self.forgotten.store(false, Ordering::SeqCst);
        Ok(Registered { version: Version(0), epoch: Epoch(0) })
    }
    async fn poll(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.answers().await?;
        self.reported.store(beat.applied.0, Ordering::SeqCst);
        self.reasserted.store(beat.reasserted.0, Ordering::SeqCst);
        let epoch = Epoch(self.epoch.load(Ordering::SeqCst));
        let all = self.changes.lock().unwrap();
        let changes: Vec<ChangeRow> =
            all.iter().filter(|row| row.version > beat.applied).take(2).cloned().collect();
        let upto = changes.last().map_or(beat.applied, |row| row.version);
        Ok(PollAnswer {
            changes,
            upto,
            gap: self.gap.swap(false, Ordering::SeqCst),
            live_nodes: 3,
            database_now: UnixMillis(SystemClock::uncorrected().0 + *self.ahead_millis.lock().unwrap()),
            superseded: self.superseded.load(Ordering::SeqCst),
            forgotten: self.forgotten.load(Ordering::SeqCst),
            epoch,
            awaited: if beat.reasserted < epoch { vec!["self".into()] } else { Vec::new() },
            wanted: std::mem::take(&mut self.wanted.lock().unwrap()),
            charged: std::mem::take(&mut self.charged.lock().unwrap()),
        })
    }
    async fn deregister(&self, _: Incarnation) -> Result<(), StoreError> {
        Ok(())
    }
    async fn declare_lost(&self, name: &str, _: &Origin) -> Result<Lost, LostError> {
        Err(LostError::Unknown(name.to_owned()))
    }
    async fn left_behind(&self, _: &str, _: Incarnation) -> Result<Lost, StoreError> {
        Ok(Lost { slots: 0, units: 0 })
    }
    async fn open_file(&self, _: uuid::Uuid, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.readings.fetch_add(1, Ordering::SeqCst);
        self.answers().await?;
        let mut nodes: Vec<NodeRow> = self.others.lock().unwrap().iter().map(barrier::Other::row).collect();
        nodes.push(NodeRow {
            name: "self".into(),
            incarnation: own(),
            applied: Version(self.reported.load(Ordering::SeqCst)),
            digest: Digest("d".into()),
            beat_age: Duration::ZERO,
            beat: UnixMillis(0),
        });
        Ok(nodes)
    }
    async fn changed(&self) {
        std::future::pending().await
    }
}

fn own() -> Incarnation {
    Incarnation(uuid::Uuid::from_u128(1))
}

impl Registry {
    async fn answers(&self) -> Result<(), StoreError> {
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("away".into())),
            false => Ok(()),
        }
    }
}

struct OneCatalog(Arc<Catalog>);

impl Policies for OneCatalog {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

#[async_trait]
impl Subscriber for Heard {
    async fn changed(&self, tenant: &TenantId, _: Version) {
        self.0.lock().unwrap().push(tenant.to_string());
    }
    async fn all_changed(&self) {
        self.0.lock().unwrap().push("*".into());
    }
    fn wanted(&self, wanted: &[Wanted]) {
        let mut heard = self.0.lock().unwrap();
        heard.extend(wanted.iter().map(|wanted| format!("wanted {}", wanted.bucket.tenant)));
    }
    fn charged(&self, tenants: &[TenantId]) {
        self.0.lock().unwrap().extend(tenants.iter().map(|tenant| format!("charged {tenant}")));
    }
    async fn returned(&self) -> bool {
        let mut heard = self.0.lock().unwrap();
        heard.push("returned".into());
        // The first time the database is not there yet.
        heard.iter().filter(|heard| *heard == "returned").count() > 1
    }
}

struct Scene {
    registry: Arc<Registry>,
    freshness: Arc<Freshness>,
    heard: Arc<Heard>,
    deployed: Arc<Deployed>,
    clock: Arc<SystemClock>,
    monotonic: Arc<barrier::TestTime>,
    feed: Arc<Feed>,
}

fn scene() -> Scene {
    let registry = Arc::new(Registry::default());
    let freshness = Arc::new(Freshness::default());
    let heard = Arc::new(Heard::default());
    let clock = Arc::new(SystemClock::default());
    let monotonic = Arc::new(barrier::TestTime::default());
    let catalog = Catalog::empty(Digest("d".into()));
    let deployed = Arc::new(Deployed::default());
    let feed = Arc::new(Feed::new(FeedParts {
        store: Arc::clone(&registry) as Arc<dyn NodeStore>,
        freshness: Arc::clone(&freshness),
        clock: Arc::clone(&clock),
        monotonic: Arc::clone(&monotonic) as Arc<dyn Clock>,
        metrics: Arc::default(),
        policies: Arc::new(OneCatalog(Arc::new(catalog))),
        deployments: Arc::clone(&deployed) as Arc<dyn Deployments>,
        registration: Registration {
            name: "self".into(),
            incarnation: own(),
            file: uuid::Uuid::nil(),
            digest: Digest("d".into()),
        },
        epoch: Epoch(0),
        subscribers: vec![Arc::clone(&heard) as Arc<dyn Subscriber>],
    }));
    Scene { registry, freshness, heard, deployed, clock, monotonic, feed }
}

impl Scene {
    fn change(&self, version: u64, tenant: &str) {
        self.registry.changes.lock().unwrap().push(ChangeRow {
            version: Version(version),
            tenant: Some(TenantId::parse(tenant).unwrap()),
            kind: "tenant.put".into(),
            at: UnixMillis(0),
        });
    }

    fn knowledge(&self) -> Knowledge {
        self.freshness.knowledge(self.monotonic.monotonic())
    }
}

#[tokio::test]
async fn after_a_failover_everything_is_returned_before_it_is_said() {
    let scene = scene();
    scene.feed.catch_up().await;
    scene.registry.epoch.store(3, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert_eq!(scene.registry.reasserted.load(Ordering::SeqCst), 0, "not everything was recorded");
    assert_eq!(scene.feed.awaited(), ["self"]);
    scene.feed.catch_up().await;
    assert_eq!(scene.registry.reasserted.load(Ordering::SeqCst), 3, "with the very next heartbeat");
    assert!(scene.feed.awaited().is_empty());
    scene.feed.catch_up().await;
    assert_eq!(*scene.heard.0.lock().unwrap(), ["returned", "returned"], "once");
}

#[tokio::test]
async fn a_node_that_is_not_known_any_more_returns_everything_and_registers_again() {
    let scene = scene();
    scene.feed.catch_up().await;
    scene.registry.forgotten.store(true, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert!(scene.registry.forgotten.load(Ordering::SeqCst), "not before it has returned everything");
    scene.feed.catch_up().await;
    assert!(!scene.registry.forgotten.load(Ordering::SeqCst));
    assert!(!scene.freshness.is_retired());
}

#[tokio::test]
async fn what_others_want_is_passed_on() {
    let scene = scene();
    let bucket = BucketKey {
        tenant: TenantId::parse("acme").unwrap(),
        meter: MeterId::parse("requests").unwrap(),
        span: Window::Month.into(),
        start: UnixMillis(0),
        epoch: Version(0),
    };
    scene.registry.wanted.lock().unwrap().push(Wanted { bucket, remainder: Remainder::default() });
    scene.registry.charged.lock().unwrap().push(TenantId::parse("zeta").unwrap());
    scene.feed.catch_up().await;
    assert_eq!(*scene.heard.0.lock().unwrap(), ["wanted acme", "charged zeta"]);
}

#[tokio::test]
async fn changes_are_in_force_before_they_are_reported() {
    let scene = scene();
    assert!(matches!(scene.knowledge(), Knowledge::Stale(_)));
    for (version, tenant) in [(1, "a"), (2, "b"), (3, "a"), (4, "c")] {
        scene.change(version, tenant);
    }
    scene.feed.catch_up().await;
    assert_eq!(scene.knowledge(), Knowledge::Fresh);
    assert_eq!(scene.feed.applied(), Version(4));
    assert_eq!(scene.registry.reported.load(Ordering::SeqCst), 4, "the last heartbeat reports all of it");
    assert!(scene.freshness.min_version(&TenantId::parse("a").unwrap()) >= Version(3));
    assert_eq!(*scene.heard.0.lock().unwrap(), ["a", "b", "a", "c"]);
    assert_eq!(scene.freshness.live_nodes(), 3);
}

#[tokio::test]
async fn pruned_changes_outdate_everything() {
    let scene = scene();
    scene.change(9, "z");
    scene.registry.gap.store(true, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert!(scene.freshness.min_version(&TenantId::parse("other").unwrap()) >= Version(9));
    assert_eq!(scene.heard.0.lock().unwrap()[0], "*");
}

#[tokio::test]
async fn changed_policies_are_in_force_before_they_are_reported_or_nothing_is_reported() {
    let scene = scene();
    let asked = || scene.deployed.asked.load(Ordering::SeqCst);
    scene.change(1, "a");
    scene.feed.catch_up().await;
    assert_eq!((asked(), scene.feed.applied()), (0, Version(1)), "no change of the policies");
    scene.registry.changes.lock().unwrap().push(ChangeRow {
        version: Version(2),
        tenant: None,
        kind: "policy.apply".into(),
        at: UnixMillis(0),
    });
    scene.deployed.refuses.store(true, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert_eq!((asked(), scene.feed.applied()), (1, Version(1)));
    assert!(scene.feed.is_failing(), "who cannot apply a change does not stay fresh");
    scene.deployed.refuses.store(false, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert_eq!((asked(), scene.feed.applied()), (2, Version(2)));
    assert_eq!(scene.registry.reported.load(Ordering::SeqCst), 2);
    scene.registry.gap.store(true, Ordering::SeqCst);
    scene.change(9, "z");
    scene.feed.catch_up().await;
    assert_eq!(asked(), 3, "what was missed may have been the policies");
}

#[tokio::test]
async fn a_failed_poll_keeps_nobody_fresh() {
    let scene = scene();
    scene.registry.away.store(true, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert!(scene.feed.is_failing());
    assert!(matches!(scene.knowledge(), Knowledge::Stale(_)));
    scene.registry.away.store(false, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert!(!scene.feed.is_failing());
}

#[tokio::test]
async fn a_node_whose_place_was_taken_refuses() {
    let scene = scene();
    scene.feed.catch_up().await;
    scene.registry.superseded.store(true, Ordering::SeqCst);
    scene.feed.catch_up().await;
    assert!(matches!(scene.knowledge(), Knowledge::Stale(Duration::MAX)));
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_and_reported() {
    let scene = scene();
    *scene.registry.ahead_millis.lock().unwrap() = 5_000;
    scene.feed.catch_up().await;
    let off = scene.feed.clock_is_off().unwrap();
    assert!((4_900..=5_100).contains(&off), "{off}");
    assert!((scene.clock.now().0 - SystemClock::uncorrected().0 - 5_000).abs() < 200);
}
