//! What was refused is remembered for a while: all that helps to explain it, bounded, and nothing secret.

use std::{sync::Arc, time::Duration};

use http::Request;
use http_body_util::Empty;

use super::{
    super::{
        observe::Mode,
        problem,
        refusals::{KEPT_FOR, Refusals, Remembered, Wanted},
        request::{ForwardError, Inbound, Rejection},
    },
    scene::{KEY, Scene, request},
};
use crate::{
    domain::{
        denial::Denial,
        id::MeterId,
        period::{Period, Window},
        time::{Monotonic, UnixMillis, Version},
        units::Units,
    },
    ports::{ChargeError, CredentialError},
};

/// When every request of a scene begins.
const STARTED: Monotonic = Monotonic(1_000_000_000_000);

fn remembering(refusals: &Refusals) -> Scene {
    Scene { refusals: refusals.ring(), ..Scene::new() }
}

fn exhausted() -> ChargeError {
    let period = Period { start: UnixMillis(1_699_999_000_500), end: UnixMillis(1_700_000_090_500) };
    ChargeError::Denied(Denial::QuotaExhausted {
        meter: MeterId::parse("requests").unwrap(),
        window: Window::Month,
        limit: Units::saturating(10),
        used: Units::saturating(9),
        period,
    })
}

fn all(refusals: &Refusals) -> Vec<Remembered> {
    refusals.recent(&Wanted { limit: usize::MAX, ..Wanted::default() }, STARTED)
}

#[tokio::test]
async fn a_refusal_is_found_by_the_id_that_the_client_got() {
    let refusals = Refusals::of_workers(2);
    let (scene, other) = (remembering(&refusals), remembering(&refusals));
    other.get("/nowhere").await;
    scene.told().charges = [exhausted()].into();
    let reply = scene.get("/items/1?secret=yes").await;
    assert_eq!(reply.status(), 429);
    scene.get("/items/2").await;
    let id = reply.headers()["x-request-id"].to_str().unwrap();
    let found = refusals.find(id, STARTED).unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!((found.request_id.as_str(), found.at), (id, UnixMillis(1_700_000_000_000)));
    assert_eq!((&found.tenant, &found.plan), (&text("acme"), &text("basic")));
    assert_eq!((&found.method, &found.path), (&text("GET"), &text("/items/1")), "without its query");
    assert_eq!((found.code(), problem::status_of(&found.why)), ("quota-exhausted", 429));
    assert_eq!(found.version, Some(Version(1)));
    assert!(found.route.is_some() && !found.digest.is_empty(), "{found:?}");
    assert!(matches!(found.why, Rejection::Denied(Denial::QuotaExhausted { used, .. }) if used.get() == 9));
    let said = format!("{found:?}");
    assert!(!said.contains("secret") && !said.contains(KEY), "{said}");
    assert!(refusals.find("something else", STARTED).is_none() && refusals.find("", STARTED).is_none());
    assert_eq!(all(&refusals).len(), 2, "what passed is no refusal");
    let wanted = |tenant: Option<&str>, code: Option<&str>| {
        let wanted = Wanted { tenant: tenant.map(str::to_owned), code: code.map(str::to_owned), limit: 9 };
        refusals.recent(&wanted, STARTED).len()
    };
    assert_eq!((wanted(Some("acme"), None), wanted(Some("acm"), None)), (2, 0));
    assert_eq!((wanted(None, Some("route-not-covered")), wanted(None, Some("quota"))), (1, 0));
    assert_eq!(refusals.recent(&Wanted { limit: 1, ..Wanted::default() }, STARTED).len(), 1);
}

