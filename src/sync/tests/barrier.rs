//! The barrier in paused time: who is waited for, for how long, and who is named.

use tokio::time::Instant;

use super::*;
use crate::{
    freshness::FRESH_FOR,
    ports::{Applied, Barrier},
};

/// Follows the test's paused time. It can be set forward alone, as if the process had stood still.
pub(super) struct TestTime {
    began: Instant,
    skipped: AtomicU64,
}

impl Default for TestTime {
    fn default() -> Self {
        Self { began: Instant::now(), skipped: AtomicU64::new(0) }
    }
}

impl TestTime {
    fn stand_still(&self, pause: Duration) {
        self.skipped.fetch_add(u64::try_from(pause.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestTime {
    fn now(&self) -> UnixMillis {
        UnixMillis(0)
    }

    fn monotonic(&self) -> crate::domain::time::Monotonic {
        let passed = u64::try_from(self.began.elapsed().as_nanos()).unwrap();
        let skipped = self.skipped.load(Ordering::SeqCst);
        crate::domain::time::Monotonic(1_000_000_000_000 + passed + skipped)
    }
}

/// Another node of the registry.
#[derive(Debug, Clone)]
pub(super) struct Other {
    name: &'static str,
    /// Its versions, and from when on it reports each.
    applied: Vec<(Instant, u64)>,
    /// Its last heartbeat, if it has stopped: so long before the test's epoch.
    stopped: Option<Duration>,
}

impl Other {
    fn alive(name: &'static str, applied: u64) -> Self {
        Self { name, applied: vec![(Instant::now(), applied)], stopped: None }
    }

    /// Its heartbeat stands still; by the database's clock it was so long ago.
    fn silent(name: &'static str, applied: u64, age: Duration) -> Self {
        Self { stopped: Some(age), ..Self::alive(name, applied) }
    }

    fn then(mut self, applied: u64, after: Duration) -> Self {
        self.applied.push((Instant::now() + after, applied));
        self
    }

    pub(super) fn row(&self) -> NodeRow {
        let now = Instant::now();
        let reached = self.applied.iter().rev().find(|(from, _)| *from <= now);
        // Heartbeats are 250 ms apart.
        let alive = i64::try_from(now.duration_since(epoch()).as_millis() / 250 * 250).unwrap();
        NodeRow {
            name: self.name.into(),
            incarnation: Incarnation(uuid::Uuid::from_u128(u128::from(self.name.as_bytes()[0]))),
            applied: Version(reached.map_or(0, |(_, version)| *version)),
            digest: Digest("d".into()),
            beat_age: self.stopped.unwrap_or_default(),
            beat: UnixMillis(if self.stopped.is_some() { -1 } else { alive }),
        }
    }
}

/// An instant before all others of a test.
fn epoch() -> Instant {
    thread_local! {
        static EPOCH: Instant = Instant::now();
    }
    EPOCH.with(|epoch| *epoch)
}

const STALE: Duration = Duration::from_secs(600);

/// A scene whose feed runs, and a barrier over it.
struct Barred {
    scene: Scene,
    barrier: Arc<WaitForNodes>,
    stop: tokio_util::sync::CancellationToken,
}

impl Drop for Barred {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn barred(serve_stale: Duration, others: Vec<Other>) -> Barred {
    epoch();
    let scene = scene();
    *scene.registry.others.lock().unwrap() = others;
    scene.feed.catch_up().await;
    let barrier = Arc::new(WaitForNodes {
        feed: Arc::clone(&scene.feed),
        freshness: Arc::clone(&scene.freshness),
        clock: Arc::clone(&scene.monotonic) as Arc<dyn Clock>,
        serve_stale,
    });
    let stop = tokio_util::sync::CancellationToken::new();
    tokio_util::task::TaskTracker::new().spawn(Arc::clone(&scene.feed).run(stop.clone()));
    Barred { scene, barrier, stop }
}

impl Barred {
    /// Waits for a version: the answer, and how long it took.
    async fn wait(&self, version: u64) -> (Applied, Duration) {
        let began = Instant::now();
        (self.barrier.applied(Version(version)).await, began.elapsed())
    }

    fn set(&self, others: Vec<Other>) {
        *self.scene.registry.others.lock().unwrap() = others;
    }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn says(nodes: u32, pending: &[&str]) -> Applied {
    Applied { nodes, pending: pending.iter().map(|name| (*name).to_owned()).collect() }
}

#[tokio::test(start_paused = true)]
async fn it_ends_as_soon_as_everybody_is_there() {
    let barred = barred(STALE, vec![Other::alive("b", 0), Other::alive("c", 0)]).await;
    barred.set(vec![Other::alive("b", 0).then(1, millis(30)), Other::alive("c", 0).then(1, millis(60))]);
    barred.scene.change(1, "a");
    let (applied, took) = barred.wait(1).await;
    assert_eq!(applied, says(3, &[]));
    assert!((millis(60)..millis(85)).contains(&took), "{took:?}");
    assert!(barred.scene.freshness.applied() >= Version(1), "by the feed");
}

#[tokio::test(start_paused = true)]
async fn who_lives_and_does_not_follow_is_waited_for_and_named() {
    let barred = barred(STALE, vec![Other::alive("b", 0), Other::alive("c", 1)]).await;
    barred.scene.change(1, "a");
    let (applied, took) = barred.wait(1).await;
    assert_eq!(applied, says(2, &["b"]));
    assert!((millis(1_050)..=millis(1_100)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_costs_the_wait_once() {
    let barred = barred(STALE, vec![Other::alive("b", 9), Other::silent("dead", 0, millis(30_000))]).await;
    barred.scene.change(1, "a");
    let (applied, took) = barred.wait(1).await;
    assert_eq!(applied, says(2, &["dead"]));
    assert!(took >= millis(1_000), "what the database's clock says is not enough: {took:?}");
    for version in 2..5 {
        barred.scene.change(version, "a");
        let (applied, took) = barred.wait(version).await;
        assert_eq!(applied, says(2, &["dead"]));
        assert!(took < millis(30), "{took:?}");
    }
    // It thaws: it is waited for again.
    barred.set(vec![Other::alive("b", 9), Other::alive("dead", 0).then(5, millis(200))]);
    barred.scene.change(5, "a");
    let (applied, took) = barred.wait(5).await;
    assert_eq!(applied, says(3, &[]));
    assert!((millis(200)..millis(230)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_was_not_heard_of_for_longer_than_serve_stale_is_not_named() {
    let barred = barred(STALE, vec![Other::silent("forgotten", 0, millis(700_000))]).await;
    barred.scene.change(1, "a");
    let (applied, took) = barred.wait(1).await;
    assert_eq!(applied, says(1, &[]));
    assert!(took >= millis(1_000), "the database's clock may have jumped: {took:?}");
    barred.scene.change(2, "a");
    assert!(barred.wait(2).await.1 < millis(30));
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_the_database_may_stand_still() {
    let barred = barred(millis(5_000), vec![Other::silent("dead", 0, Duration::ZERO)]).await;
    barred.scene.change(1, "a");
    assert_eq!(barred.wait(1).await.0, says(1, &["dead"]));
    // By its row it has just been heard of, but it is the same heartbeat.
    tokio::time::sleep(millis(5_000)).await;
    barred.scene.change(2, "a");
    let (applied, took) = barred.wait(2).await;
    assert_eq!(applied, says(1, &[]));
    assert!(took < millis(30), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_stale_service_nobody_is_pending_after_the_wait() {
    let barred = barred(Duration::ZERO, vec![Other::alive("b", 0), Other::silent("dead", 0, STALE)]).await;
    barred.scene.change(1, "a");
    let (applied, took) = barred.wait(1).await;
    assert_eq!(applied, says(1, &[]));
    assert!(took >= millis(1_050), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn many_calls_share_one_reader_and_its_readings_are_apart() {
    let barred = barred(STALE, vec![Other::alive("b", 0)]).await;
    tokio::time::sleep(millis(300)).await;
    barred.scene.change(1, "a");
    barred.set(vec![Other::alive("b", 0).then(1, millis(500))]);
    let (readings, polls) = (&barred.scene.registry.readings, &barred.scene.registry.polls);
    let before = (readings.load(Ordering::SeqCst), polls.load(Ordering::SeqCst));
    let all = futures_util::future::join_all((0..200).map(|_| barred.wait(1))).await;
    assert!(all.iter().all(|(applied, _)| *applied == says(2, &[])));
    let (read, polled) =
        (readings.load(Ordering::SeqCst) - before.0, polls.load(Ordering::SeqCst) - before.1);
    assert!((40..=53).contains(&read), "{read} readings in half a second");
    assert!(polled <= 6, "{polled} polls in half a second");
    // Nobody waits: nobody reads.
    let before = readings.load(Ordering::SeqCst);
    tokio::time::sleep(millis(5_000)).await;
    assert_eq!(readings.load(Ordering::SeqCst), before);
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_caller_leaves_is_followed_by_another() {
    let barred = barred(STALE, vec![Other::alive("b", 0)]).await;
    barred.scene.change(1, "a");
    barred.scene.registry.silent.store(true, Ordering::SeqCst);
    let mut first = Box::pin(barred.wait(1));
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    let mut second = Box::pin(barred.wait(1));
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(first);
    barred.scene.registry.silent.store(false, Ordering::SeqCst);
    barred.set(vec![Other::alive("b", 1)]);
    let (applied, took) = second.await;
    assert_eq!(applied.pending, [""; 0]);
    assert!(took < millis(600), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_database_goes_away_during_the_wait() {
    for silent in [false, true] {
        let barred = barred(STALE, vec![Other::alive("b", 0), Other::alive("c", 0)]).await;
        // Known since the feed counted the nodes.
        tokio::time::sleep(millis(300)).await;
        let registry = &barred.scene.registry;
        registry.silent.store(silent, Ordering::SeqCst);
        registry.away.store(true, Ordering::SeqCst);
        let (applied, took) = barred.wait(1).await;
        assert_eq!(applied, says(0, &["self", "b", "c"]));
        assert!((millis(1_050)..=millis(1_100)).contains(&took), "{took:?}");
        registry.silent.store(false, Ordering::SeqCst);
        registry.away.store(false, Ordering::SeqCst);
        tokio::time::sleep(millis(3_500)).await;
        barred.scene.change(1, "a");
        barred.set(vec![Other::alive("b", 1), Other::alive("c", 1)]);
        assert_eq!(barred.wait(1).await.0, says(3, &[]));
    }
}

#[tokio::test(start_paused = true)]
async fn it_comes_back_in_time() {
    let barred = barred(STALE, vec![Other::alive("b", 1)]).await;
    barred.scene.change(1, "a");
    let registry = &barred.scene.registry;
    registry.away.store(true, Ordering::SeqCst);
    let back = async {
        tokio::time::sleep(millis(400)).await;
        registry.away.store(false, Ordering::SeqCst);
    };
    let ((applied, took), ()) = tokio::join!(barred.wait(1), back);
    assert_eq!(applied, says(2, &[]));
    assert!(took < millis(700), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_database_and_without_stale_service_nobody_decides() {
    let barred = barred(Duration::ZERO, vec![Other::alive("b", 0)]).await;
    barred.scene.registry.away.store(true, Ordering::SeqCst);
    assert_eq!(barred.wait(1).await.0, says(0, &[]));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stood_still_in_the_wait_does_not_claim_more_than_it_saw() {
    let barred = barred(STALE, vec![Other::alive("b", 0)]).await;
    barred.scene.change(1, "a");
    let mut waiting = Box::pin(barred.wait(1));
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("too early"),
            () = tokio::time::sleep(millis(11)) => {}
        }
    }
    barred.scene.monotonic.stand_still(Duration::from_secs(30));
    assert_eq!(waiting.await.0.pending, ["b"], "it may have heard nothing for as long, but nobody saw that");
    // Two readings, one at each end of the pause, with other heartbeats between them.
    tokio::time::sleep(millis(300)).await;
    barred.scene.change(2, "a");
    assert!(barred.wait(2).await.1 >= millis(1_050), "it is waited for");
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_ends_a_silence_does_not_make_the_node_fresh() {
    let scene = scene();
    scene.feed.catch_up().await;
    let polls = || scene.registry.polls.load(Ordering::SeqCst);
    assert_eq!(polls(), 2, "the first is one after a silence");
    assert_eq!(scene.knowledge(), Knowledge::Fresh);
    scene.feed.catch_up().await;
    assert_eq!(polls(), 3);
    scene.monotonic.stand_still(FRESH_FOR);
    scene.feed.catch_up().await;
    assert_eq!(polls(), 5);
    let (sent, fresh) = (scene.monotonic.monotonic(), Freshness::default());
    assert!(!fresh.heard(sent, sent, 1));
    assert!(matches!(fresh.knowledge(sent), Knowledge::Stale(_)));
    assert!(fresh.heard(sent, sent.after(millis(999)), 1));
    assert!(!fresh.heard(sent.after(millis(900)), sent.after(millis(1_000)), 1), "its answer came too late");
}

#[test]
fn a_wait_in_vain_counts_no_more_after_the_process_stood_still() {
    use crate::domain::time::Monotonic;
    let freshness = Freshness::default();
    let at = |seconds: u64| Monotonic(seconds * 1_000_000_000);
    freshness.tick(at(10));
    freshness.wait_was_in_vain();
    assert!(freshness.waited_in_vain(at(10)) && freshness.waited_in_vain(at(11)));
    assert!(!freshness.waited_in_vain(at(12)), "seen by the request");
    freshness.tick(at(11));
    assert!(freshness.waited_in_vain(at(11)));
    freshness.tick(at(20));
    assert!(!freshness.waited_in_vain(at(20)), "or by the feed, whichever runs first");
}
