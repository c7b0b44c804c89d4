//! `plangate demo`: the tour that it prints is followed line by line, and does what it says.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::support::{
    client::{Reply, ask},
    process::{eventually, plangate},
};

const PATIENCE: Duration = Duration::from_secs(30);
const LAST_LINE: &str = "Ctrl-C stops everything.";

/// A running demo and what it printed.
struct Demo {
    child: Child,
    tour: Vec<String>,
    rest: thread::JoinHandle<String>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the demo with `folder` as the place for temporary files, and waits for the end of its tour.
async fn start(folder: &Path) -> Demo {
    let mut command = plangate();
    command
        .arg("demo")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("TMPDIR", folder)
        .env_remove("PLANGATE_LOG");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (tell, hear) = mpsc::channel();
    let rest = thread::spawn(move || {
        let mut tour = Vec::new();
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            tour.push(line.trim_end().to_owned());
            if line.trim_end() == LAST_LINE {
                break;
            }
            line.clear();
        }
        let _ = tell.send(tour);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        rest
    });
    let tour = tokio::task::spawn_blocking(move || hear.recv_timeout(PATIENCE)).await.unwrap();
    let tour = tour.expect("the demo prints its tour");
    assert_eq!(tour.last().map(String::as_str), Some(LAST_LINE), "the tour ends early: {tour:?}");
    Demo { child, tour, rest }
}

/// The words of a line, as a shell splits it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.trim().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    assert!(!quoted, "{line}");
    words.push(word);
    words
}

/// Carries a line out, with curl where there is one, otherwise over a socket as curl would.
async fn follow(line: &str) -> Reply {
    let words = words(line);
    let (mut method, mut url, mut headers, mut data) = (None, "", Vec::new(), None);
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-i" | "-N" => {}
            "-X" => method = rest.next(),
            "-H" => headers.push(rest.next().unwrap().split_once(": ").unwrap()),
            "-d" => data = rest.next(),
            word => {
                assert_eq!(url, "", "{line}");
                url = word;
            }
        }
    }
    if let Some(reply) = with_curl(&words[1..]).await {
        return reply;
    }
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let method = method.map_or(if data.is_some() { "POST" } else { "GET" }, String::as_str);
    let mut ask = ask(method, &format!("/{path}"));
    for (name, value) in headers {
        ask = ask.with(name, value);
    }
    if let Some(data) = data {
        ask = ask.with("content-type", "application/x-www-form-urlencoded").body(data.as_str());
    }
    ask.send(address.parse().unwrap()).await
}

async fn with_curl(words: &[String]) -> Option<Reply> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--max-time", "20"]).args(words).env("no_proxy", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().ok()?;
    assert!(output.status.success(), "curl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Some(Reply { status, headers, body: body.as_bytes().to_vec() })
}

