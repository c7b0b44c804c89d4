//! A change is in force on every node when it is answered, whatever the notifications, the nodes and the way to the
//! database do meanwhile.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    admin::Admin,
    amount::{Dice, amount},
    client::{Ask, Reply, Wire, get},
    cluster::{Cluster, node},
    forwarder::Forwarder,
    load::{Place, exchange},
    postgres::Postgres,
    process::{Gateway, Setup, eventually},
    upstream::Upstream,
};

const NAMES: [&str; 3] = ["a", "b", "c"];
/// The longest wait of an answer, and what a busy machine may add. The time itself is held by the barrier's own tests.
const ANSWERED: Duration = Duration::from_millis(1_100 + 1_900);
/// One change in so many may find a healthy node late: a machine that starves it for a second is no fault of the node,
/// which is named then.
const LATE: usize = 8;

/// Two plans that differ in one feature.
fn with_plans(setup: Setup) -> Setup {
    for (plan, features) in [("with", "chat, export"), ("without", "chat")] {
        let quotas = "quotas:\n  requests: { limit: 100000000 }\n";
        setup.policy(
            &format!("plans/{plan}.yaml"),
            &format!("plan: {plan}\nfeatures: [{features}]\n{quotas}"),
        );
    }
    setup
}

/// Three nodes on one database, each by a way of its own.
struct Installation {
    cluster: Cluster,
    ways: Vec<Forwarder>,
    database: String,
}

impl Installation {
    async fn start(upstream: &Upstream) -> Self {
        let server = Postgres::shared();
        let database = server.url();
        let (mut ways, mut setups) = (Vec::new(), Vec::new());
        for name in NAMES {
            let way = Forwarder::to(server.port()).await;
            let through = database.replace(&format!(":{}/", server.port()), &format!(":{}/", way.port));
            setups.push(with_plans(node(upstream, &through, name)));
            ways.push(way);
        }
        Self { cluster: Cluster::of(setups).await, ways, database }
    }

    fn place(&self, node: usize) -> &Gateway {
        self.cluster.node(node)
    }

    /// Ends the sessions that listen, every two seconds: they are back after one.
    fn drop_notifications(&self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let (database, stop) = (self.database.clone(), stop.clone());
        tasks.spawn(async move {
            while !stop.is_cancelled() {
                let database = database.clone();
                let ending = tokio::task::spawn_blocking(move || {
                    Postgres::shared().run(
                        &database,
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
                    );
                });
                ending.await.unwrap();
                let _ = tokio::time::timeout(Duration::from_secs(2), stop.cancelled()).await;
            }
        });
    }
}

/// What a tenant may do, as the one who changes it knows.
struct Model {
    name: String,
    key: String,
    plan: &'static str,
    feature: Option<bool>,
    suspended: bool,
    second: Option<(String, String)>,
    revoked: Option<String>,
}

impl Model {
    async fn made(admin: Admin, name: &str) -> Self {
        let key = admin.tenant(name, "with").await;
        let (feature, suspended, second, revoked) = (None, false, None, None);
        Self { name: name.to_owned(), key, plan: "with", feature, suspended, second, revoked }
    }

    /// Makes one change, and returns its answer.
    async fn change(&mut self, admin: Admin, dice: &mut Dice) -> Value {
        let at = format!("/v1/tenants/{}", self.name);
        match dice.below(5) {
            0 | 1 => {
                self.plan = if self.plan == "with" { "without" } else { "with" };
                admin.subscribe(&self.name, self.plan).await
            }
            2 => {
                self.feature = [None, Some(true), Some(false)][dice.below(3)];
                let features = self.feature.map_or(json!({}), |on| json!({ "export": on }));
                admin.overrides(&self.name, json!({ "features": features })).await
            }
            3 => {
                self.suspended = !self.suspended;
                let action = if self.suspended { "suspend" } else { "resume" };
                admin.ok("POST", &format!("{at}/{action}"), Value::Null).await
            }
            _ => match self.second.take() {
                Some((key, id)) => {
                    self.revoked = Some(key);
                    admin.ok("DELETE", &format!("{at}/keys/{id}"), Value::Null).await
                }
                None => {
                    let made = admin.ok("POST", &format!("{at}/keys"), json!({ "name": "second" })).await;
                    let text = |name: &str| made[name].as_str().unwrap().to_owned();
                    self.second = Some((text("key"), text("id")));
                    made
                }
            },
        }
    }

