//! The view over ports that answer as they are told.

use std::sync::Arc;

use http::{Request, header};
use http_body_util::{BodyExt, Empty};

use super::{figures::Figures, gauge::Gauge, message::Message};
use crate::{
    domain::{
        catalog::Meter,
        id::TenantId,
        period::{Period, Window},
        time::UnixMillis,
        units::Units,
    },
    pipeline::{
        cors::Cors,
        language::Language,
        observe::Mode,
        request::Inbound,
        tests::scene::{KEY, Scene, request},
    },
    ports::{CredentialError, ResolveError},
};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

async fn body(reply: crate::pipeline::tests::scene::Reply) -> serde_json::Value {
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn the_view_is_shown_without_a_charge_and_never_forwarded() {
    for (mode, slow) in [(Mode::Enforce, false), (Mode::Observe, true)] {
        let mut scene = Scene::new();
        scene.mode = mode;
        scene.told().slow = slow;
        let reply = scene.get(super::PATH).await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()[header::CACHE_CONTROL], "private, no-store");
        assert_eq!(reply.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(reply.headers()[header::CONTENT_LANGUAGE], "en");
        assert_eq!(reply.headers()[header::VARY], "Accept-Language");
        assert!(reply.headers().contains_key("x-request-id"));
        assert!(!reply.headers().contains_key("ratelimit"));
        let view = body(reply).await;
        assert_eq!((view["tenant"].as_str(), view["plan"].as_str()), (Some("acme"), Some("basic")));
        assert_eq!(view["state"], "active");
        assert_eq!(view["quotas"][0]["used"], 0);
        assert_eq!(view["nearest"], view["quotas"][0]);
        assert_eq!(view["cost"], serde_json::Value::Null);
        assert_eq!(scene.log(), ["identify", "resolve"]);
        assert!(scene.seen().is_empty());
    }
}

#[tokio::test]
async fn who_has_no_right_to_it_is_refused_as_for_any_request() {
    let scene = Scene::new();
    let mut anonymous = request("GET", super::PATH);
    anonymous.headers_mut().clear();
    let reply = scene.send(anonymous).await;
    assert_eq!(reply.status(), 401);
    assert!(reply.headers().contains_key(header::WWW_AUTHENTICATE));
    scene.told().credential = Some(CredentialError::Expired);
    let reply = scene.get(super::PATH).await;
    assert_eq!(
        (reply.status().as_u16(), body(reply).await["code"].as_str()),
        (401, Some("credential-expired"))
    );
    scene.told().credential = None;
    scene.told().unresolved = Some(ResolveError::TenantUnknown);
    let reply = scene.get(super::PATH).await;
    let status = reply.status();
    let problem = body(reply).await;
    assert_eq!((status.as_u16(), problem["code"].as_str()), (403, Some("tenant-unknown")));
    assert_eq!(problem["tenant"], "acme");
    assert!(scene.seen().is_empty());
}

#[tokio::test]
async fn it_is_only_read() {
    let scene = Scene::new();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let reply = scene.send(request(method, super::PATH)).await;
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()[header::ALLOW]),
            (405, &"GET, HEAD".parse().unwrap())
        );
        assert_eq!(body(reply).await["code"], "method-not-allowed");
    }
    assert!(scene.log().is_empty(), "nobody is asked");
    let reply = scene.send(request("HEAD", super::PATH)).await;
    assert_eq!(reply.status(), 200);
    assert!(reply.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert_eq!(scene.get("/.plangate/usage?lang=x").await.status(), 200);
    assert_eq!(scene.get("/.plangate/usage/").await.status(), 404);
    assert_eq!(scene.get("/.plangate/%75sage").await.status(), 200, "the canonical path counts");
}

#[tokio::test]
async fn browsers_of_the_listed_origins_may_ask() {
    let mut scene = Scene::new();
    let preflight = || {
        let request = Request::builder().method("OPTIONS").uri(super::PATH);
        let request = request.header("origin", "https://app.example");
        let request = request.header("access-control-request-method", "GET");
        request.header("access-control-request-headers", KEY).body(Empty::new()).unwrap()
    };
    assert_eq!(scene.send(preflight()).await.status(), 405, "CORS is off");
    scene.cors = Cors::new(vec!["https://app.example".parse().unwrap()]);
    let reply = scene.send(preflight()).await;
    assert_eq!(reply.status(), 204);
    assert_eq!(reply.headers()["access-control-allow-origin"], "https://app.example");
    assert_eq!(reply.headers()["access-control-allow-headers"], KEY);
    assert_eq!(reply.headers()["access-control-allow-methods"], "GET, HEAD");
    let mut asked = request("GET", super::PATH);
    asked.headers_mut().insert("origin", "https://app.example".parse().unwrap());
    let reply = scene.send(asked).await;
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["access-control-allow-origin"]),
        (200, &"https://app.example".parse().unwrap())
    );
    assert_eq!(scene.log(), ["identify", "resolve"]);
}

