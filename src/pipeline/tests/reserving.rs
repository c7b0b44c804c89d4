//! A reserve is settled once, to what the answer's head told, whichever way the answer ends.

use futures_util::poll;
use http_body_util::BodyExt;

use super::{
    endings::endings,
    scene::{Part, Reply, Scene, refusal, request, sample},
};
use crate::pipeline::{observe::Mode, request::ForwardError};

type Headers<'h> = &'h [(&'static str, &'static str)];

/// An answer with these headers, its body not yet read.
async fn answered(scene: &Scene, path: &str, headers: Headers<'_>, parts: Vec<Part>) -> Reply {
    scene.told().headers = headers.to_vec();
    scene.told().answers = [Ok(parts)].into();
    scene.send(request("POST", path)).await
}

fn kept(scene: &Scene) -> [u64; 2] {
    ["missing", "invalid"]
        .map(|reason| sample(&scene.metrics, &format!("plangate_settle_kept_total{{reason=\"{reason}\"}}")))
}

#[tokio::test]
async fn each_ending_settles_it_once() {
    let scene = Scene::new();
    let told = [("x-tokens", "7")];
    let two = || vec![Part::Data("a"), Part::Data("b")];

    let reply = answered(&scene, "/ai", &told, two()).await;
    assert_eq!(reply.headers()["x-tokens"], "7", "the client sees it, too");
    assert_eq!(
        scene.log().iter().filter(|what| what.starts_with("charge")).collect::<Vec<_>>(),
        ["charge basic [1, 40]"],
        "the reserve is charged like any other units"
    );
    let mut body = reply.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(endings(&scene), [""; 0], "it counts while the answer is under way");
    while body.frame().await.is_some() {}
    assert_eq!(endings(&scene), ["settle [(1, 7)]"]);
    drop(body);
    assert_eq!(endings(&scene), [""; 0], "once");

    let mut body = answered(&scene, "/ai", &told, vec![Part::Data("a"), Part::Trailers]).await.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(endings(&scene), ["settle [(1, 7)]"], "trailers");
    drop(body);

    let mut body = answered(&scene, "/ai", &told, vec![Part::Data("a"), Part::Error]).await.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(endings(&scene), ["settle [(1, 7)]"], "an error");
    drop(body);

    let mut body = answered(&scene, "/ai", &told, two()).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(endings(&scene), ["settle [(1, 7)]"], "a client that leaves");
    drop(answered(&scene, "/ai", &told, two()).await);
    assert_eq!(endings(&scene), ["settle [(1, 7)]"], "one that reads nothing");
    assert_eq!(kept(&scene), [0, 0]);
}

#[tokio::test]
async fn an_answer_without_a_body_settles_at_once() {
    let scene = Scene::new();
    let told = [("x-tokens", "50")];
    for status in [200, 204, 304, 500] {
        scene.told().status = Some(status);
        let reply = answered(&scene, "/ai", &told, Vec::new()).await;
        assert_eq!(endings(&scene), ["settle [(1, 50)]"], "{status}: before the answer is handed on");
        drop(reply);
        assert_eq!(endings(&scene), [""; 0]);
    }
    scene.told().status = Some(101);
    let reply = answered(&scene, "/ai", &told, vec![Part::Data("never")]).await;
    assert_eq!(endings(&scene), ["settle [(1, 50)]"], "a WebSocket");
    drop(reply);
    assert_eq!(endings(&scene), [""; 0]);
}

#[tokio::test]
async fn what_the_answer_does_not_tell_is_what_was_reserved() {
    let scene = Scene::new();
    let own = [("x-tokens", "7"), ("x-tokens", "7")];
    let cases: [(Headers<'_>, [u64; 2]); 7] = [
        (&[], [1, 0]),
        (&[("x-other", "7")], [2, 0]),
        (&[("x-tokens", "-1")], [2, 1]),
        (&[("x-tokens", "1e3")], [2, 2]),
        (&[("x-tokens", "")], [2, 3]),
        (&[("x-tokens", "7, 7")], [2, 4]),
        (&own, [2, 5]),
    ];
    for (headers, counted) in cases {
        drop(answered(&scene, "/ai", headers, vec![Part::Data("a")]).await);
        assert_eq!(endings(&scene), ["keep"], "{headers:?}");
        assert_eq!(kept(&scene), counted, "{headers:?}");
    }
    // A route without a reserve does not care.
    scene.told().headers = vec![("x-tokens", "7")];
    drop(scene.get("/items/1").await);
    assert_eq!(endings(&scene), ["keep"]);
    assert_eq!(kept(&scene), [2, 5]);
}

#[tokio::test]
async fn several_reserves_are_settled_each_by_its_own() {
    let scene = Scene::new();
    let cases: [(Headers<'_>, &str); 4] = [
        (&[("x-requests", "3"), ("x-tokens", "0")], "settle [(0, 3), (1, 0)]"),
        (&[("x-tokens", "9007199254740991")], "settle [(1, 9007199254740991)]"),
        (&[("x-requests", "0002"), ("x-tokens", "many")], "settle [(0, 2)]"),
        (&[], "settle []"),
    ];
    for (headers, ending) in cases {
        drop(answered(&scene, "/ai/both", headers, vec![Part::Data("a")]).await);
        assert_eq!(endings(&scene), [ending], "{headers:?}");
    }
    assert_eq!(kept(&scene), [3, 1], "each reserve by itself");
}

#[tokio::test]
async fn without_an_answer_the_reserve_is_kept_or_given_back() {
    let scene = Scene::new();
    for (seen, ending) in [(true, "keep"), (false, "refund")] {
        scene.told().answers = [Err(ForwardError::Timeout { seen })].into();
        refusal(scene.send(request("POST", "/ai")).await).await;
        assert_eq!(endings(&scene), [ending]);
    }
    scene.told().slow = true;
    scene.told().headers = vec![("x-tokens", "7")];
    let mut waiting = scene.start(request("POST", "/ai").into());
    while scene.seen().len() < 3 {
        assert!(poll!(&mut waiting).is_pending());
    }
    drop(waiting);
    assert_eq!(endings(&scene), ["keep"], "a client that leaves before the answer's head");
    assert_eq!(kept(&scene), [0, 0], "no answer that could have told anything");
}

#[tokio::test]
async fn who_only_watches_settles_the_same() {
    let mut scene = Scene::new();
    scene.mode = Mode::Observe;
    let reply = answered(&scene, "/ai", &[("x-tokens", "7")], vec![Part::Data("a")]).await;
    assert_eq!(endings(&scene), [""; 0]);
    reply.into_body().collect().await.unwrap();
    assert_eq!(endings(&scene), ["settle [(1, 7)]"]);
}