    /// Requests, and what must become of each.
    fn expected(&self) -> Vec<(Ask, &'static str)> {
        let export = |key: &str| get("/v1/export/all").key(key);
        let allowed = match (self.suspended, self.feature.unwrap_or(self.plan == "with")) {
            (true, _) => "tenant-suspended",
            (false, false) => "feature-not-in-plan",
            (false, true) => "passed",
        };
        let keys = [Some(&self.key), self.second.as_ref().map(|(key, _)| key)];
        let valid = keys.into_iter().flatten().map(|key| (export(key), allowed));
        let revoked = self.revoked.iter().map(|key| (export(key), "credential-invalid"));
        valid.chain(revoked).collect()
    }
}

fn outcome(reply: &Reply) -> String {
    if reply.status < 400 { "passed".to_owned() } else { reply.code() }
}

fn pending(answer: &Value) -> Vec<String> {
    let names = answer["applied"]["pending"].as_array().unwrap_or_else(|| panic!("{answer}"));
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Clients of a tenant on all nodes, whose requests keep everything in use that a node may remember.
fn load(tasks: &mut JoinSet<()>, stop: &CancellationToken, places: &[Place], model: &Model) {
    for place in places {
        let (place, stop, ask) = (place.clone(), stop.clone(), get("/v1/export/all").key(&model.key));
        tasks.spawn(async move {
            let mut connection = None;
            while !stop.is_cancelled() {
                // A node that stands still answers later.
                let one = exchange(&mut connection, &ask, place.address());
                let _ = stop.run_until_cancelled(one).await;
                sleep(Duration::from_millis(8)).await;
            }
        });
    }
}

/// What is done to a node while changes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Frozen(usize),
    Cut(usize),
}

impl Trouble {
    fn begin(self, installation: &Installation) {
        match self {
            Self::Frozen(node) => installation.place(node).signal("STOP"),
            Self::Cut(node) => installation.ways[node].close(),
        }
    }

    fn node(self) -> usize {
        match self {
            Self::Frozen(node) | Self::Cut(node) => node,
        }
    }
}

/// Times, shortest first.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn say(&mut self, what: &str) {
        self.0.sort_unstable();
        let at = |percent: usize| self.0.get(self.0.len() * percent / 100).copied().unwrap_or_default();
        eprintln!("{what}: {} times, p50 {:?}, p99 {:?}", self.0.len(), at(50), at(99));
    }
}

