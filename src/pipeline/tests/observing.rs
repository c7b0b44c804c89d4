//! `mode: observe`: what would be refused is counted and passes.

use super::scene::{KEY, Scene, counted, refusal, request};
use crate::{
    pipeline::{observe::Mode, request::ForwardError},
    ports::{ChargeError, CredentialError, ResolveError},
};

fn observing() -> Scene {
    Scene { mode: Mode::Observe, ..Scene::new() }
}

#[tokio::test]
async fn every_refusal_of_the_checks_passes() {
    let scene = observing();
    assert_eq!(scene.get("/chat").await.status(), 200);
    assert_eq!(scene.get("/nowhere").await.status(), 200);
    scene.told().charges = [ChargeError::Unavailable].into();
    assert_eq!(scene.get("/items/1").await.status(), 200);
    scene.told().unresolved = Some(ResolveError::TenantUnknown);
    assert_eq!(scene.get("/items/1").await.status(), 200);
    scene.told().credential = Some(CredentialError::Expired);
    assert_eq!(scene.get("/items/1").await.status(), 200);
    assert_eq!(scene.seen().len(), 5);
    for code in [
        "feature-not-in-plan",
        "route-not-covered",
        "ledger-unavailable",
        "tenant-unknown",
        "credential-expired",
    ] {
        assert_eq!(counted(&scene.metrics, "observed", code), 1, "{code}");
    }
    assert_eq!(counted(&scene.metrics, "refused", "feature-not-in-plan"), 0);
    let told = scene.told();
    assert!(told.seen.iter().all(|seen| !seen.headers.contains_key(KEY)));
    let tenant = |nth: usize| told.seen[nth].subject.as_ref().map(|subject| subject.tenant().to_owned());
    assert_eq!((tenant(0).as_deref(), tenant(4)), (Some("acme"), None), "as far as it is known");
    assert!(!told.log.iter().any(|what| what == "keep" || what == "refund"), "nothing was taken");
}

#[tokio::test]
async fn what_is_allowed_is_charged_as_ever() {
    let scene = observing();
    drop(scene.get("/items/1").await);
    assert_eq!(scene.log(), ["identify", "resolve", "charge basic [1]", "forward", "keep"]);
    assert_eq!(counted(&scene.metrics, "forwarded", "2xx"), 1);
}

#[tokio::test]
async fn framing_paths_and_the_gateways_own_stay_refused() {
    let scene = observing();
    for (method, path, status) in
        [("GET", "/items/../x", 400), ("TRACE", "/items/1", 400), ("GET", "/.plangate/x", 404)]
    {
        assert_eq!(refusal(scene.send(request(method, path)).await).await.0, status, "{method} {path}");
    }
    assert!(scene.seen().is_empty());
}

#[tokio::test]
async fn an_upstream_that_fails_is_not_asked_twice() {
    let scene = observing();
    let failed = || ForwardError::Unreachable { seen: false, reason: "r".to_owned() };
    scene.told().answers = [Err(failed()), Err(failed())].into();
    assert_eq!(scene.get("/items/1").await.status(), 502);
    assert_eq!(scene.seen().len(), 1, "an allowed request");
    assert_eq!(scene.get("/chat").await.status(), 502);
    assert_eq!(scene.seen().len(), 2, "a refused one");
}
