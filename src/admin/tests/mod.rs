//! Tests of the admin API over ports in memory.

mod errors;
mod event_log;
mod fakes;
mod history;
mod life;
mod no_revisions;
mod no_stripe;
mod policies;
mod policy_diff;
mod reads;
mod sale;
mod socket;
mod statements;
mod usage_events;
mod webhooks;
mod writes;

use std::sync::Arc;

use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use fakes::World;

const TOKEN: &str = "the-token";

struct Api {
    world: Arc<World>,
    router: Router,
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn answered(response: Response) -> Answered {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Answered { status: parts.status, headers: parts.headers, body }
}

impl Api {
    fn new() -> Self {
        let world = World::new();
        let router = super::router(world.state(Some(TOKEN)));
        Self { world, router }
    }

    /// With a tenant `acme` on plan `free`.
    async fn with_acme() -> Self {
        let api = Self::new();
        api.ok("PUT", "/v1/tenants/acme", r#"{"name":"Acme","timezone":"Europe/Berlin"}"#).await;
        api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"free","anchor_day":15}"#).await;
        api
    }

    async fn raw(&self, request: Request<Body>) -> Answered {
        answered(self.router.clone().oneshot(request).await.unwrap()).await
    }

    async fn send(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let mut request =
            Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {TOKEN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.raw(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn call(&self, method: &str, uri: &str, body: &str) -> Answered {
        self.send(method, uri, &[], body).await
    }

    async fn ok(&self, method: &str, uri: &str, body: &str) -> Value {
        let answer = self.call(method, uri, body).await;
        assert!(answer.status.is_success(), "{method} {uri}: {} {}", answer.status, answer.body);
        answer.body
    }

    /// Sends what must be refused, and checks the problem's form.
    async fn refused(&self, method: &str, uri: &str, body: &str, status: u16, code: &str) -> Answered {
        let answer = self.call(method, uri, body).await;
        problem(&answer, status, code);
        answer
    }
}

fn problem(answer: &Answered, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (status, &code.into()), "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.body["type"], format!("urn:plangate:problem:{code}"));
    assert_eq!(answer.body["status"], status);
    assert_eq!(answer.body["request_id"].as_str().unwrap(), answer.headers["x-request-id"]);
    for name in ["title", "detail"] {
        assert!(!answer.body[name].as_str().unwrap().is_empty());
    }
}