/// Asks all nodes that are not pending at once, each on a new connection.
async fn check(installation: &Installation, model: &Model, pending: &[String], why: &str) {
    let mut asked = JoinSet::new();
    for (place, name) in NAMES.iter().enumerate().filter(|(_, name)| !pending.iter().any(|p| p == *name)) {
        let address = installation.place(place).data;
        for (ask, expected) in model.expected() {
            let why = format!("{} on {name}: {why}", model.name);
            asked.spawn(async move {
                let reply = ask.send(address).await;
                assert_eq!(outcome(&reply), expected, "{why}: {}", reply.text());
            });
        }
    }
    while let Some(one) = asked.join_next().await {
        one.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_after_the_answer_is_decided_by_the_change() {
    let changes = usize::try_from(amount("PLANGATE_CHANGES", 60)).unwrap();
    let upstream = Upstream::start().await;
    let installation = Installation::start(&upstream).await;
    let mut dice = Dice::thrown(5);
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let mut models = Vec::new();
    for name in ["t0", "t1", "t2", "t3"] {
        let model = Model::made(installation.place(0).admin, name).await;
        load(&mut tasks, &stop, &installation.cluster.places(), &model);
        models.push(model);
    }
    installation.drop_notifications(&mut tasks, &stop);
    let (mut healthy, mut next, mut trouble) = (Times::default(), Times::default(), None);
    let mut late = 0;
    for turn in 0..changes {
        if turn % 15 == 7 {
            let victim = dice.below(3);
            let begun = if turn % 30 == 7 { Trouble::Frozen(victim) } else { Trouble::Cut(victim) };
            begun.begin(&installation);
            trouble = Some(begun);
        }
        let mut here = dice.below(3);
        if trouble.is_some_and(|trouble| trouble.node() == here) {
            here = (here + 1) % 3;
        }
        let model = &mut models[dice.below(4)];
        let begun = Instant::now();
        let answer = model.change(installation.place(here).admin, &mut dice).await;
        let took = begun.elapsed();
        let named = pending(&answer);
        assert!(took < ANSWERED, "{took:?}: {answer}");
        let allowed: Vec<&str> = trouble.iter().map(|trouble| NAMES[trouble.node()]).collect();
        late += usize::from(named.iter().any(|name| !allowed.contains(&name.as_str())));
        let (ask, _) = model.expected().remove(0);
        let asked = Instant::now();
        ask.send(installation.place(here).data).await;
        if trouble.is_none() {
            healthy.0.push(took);
            next.0.push(asked.elapsed());
        }
        check(&installation, model, &named, &format!("turn {turn}, {trouble:?}")).await;
        if turn % 15 == 10
            && let Some(over) = trouble.take()
        {
            end(&installation, over, model).await;
        }
    }
    stop.cancel();
    while let Some(one) = tasks.join_next().await {
        one.unwrap();
    }
    assert!(late <= changes / LATE, "{late} times a healthy node was late");
    healthy.say("time to `applied` on three healthy nodes, half of the notifications dropped");
    next.say("time of the next request on the same node");
}

/// Asserts that an answer which came so soon after a thaw is by the newest state. A request waits half a second for one
/// poll; where a busy machine has no time for that, what follows is the business of `serve_stale`.
fn is_newest(reply: &Reply, expected: &str, after: Duration, why: &str) {
    if after < Duration::from_millis(490) {
        assert_eq!(outcome(reply), expected, "{why}, {after:?} after the thaw: {}", reply.text());
    } else {
        eprintln!("{why}: answered only {after:?} after the thaw");
    }
}

/// Ends a trouble. A node that thaws decides by the newest state at once; one that was cut off has it soon.
async fn end(installation: &Installation, over: Trouble, model: &Model) {
    match over {
        Trouble::Frozen(node) => {
            let gateway = installation.place(node);
            let (mut ahead, expected) = (Vec::new(), model.expected());
            for (ask, _) in &expected {
                let mut wire = Wire::to(gateway.data).await;
                wire.send(ask.bytes(gateway.data, false)).await;
                ahead.push(wire);
            }
            gateway.signal("CONT");
            let thawed = Instant::now();
            for (mut wire, (_, expected)) in ahead.into_iter().zip(expected) {
                let reply = wire.reply().await;
                is_newest(&reply, expected, thawed.elapsed(), &format!("{over:?}"));
            }
            hears_again(installation, node).await;
        }
        Trouble::Cut(node) => {
            installation.ways[node].lead_to(Postgres::shared().port());
            hears_again(installation, node).await;
        }
    }
    check(installation, model, &[], &format!("after {over:?}")).await;
}

/// Waits until a node has applied what the others have, and so is fresh.
async fn hears_again(installation: &Installation, node: usize) {
    eventually("the node hears of changes again", async || {
        let listed = installation.place((node + 1) % 3).admin.get("/v1/nodes").await;
        let items = listed["items"].as_array().unwrap();
        items.iter().all(|item| item["applied"] == items[0]["applied"] && item["live"] == true)
    })
    .await;
}

/// Makes commits slow, before the version is given out and after.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN PERFORM pg_sleep(random() * 0.02); RETURN NEW; END $$; \
    CREATE TRIGGER slow BEFORE UPDATE ON tenants FOR EACH ROW EXECUTE FUNCTION slow(); \
    CREATE TRIGGER slow BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION slow();";

/// The pages of changes that a node has put in force, by its log: after which version, up to which, how many.
fn pages(gateway: &Gateway) -> Vec<(u64, u64, u64)> {
    let log = gateway.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let pages = lines.filter(|line| line["message"] == "changes are in force").map(|line| {
        assert_eq!(line["gap"], false, "{line}");
        let number = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{line}"));
        (number("after"), number("upto"), number("changes"))
    });
    pages.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_misses_a_change_of_eight_writers_with_slow_commits() {
    const WRITERS: usize = 8;
    let changes = usize::try_from(amount("PLANGATE_SLOW_CHANGES", 300)).unwrap() / WRITERS;
    let upstream = Upstream::start().await;
    let installation = Arc::new(Installation::start(&upstream).await);
    let mut models = Vec::new();
    for writer in 0..WRITERS {
        models.push(Model::made(installation.place(writer % 3).admin, &format!("writer-{writer}")).await);
    }
    Postgres::shared().run(&installation.database, SLOW);
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for (writer, mut model) in models.into_iter().enumerate() {
        let installation = Arc::clone(&installation);
        writers.spawn(async move {
            let (mut dice, mut late) = (Dice::thrown(100 + writer as u64), 0);
            for turn in 0..changes {
                let here = installation.place(dice.below(3)).admin;
                let answer = model.change(here, &mut dice).await;
                let (there, named) = (dice.below(3), pending(&answer));
                if named.iter().any(|name| name == NAMES[there]) {
                    late += 1;
                    continue;
                }
                // One node each time, so that the writers stay busy.
                let there = installation.place(there);
                for (ask, expected) in model.expected() {
                    let reply = ask.send(there.data).await;
                    assert_eq!(outcome(&reply), expected, "{} in turn {turn}", model.name);
                }
            }
            assert!(late <= changes / LATE, "{late} times a healthy node was late");
            model
        });
    }
    let mut models = Vec::new();
    while let Some(one) = writers.join_next().await {
        models.push(one.unwrap());
    }
    let a_second = (changes * WRITERS) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{} changes of {WRITERS} writers, {a_second:.0} a second", changes * WRITERS);
    for model in &models {
        check(&installation, model, &[], "at the end").await;
    }
    let head: u64 =
        Postgres::shared().ask(&installation.database, "SELECT version FROM head").parse().unwrap();
    for gateway in installation.cluster.alive() {
        eventually("the log is written", async || pages(gateway).last().is_some_and(|page| page.1 == head))
            .await;
        let pages = pages(gateway);
        assert!(pages.windows(2).all(|two| two[0].1 == two[1].0), "a page is missing: {pages:?}");
        assert!(pages.iter().all(|(after, upto, changes)| upto - after == *changes), "{pages:?}");
    }
}

/// A tenant that is changed while a node stands still: in what way, and how that node must decide then.
struct Frozen {
    tenant: &'static str,
    ask: Ask,
    before: &'static str,
    after: &'static str,
    warm: Vec<Wire>,
}

/// A new key of the customer's own for each round.
fn imported(round: usize) -> String {
    format!("zQ8vR2mX7tK1pW9sL4nB6cY3hD5jF0gAeU_iO-x{round}")
}

async fn frozen(gateways: &[&Gateway], round: usize) -> Vec<Frozen> {
    let (admin, standing) = (gateways[0].admin, gateways[1].data);
    let mut all = Vec::new();
    for (tenant, before, after) in [
        ("imported", "credential-invalid", "passed"),
        ("downgraded", "passed", "feature-not-in-plan"),
        ("upgraded", "feature-not-in-plan", "passed"),
        ("suspended", "passed", "tenant-suspended"),
        ("overridden", "passed", "feature-not-in-plan"),
        ("revoked", "passed", "credential-invalid"),
        ("deleted", "passed", "credential-invalid"),
    ] {
        let name = format!("{tenant}-{round}");
        let key = admin.tenant(&name, if tenant == "upgraded" { "without" } else { "with" }).await;
        let key = if tenant == "imported" { imported(round) } else { key };
        all.push(Frozen { tenant, ask: get("/v1/export/all").key(&key), before, after, warm: Vec::new() });
    }
    for one in &mut all {
        for _ in 0..2 {
            let mut wire = Wire::to(standing).await;
            assert_eq!(outcome(&one.ask.send_on(&mut wire, standing).await), one.before, "{}", one.tenant);
            one.warm.push(wire);
        }
    }
    all
}

/// Makes the changes; each answer.
async fn change(admin: Admin, round: usize) -> Vec<Value> {
    let of = |tenant: &str| format!("/v1/tenants/{tenant}-{round}");
    let keys = admin.get(&format!("{}/keys", of("revoked"))).await;
    let id = keys["items"][0]["id"].as_str().unwrap();
    let off = json!({ "features": { "export": false } });
    let import = json!({ "name": "theirs", "import": imported(round) });
    let mut answers = Vec::new();
    for (method, path, body) in [
        ("POST", format!("{}/keys", of("imported")), import),
        ("PUT", format!("{}/subscription", of("downgraded")), json!({ "plan": "without" })),
        ("PUT", format!("{}/subscription", of("upgraded")), json!({ "plan": "with" })),
        ("POST", format!("{}/suspend", of("suspended")), Value::Null),
        ("PUT", format!("{}/overrides", of("overridden")), off),
        ("DELETE", format!("{}/keys/{id}", of("revoked")), Value::Null),
        ("DELETE", of("deleted"), Value::Null),
    ] {
        answers.push(admin.ok(method, &path, body).await);
    }
    answers
}

async fn thaws(serve_stale: &str, rounds: usize) {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups =
        NAMES.map(|name| with_plans(node(&upstream, &database, name)).with("/serve_stale", serve_stale));
    let cluster = Cluster::of(setups.into()).await;
    let gateways = [cluster.node(0), cluster.node(1), cluster.node(2)];
    let (admin, standing) = (gateways[0].admin, gateways[1]);
    for round in 0..rounds {
        let mut all = frozen(&gateways, round).await;
        standing.signal("STOP");
        let begun = Instant::now();
        let answers = change(admin, round).await;
        let took = begun.elapsed();
        let named: &[&str] = if serve_stale == "0s" { &[] } else { &["b"] };
        for answer in &answers {
            // Others may be late on a busy machine, and are named then: never where nobody goes by what is old.
            let pending = pending(answer);
            assert!(named.iter().all(|name| pending.iter().any(|named| named == name)), "{answer}");
            assert!(!named.is_empty() || pending.is_empty(), "{answer}");
        }
        // Since the first only: its heartbeat was seen to stand still, perhaps from just before that.
        let waited = Duration::from_millis(500)..Duration::from_millis(4_500);
        assert!(waited.contains(&took), "{took:?} in all");
        // On the others it is in force.
        let late = answers.iter().any(|answer| pending(answer).iter().any(|name| name == "c"));
        for one in all.iter().filter(|_| !late) {
            assert_eq!(outcome(&one.ask.send(gateways[2].data).await), one.after, "{}", one.tenant);
        }
        // One request of each is there at the very moment of the thaw, on a connection that is known.
        for one in &mut all {
            let bytes = one.ask.bytes(standing.data, true);
            one.warm[0].send(bytes).await;
        }
        standing.signal("CONT");
        let thawed = Instant::now();
        let asked = all.iter_mut().map(|one| async move {
            let (ask, address) = (&one.ask, standing.data);
            let [first, second] = &mut one.warm[..] else { panic!("two connections each") };
            let ahead = async { (first.reply().await, thawed.elapsed()) };
            let kept = async { (ask.send_on(second, address).await, thawed.elapsed()) };
            let new = async { (ask.send(address).await, thawed.elapsed()) };
            let replies = tokio::join!(ahead, kept, new);
            for (reply, after) in [replies.0, replies.1, replies.2] {
                is_newest(&reply, one.after, after, one.tenant);
            }
        });
        futures_util::future::join_all(asked).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_thaws_decides_by_the_new_state() {
    let rounds = usize::try_from(amount("PLANGATE_THAWS", 1)).unwrap();
    tokio::join!(thaws("10m", rounds), thaws("0s", rounds));
}
