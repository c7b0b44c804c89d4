//! What would change if other policies were applied, and for whom.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Api,
    fakes::{at, units},
    policies::catalog,
    problem,
};
use crate::domain::{
    catalog::{Catalog, Digest},
    features::FeatureIx,
    id::{MeterId, PlanId, TenantId},
    impact::{DayUse, Part, Spent},
    period::Zone,
    rights::Source,
    time::Version,
    units::Allowance,
};

const FILES: &str = r#"{"files":{"routes.yaml":"routes: []"}}"#;

/// `pro` without export, with fewer requests, and dearer.
fn candidate() -> Catalog {
    let mut other = Catalog::clone(&catalog());
    other.digest = Digest("d2".into());
    let pro = Arc::make_mut(other.plans.get_mut(&PlanId::parse("pro").unwrap()).unwrap());
    pro.features.remove(FeatureIx(1));
    pro.meters[1].quota.as_mut().unwrap().month = Allowance::Limited(units(50));
    pro.price.as_mut().unwrap().amount = "29.00".parse().unwrap();
    other
}

async fn with_pro() -> Api {
    let api = Api::with_acme().await;
    api.ok("PUT", "/v1/tenants/nova", r#"{"timezone":"Asia/Tokyo"}"#).await;
    api.ok("PUT", "/v1/tenants/nova/subscription", r#"{"plan":"pro","anchor_day":1}"#).await;
    // Long enough ago to have had a last month; it paid no bill of a month before it was there.
    for tenant in api.world.tenants.lock().unwrap().values_mut() {
        tenant.created_at = at("2026-09-01T10:00:00Z");
    }
    *api.world.candidate.lock().unwrap() = Some(candidate());
    api
}

#[tokio::test]
async fn what_changes_and_for_whom() {
    let api = with_pro().await;
    let nova = TenantId::parse("nova").unwrap();
    let requests = MeterId::parse("requests").unwrap();
    let tokyo = Zone::named("Asia/Tokyo").unwrap();
    let used = |date: &str, units| DayUse {
        meter: requests.clone(),
        part: Part::Last,
        day: tokyo.day(at(&format!("{date}T03:00:00Z"))),
        epoch: None,
        units,
    };
    api.world.days.lock().unwrap().insert(nova.clone(), vec![used("2026-10-04", 40), used("2026-10-17", 30)]);
    let tenants = api.world.tenants.lock().unwrap().clone();
    let epoch: Version = tenants[&nova].subscription.as_ref().unwrap().epoch;
    let start = at("2026-10-31T15:00:00Z");
    let spent = Spent { meter: requests, source: Source::Plan, start, counting: epoch, used: 60 };
    api.world.spent.lock().unwrap().insert(nova, vec![spent]);

    let told = api.ok("POST", "/v1/policy/diff", FILES).await;
    assert_eq!((&told["base"], &told["digest"]), (&json!({"digest":"d1","number":0}), &json!("d2")));
    let lines: Vec<String> = told["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let of = |name: &str| change[name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {} {} {}",
                of("subject"),
                of("name"),
                of("aspect"),
                of("before"),
                of("after"),
                of("bearing")
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "plan pro price 19.00 USD 29.00 USD loss",
            "plan pro features.export export - loss",
            "plan pro quotas.requests.limit 1000 50 loss"
        ]
    );
    let impact = &told["impact"];
    assert_eq!(
        (&impact["tenants"], &impact["losing"], &impact["gaining"]),
        (&json!(2), &json!(1), &json!(0))
    );
    let one = |who: Value| json!({ "total": 1, "first": [who] });
    let touched = json!({ "tenant": "nova", "from": null });
    assert_eq!(impact["features"][0]["lost"], one(touched));
    let over = json!({ "tenant": "nova", "meter": "requests", "window": "month", "used": 60, "limit": 50 });
    assert_eq!(impact["over_now"], one(over));
    let ran_out = json!({ "tenant": "nova", "meter": "requests", "before": null,
        "after": { "day": "2026-10-17", "window": "month" } });
    assert_eq!(impact["ran_out"], one(ran_out));
    let cost = &impact["cost"][0];
    assert_eq!(
        (&cost["currency"], &cost["before"], &cost["after"]),
        (&json!("USD"), &json!("19.00"), &json!("29.00"))
    );
    // It is what the command reads.
    let read: crate::wire::diff::PolicyDiff = serde_json::from_value(told.clone()).unwrap();
    assert_eq!((json!(read), read.has_loss()), (told, true));
}

#[tokio::test]
async fn without_impact_and_without_difference_nothing_is_reckoned() {
    let api = with_pro().await;
    let body = r#"{"files":{"routes.yaml":"","cases/a.yaml":"not looked at"},"impact":false}"#;
    assert_eq!(api.ok("POST", "/v1/policy/diff", body).await["impact"], Value::Null);
    *api.world.candidate.lock().unwrap() = None;
    let same = api.ok("POST", "/v1/policy/diff", FILES).await;
    assert_eq!((&same["changes"], &same["impact"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused() {
    let api = with_pro().await;
    let answer = api.refused("POST", "/v1/policy/diff", r#"{"files":{}}"#, 422, "policies-invalid").await;
    assert_eq!(answer.body["findings"][0]["code"], "file-missing");
    api.refused("POST", "/v1/policy/diff", "{}", 400, "field-invalid").await;
    api.refused("POST", "/v1/policy/diff", r#"{"files":{"a":1}}"#, 400, "field-invalid").await;
    api.refused("POST", "/v1/policy/diff?wait=none", FILES, 400, "parameter-invalid").await;
    let huge = format!(r#"{{"files":{{"a":"{}"}}}}"#, "x".repeat(16 * 1024 * 1024));
    api.refused("POST", "/v1/policy/diff", &huge, 413, "body-too-large").await;
    let token = http::Request::post("/v1/policy/diff").body(axum::body::Body::from(FILES)).unwrap();
    problem(&api.raw(token).await, 401, "credential-missing");
}

#[tokio::test]
async fn one_impact_at_a_time() {
    let api = with_pro().await;
    let (go, held) = tokio::sync::oneshot::channel();
    *api.world.held.lock().unwrap() = Some(held);
    let second = async {
        // The first has its turn, and waits.
        while api.world.held.lock().unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        let busy = api.refused("POST", "/v1/policy/diff", FILES, 503, "busy").await;
        assert_eq!(busy.headers["retry-after"], "5");
        let without = r#"{"files":{"routes.yaml":""},"impact":false}"#;
        api.ok("POST", "/v1/policy/diff", without).await;
        go.send(()).unwrap();
    };
    let (first, ()) = tokio::join!(api.ok("POST", "/v1/policy/diff", FILES), second);
    assert_eq!(first["impact"]["losing"], 1);
    assert_eq!(api.ok("POST", "/v1/policy/diff", FILES).await["impact"]["losing"], 1);
}