/// The address that a line of the tour names.
fn address(demo: &Demo, name: &str) -> SocketAddr {
    let line = demo.tour.iter().find(|line| line.trim().starts_with(name)).unwrap();
    line.split("http://").nth(1).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn the_tour_does_what_it_says_and_leaves_nothing_behind() {
    // The usual ports are taken, by this test or by somebody else: the demo takes others.
    let held: Vec<(u16, TcpListener)> = [8080, 8081]
        .into_iter()
        .filter_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).ok()?)))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let mut demo = start(folder.path()).await;
    let (gateway, admin) = (address(&demo, "gateway"), address(&demo, "admin API"));
    assert!(held.iter().all(|(port, _)| ![gateway.port(), admin.port()].contains(port)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "one folder holds all of it");

    let lines: Vec<String> =
        demo.tour.iter().filter(|line| line.trim().starts_with("curl ")).cloned().collect();
    assert_eq!(lines.len(), 22, "{lines:?}");
    let passes = follow(&lines[0]).await;
    assert_eq!(passes.status, 200);
    assert!(passes.header("ratelimit").unwrap().contains("\"requests\";r="), "{passes:?}");
    assert!(passes.header("ratelimit-policy").is_some());
    assert_eq!(passes.json()["tenant"], "acme", "the product knows who asks");

    let lacks = follow(&lines[1]).await;
    assert_eq!((lacks.status, lacks.code().as_str()), (403, "feature-not-in-plan"));
    assert_eq!(lacks.json()["feature"], "export");
    assert!(lacks.json()["plans"].as_array().unwrap().iter().any(|plan| plan == "pro"), "{lacks:?}");

    let last = follow(&lines[2]).await;
    assert_eq!(last.status, 200, "one request was left, and the refusal did not cost it");
    assert!(last.header("ratelimit").unwrap().contains("\"requests\";r=0"), "{last:?}");
    let refused = follow(&lines[3]).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "quota-exhausted"));
    assert_eq!((&refused.json()["limit"], &refused.json()["used"]), (&1000.into(), &1000.into()));

    told(&lines[4]).await;

    let upgraded = follow(&lines[5]).await;
    assert_eq!(upgraded.status, 200);
    assert_eq!(upgraded.json()["subscription"]["plan"], "basic");
    let again = follow(&lines[6]).await;
    assert_eq!(again.status, 200, "at once: {again:?}");
    assert_eq!(lines[6], lines[2], "the very same request");

    let statement = follow(&lines[7]).await.json();
    let plans: Vec<_> =
        statement["lines"].as_array().unwrap().iter().map(|line| line["plan"].as_str()).collect();
    assert!(plans.contains(&Some("basic")), "{statement}");
    assert_eq!((&statement["status"], &statement["currency"]), (&"open".into(), &"USD".into()));
    let own = follow(&lines[8]).await.json();
    assert_eq!((&own["tenant"], &own["plan"]), (&"tiny".into(), &"basic".into()), "{own}");
    assert_eq!(own["cost"]["total"], statement["total"], "{own} {statement}");

    let events = follow(&lines[9]).await;
    assert_eq!((events.status, events.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(events.text().matches("event: tick").count(), 5, "{events:?}");
    let rights = follow(&lines[10]).await.json();
    assert_eq!((&rights["plan"], &rights["quotas"]["requests"]["used"]), (&"basic".into(), &1001.into()));
    let why = follow(&lines[11]).await.json();
    assert_eq!((&why["allow"], &why["code"]), (&false.into(), &"feature-not-in-plan".into()));

    let answer = follow(&lines[12]).await;
    assert_eq!((answer.status, answer.header("x-usage-ai-tokens")), (200, Some("9")), "{answer:?}");
    assert_eq!(answer.json()["usage"]["tokens"], 9);
    let reserved = answer.header("ratelimit").unwrap();
    assert!(reserved.contains(&format!("\"ai_tokens\";r={}", 2_500_000 - 4096)), "{reserved}");
    let rights = follow(&lines[13]).await.json();
    assert_eq!(rights["quotas"]["ai_tokens"]["used"], 9, "{rights}");
    let told = demo.tour.iter().any(|line| line.contains("reserves 4096 tokens"));
    assert!(told, "{:?}", demo.tour);

    lives(&lines[14..]).await;

    // Ctrl-C.
    let pid = demo.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    eventually("the demo ends", async || demo.child.try_wait().unwrap().is_some()).await;
    assert_eq!(demo.child.try_wait().unwrap().unwrap().code(), Some(0));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is gone");
    let rest = std::mem::replace(&mut demo.rest, thread::spawn(String::new)).join().unwrap();
    assert!(rest.contains("Nothing is left behind"), "{rest}");
    assert!(TcpListener::bind(gateway).is_ok(), "nobody listens any more");
}

/// The warnings are told as soon as what was used is recorded.
async fn told(line: &str) {
    eventually("the thresholds are told", async || {
        let told = follow(line).await.json();
        let rows = told["items"].as_array().unwrap();
        let kinds: Vec<_> = rows.iter().map(|row| row["type"].as_str().unwrap()).collect();
        let exhausted = kinds.iter().filter(|kind| **kind == "quota.exhausted").count();
        let thresholds = kinds.iter().filter(|kind| **kind == "quota.threshold").count();
        assert!(exhausted <= 1 && thresholds <= 3, "each once: {kinds:?}");
        (exhausted, thresholds) == (1, 3)
    })
    .await;
}

/// The life of one plan, as the tour's last part tells it.
async fn lives(lines: &[String]) {
    let mut states = Vec::new();
    for line in lines {
        let answer = follow(line).await;
        assert!(answer.status < 300, "{line}: {} {}", answer.status, answer.text());
        let said = answer.json();
        // A tenant with its subscription, or the subscription alone.
        let subscription = if said["subscription"].is_object() { &said["subscription"] } else { &said };
        let scheduled = &subscription["scheduled"];
        let next = scheduled["plan"].as_str().or(scheduled["change"].as_str()).unwrap_or("nothing");
        states.push(format!("{} then {next}", subscription["state"].as_str().unwrap_or("none")));
    }
    assert_eq!(
        (states[1].as_str(), states[2].as_str()),
        ("trialing then nothing", "active then nothing"),
        "{states:?}"
    );
    assert_eq!(
        states[4..],
        ["active then basic", "active then cancel", "active then nothing", "active then nothing",]
    );
}

#[test]
fn a_demo_without_policies_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = plangate().arg("demo").current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--policies"), "{said}");
}