#[tokio::test]
async fn whatever_refuses_is_remembered_as_far_as_it_was_known() {
    let refusals = Refusals::of_workers(1);
    let scene = remembering(&refusals);
    scene.told().credential = Some(CredentialError::Invalid { reason: "no such key" });
    scene.get("/items/1").await;
    scene.told().credential = None;
    let reason = "refused ".repeat(100);
    scene.told().answers = [Err(ForwardError::Unreachable { seen: false, reason })].into();
    scene.get("/items/1").await;
    scene.get("/items//1").await;
    let found = all(&refusals);
    let codes: Vec<_> = found.iter().map(Remembered::code).collect();
    assert_eq!(codes, ["path-ambiguous", "upstream-unreachable", "credential-invalid"], "the newest first");
    let [path, upstream, credential] = found.try_into().unwrap();
    assert_eq!((path.tenant, path.path.as_deref()), (None, Some("/items//1")));
    assert_eq!((upstream.tenant.as_deref(), upstream.path), (Some("acme"), None), "it was on its way");
    assert!(upstream.route.is_some());
    let Rejection::Forward(ForwardError::Unreachable { reason, .. }) = upstream.why else { panic!() };
    assert_eq!(reason.len(), 200);
    assert_eq!((credential.tenant, credential.version), (None, None));

    // Who only watches refuses but what is the gateway's own, and knows its path all the same.
    let watching = Scene { mode: Mode::Observe, refusals: Arc::clone(&scene.refusals), ..Scene::new() };
    watching.get("/nowhere").await;
    watching.get("/.plangate/x").await;
    let found = all(&refusals);
    assert_eq!((found.len(), found[0].path.as_deref()), (4, Some("/.plangate/x")));
}

#[tokio::test]
async fn texts_of_any_length_are_cut() {
    let refusals = Refusals::of_workers(1);
    let scene = remembering(&refusals);
    let long = format!("/nowhere/{}", "x".repeat(5000));
    let method = "M".repeat(300);
    for (number, path) in ["/nowhere", &long, "/nowhere/%C3%A9"].into_iter().enumerate() {
        let mut asked = request(&method, path);
        asked.headers_mut().insert("x-request-id", format!("{number}{}", "i".repeat(127)).parse().unwrap());
        let mut inbound = Inbound::from(asked);
        inbound.client.trusted = true;
        scene.start(inbound).await;
    }
    let found = all(&refusals);
    assert_eq!(found.len(), 3);
    for refusal in &found {
        assert_eq!((refusal.request_id.len(), refusal.method.as_deref()), (128, Some(&*"M".repeat(16))));
        assert!(refusal.path.as_deref().is_some_and(|path| path.len() <= 128), "{refusal:?}");
        assert_eq!(refusals.find(&refusal.request_id, STARTED).unwrap().path, refusal.path);
    }
    let tenantless: Request<Empty<bytes::Bytes>> = Request::builder().uri("*").body(Empty::new()).unwrap();
    scene.send(tenantless).await;
    assert_eq!(all(&refusals).len(), 4);
}

#[tokio::test]
async fn after_ten_minutes_nothing_is_known() {
    let refusals = Refusals::of_workers(1);
    let scene = remembering(&refusals);
    let reply = scene.get("/nowhere").await;
    let id = reply.headers()["x-request-id"].to_str().unwrap();
    let wanted = Wanted { limit: 1, ..Wanted::default() };
    let known = |later: Duration| {
        let now = STARTED.after(later);
        (refusals.find(id, now).is_some(), refusals.recent(&wanted, now).len())
    };
    assert_eq!(known(KEPT_FOR - Duration::from_nanos(1)), (true, 1));
    assert_eq!(known(KEPT_FOR), (false, 0));
}

#[tokio::test]
async fn a_flood_takes_no_more_room() {
    for workers in [1, 2, 64] {
        let refusals = Refusals::of_workers(workers);
        let scene = remembering(&refusals);
        let mut ids = Vec::new();
        for _ in 0..20_000 / workers {
            ids.push(scene.get("/nowhere").await.headers()["x-request-id"].clone());
        }
        let found = all(&refusals);
        assert!((32..=4096).contains(&found.len()), "{workers} workers: {}", found.len());
        let last: Vec<_> = ids.iter().rev().take(found.len()).map(|id| id.to_str().unwrap()).collect();
        let kept: Vec<_> = found.iter().map(|refusal| refusal.request_id.as_str()).collect();
        assert_eq!(kept, last, "the last ones, in order");
        assert!(refusals.bytes() * workers <= 4 << 20, "{workers} workers: {}", refusals.bytes());
    }
}
