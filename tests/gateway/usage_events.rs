//! Usage events over sockets: each is charged once, over all nodes and crashes, beside requests that spend the same quotas.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::support::{
    admin::{Admin, TOKEN},
    amount::{Dice, amount},
    client::{ask, get},
    cluster::{Cluster, standing, usage},
    load::{Place, volley},
    postgres::Postgres,
    process::{Setup, eventually, plangate},
    upstream::Upstream,
};

const PATH: &str = "/v1/usage/events";

fn event(id: &str, tenant: &str, units: &Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/tests", "type": "plangate.usage", "subject": tenant,
        "data": { "units": units },
    })
}

fn requests(id: &str, tenant: &str, units: u64) -> Value {
    event(id, tenant, &json!({ "requests": units }))
}

async fn send(admin: &Admin, events: &Value) -> Value {
    admin.ok("POST", PATH, events.clone()).await
}

/// What is left of the month's requests, as the next request is told.
async fn remaining(data: SocketAddr, key: &str) -> u64 {
    let reply = get("/v1/messages").key(key).send(data).await;
    let header = reply.header("ratelimit").unwrap_or_else(|| panic!("{reply:?}")).to_owned();
    let item = header.split(", ").find(|item| item.starts_with("\"requests\";")).unwrap();
    item.split(';').find_map(|part| part.strip_prefix("r=")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn events_and_requests_spend_the_same_quotas() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let key = admin.tenant("acme", "big").await;
    for _ in 0..3 {
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    }
    let answer = send(&admin, &json!([requests("1", "acme", 1_000), requests("1", "acme", 1_000), 7])).await;
    let statuses: Vec<&str> =
        answer["events"].as_array().unwrap().iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["charged", "duplicate", "refused"], "{answer}");
    // The requests that follow know of it within two seconds.
    let began = Instant::now();
    let mut made = 3;
    while remaining(gateway.data, &key).await != 1_000_000 - 1_000 - (made + 1) {
        made += 1;
        assert!(began.elapsed() < Duration::from_secs(2), "the headers do not know of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    made += 1;
    assert_eq!(admin.used("acme", "requests").await, 1_000 + made);

    // The day has 20, the month 100: nothing of a refused event is charged, and it may come again.
    let tokens = |id: &str, units: u64| event(id, "acme", &json!({ "ai_tokens": units, "requests": 1 }));
    assert_eq!(send(&admin, &tokens("t1", 18)).await["charged"], 1);
    let refused = &send(&admin, &tokens("t2", 3)).await["events"][0];
    assert_eq!(
        (&refused["code"], &refused["window"]),
        (&json!("quota-exhausted"), &json!("day")),
        "{refused}"
    );
    assert_eq!((&refused["limit"], &refused["used"]), (&json!(20), &json!(18)));
    assert_eq!(send(&admin, &tokens("t2", 2)).await["charged"], 1);
    assert_eq!(
        (admin.used("acme", "ai_tokens").await, admin.used("acme", "requests").await),
        (20, 1_002 + made)
    );
    let chat = ask("POST", "/v1/ai/chat").key(&key).body("{}").send(gateway.data).await;
    assert_eq!((chat.status, chat.code().as_str()), (429, "quota-exhausted"));

    // What the node holds for requests is given back to an event that needs it, to the last unit.
    let tight = admin.tenant("tight", "small").await;
    admin.overrides("tight", json!({ "quotas": { "requests": { "limit": 1_000 } } })).await;
    assert_eq!(get("/v1/messages").key(&tight).send(gateway.data).await.status, 200);
    let answer = send(&admin, &requests("all", "tight", 999)).await;
    assert_eq!(answer["charged"], 1, "{answer}");
    let refused = &send(&admin, &requests("more", "tight", 1)).await["events"][0];
    assert_eq!((&refused["code"], &refused["used"]), (&json!("quota-exhausted"), &json!(1_000)), "{refused}");
    assert_eq!(get("/v1/messages").key(&tight).send(gateway.data).await.status, 429);
    assert_eq!(standing(admin, "tight").await.used, 1_000);

    from_the_shell(&admin).await;
    hostile_bodies_are_refused(&admin).await;
    assert_eq!(admin.used("acme", "requests").await, 1_002 + made + 6);
}

/// Runs `usage send` with this on its standard input.
async fn shell(admin: Admin, words: &'static [&'static str], input: String) -> (i32, String, String) {
    let run = move || {
        let mut command = plangate();
        command.args(words).env("PLANGATE_ADMIN_URL", format!("http://{}", admin.0));
        command.env("PLANGATE_ADMIN_TOKEN", TOKEN);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn from_the_shell(admin: &Admin) {
    let lines = format!("{}\n{}\n", requests("s1", "acme", 2), requests("s2", "acme", 3));
    let words = &["usage", "send", "-", "--output", "plain"];
    let (code, out, _) = shell(*admin, words, lines).await;
    assert_eq!((code, out.as_str()), (0, "SENT\tCHARGED\tDUPLICATE\tREFUSED\n2\t2\t0\t0\n"));
    let list = json!([requests("s2", "acme", 3), requests("s3", "acme", 1), requests("s4", "nobody", 1)]);
    let (code, out, err) = shell(*admin, words, list.to_string()).await;
    assert_eq!((code, out.lines().last().unwrap()), (1, "3\t1\t1\t1"), "{err}");
    assert!(err.contains("s4: there is no tenant `nobody`"), "{err}");
    let (code, _, err) = shell(*admin, words, "{]".to_owned()).await;
    assert!(code == 2 && err.contains("is not JSON"), "{err}");
    // What a tenant used is shown as before.
    let (code, out, err) = shell(*admin, &["usage", "acme", "--output", "plain"], String::new()).await;
    assert!(code == 0 && out.contains("requests"), "{out} {err}");
}

async fn hostile_bodies_are_refused(admin: &Admin) {
    let many: Vec<Value> = (0..1_001).map(|id| requests(&format!("m{id}"), "a", 1)).collect();
    let mut short = Value::Array(many);
    short.as_array_mut().unwrap().iter_mut().for_each(|event| *event = json!({ "id": event["id"] }));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (kind, body, status) in [
        ("application/json", short.to_string(), 422),
        ("application/json", format!("[{}]", " ".repeat(257 * 1024)), 413),
        ("application/json", deep, 400),
        ("application/json", r#"{"id":"1","id":"1"}"#.to_owned(), 400),
        ("application/xml", "<event/>".to_owned(), 415),
    ] {
        let call = ask("POST", PATH).bearer(TOKEN).with("content-type", kind).body(body);
        assert_eq!(call.send(admin.0).await.status, status, "{kind}");
    }
    let anonymous = ask("POST", PATH).json(&requests("x", "acme", 1)).send(admin.0).await;
    assert_eq!(anonymous.status, 401);
}

/// Sends events to a node that may be killed meanwhile; `None`: there was no whole answer.
async fn try_send(address: SocketAddr, events: &[Value]) -> Option<Value> {
    let call = ask("POST", PATH).bearer(TOKEN).json(&Value::Array(events.to_vec()));
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(&call.bytes(address, false)).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8(answer).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200 ").then(|| serde_json::from_str(body).ok())?
    };
    timeout(Duration::from_secs(30), exchange).await.ok()?
}

/// An event by its number alone: most of a tenant with plenty, some of one with little.
fn numbered(run: &str, number: usize) -> Value {
    let tenant = if number.is_multiple_of(4) { "tight" } else { "plenty" };
    requests(&format!("{run}-{number}"), tenant, units(number))
}

fn units(number: usize) -> u64 {
    1 + (number as u64 * 7) % 5
}

/// What became of events, by their ids: how often each was charged.
type Notes = Arc<Mutex<BTreeMap<String, u64>>>;

fn note(notes: &Notes, answer: &Value) {
    for event in answer["events"].as_array().unwrap() {
        if event["status"] == "charged" {
            *notes.lock().unwrap().entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
        } else {
            assert!(event["status"] == "duplicate" || event["code"] == "quota-exhausted", "{event}");
        }
    }
}

/// Sends a share piece by piece to wherever the node is, as often as it takes.
async fn sender(place: Place, pieces: Vec<Vec<Value>>, notes: Notes) {
    for piece in pieces {
        let began = Instant::now();
        loop {
            if let Some(answer) = try_send(place.address(), &piece).await {
                note(&notes, &answer);
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "the node does not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Each event up to five times, shuffled, in pieces of any length, for each of three nodes.
fn shuffled(run: &str, count: usize, dice: &mut Dice) -> Vec<Vec<Vec<Value>>> {
    let mut all: Vec<usize> = (0..count).flat_map(|n| std::iter::repeat_n(n, 1 + dice.below(5))).collect();
    dice.shuffle(&mut all);
    let mut shares = vec![Vec::new(); 3];
    let mut rest = &all[..];
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.len().min(1 + dice.below(400)));
        shares[dice.below(3)].push(piece.iter().map(|n| numbered(run, *n)).collect());
        rest = more;
    }
    shares
}

#[tokio::test]
async fn three_nodes_charge_a_crowd_of_events_as_the_model_says() {
    let count = usize::try_from(amount("PLANGATE_USAGE_EVENTS", 1_000)).unwrap();
    let mut dice = Dice::thrown(29);
    let upstream = Upstream::start().await;
    let mut cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    cluster.limited("plenty", 100_000_000).await;
    let limit = count as u64 / 2;
    let key = cluster.limited("tight", limit).await;
    let notes = Notes::default();
    let nodes: Vec<SocketAddr> = cluster.alive().map(|node| node.data).collect();
    let admins: Vec<Admin> = cluster.alive().map(|node| node.admin).collect();

    // Together with requests that spend the same quota.
    let mut senders = tokio::task::JoinSet::new();
    for (admin, pieces) in admins.iter().zip(shuffled("calm", count, &mut dice)) {
        senders.spawn(sender(Place::at(admin.0), pieces, notes.clone()));
    }
    let tally = volley(&get("/v1/messages").key(&key), &nodes, 3, count / 5).await;
    senders.join_all().await;
    assert_eq!(tally.passed() + tally.of("quota-exhausted"), tally.total(), "{tally:?}");
    assert_eq!(tally.passed(), upstream.count());

    // What was refused may fit by now; what was charged is known everywhere.
    let everything: Vec<Value> = (0..count).map(|number| numbered("calm", number)).collect();
    let mut refused: BTreeSet<u64> = BTreeSet::new();
    for (piece, admin) in everything.chunks(500).zip(admins.iter().cycle()) {
        let answer = send(admin, &json!(piece)).await;
        note(&notes, &answer);
        let all = answer["events"].as_array().unwrap().iter().zip(piece);
        let late = all.filter(|(outcome, _)| outcome["status"] == "refused");
        refused.extend(late.map(|(_, event)| event["data"]["units"]["requests"].as_u64().unwrap()));
    }
    assert!(notes.lock().unwrap().values().all(|times| *times == 1), "an event was charged twice");
    let sum = |tenant: &str| -> u64 {
        let charged = notes.lock().unwrap();
        let own = (0..count).map(|number| (number, numbered("calm", number))).filter(|(_, event)| {
            event["subject"] == tenant && charged.contains_key(event["id"].as_str().unwrap())
        });
        own.map(|(number, _)| units(number)).sum()
    };
    let all_of_plenty: u64 = (0..count).filter(|n| !n.is_multiple_of(4)).map(units).sum();
    assert_eq!(sum("plenty"), all_of_plenty, "nothing of plenty was refused");
    let expected = sum("tight") + tally.passed() as u64;
    assert!(expected <= limit, "{expected} of {limit}");
    assert!(refused.iter().all(|least| *least > limit - expected), "{refused:?}, {} left", limit - expected);
    agreed(&admins, &[("plenty", all_of_plenty), ("tight", expected)]).await;

    survives_kills(&mut cluster, count / 2, all_of_plenty, &mut dice).await;
}

/// All nodes and both reports say the same.
async fn agreed(admins: &[Admin], expected: &[(&str, u64)]) {
    for (tenant, used) in expected {
        eventually("all nodes say the same", async || {
            let mut all = Vec::new();
            for admin in admins {
                let now = standing(*admin, tenant).await;
                assert!(now.used <= *used, "{tenant}: {now:?}, not more than {used}");
                all.extend([now.used + now.uncertain, usage(*admin, tenant).await]);
            }
            all.iter().all(|one| one == used)
        })
        .await;
    }
}

/// Nodes are killed while they charge; then everything is sent again.
async fn survives_kills(cluster: &mut Cluster, count: usize, before: u64, dice: &mut Dice) {
    let notes = Notes::default();
    let mut senders = tokio::task::JoinSet::new();
    let places: Vec<Place> = (0..3).map(|node| Place::at(cluster.node(node).admin.0)).collect();
    for (place, pieces) in places.iter().zip(shuffled("kill", count, dice)) {
        senders.spawn(sender(place.clone(), pieces, notes.clone()));
    }
    for _ in 0..amount("PLANGATE_USAGE_KILLS", 1) {
        tokio::time::sleep(Duration::from_millis(50 + dice.below(150) as u64)).await;
        let victim = dice.below(3);
        cluster.kill(victim);
        cluster.start_again(victim).await;
        places[victim].moved(cluster.node(victim).admin.0);
    }
    senders.join_all().await;
    let admins: Vec<Admin> = cluster.alive().map(|node| node.admin).collect();
    let everything: Vec<Value> = (0..count).map(|number| numbered("kill", number)).collect();
    for piece in everything.chunks(500) {
        note(&notes, &send(&admins[0], &json!(piece)).await);
    }
    assert!(notes.lock().unwrap().values().all(|times| *times == 1), "an event was charged twice");
    let more: u64 = (0..count).filter(|n| !n.is_multiple_of(4)).map(units).sum();
    agreed(&admins, &[("plenty", before + more)]).await;
}