#[tokio::test]
async fn refusals_and_the_view_are_told_in_the_language_asked_for() {
    let scene = Scene::new();
    let in_chinese = |path: &str| {
        let mut request = request("GET", path);
        request.headers_mut().insert("accept-language", "zh-CN,zh;q=0.9,en;q=0.8".parse().unwrap());
        request
    };
    let reply = scene.send(in_chinese("/nowhere")).await;
    assert_eq!(reply.headers()[header::CONTENT_LANGUAGE], "zh-Hans");
    assert_eq!(reply.headers()[header::VARY], "Accept-Language");
    let problem = body(reply).await;
    assert_eq!(
        (problem["code"].as_str(), problem["title"].as_str()),
        (Some("route-not-covered"), Some("未找到"))
    );
    assert_eq!(problem["type"], "urn:plangate:problem:route-not-covered");
    let reply = scene.send(in_chinese(super::PATH)).await;
    assert_eq!(reply.headers()[header::CONTENT_LANGUAGE], "zh-Hans");
    assert!(body(reply).await["message"].as_str().unwrap().contains("本月"));
    let english = Inbound { language: Language::English, ..Inbound::from(in_chinese("/nowhere")) };
    assert_eq!(body(scene.start(english).await).await["title"], "Not found");
}

fn gauge(meter: &str, window: Window, used: u64, limit: Option<u64>, reset: i64) -> Gauge {
    let meter = Meter { id: meter.parse().unwrap(), title: None, unit: None };
    let (used, limit) = (Units::saturating(used), limit.map(Units::saturating));
    let left = limit.map(|limit| limit.saturating_sub(used));
    // Half of each period is over.
    let half = reset * 3_600_000;
    let period = Period { start: UnixMillis(NOW.0 - half), end: UnixMillis(NOW.0 + half) };
    Gauge::new(&meter, (window, period), (used, Units::ZERO), (limit, left), None, NOW)
}

fn figures(gauges: Vec<Gauge>) -> Figures {
    let mut figures = Figures::nothing_of(TenantId::parse("acme").unwrap());
    figures.state = crate::domain::transitions::State::Active;
    figures.gauges = gauges;
    figures.gauges.sort_by(Gauge::by_nearness);
    figures
}

#[test]
fn the_nearest_wall_comes_first() {
    let gauges = vec![
        gauge("endless", Window::Month, 1_000_000, None, 1000),
        gauge("little", Window::Month, 10, Some(100), 1000),
        gauge("soon", Window::Month, 70, Some(100), 1000),
        gauge("sooner", Window::Month, 80, Some(100), 1000),
        gauge("over", Window::Hour, 100, Some(100), 10),
        gauge("longer", Window::Month, 100, Some(100), 1000),
        gauge("much", Window::Month, 50, Some(100), 1000),
        gauge("none", Window::Day, 0, Some(0), 100),
    ];
    let figures = figures(gauges);
    let order: Vec<_> = figures.gauges.iter().map(|gauge| gauge.meter.as_str()).collect();
    assert_eq!(order, ["longer", "none", "over", "sooner", "soon", "much", "little", "endless"]);
    let shares: Vec<_> = figures.gauges.iter().map(|gauge| gauge.share).collect();
    let told = [100, 100, 100, 80, 70, 50, 10].map(Some);
    assert_eq!((&shares[..7], shares[7]), (&told[..], None));
    assert_eq!(figures.nearest().unwrap().meter.as_str(), "longer");
    assert_eq!(figures.gauges[3].ends_at, Some(UnixMillis(NOW.0 + 250 * 3_600_000)));
}

#[test]
fn what_is_endless_is_no_wall() {
    let figures = figures(vec![gauge("endless", Window::Month, 5, None, 1000)]);
    assert!(figures.nearest().is_none());
    assert!(matches!(figures.message(), Message::Unlimited));
}

#[test]
fn the_message_is_one_sentence_in_each_language_with_the_same_numbers() {
    let states = crate::domain::transitions::State::ALL;
    let mut all: Vec<Figures> = vec![
        figures(vec![gauge("requests", Window::Day, 17, Some(1700), 100)]),
        figures(vec![gauge("requests", Window::Month, 1600, Some(1700), 100)]),
        figures(vec![gauge("requests", Window::Week, 1700, Some(1700), 100)]),
        figures(vec![gauge("requests", Window::Month, 5, None, 100)]),
        figures(Vec::new()),
    ];
    all.extend(states.map(|state| Figures { state, ..figures(Vec::new()) }));
    all.push(Figures { suspended: true, ..figures(Vec::new()) });
    for figures in &all {
        let message = figures.message();
        let (english, chinese) = (Language::English.message(&message), Language::Chinese.message(&message));
        assert!(english.ends_with('.') && english.is_ascii(), "{english}");
        assert!(chinese.ends_with('。') && chinese.matches('。').count() == 1, "{chinese}");
        let instant = figures.nearest().map_or_else(String::new, |gauge| gauge.resets_at.to_string());
        assert!(english.contains(&instant) && chinese.contains(&instant), "{english} / {chinese}");
        for number in ["17", "1700", "1600", "94", "requests"] {
            assert_eq!(english.contains(number), chinese.contains(number), "{english} / {chinese}");
        }
    }
}

#[test]
fn what_is_seen_holds_for_the_same_rights_alone() {
    let scene = Scene::new();
    let rights = |version| {
        let tenant = crate::domain::tenant::Tenant {
            version: crate::domain::time::Version(version),
            ..crate::domain::tenant::Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0))
        };
        let catalog = crate::ports::Policies::catalog(&*scene.fakes);
        Arc::new(crate::domain::rights::Rights::compile(&tenant, &catalog, NOW).unwrap())
    };
    let (one, other) = (rights(1), rights(2));
    let figures = Figures::of(&one, &[], (None, None), NOW);
    assert!(figures.hold_for(&one, NOW));
    assert!(!figures.hold_for(&other, NOW));
    assert!(!figures.hold_for(&one, UnixMillis::NEVER));
}
