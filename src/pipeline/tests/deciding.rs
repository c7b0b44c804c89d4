//! The order of the stages: the first that fails answers, and no later one is asked.

use super::scene::{Scene, refusal, request};
use crate::{
    domain::denial::Denial,
    pipeline::{
        faults::{Ambiguous, Malformed},
        request::{ForwardError, HeadRefusal, Inbound},
    },
    ports::{ChargeError, CredentialError, ResolveError},
};

const PASSED: [&str; 4] = ["identify", "resolve", "charge basic [1]", "forward"];

async fn refused(scene: &Scene, path: &str) -> (u16, String) {
    refusal(scene.get(path).await).await
}

fn was(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_request_goes_through_every_stage_once() {
    let scene = Scene::new();
    let reply = scene.get("/items/1").await;
    assert_eq!(reply.status(), 200);
    assert_eq!(scene.log(), PASSED);
    assert_eq!(reply.headers()["ratelimit"], "\"requests\";r=7;t=5");
    assert_eq!(reply.headers()["ratelimit-policy"], "\"requests\";q=10;w=60");
    let told = scene.told();
    let subject = told.seen[0].subject.clone().unwrap();
    assert_eq!((subject.tenant(), subject.plan().unwrap()), ("acme", "basic"));
    assert!(!told.seen[0].headers.contains_key(super::scene::KEY), "the key goes no further");
}

#[tokio::test]
async fn each_request_has_a_name_of_its_own() {
    let scene = Scene::new();
    let name = |reply: &super::scene::Reply| reply.headers()["x-request-id"].clone();
    let (passed, refused) = (scene.get("/items/1").await, scene.get("/nowhere").await);
    assert_ne!(name(&passed), name(&refused));
    assert_eq!(name(&passed).len(), 36);
}

#[tokio::test]
async fn the_head_comes_before_everything() {
    let scene = Scene::new();
    scene.told().credential = Some(CredentialError::Expired);
    for (refusal_, expected) in [
        (HeadRefusal::TooLarge, was(431, "head-too-large")),
        (HeadRefusal::Malformed(Malformed::NoHost), was(400, "request-malformed")),
        (HeadRefusal::AmbiguousPath(Ambiguous::NotAPath), was(400, "path-ambiguous")),
    ] {
        let inbound = Inbound { refusal: Some(refusal_), ..Inbound::from(request("GET", "/open")) };
        assert_eq!(refusal(scene.start(inbound).await).await, expected);
    }
    assert!(scene.log().is_empty());
}

#[tokio::test]
async fn identity_comes_before_tenant_route_and_plan() {
    let scene = Scene::new();
    scene.told().unresolved = Some(ResolveError::TenantUnknown);
    for (error, expected) in [
        (CredentialError::Invalid { reason: "r" }, was(401, "credential-invalid")),
        (CredentialError::Expired, was(401, "credential-expired")),
        (CredentialError::Ambiguous, was(400, "credential-ambiguous")),
        (CredentialError::Unavailable, was(503, "rights-unavailable")),
    ] {
        scene.told().credential = Some(error);
        assert_eq!(refused(&scene, "/nowhere").await, expected);
        assert_eq!(scene.log(), ["identify"]);
    }
    let mut anonymous = request("GET", "/nowhere");
    anonymous.headers_mut().clear();
    assert_eq!(refusal(scene.send(anonymous).await).await, was(401, "credential-missing"));
}

#[tokio::test]
async fn the_tenant_comes_before_the_route() {
    let scene = Scene::new();
    for (error, expected) in [
        (ResolveError::TenantUnknown, was(403, "tenant-unknown")),
        (ResolveError::Unavailable, was(503, "rights-unavailable")),
    ] {
        scene.told().unresolved = Some(error);
        assert_eq!(refused(&scene, "/nowhere").await, expected);
        assert_eq!(scene.log(), ["identify", "resolve"]);
    }
}

#[tokio::test]
async fn the_decision_comes_before_the_charge() {
    let scene = Scene::new();
    assert_eq!(refused(&scene, "/nowhere").await, was(404, "route-not-covered"));
    assert_eq!(refused(&scene, "/chat").await, was(403, "feature-not-in-plan"));
    scene.told().plan = "bare";
    assert_eq!(refused(&scene, "/items/1").await, was(403, "feature-not-in-plan"));
    assert_eq!(scene.log(), ["identify", "resolve"].repeat(3));
    assert!(scene.seen().is_empty());
}

#[tokio::test]
async fn what_the_ledger_refuses_is_not_forwarded() {
    let scene = Scene::new();
    scene.told().charges = [
        ChargeError::Unavailable,
        ChargeError::Denied(Denial::SubscriptionInactive(crate::domain::transitions::State::None)),
    ]
    .into();
    assert_eq!(refused(&scene, "/items/1").await, was(503, "ledger-unavailable"));
    assert_eq!(refused(&scene, "/items/1").await, was(402, "subscription-inactive"));
    assert_eq!(scene.log(), [PASSED[0], PASSED[1], PASSED[2]].repeat(2));
}

#[tokio::test]
async fn an_operation_without_a_charge_asks_no_ledger() {
    let scene = Scene::new();
    let reply = scene.get("/me").await;
    assert_eq!(reply.status(), 200);
    assert!(!reply.headers().contains_key("ratelimit"), "nor does the upstream's own header get through");
    drop(reply);
    assert_eq!(scene.log(), ["identify", "resolve", "forward"]);
}

#[tokio::test]
async fn outdated_rights_are_decided_anew_a_few_times() {
    let scene = Scene::new();
    scene.told().charges = [ChargeError::Outdated].into();
    scene.told().newer_plan = Some("rich");
    let reply = scene.get("/items/1").await;
    assert_eq!(reply.status(), 200);
    let anew = ["identify", "resolve", "charge basic [1]", "newer", "charge rich [1]", "forward"];
    assert_eq!(scene.log(), anew);
    let subject = scene.told().seen[0].subject.clone().unwrap();
    assert_eq!(subject.plan(), Some("rich"), "the upstream is told the plan that was charged");
    drop(reply);
    assert_eq!(scene.log(), ["keep"]);

    // Changed again while it waited, and again.
    scene.told().charges = [const { ChargeError::Outdated }; 8].into();
    assert_eq!(scene.get("/items/1").await.status(), 200);
    scene.log();
    scene.told().charges = [const { ChargeError::Outdated }; 9].into();
    assert_eq!(refused(&scene, "/items/1").await, was(503, "ledger-unavailable"));
    assert_eq!(scene.log().iter().filter(|what| *what == "newer").count(), 8, "but not for ever");
}

#[tokio::test]
async fn newer_rights_may_refuse() {
    let scene = Scene::new();
    scene.told().charges = [ChargeError::Outdated].into();
    scene.told().newer_plan = Some("bare");
    assert_eq!(refused(&scene, "/items/1").await, was(403, "feature-not-in-plan"));
    assert_eq!(scene.log(), ["identify", "resolve", "charge basic [1]", "newer"]);
}

#[tokio::test]
async fn a_failed_upstream_is_named() {
    let scene = Scene::new();
    let reason = "r".to_owned();
    for (error, expected) in [
        (ForwardError::Unreachable { seen: true, reason }, was(502, "upstream-unreachable")),
        (ForwardError::Timeout { seen: true }, was(504, "upstream-timeout")),
        (ForwardError::ClientBody, was(400, "request-malformed")),
        (ForwardError::Overloaded, was(503, "overloaded")),
    ] {
        scene.told().answers = [Err(error)].into();
        assert_eq!(refused(&scene, "/items/1").await, expected);
    }
}
