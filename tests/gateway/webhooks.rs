//! What happens is told to whoever subscribed: at least once, with one id, signed, through failures and kills.

mod receiver;

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};

use self::receiver::{Message, Receiver, SILENCE};
use crate::support::{
    admin::Admin,
    cluster::{Cluster, node, shell},
    postgres::Postgres,
    process::{Setup, eventually, plangate},
    python::python,
    upstream::Upstream,
};

const PLAN: &str = "plan.changed";

/// This machine may be called.
fn open(setup: Setup) -> Setup {
    setup.with("/webhooks", json!({ "allow": ["127.0.0.0/8"], "http": true }))
}

/// Makes a webhook that takes changes of plans; its id and its secret.
async fn webhook(admin: Admin, receiver: &Receiver) -> (String, String) {
    let made = admin.ok("POST", "/v1/webhooks", json!({ "url": receiver.url(), "events": [PLAN] })).await;
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

async fn deliveries(admin: Admin, id: &str) -> Vec<Value> {
    let listed = admin.get(&format!("/v1/webhooks/{id}/deliveries")).await;
    listed["items"].as_array().unwrap().clone()
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_deliver_what_one_of_them_was_told_also_when_it_is_killed() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let url = Postgres::shared().url();
    let setups = ["a", "b", "c"].map(|name| open(node(&upstream, &url, name)));
    let mut cluster = Cluster::of(setups.into()).await;
    let (id, secret) = webhook(cluster.admin(), &receiver).await;
    // Whatever waits is due, as it will be after a while.
    let hurry = || {
        let sooner = "UPDATE webhook_deliveries SET next_ms = 0 WHERE state = 'pending'";
        Postgres::shared().run(&url, sooner);
    };

    receiver.next(&[503]);
    cluster.node(1).admin.tenant("acme", "small").await;
    eventually("it was tried", async || !receiver.told(PLAN, "acme").is_empty()).await;
    eventually("that it failed is written down", async || {
        deliveries(cluster.admin(), &id).await[0]["log"][0]["status"] == 503
    })
    .await;
    hurry();
    eventually("it is delivered", async || deliveries(cluster.admin(), &id).await[0]["state"] == "delivered")
        .await;
    let told = receiver.told(PLAN, "acme");
    assert!(told.len() >= 2 && ids(&told).iter().all(|one| *one == told[0].id), "{told:?}");
    assert!(told.iter().all(|message| message.is_by(&secret)));
    assert_eq!(told[0].json()["data"]["plan"], "small");
    let row = deliveries(cluster.admin(), &id).await.remove(0);
    assert_eq!((&row["event"], &row["attempts"]), (&json!(told[0].id), &json!(told.len())));
    assert_eq!(row["log"].as_array().unwrap().last().unwrap()["answer"], "said");

    // Killed between the fact and its delivery: while whoever is told has not answered yet.
    receiver.usually(SILENCE);
    cluster.node(1).admin.subscribe("acme", "big").await;
    eventually("it is being told", async || receiver.told(PLAN, "acme").len() > told.len()).await;
    cluster.kill(1);
    receiver.usually(204);
    hurry();
    eventually("another node delivers it", async || {
        deliveries(cluster.admin(), &id).await[0]["state"] == "delivered"
    })
    .await;
    let all = receiver.told(PLAN, "acme");
    let second = &all[told.len()..];
    assert!(second.len() >= 2 && ids(second).iter().all(|one| *one == second[0].id), "{second:?}");
    assert_ne!(second[0].id, told[0].id);
    assert!(second.iter().all(|message| message.is_by(&secret) && message.json()["data"]["plan"] == "big"));
    assert_eq!(deliveries(cluster.admin(), &id).await.len(), 2, "each fact once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_rotate_gone_disables_and_what_was_missed_is_told_again() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = open(Setup::before(&upstream)).start().await;
    let admin = gateway.admin;
    let (id, first) = webhook(admin, &receiver).await;
    let rotated = admin.ok("POST", &format!("/v1/webhooks/{id}/secret"), json!({})).await;
    let second = rotated["secret"].as_str().unwrap().to_owned();
    admin.tenant("acme", "small").await;
    eventually("it is told", async || receiver.told(PLAN, "acme").len() == 1).await;
    let message = receiver.told(PLAN, "acme").remove(0);
    assert_eq!(message.signature.split(' ').count(), 2);
    assert!(message.is_by(&first) && message.is_by(&second));
    by_another_library(&message, &[&first, &second]);

    let path = format!("/v1/webhooks/{id}");
    receiver.usually(410);
    admin.subscribe("acme", "big").await;
    eventually("it is disabled", async || admin.get(&path).await["enabled"] == false).await;
    assert!(admin.get(&path).await["disabled_reason"].as_str().unwrap().contains("410"));
    eventually("the fact is discarded", async || deliveries(admin, &id).await[0]["state"] == "discarded")
        .await;
    let missed = deliveries(admin, &id).await[0]["event"].as_str().unwrap().to_owned();
    let lines = admin.get("/v1/audit?limit=500").await.to_string();
    assert!(lines.contains("webhook.disabled") && !lines.contains("whsec_"), "{lines}");
    receiver.usually(204);
    let (code, _, err) = shell(admin, &["webhooks", "replay", &id]).await;
    assert!(code == 1 && err.contains("--enable"), "{code}: {err}");
    let (code, _, err) = shell(admin, &["webhook", "update", &id, "--enable"]).await;
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = shell(admin, &["webhooks", "replay", &id, "--output", "json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["deliveries"]), (0, &json!(1)), "{err}");
    eventually("it is told again", async || receiver.told(PLAN, "acme").len() == 3).await;
    assert_eq!(receiver.told(PLAN, "acme")[2].id, missed, "with the same id");
    let (code, out, err) = shell(admin, &["webhooks", "deliveries", &id]).await;
    assert!(code == 0 && out.contains(&missed), "{out}{err}");
    let (code, out, err) = shell(admin, &["webhooks", "test", &id, "--kind", "quota.exhausted"]).await;
    assert!(code == 0 && out.contains("204"), "{out}{err}");
    assert_eq!(receiver.told("quota.exhausted", "sample").len(), 1);
    let figures = crate::support::client::get("/metrics").bearer(crate::support::admin::TOKEN);
    let figures = figures.send(admin.0).await.text();
    assert!(figures.contains("plangate_webhook_deliveries_total{outcome=\"disabled\"} 1"), "{figures}");
    assert!(gateway.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_called_who_is_not_public_unless_it_is_allowed() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = Setup::before(&upstream).start().await;
    let port = receiver.address.port();
    for url in [
        receiver.url(),
        format!("https://127.0.0.1:{port}/"),
        format!("https://127.1:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        "https://169.254.169.254/latest".to_owned(),
    ] {
        let answer = gateway.admin.call("POST", "/v1/webhooks", json!({ "url": url })).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "value-impossible"), "{url}");
        assert_eq!(answer.json()["pointer"], "/url");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_developer_listens_and_triggers() {
    let mut listening = plangate();
    listening.args(["webhooks", "listen", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut listening = listening.spawn().unwrap();
    let (out, err) = (listening.stdout.take().unwrap(), listening.stderr.take().unwrap());
    let worked = tokio::task::spawn_blocking(move || {
        let mut said = BufReader::new(err).lines().map_while(Result::ok);
        let mut word = |before: &str| {
            let line = said.find(|line| line.starts_with(before)).unwrap();
            line[before.len()..].trim().to_owned()
        };
        let (url, secret) = (word("listening on "), word("secret "));
        let trigger = |secret: &str| {
            let words = ["webhooks", "trigger", "trial.will_end", "--to", &url, "--secret", secret];
            plangate().args(words).output().unwrap()
        };
        let good = trigger(&secret);
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
        let wrong = trigger(&plangate::wire::signed_message::new_secret().unwrap());
        assert_eq!(wrong.status.code(), Some(1));
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        let first = lines.next().unwrap();
        assert!(first.starts_with("evt_test_") && first.contains("trial.will_end"), "{first}");
        assert!(lines.any(|line| line.starts_with("refused: ")));
    });
    let worked = worked.await;
    listening.kill().unwrap();
    listening.wait().unwrap();
    worked.unwrap();
}

/// Verifies a message with the library that others wrote for Python, each secret by itself; and that it refuses a body
/// that was changed.
fn by_another_library(message: &Message, secrets: &[&str]) {
    const SCRIPT: &str = "
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
given = json.load(sys.stdin)
for secret in given['secrets']:
    hook = Webhook(secret)
    assert hook.verify(given['body'], given['headers'])['type'] == 'plan.changed'
    for body, headers in [
        (given['body'] + ' ', given['headers']),
        (given['body'], dict(given['headers'], **{'webhook-id': 'evt_other'})),
        (given['body'], dict(given['headers'], **{'webhook-timestamp': '1'})),
    ]:
        try:
            hook.verify(body, headers)
        except WebhookVerificationError:
            continue
        raise SystemExit('it took what was changed')
print('verified')
";
    let given = json!({
        "secrets": secrets,
        "body": String::from_utf8(message.body.clone()).unwrap(),
        "headers": {
            "webhook-id": message.id,
            "webhook-timestamp": message.timestamp,
            "webhook-signature": message.signature,
        },
    });
    if let Some(said) = python(SCRIPT, &given) {
        assert_eq!(said, "verified");
    }
}
