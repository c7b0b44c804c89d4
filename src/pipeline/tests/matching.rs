//! Match: one canonical path, and who may pass without identity.

use http::{Request, header};
use http_body_util::Empty;

use super::scene::{KEY, Scene, operation, refusal, request};
use crate::domain::{catalog::Unmatched, features::FeatureSet};

async fn status(scene: &Scene, method: &str, path: &str) -> u16 {
    scene.send(request(method, path)).await.status().as_u16()
}

#[tokio::test]
async fn the_path_that_was_matched_is_forwarded() {
    let scene = Scene::new();
    for (sent, seen) in [
        ("/items/%41%7e?q=%41//../x", "GET /items/A~?q=%41//../x"),
        ("/%69tems/a%20b", "GET /items/a%20b"),
        ("/items/%c3%a9", "GET /items/%C3%A9"),
        ("/items/1?", "GET /items/1?"),
        ("http://host.example/items/%31", "GET http://host.example/items/1"),
    ] {
        assert_eq!(status(&scene, "GET", sent).await, 200, "{sent}");
        assert_eq!(scene.told().seen.pop().unwrap().line, seen);
    }
    for sent in ["/items/../me", "/items//1", "/items/a%2fb", "/items/a;b", "/items/%zz", "/items/%2e%2e/me"]
    {
        let reply = scene.get(sent).await;
        assert_eq!(refusal(reply).await, (400, "path-ambiguous".to_owned()), "{sent}");
    }
    assert!(scene.seen().is_empty());
}

#[tokio::test]
async fn some_methods_are_not_served() {
    let scene = Scene::new();
    for method in ["TRACE", "CONNECT"] {
        let reply = scene.send(request(method, "/open")).await;
        assert_eq!(refusal(reply).await, (400, "request-malformed".to_owned()));
    }
    assert!(scene.log().is_empty());
}

#[tokio::test]
async fn get_covers_head_and_a_refused_head_has_no_body() {
    let scene = Scene::new();
    assert_eq!(status(&scene, "HEAD", "/items/1").await, 200);
    assert_eq!(scene.seen(), ["HEAD /items/1"]);
    assert_eq!(scene.log(), ["identify", "resolve", "charge basic [1]", "forward", "keep"]);
    let reply = scene.send(request("HEAD", "/chat")).await;
    assert_eq!(refusal(reply).await, (403, String::new()));
    assert_eq!(status(&scene, "DELETE", "/items/1").await, 404);
    assert_eq!(status(&scene, "POST", "/items/1").await, 200);
    assert!(scene.log().contains(&"charge basic [3]".to_owned()));
}

#[tokio::test]
async fn public_routes_ask_nobody_and_take_no_key_along() {
    let scene = Scene::new();
    assert_eq!(status(&scene, "GET", "/open").await, 200);
    assert_eq!(scene.log(), ["forward"]);
    let told = scene.told();
    assert_eq!(told.seen[0].subject, None);
    assert!(!told.seen[0].headers.contains_key(KEY));
}

fn preflight(path: &str) -> Request<Empty<bytes::Bytes>> {
    let mut preflight = request("OPTIONS", path);
    let headers = preflight.headers_mut();
    headers.insert(header::ORIGIN, "https://app.example".parse().unwrap());
    headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, "POST".parse().unwrap());
    preflight
}

#[tokio::test]
async fn a_preflight_of_a_covered_path_is_free() {
    let scene = Scene::new();
    assert_eq!(scene.send(preflight("/items/1")).await.status(), 200);
    assert_eq!(scene.log(), ["forward"]);
    for missing in [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD] {
        let mut other = preflight("/items/1");
        other.headers_mut().remove(missing);
        assert_eq!(scene.send(other).await.status(), 404, "an OPTIONS request like any other");
    }
    assert_eq!(scene.log(), ["identify", "resolve"].repeat(2));
    assert_eq!(scene.send(preflight("/nowhere")).await.status(), 404);
}

#[tokio::test]
async fn the_gateways_own_paths_are_never_forwarded() {
    let allowed = operation("unmatched", false, FeatureSet::empty(1), 1);
    let scene = Scene::with(Unmatched::Allow(allowed));
    for path in ["/.plangate", "/.plangate/", "/.plangate/readyz", "/%2eplangate/x"] {
        assert_eq!(refusal(scene.get(path).await).await, (404, "route-not-covered".to_owned()), "{path}");
        let reply = scene.send(preflight(path)).await;
        assert_eq!(refusal(reply).await, (404, "route-not-covered".to_owned()), "{path}");
    }
    assert!(scene.seen().is_empty());
    assert_eq!(status(&scene, "GET", "/.plangated").await, 200);
}

#[tokio::test]
async fn unmatched_paths_may_be_allowed() {
    let scene = Scene::with(Unmatched::Allow(operation("unmatched", false, FeatureSet::empty(1), 2)));
    assert_eq!(status(&scene, "PATCH", "/anything/else").await, 200);
    assert_eq!(scene.log(), ["identify", "resolve", "charge basic [2]", "forward", "keep"]);
    assert_eq!(scene.send(preflight("/anything/else")).await.status(), 200);
    assert_eq!(scene.log(), ["forward"]);
}
