//! Streams, uploads and WebSockets that are under way when their tenant loses the right to them.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    signer::{Signer, key_set},
    support::{
        admin::TOKEN,
        client::{Wire, get},
        forwarder::Forwarder,
        origin::Origin,
        postgres::Postgres,
        process::{Gateway, Setup, write},
        slow::SlowUpstream,
    },
    tokens::{claims, issuer, now},
};

/// A change is felt within this time of its answer.
const WITHIN: Duration = Duration::from_secs(5);

fn before(slow: &SlowUpstream) -> Setup {
    Setup::at(&format!("http://{}", slow.address))
}

async fn open(gateway: &Gateway, target: &str, credential: &str, more: &str) -> Wire {
    let mut wire = Wire::to(gateway.data).await;
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{credential}\r\n{more}\r\n")).await;
    wire
}

fn key_header(key: &str) -> String {
    format!("X-Api-Key: {key}")
}

async fn events(gateway: &Gateway, target: &str, credential: &str) -> Wire {
    let mut wire = open(gateway, target, credential, "").await;
    assert_eq!(wire.head().await.status, 200);
    wire.until("data: x").await;
    wire
}

async fn socket(gateway: &Gateway, target: &str, credential: &str) -> Wire {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut wire = open(gateway, target, credential, upgrade).await;
    assert_eq!(wire.head().await.status, 101);
    wire.send("hello").await;
    wire.until("hello").await;
    wire
}

/// Streams that are read until they end.
#[derive(Default)]
struct Watched(JoinSet<(String, Instant)>);

impl Watched {
    fn add(&mut self, name: &str, wire: Wire) {
        self.follow(name, async move {
            let mut wire = wire;
            wire.rest().await;
        });
    }

    fn follow(&mut self, name: &str, end: impl Future<Output = ()> + Send + 'static) {
        let name = name.to_owned();
        self.0.spawn(async move {
            end.await;
            (name, Instant::now())
        });
    }

    /// When each ended, of those that did until then.
    async fn until(mut self, end: Instant) -> BTreeMap<String, Instant> {
        let mut ended = BTreeMap::new();
        while let Ok(Some(one)) = tokio::time::timeout_at(end, self.0.join_next()).await {
            let (name, at) = one.unwrap();
            ended.insert(name, at);
        }
        ended
    }
}

/// A plan that lacks nothing until its file says so.
const WHOLE: &str = "plan: whole\nfeatures: [chat, export]\nquotas:\n  requests: { limit: 1000 }\n  ai_tokens: { limit: 9 }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_ends_and_what_is_left_goes_on() {
    const TENANTS: [&str; 8] =
        ["downgraded", "suspended", "deleted", "overridden", "revoked", "reloaded", "tokens", "spared"];
    let slow = SlowUpstream::start().await;
    let signer = Signer::ed();
    let mut setup = before(&slow);
    let file = write(setup.path("").as_path(), "jwks.json", &key_set(&[signer.jwk("ed")]));
    let mut issuer = issuer("jwks_file", &file);
    issuer["leeway"] = json!("0s");
    setup.set("/identity/jwt", json!([issuer]));
    setup.policy("plans/whole.yaml", WHOLE);
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let mut keys = BTreeMap::new();
    for tenant in TENANTS {
        let plan = if tenant == "reloaded" { "whole" } else { "big" };
        keys.insert(tenant, key_header(&admin.tenant(tenant, plan).await));
    }
    let second = admin.ok("POST", "/v1/tenants/revoked/keys", json!({ "name": "second" })).await;
    let (second, id) = (key_header(second["key"].as_str().unwrap()), second["id"].as_str().unwrap());

    let mut watched = Watched::default();
    for tenant in TENANTS.into_iter().filter(|tenant| *tenant != "tokens" && *tenant != "revoked") {
        watched.add(tenant, events(&gateway, "/v1/export/stream", &keys[tenant]).await);
        watched.add(&format!("{tenant} socket"), socket(&gateway, "/v1/export/socket", &keys[tenant]).await);
    }
    watched.add("revoked", events(&gateway, "/v1/messages/stream", &second).await);
    watched.add("revoked socket", socket(&gateway, "/v1/export/socket", &second).await);
    watched.add("spared other key", events(&gateway, "/v1/messages/stream", &keys["revoked"]).await);
    // The feature that the downgrade leaves.
    watched.add("spared feature", events(&gateway, "/v1/messages/stream", &keys["downgraded"]).await);
    watched.add("spared feature socket", socket(&gateway, "/v1/free/socket", &keys["downgraded"]).await);
    let expires = now() + 3;
    let mut short = claims("tokens");
    short["exp"] = json!(expires);
    let bearer = |claims: &Value| format!("Authorization: Bearer {}", signer.token("ed", claims));
    watched.add("token", events(&gateway, "/v1/export/stream", &bearer(&short)).await);
    watched.add("spared token", events(&gateway, "/v1/export/stream", &bearer(&claims("tokens"))).await);

    let begun = Instant::now();
    admin.subscribe("downgraded", "small").await;
    admin.ok("POST", "/v1/tenants/suspended/suspend", Value::Null).await;
    admin.ok("DELETE", "/v1/tenants/deleted", Value::Null).await;
    admin.overrides("overridden", json!({ "features": { "export": false } })).await;
    admin.ok("DELETE", &format!("/v1/tenants/revoked/keys/{id}"), Value::Null).await;
    // A change that leaves everything in place.
    admin.overrides("spared", json!({ "limits": { "seats": 7 } })).await;
    setup.policy("plans/whole.yaml", &WHOLE.replace(", export", ""));
    let ended = watched.until(begun + WITHIN + Duration::from_secs(2)).await;

    let mut expected: Vec<String> =
        ["downgraded", "suspended", "deleted", "overridden", "revoked", "reloaded"]
            .iter()
            .flat_map(|name| [(*name).to_owned(), format!("{name} socket")])
            .chain(["token".to_owned()])
            .collect();
    expected.sort();
    let names: Vec<&String> = ended.keys().collect();
    assert_eq!(names, expected.iter().collect::<Vec<_>>(), "each of these and no other");
    for (name, at) in &ended {
        assert!(*at - begun < WITHIN + Duration::from_secs(u64::from(name == "token") * 2), "{name}");
    }
    // Nothing was charged a second time.
    assert_eq!(admin.used("spared", "requests").await, 20);
    assert_eq!(admin.used("downgraded", "requests").await, 21);
    let metrics = get("/metrics").bearer(TOKEN).send(admin.0).await.text();
    for (code, count) in [
        ("feature-not-in-plan", 6),
        ("tenant-suspended", 2),
        ("credential-invalid", 4),
        ("credential-expired", 1),
    ] {
        let line = format!("plangate_streams_ended_total{{code=\"{code}\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    assert!(gateway.log().contains("an exchange under way is ended"));
}

/// Each of these mostly waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_all_kinds() {
    tokio::join!(
        a_deleted_tenant_is_not_made_again_by_its_stream(),
        an_upload_is_refused_in_its_midst(),
        a_stream_of_http2_ends_alone(),
        on_a_node_that_hears_nothing_streams_go_by_serve_stale(),
    );
}

