//! What is left of a ledger file after a crash: kept, lost, copied, cut off, damaged or old. It never credits anybody.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::support::{
    amount::Dice,
    client::{Ask, get},
    cluster::{Cluster, Standing, node, standing},
    drain::drain,
    load::volley,
    postgres::Postgres,
    process::{Gateway, eventually},
    upstream::Upstream,
};

const LIMIT: u64 = 1_200;
/// The file's first page.
const HEADER: usize = 4096;

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

/// A node's ledger file.
fn ledger_file(data: &Path) -> PathBuf {
    let file = data.join("ledger");
    assert!(file.is_file(), "no ledger file in {}", data.display());
    file
}

/// Written over in place, so that it stays the same file.
fn overwrite(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

struct Scene {
    upstream: Upstream,
    cluster: Cluster,
    key: String,
}

impl Scene {
    /// Two nodes that have used 60 units each, recorded, and hold more.
    async fn new() -> Self {
        let upstream = Upstream::start().await;
        let database = Postgres::shared().url();
        let setups = ["a", "b"].map(|name| node(&upstream, &database, name));
        let cluster = Cluster::of(setups.into()).await;
        let key = cluster.limited("acme", LIMIT).await;
        let scene = Self { upstream, cluster, key };
        scene.spend(0, 60).await;
        scene.spend(1, 60).await;
        scene.recorded(1, 120).await;
        scene
    }

    async fn spend(&self, node: usize, units: usize) {
        let node = [self.cluster.node(node).data];
        volley(&message(&self.key), &node, 3, units).await.is_only(&[("passed", units)]);
    }

    /// Waits until the other node has it from the database.
    async fn recorded(&self, node: usize, units: u64) {
        let admin = self.cluster.node(node).admin;
        eventually("it is recorded", async || standing(admin, "acme").await.used == units).await;
    }

    fn data(&self) -> PathBuf {
        self.cluster.setup(0).path("data")
    }

    /// Starts node `a` again. It may refuse, with a text that names the file: then that is taken away, as the text asks.
    async fn revive(&mut self) -> String {
        // Its name is its own again after five seconds, or at once: nobody's clock is waited for here.
        let database = self.cluster.setup(0).config["database"].as_str().unwrap().to_owned();
        Postgres::shared().run(&database, "UPDATE nodes SET beat_ms = beat_ms - 10000 WHERE name = 'a'");
        let setup = self.cluster.setup(0);
        match setup.spawn(setup.command()).outcome().await {
            Ok(gateway) => {
                self.cluster.adopt(0, gateway);
                self.cluster.node(0).log()
            }
            Err((status, log)) => {
                assert_eq!(status.code(), Some(2), "{log}");
                let file = ledger_file(&self.data());
                assert!(log.contains(&*file.to_string_lossy()), "a refusal names the file: {log}");
                fs::remove_file(file).unwrap();
                self.cluster.start_again(0).await;
                log
            }
        }
    }

    /// Uses up what is left, and checks that all of the limit is accounted for.
    async fn account(&self) -> Standing {
        drain(&message(&self.key), &self.cluster.places(), 3).await;
        let served = self.upstream.count() as u64;
        assert!(served <= LIMIT, "{served} of {LIMIT}");
        let mut last = None;
        for node in self.cluster.alive() {
            eventually("all is used, or uncertain", async || {
                let standing = standing(node.admin, "acme").await;
                last = Some(standing);
                standing.used + standing.uncertain == LIMIT && served <= standing.used + standing.uncertain
            })
            .await;
        }
        let standing = last.unwrap();
        assert_eq!(standing.remaining, 0, "{standing:?}");
        standing
    }

    /// Units were lost: they are shown, and the log says why.
    async fn shows_the_gap(&self, log: &str) {
        let reason = |line: &str| {
            (line.contains("WARN") || line.contains("ERROR")) && line.to_lowercase().contains("ledger")
        };
        assert!(log.lines().any(reason), "the log says why:\n{log}");
        self.shows_a_gap().await;
    }

    async fn shows_a_gap(&self) {
        let served = self.upstream.count() as u64;
        let shown = standing(self.cluster.node(1).admin, "acme").await;
        assert!(shown.uncertain > 0, "the gap is shown before anybody asks: {shown:?}, {served} served");
        let standing = self.account().await;
        let served = self.upstream.count() as u64;
        assert!(standing.used <= served && standing.uncertain > 0, "{standing:?}, {served} served");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_kept_loses_nothing() {
    let mut scene = Scene::new().await;
    // Nobody else has heard of these.
    scene.spend(0, 37).await;
    scene.cluster.kill(0);
    scene.revive().await;
    let standing = scene.account().await;
    assert_eq!((standing.used, standing.uncertain), (LIMIT, 0));
    assert_eq!(scene.upstream.count() as u64, LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_gone_leaves_a_gap() {
    let mut scene = Scene::new().await;
    scene.spend(0, 37).await;
    scene.cluster.kill(0);
    fs::remove_dir_all(scene.data()).unwrap();
    // A node without a file cannot tell that it is not its first start.
    scene.revive().await;
    scene.shows_a_gap().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_cut_off_leaves_a_gap() {
    for part in [0, 3] {
        let mut scene = Scene::new().await;
        scene.cluster.kill(0);
        let file = OpenOptions::new().write(true).open(ledger_file(&scene.data())).unwrap();
        file.set_len(file.metadata().unwrap().len() / 4 * part).unwrap();
        let log = scene.revive().await;
        scene.shows_the_gap(&log).await;
    }
}

/// Flips bits of words that are not zero: in the header, or behind it.
fn damage(path: &Path, header: bool, dice: &mut Dice) -> usize {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let mut flipped = 0;
    for (place, word) in bytes.chunks_mut(8).enumerate() {
        if word.iter().all(|byte| *byte == 0) || (place * 8 < HEADER) != header {
            continue;
        }
        let bit = dice.below(word.len() * 8);
        word[bit / 8] ^= 1 << (bit % 8);
        flipped += 1;
    }
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&bytes).unwrap();
    flipped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_in_the_header_leave_a_gap() {
    let mut dice = Dice::thrown(13);
    let mut scene = Scene::new().await;
    scene.cluster.kill(0);
    let flipped = damage(&ledger_file(&scene.data()), true, &mut dice);
    assert!(flipped > 0, "a header is not all zeros");
    let log = scene.revive().await;
    scene.shows_the_gap(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bits_in_the_records_credit_nobody() {
    let mut dice = Dice::thrown(17);
    for _ in 0..crate::support::amount::amount("PLANGATE_FLIPS", 2) {
        let mut scene = Scene::new().await;
        scene.cluster.kill(0);
        let flipped = damage(&ledger_file(&scene.data()), false, &mut dice);
        assert!(flipped > 0, "the file holds records");
        let log = scene.revive().await;
        scene.shows_the_gap(&log).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_credits_nobody() {
    for in_place in [true, false] {
        let mut scene = Scene::new().await;
        let file = ledger_file(&scene.data());
        let old = fs::read(&file).unwrap();
        scene.spend(0, 55).await;
        scene.recorded(1, 175).await;
        scene.cluster.kill(0);
        if in_place {
            overwrite(&file, &old);
        } else {
            fs::remove_file(&file).unwrap();
            fs::write(&file, &old).unwrap();
        }
        let log = scene.revive().await;
        scene.shows_the_gap(&log).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_another_nodes_folder_credits_nobody() {
    let mut scene = Scene::new().await;
    // A third node finds the file of the first, which lives; and again, when that one is dead.
    for dead in [false, true] {
        if dead {
            scene.cluster.kill(0);
        }
        let database = scene.cluster.setup(0).config["database"].as_str().unwrap().to_owned();
        let third = node(&scene.upstream, &database, if dead { "d" } else { "c" });
        let data = third.path("data");
        fs::create_dir_all(&data).unwrap();
        for entry in fs::read_dir(scene.data()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
        }
        let started: Result<Gateway, _> = third.spawn(third.command()).outcome().await;
        match started {
            Ok(gateway) => {
                let tally = volley(&message(&scene.key), &[gateway.data], 2, 20).await;
                assert_eq!(tally.of("broken"), 0, "{tally:?}");
                assert!(gateway.stop().await.success());
            }
            Err((status, log)) => {
                assert!(status.code() == Some(2) && log.contains("ledger"), "{status}: {log}");
            }
        }
        let shown = standing(scene.cluster.node(1).admin, "acme").await;
        assert_eq!(shown.uncertain, 0, "nothing was lost, as the file's owner has its own: {shown:?}");
    }
    scene.revive().await;
    let standing = scene.account().await;
    assert_eq!((standing.used, standing.uncertain), (LIMIT, 0), "and nothing was taken from it");
    assert_eq!(scene.upstream.count() as u64, LIMIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_database_credits_nobody() {
    let mut scene = Scene::new().await;
    scene.cluster.kill(0);
    // The same tenant, in a database that has granted this node nothing.
    let elsewhere = Postgres::shared().url();
    let other = Cluster::of(vec![node(&scene.upstream, &elsewhere, "z")]).await;
    let key = other.limited("acme", 100).await;
    let before = scene.upstream.count();
    let moved = scene.cluster.setup_mut(0);
    moved.set("/database", elsewhere);
    let started = moved.spawn(moved.command()).outcome().await;
    match started {
        Ok(gateway) => {
            let places = [other.place(0), crate::support::load::Place::at(gateway.data)];
            assert_eq!(drain(&message(&key), &places, 2).await.passed(), 100);
            assert!(gateway.log().lines().any(|line| line.contains("WARN") && line.contains("ledger")));
            assert!(gateway.stop().await.success());
        }
        Err((status, log)) => {
            assert!(status.code() == Some(2) && log.contains("ledger"), "{status}: {log}");
            assert_eq!(drain(&message(&key), &[other.place(0)], 2).await.passed(), 100);
        }
    }
    assert_eq!(scene.upstream.count() - before, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_belongs_to_one_process() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let cluster = Cluster::of(vec![node(&upstream, &database, "a")]).await;
    let data = cluster.setup(0).path("data").display().to_string();
    for name in ["a", "b"] {
        let second = node(&upstream, &database, name).with("/data_dir", data.clone());
        let (status, log) = second.spawn(second.command()).outcome().await.err().expect("two on one folder");
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(&data), "{log}");
    }
    let key = cluster.limited("acme", 5).await;
    assert_eq!(drain(&message(&key), &cluster.places(), 2).await.passed(), 5, "the first is not disturbed");
}
