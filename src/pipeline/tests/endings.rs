//! A charge ends exactly once, whichever way its request ends.

use futures_util::{FutureExt, poll};
use http_body_util::BodyExt;

use super::scene::{Part, Scene, refusal, request};
use crate::pipeline::request::ForwardError;

/// How the charges ended since the last time this was asked.
pub(super) fn endings(scene: &Scene) -> Vec<String> {
    let ends = |what: &String| ["keep", "refund", "settle"].iter().any(|end| what.starts_with(end));
    scene.log().into_iter().filter(ends).collect()
}

async fn answered(scene: &Scene, parts: Vec<Part>) -> super::scene::Reply {
    scene.told().answers = [Ok(parts)].into();
    let reply = scene.get("/items/1").await;
    assert_eq!(endings(scene), [""; 0], "a charge is held as long as its answer is under way");
    reply
}

#[tokio::test]
async fn a_whole_body_ends_it() {
    let scene = Scene::new();
    let reply = answered(&scene, vec![Part::Data("a"), Part::Data("b")]).await;
    let mut body = reply.into_body();
    for _ in 0..2 {
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert_eq!(endings(&scene), [""; 0]);
    }
    assert!(body.frame().await.is_none());
    assert_eq!(endings(&scene), ["keep"]);
    drop(body);
    assert_eq!(endings(&scene), [""; 0], "once");
}

#[tokio::test]
async fn trailers_end_it() {
    let scene = Scene::new();
    let mut body = answered(&scene, vec![Part::Data("a"), Part::Trailers]).await.into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(endings(&scene), ["keep"]);
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(endings(&scene), [""; 0]);
}

#[tokio::test]
async fn an_error_ends_it() {
    let scene = Scene::new();
    let mut body = answered(&scene, vec![Part::Data("a"), Part::Error]).await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(endings(&scene), ["keep"]);
    drop(body);
    assert_eq!(endings(&scene), [""; 0]);
}

#[tokio::test]
async fn a_client_that_leaves_ends_it() {
    let scene = Scene::new();
    let mut body = answered(&scene, vec![Part::Data("a"), Part::Data("b")]).await.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    drop(body);
    assert_eq!(endings(&scene), ["keep"]);
    drop(answered(&scene, vec![Part::Data("unread")]).await);
    assert_eq!(endings(&scene), ["keep"]);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_has_paid() {
    let scene = Scene::new();
    scene.told().slow = true;
    let mut waiting = scene.start(request("GET", "/items/1").into());
    // Until the upstream has it.
    while scene.seen().is_empty() {
        assert!(poll!(&mut waiting).is_pending());
    }
    drop(waiting);
    assert_eq!(endings(&scene), ["keep"]);
}

#[tokio::test]
async fn units_come_back_only_if_the_upstream_saw_nothing() {
    let scene = Scene::new();
    let unreachable = |seen| ForwardError::Unreachable { seen, reason: "r".to_owned() };
    for (error, ending) in [
        (unreachable(false), "refund"),
        (unreachable(true), "keep"),
        (ForwardError::Timeout { seen: false }, "refund"),
        (ForwardError::Timeout { seen: true }, "keep"),
        (ForwardError::ClientBody, "keep"),
        (ForwardError::Overloaded, "refund"),
    ] {
        scene.told().answers = [Err(error.clone())].into();
        let reply = scene.get("/items/1").await;
        assert_eq!(endings(&scene), [ending], "{error:?}");
        // Whoever was charged is told how it stands.
        assert_eq!(reply.headers().contains_key("ratelimit"), ending == "keep", "{error:?}");
        refusal(reply).await;
        assert_eq!(endings(&scene), [""; 0], "{error:?}");
    }
}

#[tokio::test]
async fn public_requests_hold_nothing() {
    let scene = Scene::new();
    let reply = scene.get("/open").now_or_never().unwrap();
    reply.into_body().collect().await.unwrap();
    assert_eq!(scene.log(), ["forward"]);
}