async fn a_deleted_tenant_is_not_made_again_by_its_stream() {
    let slow = SlowUpstream::start().await;
    let signer = Signer::ed();
    let mut setup = before(&slow);
    let file = write(setup.path("").as_path(), "jwks.json", &key_set(&[signer.jwk("ed")]));
    setup.set("/identity/jwt", json!([issuer("jwks_file", &file)]));
    setup.set("/tenants", json!({ "unknown": { "plan": "big" } }));
    let gateway = setup.start().await;
    let bearer = format!("Authorization: Bearer {}", signer.token("ed", &claims("guest")));
    let mut stream = events(&gateway, "/v1/export/stream", &bearer).await;
    gateway.admin.ok("DELETE", "/v1/tenants/guest", Value::Null).await;
    timeout(WITHIN, stream.rest()).await.expect("its stream goes on");
    assert_eq!(gateway.admin.call("GET", "/v1/tenants/guest", Value::Null).await.status, 404);
}

async fn an_upload_is_refused_in_its_midst() {
    let slow = SlowUpstream::start().await;
    // Answers at once, and goes on reading.
    let early = Origin::scripted(async |_, mut wire: Wire| {
        wire.try_until("\r\n\r\n").await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        wire.rest().await;
    })
    .await;
    let post = |key: &str| {
        format!(
            "POST /v1/export/import HTTP/1.1\r\nHost: test\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n",
            key_header(key)
        )
    };
    let mut watched = Watched::default();
    let (waiting, answered) = (before(&slow), Setup::at(&early.url()));
    let gateways = [waiting.start().await, answered.start().await];
    let mut wires = Vec::new();
    for gateway in &gateways {
        for tenant in ["acme", "spared"] {
            let key = gateway.admin.tenant(tenant, "big").await;
            let mut wire = Wire::to(gateway.data).await;
            wire.send(post(&key)).await;
            wires.push(wire);
        }
    }
    slow.arrived(2).await;
    for gateway in &gateways {
        gateway.admin.subscribe("acme", "small").await;
    }
    let begun = Instant::now();
    for (name, mut wire) in ["upload", "spared upload", "answered", "spared answered"].into_iter().zip(wires)
    {
        watched.follow(name, async move {
            if name.ends_with("answered") {
                assert_eq!(wire.reply().await.status, 200);
                assert!(wire.is_closed().await, "{name}");
                return;
            }
            let refused = wire.reply().await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "feature-not-in-plan"));
            assert_eq!(refused.json().get("plan"), None, "that of the start is over");
        });
    }
    let ended = watched.until(begun + WITHIN).await;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["answered", "upload"]);
}

async fn a_stream_of_http2_ends_alone() {
    let slow = SlowUpstream::start().await;
    let setup = before(&slow);
    let gateway = setup.start().await;
    let stream = tokio::net::TcpStream::connect(gateway.data).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let mut watched = Watched::default();
    for tenant in ["acme", "spared"] {
        let key = gateway.admin.tenant(tenant, "big").await;
        let request = http::Request::get("http://test/v1/export/stream").header("x-api-key", &key);
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let mut body = answer.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        watched.follow(tenant, async move { while let Some(Ok(_)) = body.frame().await {} });
    }
    let begun = Instant::now();
    gateway.admin.subscribe("acme", "small").await;
    let ended = watched.until(begun + WITHIN).await;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["acme"]);
}

async fn on_a_node_that_hears_nothing_streams_go_by_serve_stale() {
    let slow = SlowUpstream::start().await;
    let way = Forwarder::to(Postgres::shared().port()).await;
    let database =
        Postgres::shared().url().replace(&Postgres::shared().port().to_string(), &way.port.to_string());
    let mut watched = Watched::default();
    let mut running = Vec::new();
    for (node, stale) in [("strict", "1s"), ("lenient", "10m")] {
        let setup = before(&slow).with("/database", database.as_str()).with("/node", node);
        let setup = setup.with("/serve_stale", stale);
        let gateway = setup.start().await;
        let key = gateway.admin.tenant(node, "big").await;
        watched.add(node, events(&gateway, "/v1/export/stream", &key_header(&key)).await);
        running.push((setup, gateway));
    }
    way.close();
    let begun = Instant::now();
    let ended = watched.until(begun + Duration::from_millis(7_000)).await;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["strict"]);
}
