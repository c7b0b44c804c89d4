//! Plangate as a layer around an axum app in the same process: what `examples/embedded.rs` shows, request by request.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{Extension, Router, body::Body, routing::get};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use plangate::{
    app::embed::Embedded,
    domain::{
        command::{Change, Subscribe},
        id::TenantId,
    },
    pipeline::request::{Client, Subject},
    store::memory::Memory,
};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

type App = BoxCloneSyncService<Request<Body>, Response<Body>, std::convert::Infallible>;

struct Scene {
    plangate: Embedded,
    app: App,
    tenant: TenantId,
    key: String,
    calls: Arc<AtomicU32>,
}

async fn scene() -> Scene {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies");
    let plangate = Embedded::open(&policies, Arc::new(Memory::new().unwrap())).await.unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    let enroll = Change::Enroll { plan: "hobby".parse().unwrap() };
    plangate.change(&tenant, enroll).await.unwrap();
    let key = plangate.create_key(&tenant).await.unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let router = Router::new()
        .route("/healthz", get(|headers: HeaderMap| async move { text(&headers, "x-plangate-tenant") }))
        .route("/notes", get(notes))
        .route("/search", get(|| async { "found" }))
        .layer(axum::middleware::map_request(move |request: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { request }
        }));
    let app = plangate.gateway().embed().layer(router);
    // An axum server asks for this; a stack that could not be moved between threads would not compile here.
    let app = BoxCloneSyncService::new(ServiceExt::<Request<Body>>::map_response(app, |answer| {
        answer.map(Body::new)
    }));
    Scene { plangate, app, tenant, key, calls }
}

async fn notes(Extension(subject): Extension<Subject>, headers: HeaderMap) -> String {
    let names = ["x-plangate-tenant", "x-plangate-plan", "x-request-id", "x-api-key"];
    let told: Vec<String> = names.iter().map(|name| text(&headers, name)).collect();
    format!("{}|{}", subject.tenant(), told.join("|"))
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(",")
}

impl Scene {
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.app.clone().ready().await.unwrap().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn with_key(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        self.get(path, &[("x-api-key", &self.key)]).await
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

fn code(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_customer_sees_how_it_stands_without_the_app() {
    let scene = scene().await;
    assert_eq!(scene.with_key("/notes").await.0, StatusCode::OK);
    let (status, headers, body) =
        scene.get("/.plangate/usage", &[("x-api-key", &scene.key), ("accept-language", "zh")]).await;
    assert_eq!((status, text(&headers, "content-language")), (StatusCode::OK, "zh-Hans".to_owned()));
    let view: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((view["tenant"].as_str(), view["plan"].as_str()), (Some("acme"), Some("hobby")));
    assert_eq!(view["nearest"]["used"], 1, "{view}");
    let (status, headers, _) = scene.get("/.plangate/usage", &[]).await;
    assert_eq!((status, text(&headers, "ratelimit")), (StatusCode::UNAUTHORIZED, String::new()));
    assert_eq!(scene.calls(), 1);
    scene.plangate.finish().await;
}

#[tokio::test]
async fn a_request_that_the_plan_allows_reaches_the_app_with_its_tenant() {
    let scene = scene().await;
    let forged = [
        ("x-api-key", scene.key.as_str()),
        ("x-plangate-tenant", "evil"),
        ("x_plangate_plan", "evil"),
        ("x-request-id", "evil"),
    ];
    let (status, headers, body) = scene.get("/notes", &forged).await;
    assert_eq!(status, StatusCode::OK);
    let id = text(&headers, "x-request-id");
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(body, format!("acme|acme|hobby|{id}|"));
    assert_eq!(text(&headers, "ratelimit").split(';').nth(1), Some("r=4"));
    scene.plangate.finish().await;
}

#[tokio::test]
async fn the_app_gets_the_path_that_was_decided() {
    let scene = scene().await;
    assert_eq!(scene.with_key("/n%6ftes").await.0, StatusCode::OK);
    assert_eq!(scene.calls(), 1);
    let (status, _, body) = scene.with_key("/search/../notes").await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::BAD_REQUEST, "path-ambiguous"));
    assert_eq!(scene.calls(), 1);
    scene.plangate.finish().await;
}

#[tokio::test]
async fn refusals_do_not_reach_the_app_and_cost_nothing() {
    let scene = scene().await;
    let (status, headers, body) = scene.get("/notes", &[]).await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::UNAUTHORIZED, "credential-missing"));
    assert_eq!(text(&headers, "x-request-id").len(), 36);
    let (status, headers, body) = scene.with_key("/search").await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::FORBIDDEN, "feature-not-in-plan"));
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["feature"], "search");
    assert_eq!(problem["plans"], serde_json::json!(["team"]));
    assert_eq!(problem["request_id"], text(&headers, "x-request-id"));
    assert_eq!(scene.with_key("/elsewhere").await.0, StatusCode::NOT_FOUND);
    assert_eq!(scene.calls(), 0);
    for _ in 0..5 {
        assert_eq!(scene.with_key("/notes").await.0, StatusCode::OK);
    }
    scene.plangate.finish().await;
}

