//! Answers that come later, and nodes that have not heard of changes for a while.

use super::{
    super::request::{HeadRefusal, Inbound},
    scene::{Scene, refusal, request},
};
use crate::{
    domain::denial::Denial,
    ports::{ChargeError, CredentialError, ResolveError},
};

fn slow() -> Scene {
    let scene = Scene::new();
    scene.told().slow = true;
    scene
}

#[tokio::test]
async fn a_request_waits_for_each_stage() {
    let scene = slow();
    let reply = scene.get("/items/1").await;
    assert_eq!(reply.status(), 200);
    drop(reply);
    assert_eq!(scene.log(), ["identify", "resolve", "charge basic [1]", "forward", "keep"]);
}

#[tokio::test]
async fn late_refusals_are_refusals() {
    let scene = slow();
    scene.told().charges = [ChargeError::Denied(Denial::TenantSuspended)].into();
    assert_eq!(refusal(scene.get("/items/1").await).await, (403, "tenant-suspended".to_owned()));
    scene.told().unresolved = Some(ResolveError::Unavailable);
    assert_eq!(refusal(scene.get("/items/1").await).await, (503, "rights-unavailable".to_owned()));
    scene.told().credential = Some(CredentialError::Unavailable);
    assert_eq!(refusal(scene.get("/items/1").await).await, (503, "rights-unavailable".to_owned()));
    assert!(scene.seen().is_empty());
}

#[tokio::test]
async fn late_news_of_a_change_are_decided_anew() {
    let scene = slow();
    scene.told().charges = [ChargeError::Outdated].into();
    scene.told().newer_plan = Some("rich");
    assert_eq!(scene.get("/items/1").await.status(), 200);
    assert!(scene.log().contains(&"charge rich [1]".to_owned()));
}

#[tokio::test]
async fn a_node_that_is_behind_catches_up_before_it_asks_anybody() {
    for slow in [false, true] {
        let scene = Scene::new();
        {
            let mut told = scene.told();
            (told.slow, told.behind) = (slow, Some(Ok(())));
        }
        assert_eq!(scene.get("/items/1").await.status(), 200);
        let log = scene.log();
        assert_eq!(log[..4], ["catch up", "identify", "resolve", "charge basic [1]"], "{log:?}");
    }
}

#[tokio::test]
async fn a_node_that_cannot_catch_up_refuses() {
    let scene = Scene::new();
    scene.told().behind = Some(Err(ResolveError::Unavailable));
    assert_eq!(refusal(scene.get("/items/1").await).await, (503, "rights-unavailable".to_owned()));
    assert_eq!(scene.log(), ["catch up", "identify", "catch up"]);
    // Whoever has no good credential, whatever was changed, is told so; and what is public goes on.
    let mut anonymous = request("GET", "/items/1");
    anonymous.headers_mut().clear();
    assert_eq!(scene.send(anonymous).await.status(), 401);
    assert_eq!(scene.log(), ["catch up", "identify"]);
    assert_eq!(scene.get("/open").await.status(), 200);
    // A key that was not there may be there by now.
    scene.told().credential = Some(CredentialError::Invalid { reason: "the checksum is wrong" });
    assert_eq!(scene.get("/items/1").await.status(), 401);
    scene.told().credential = Some(CredentialError::NO_SUCH_KEY);
    assert_eq!(scene.get("/items/1").await.status(), 503);
}

#[tokio::test]
async fn nobody_waits_for_news_whose_head_is_refused() {
    let scene = Scene::new();
    scene.told().behind = Some(Ok(()));
    let refused = Inbound { refusal: Some(HeadRefusal::TooLarge), ..request("GET", "/items/1").into() };
    assert_eq!(scene.start(refused).await.status(), 431);
    assert_eq!(scene.log(), [""; 0]);
}

#[tokio::test]
async fn a_client_that_leaves_while_waiting_has_paid_nothing() {
    let scene = slow();
    let mut waiting = scene.start(request("GET", "/items/1").into());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(waiting);
    assert_eq!(scene.log(), ["identify"]);
}
