//! What a refusal says, and that what was found for one is never said to another.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::scene::{Reply, Scene};
use crate::{
    domain::{
        denial::Denial,
        id::{FeatureId, MeterId},
        period::{Period, Window},
        time::UnixMillis,
        transitions::State,
        units::Units,
    },
    ports::ChargeError,
};

async fn problem(reply: Reply) -> Value {
    serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

async fn refused(scene: &Scene, plan: &'static str, path: &str) -> Value {
    scene.told().plan = plan;
    problem(scene.get(path).await).await
}

fn exhausted(used: u64) -> ChargeError {
    let period = Period { start: UnixMillis(1_699_999_000_500), end: UnixMillis(1_700_000_090_500) };
    ChargeError::Denied(Denial::QuotaExhausted {
        meter: MeterId::parse("requests").unwrap(),
        window: Window::Month,
        limit: Units::saturating(10),
        used: Units::saturating(used),
        period,
    })
}

#[tokio::test]
async fn a_refusal_tells_all_that_is_known() {
    let scene = Scene::new();
    scene.told().charges = [exhausted(10)].into();
    let reply = scene.get("/items/1").await;
    assert_eq!(reply.status(), 429);
    let headers = reply.headers().clone();
    assert_eq!(headers["retry-after"], "91");
    assert_eq!(headers["ratelimit-policy"], "\"requests\";q=10;w=1090");
    assert_eq!(headers["ratelimit"], "\"requests\";r=0;t=91");
    assert_eq!(headers["content-type"], "application/problem+json");
    let expected = json!({
        "type": "urn:plangate:problem:quota-exhausted",
        "title": "Quota used up",
        "status": 429,
        "detail": "the plan's 10 `requests` per month are used up",
        "code": "quota-exhausted",
        "request_id": headers["x-request-id"].to_str().unwrap(),
        "tenant": "acme",
        "plan": "basic",
        "meter": "requests",
        "window": "month",
        "limit": 10,
        "used": 10,
        "resets_at": "2023-11-14T22:14:50.5Z",
        "plans": [],
        "retry_after": 91,
    });
    assert_eq!(problem(reply).await, expected);
}

#[tokio::test]
async fn the_plans_are_those_of_this_refusal() {
    let scene = Scene::new();
    for _ in 0..3 {
        assert_eq!(refused(&scene, "basic", "/chat").await["plans"], json!(["rich"]));
        assert_eq!(refused(&scene, "bare", "/chat").await["plans"], json!(["rich"]));
        assert_eq!(refused(&scene, "bare", "/items/1").await["plans"], json!(["basic", "rich"]));
        scene.told().charges =
            [ChargeError::Denied(Denial::SubscriptionInactive(crate::domain::transitions::State::None))]
                .into();
        assert_eq!(refused(&scene, "basic", "/items/1").await["plans"], json!(["rich"]));
        let unknown = refused(&scene, "basic", "/nowhere").await;
        assert_eq!((unknown["status"].as_u64(), unknown.get("plans")), (Some(404), None));
        scene.told().charges = [ChargeError::Denied(Denial::TenantSuspended)].into();
        assert_eq!(refused(&scene, "basic", "/items/1").await.get("plans"), None);
        // What is set for the tenant goes with it to any plan.
        scene.told().overrides.features.insert(FeatureId::parse("chat").unwrap(), true);
        assert_eq!(refused(&scene, "bare", "/chat").await["plans"], json!(["basic", "rich"]));
        scene.told().overrides.features.clear();
    }
}

#[tokio::test]
async fn what_is_used_decides_which_plans_help() {
    let scene = Scene::new();
    for used in (0..40).chain(0..40) {
        scene.told().charges = [exhausted(used)].into();
        let plans = if used < 10 { json!(["rich"]) } else { json!([]) };
        assert_eq!(refused(&scene, "basic", "/items/1").await["plans"], plans, "{used}");
    }
}

#[tokio::test]
async fn who_has_no_active_subscription_is_told_why_and_how_that_ends() {
    let scene = Scene::new();
    for (state, detail, plans) in [
        (State::None, "there is no subscription: a plan is to be chosen", Some(json!(["rich"]))),
        (State::Paused, "the subscription is paused, until it is resumed", None),
        (
            State::Unpaid,
            "the subscription is not paid, and its days of grace are over: it goes on once it is paid",
            None,
        ),
        (State::Expired, "the trial has ended: a plan is to be chosen", Some(json!(["rich"]))),
        (State::Canceled, "the subscription was canceled: a plan is to be chosen", Some(json!(["rich"]))),
    ] {
        scene.told().charges = [ChargeError::Denied(Denial::SubscriptionInactive(state))].into();
        let told = refused(&scene, "basic", "/items/1").await;
        assert_eq!(
            (&told["status"], &told["code"], &told["state"], &told["detail"], told.get("plans")),
            (
                &json!(402),
                &json!("subscription-inactive"),
                &json!(state.as_str()),
                &json!(detail),
                plans.as_ref()
            ),
        );
    }
}