#[tokio::test]
async fn a_quota_runs_out_and_an_upgrade_helps_at_once() {
    let scene = scene().await;
    for left in (0..5).rev() {
        let (status, headers, _) = scene.with_key("/notes").await;
        assert_eq!(status, StatusCode::OK);
        let limit = text(&headers, "ratelimit");
        assert!(limit.starts_with(&format!("\"requests\";r={left};")), "{limit}");
    }
    let (status, headers, body) = scene.with_key("/notes").await;
    assert_eq!((status, code(&body).as_str()), (StatusCode::TOO_MANY_REQUESTS, "quota-exhausted"));
    assert!(headers.contains_key("retry-after"));
    assert_eq!(scene.calls(), 5);
    let change = Change::Subscribe(Subscribe::to("team".parse().unwrap()));
    scene.plangate.change(&scene.tenant, change).await.unwrap();
    assert_eq!(scene.with_key("/notes").await.0, StatusCode::OK);
    assert_eq!(scene.with_key("/search").await.2, "found");
    scene.plangate.finish().await;
}

#[tokio::test]
async fn a_public_route_needs_nothing_and_believes_nobody() {
    let scene = scene().await;
    let forged = [("x-plangate-tenant", "evil"), ("x--plangate-tenant", "evil")];
    let (status, headers, body) = scene.get("/healthz", &forged).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, ""));
    assert_eq!(text(&headers, "x-request-id").len(), 36);
    assert!(!headers.contains_key("ratelimit"));
    scene.plangate.finish().await;
}

#[tokio::test]
async fn a_trusted_client_names_its_requests() {
    let scene = scene().await;
    let client = Client { address: Some(Ipv4Addr::LOCALHOST.into()), trusted: true };
    let request = Request::get("/healthz").extension(client).header("x-request-id", "outer-1");
    let (_, headers, _) = scene.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(text(&headers, "x-request-id"), "outer-1");
    scene.plangate.finish().await;
}

#[tokio::test]
async fn it_serves_over_a_socket_as_the_example_does() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let scene = scene().await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = Router::new().fallback_service(scene.app.clone());
    let serving = axum::serve(listener, router).with_graceful_shutdown(async { drop(stopped.await) });
    let serving = async { serving.await.unwrap() };
    let asking = async {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let key = &scene.key;
        let head = format!("GET /notes HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Api-Key: {key}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        assert!(text.contains("acme|acme|hobby|"), "{text}");
        stop.send(()).unwrap();
    };
    let both = async { tokio::join!(serving, asking) };
    tokio::time::timeout(std::time::Duration::from_secs(5), both).await.unwrap();
    scene.plangate.finish().await;
}

#[tokio::test]
async fn a_reserve_is_settled_by_the_apps_own_header() {
    let policies = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("features.yaml", "features: {}\nlimits: {}\nmeters: { tokens: {} }\n"),
        (
            "routes.yaml",
            "routes:\n  - { match: \"GET /ai\", charge: { tokens: { reserve: 40, from: { header: x-cost } } } }\n",
        ),
        ("plans/one.yaml", "plan: one\nquotas: { tokens: { limit: 60, day: 60 } }\n"),
    ] {
        let path = policies.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let plangate = Embedded::open(policies.path(), Arc::new(Memory::new().unwrap())).await.unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    plangate.change(&tenant, Change::Enroll { plan: "one".parse().unwrap() }).await.unwrap();
    let key = plangate.create_key(&tenant).await.unwrap();
    let router = Router::new().route(
        "/ai",
        get(|headers: HeaderMap| async move {
            let cost = text(&headers, "x-want");
            if cost.is_empty() { ([("x-other", cost)], "dear") } else { ([("x-cost", cost)], "cheap") }
        }),
    );
    let app = plangate.gateway().embed().layer(router);
    let ask = async |cost: &str, read: bool| {
        let mut request = Request::get("/ai").header("x-api-key", &key);
        if !cost.is_empty() {
            request = request.header("x-want", cost);
        }
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, left) = (answer.status().as_u16(), text(answer.headers(), "ratelimit"));
        if read {
            answer.into_body().collect().await.unwrap();
        }
        (status, left.split(';').nth(1).unwrap().to_owned())
    };
    assert_eq!(ask("5", true).await, (200, "r=20".to_owned()), "the reserve counts until the body ends");
    assert_eq!(ask("0", false).await, (200, "r=15".to_owned()), "five were used");
    assert_eq!(ask("15", false).await, (200, "r=15".to_owned()), "a body that nobody reads ends, too");
    assert_eq!(ask("", true).await, (200, "r=0".to_owned()));
    assert_eq!(ask("1", true).await, (429, "r=0".to_owned()), "without the header, the reserve was the cost");
    plangate.finish().await;
}
