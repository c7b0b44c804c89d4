//! `kill -9` at random instants under load: what was admitted is recorded, to the unit, and nothing else is.

use crate::support::{
    admin::Admin,
    amount::{Dice, amount},
    client::{Ask, get},
    cluster::{Cluster, standing, usage},
    drain::drain,
    load::{Load, Tally},
    postgres::Postgres,
    process::{Setup, eventually},
    upstream::Upstream,
};

/// More than can be used meanwhile.
const AMPLE: u64 = 100_000_000;

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

/// Kills nodes and starts them again, round by round, while clients go on.
async fn storm(cluster: &mut Cluster, load: &Load, rounds: u64, dice: &mut Dice) {
    let nodes = cluster.places().len();
    for _ in 0..rounds {
        // Now and then at once after the start, when the file has just been read.
        if dice.below(4) > 0 {
            load.more(1 + dice.below(120)).await;
        }
        let victim = dice.below(nodes);
        cluster.kill(victim);
        let mut dead = vec![victim];
        if nodes > 2 && dice.below(4) == 0 {
            let other = (victim + 1) % nodes;
            cluster.kill(other);
            dead.push(other);
        }
        for node in dead {
            if dice.below(3) == 0 {
                load.more(dice.below(60)).await;
            }
            cluster.start_again(node).await;
        }
    }
}

/// What all nodes agree on having recorded, once the last totals have been written.
async fn recorded(admins: &[Admin], tenant: &str) -> u64 {
    let mut used = 0;
    eventually("all nodes say the same", async || {
        let mut all = Vec::new();
        for admin in admins {
            let standing = standing(*admin, tenant).await;
            assert_eq!(standing.uncertain, 0, "each node came back with its file: {standing:?}");
            all.extend([standing.used, usage(*admin, tenant).await]);
        }
        used = all[0];
        all.iter().all(|other| *other == used)
    })
    .await;
    used
}

async fn survives(mut cluster: Cluster, upstream: Upstream, rounds: u64, clients: usize, seed: u64) {
    let mut dice = Dice::thrown(seed);
    let key = cluster.limited("acme", AMPLE).await;
    let load = Load::on_places(&message(&key), &cluster.places(), clients);
    load.more(50).await;
    storm(&mut cluster, &load, rounds, &mut dice).await;
    load.more(50).await;
    let tally: Tally = load.stop().await;
    assert_eq!(tally.passed() + tally.of("broken"), tally.total(), "nobody was refused: {tally:?}");

    let admins: Vec<Admin> = cluster.alive().map(|node| node.admin).collect();
    let recorded = recorded(&admins, "acme").await;
    let (served, in_flight) = (upstream.count() as u64, tally.unanswered() as u64);
    eprintln!(
        "{rounds} rounds: {served} served, {recorded} recorded, at most {in_flight} in flight at the kills"
    );
    assert!(tally.passed() as u64 <= served, "{tally:?}, {served} served");
    assert!(served <= recorded, "{served} served, {recorded} recorded");
    assert!(recorded <= served + in_flight, "{recorded} recorded, {served} served, {in_flight} in flight");

    // Whatever the killed nodes held is usable: of a limit that is 60 above, 60 are left.
    cluster.limit("acme", recorded + 60).await;
    let tally = drain(&message(&key), &cluster.places(), 2).await;
    assert_eq!(tally.passed(), 60, "{tally:?}");
    for admin in admins {
        assert_eq!(standing(admin, "acme").await.uncertain, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_on_postgres_record_what_was_admitted() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    survives(cluster, upstream, amount("PLANGATE_KILL_ROUNDS", 20), 6, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_on_sqlite_records_what_was_admitted() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::of(vec![Setup::before(&upstream).with("/workers", 1)]).await;
    survives(cluster, upstream, amount("PLANGATE_KILL_ROUNDS", 20).div_ceil(4), 4, 5).await;
}

/// The kills fall where units are short: grants, returns and recalls are under way at each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_tail_no_unit_is_lost_or_used_twice() {
    let mut dice = Dice::thrown(7);
    let upstream = Upstream::start().await;
    let mut cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let key = cluster.limited("acme", 50).await;
    let load = Load::on_places(&message(&key), &cluster.places(), 6);
    let mut limit = 50;
    for _ in 0..amount("PLANGATE_KILL_ROUNDS", 20).div_ceil(3) {
        load.more(30 + dice.below(200)).await;
        let victim = dice.below(3);
        cluster.kill(victim);
        limit += 40;
        cluster.limit("acme", limit).await;
        load.more(dice.below(100)).await;
        cluster.start_again(victim).await;
        assert!(upstream.count() as u64 <= limit, "{} of {limit}", upstream.count());
    }
    let before = load.stop().await;
    let after = drain(&message(&key), &cluster.places(), 2).await;
    let (served, in_flight) = (upstream.count() as u64, before.unanswered() as u64);
    assert!(
        served <= limit && limit <= served + in_flight,
        "{served} of {limit}, {in_flight} in flight: {before:?}, {after:?}"
    );
    for node in cluster.alive() {
        eventually("every node says that all is used", async || {
            standing(node.admin, "acme").await.used == limit
        })
        .await;
        assert_eq!(standing(node.admin, "acme").await.uncertain, 0);
    }
}
