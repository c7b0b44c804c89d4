//! Policies tried in the shadow: each request is decided twice, and only what differs is told.

use std::{sync::Arc, time::Duration};

use super::scene::{Scene, catalog, operation, request};
use crate::{
    domain::{
        catalog::{Candidate, Catalog, Stamp, Unmatched},
        denial::Denial,
        features::{FeatureIx, FeatureSet},
        id::{MeterId, TenantId},
        money::Price,
        period::{Period, Window},
        plan::{Overage, Plan, Quota},
        rate::Rate,
        revision::{Rollout, Selection, Share},
        route::{Methods, Pattern, RouteTable},
        time::{UnixMillis, Version},
        units::{Allowance, Units},
    },
    pipeline::observe::Mode,
    ports::{ChargeError, CredentialError, Incarnation, ResolveError, ShadowReport, ShadowTotals},
};

const BEGAN: Version = Version(7);

/// A scene in which the usual policies are in force, and changed ones are tried.
fn trying(change: impl FnOnce(&mut Catalog)) -> Scene {
    Scene::over(beside(Rollout::Shadow, change))
}

fn beside(rollout: Rollout, change: impl FnOnce(&mut Catalog)) -> Catalog {
    let mut tried = Catalog { deployed: BEGAN, ..catalog(Unmatched::Deny) };
    change(&mut tried);
    let candidate = Some(Arc::new(Candidate { catalog: Arc::new(tried), rollout }));
    Catalog { deployed: BEGAN, candidate, ..catalog(Unmatched::Deny) }
}

/// Other routes: method, path, whether public, whether `chat` is needed, requests charged.
fn routes(tried: &mut Catalog, routes: &[(&str, &str, bool, bool, u64)]) {
    tried.routes = RouteTable::default();
    for (method, path, public, chat, units) in routes {
        let mut features = FeatureSet::empty(1);
        if *chat {
            features.insert(FeatureIx(0));
        }
        let methods = Methods::Named(vec![(*method).to_owned()]);
        let operation = operation(path, *public, features, *units);
        tried.routes.add(&methods, &Pattern::parse(path).unwrap(), operation).unwrap();
    }
}

fn each_plan(tried: &mut Catalog, change: impl Fn(&mut Plan)) {
    tried.plans.values_mut().for_each(|plan| change(Arc::make_mut(plan)));
}

fn monthly(limit: u64) -> Quota {
    Quota::monthly(Allowance::Limited(Units::saturating(limit)))
}

fn quota(limit: u64) -> impl FnOnce(&mut Catalog) {
    move |tried| each_plan(tried, |plan| plan.meters[0].quota = Some(monthly(limit)))
}

fn report(scene: &Scene) -> Option<ShadowReport> {
    scene.trials.report(Incarnation(uuid::Uuid::nil()), UnixMillis(0))
}

/// What differed, in short.
fn told(scene: &Scene) -> Vec<String> {
    let rows = report(scene).map(|report| report.rows).unwrap_or_default();
    let mut rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let sender = row.sender.as_str();
            format!("{sender} {}: {} -> {}, {}", row.route, row.enforced, row.candidate, row.count)
        })
        .collect();
    rows.sort();
    rows
}

fn totals(scene: &Scene) -> [u64; 5] {
    let ShadowTotals { compared, differing, newly_refused, newly_allowed, uncompared } =
        report(scene).map(|report| report.totals).unwrap_or_default();
    [compared, differing, newly_refused, newly_allowed, uncompared]
}

async fn get(scene: &Scene, path: &str, times: usize) {
    for _ in 0..times {
        drop(scene.get(path).await);
    }
}

fn exhausted() -> ChargeError {
    ChargeError::Denied(Denial::QuotaExhausted {
        meter: MeterId::parse("requests").unwrap(),
        window: Window::Month,
        limit: Units::saturating(10),
        used: Units::saturating(10),
        period: Period { start: UnixMillis(0), end: UnixMillis(1) },
    })
}

#[tokio::test]
async fn what_is_the_same_is_only_counted() {
    let scene = trying(|_| {});
    for path in ["/items/1", "/me", "/open", "/chat", "/nowhere"] {
        get(&scene, path, 1).await;
    }
    scene.told().charges = [exhausted()].into();
    scene.told().used.insert("requests".to_owned(), 10);
    get(&scene, "/items/1", 1).await;
    assert_eq!(told(&scene), [""; 0]);
    assert_eq!(totals(&scene), [6, 0, 0, 0, 0]);
}

#[tokio::test]
async fn nothing_of_it_is_carried_out() {
    let scene = trying(|tried| routes(tried, &[("GET", "/chat", false, false, 9)]));
    let reply = scene.get("/items/1").await;
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["ratelimit"].as_bytes()),
        (200, &b"\"requests\";r=7;t=5"[..])
    );
    drop(reply);
    assert_eq!(scene.get("/chat").await.status(), 403);
    let log = ["identify", "resolve", "charge basic [1]", "forward", "keep", "identify", "resolve"];
    assert_eq!(scene.log(), log, "the ports are asked as ever");
    let expected = [
        "acme /chat: feature-not-in-plan feature:chat -> allow, 1",
        "acme /items/{id}: allow -> route-not-covered, 1",
    ];
    assert_eq!(told(&scene), expected);
    assert_eq!(totals(&scene), [2, 2, 1, 1, 0]);
}

#[tokio::test]
async fn routes_features_and_plans_that_differ() {
    let scene = trying(|tried| {
        let each = [
            ("GET", "/items/{id}", false, true, 1),
            ("GET", "/me", true, false, 0),
            ("GET", "/open", false, false, 0),
            ("GET", "/new", false, false, 1),
        ];
        routes(tried, &each);
    });
    for path in ["/items/1", "/items/2", "/me", "/open", "/new"] {
        get(&scene, path, 1).await;
    }
    let expected = [
        " /open: allow -> identity-needed, 1",
        "acme /items/{id}: allow -> feature-not-in-plan feature:chat, 2",
        "acme /new: route-not-covered -> allow, 1",
    ];
    assert_eq!(told(&scene), expected);
    assert_eq!(totals(&scene), [5, 4, 2, 1, 0]);

    let scene = trying(|tried| routes(tried, &[]));
    get(&scene, "/open", 1).await;
    assert_eq!(told(&scene), [" /open: allow -> route-not-covered, 1"]);

    let scene = trying(|tried| drop(tried.plans.remove("basic")));
    get(&scene, "/items/1", 2).await;
    assert_eq!(told(&scene), ["acme /items/{id}: allow -> rights-unavailable, 2"]);

    let scene = trying(|tried| each_plan(tried, |plan| plan.meters[0].quota = None));
    get(&scene, "/items/1", 1).await;
    get(&scene, "/me", 1).await;
    assert_eq!(told(&scene), ["acme /items/{id}: allow -> feature-not-in-plan meter:requests, 1"]);
}

#[tokio::test]
async fn who_is_not_known_is_let_in_where_nobody_is_asked() {
    let scene = trying(|tried| routes(tried, &[("GET", "/items/{id}", true, false, 0)]));
    scene.told().credential = Some(CredentialError::Expired);
    get(&scene, "/items/1", 1).await;
    get(&scene, "/chat", 1).await;
    scene.told().credential = None;
    scene.told().unresolved = Some(ResolveError::TenantUnknown);
    get(&scene, "/items/1", 1).await;
    let expected =
        [" /items/{id}: credential-expired -> allow, 1", "acme /items/{id}: tenant-unknown -> allow, 1"];
    assert_eq!(told(&scene), expected);
    assert_eq!(totals(&scene), [2, 2, 0, 2, 0]);
}

#[tokio::test]
async fn what_is_no_decision_is_not_compared() {
    let scene = trying(quota(0));
    scene.told().charges = [ChargeError::Unavailable].into();
    get(&scene, "/items/1", 1).await;
    scene.told().unresolved = Some(ResolveError::Unavailable);
    get(&scene, "/items/1", 1).await;
    get(&scene, "/.plangate/x", 1).await;
    get(&scene, "/a/../b", 1).await;
    assert_eq!(totals(&scene), [0; 5]);
    scene.told().unresolved = None;
    scene.told().forgotten = true;
    get(&scene, "/items/1", 1).await;
    assert_eq!(totals(&scene), [0, 0, 0, 0, 1], "what is not in memory is not read");

    let share = Rollout::Staged(Selection::Share(Share::parse("0.01%").unwrap()));
    let staged = Scene::over(beside(share, quota(0)));
    get(&staged, "/items/1", 1).await;
    assert_eq!(report(&staged), None, "policies that decide for some are not shadowed");
}

#[tokio::test]
async fn units_are_reckoned_from_what_is_used_and_what_would_have_been() {
    // Per case: what was used before, the tried quota, what a request costs then, and how many of 6 would pass.
    for (used, limit, units, passes) in [
        (0, 10, 1, 6),
        (0, 4, 1, 4),
        (0, 0, 1, 0),
        (7, 10, 1, 3),
        (9, 5, 1, 0),
        (0, 10, 4, 2),
        (3, 12, 4, 2),
        (0, 3, 0, 6),
    ] {
        let scene = trying(|tried| {
            quota(limit)(tried);
            routes(tried, &[("GET", "/items/{id}", false, false, units)]);
        });
        if used > 0 {
            scene.told().used.insert("requests".to_owned(), used);
        }
        get(&scene, "/items/1", 6).await;
        assert_eq!(totals(&scene), [6, 6 - passes, 6 - passes, 0, 0], "{used} {limit} {units}");
        assert_eq!(scene.told().used["requests"], used + 6, "the ledger has what is in force");
    }
}

#[tokio::test]
async fn who_is_refused_now_may_have_units_left_then() {
    let scene = trying(quota(12));
    get(&scene, "/items/1", 10).await;
    scene.told().charges = std::iter::repeat_n(exhausted(), 5).collect();
    get(&scene, "/items/1", 5).await;
    let refused = "quota-exhausted meter:requests";
    assert_eq!(told(&scene), [format!("acme /items/{{id}}: {refused} -> allow, 2")]);
    assert_eq!(totals(&scene), [15, 2, 0, 2, 0]);
}

#[tokio::test]
async fn a_window_that_nobody_counted_begins_with_the_trial() {
    let scene = trying(|tried| {
        each_plan(tried, |plan| {
            let day = Some(Allowance::Limited(Units::saturating(2)));
            plan.meters[0].quota = Some(Quota { day, ..monthly(1_000) });
        });
    });
    scene.told().used.insert("requests".to_owned(), 500);
    get(&scene, "/items/1", 5).await;
    assert_eq!(told(&scene), ["acme /items/{id}: allow -> quota-exhausted meter:requests, 3"]);
}

#[tokio::test]
async fn reserves_that_the_answer_settles_alike_do_not_differ() {
    let scene = trying(|tried| {
        each_plan(tried, |plan| plan.meters[1].quota = Some(monthly(250)));
        let found = tried.routes.operations().iter().find(|operation| operation.name == "/ai");
        let mut dearer = found.unwrap().clone();
        dearer.charge[1].units = Units::saturating(100);
        tried.routes = RouteTable::default();
        tried.routes.add(&Methods::Any, &Pattern::parse("/ai").unwrap(), dearer).unwrap();
    });
    // What the ledger knows grows by 40 each: reserves of 100 fit until 160 are used.
    get(&scene, "/ai", 5).await;
    assert_eq!(told(&scene), ["acme /ai: allow -> quota-exhausted meter:tokens, 1"]);
}

/// The tried plans cost money beyond so many units of `requests`: so much a unit, up to a cap.
fn billed(included: u64, price: &'static str, per: u64, cap: &'static str) -> impl Fn(&mut Catalog) {
    move |tried| {
        each_plan(tried, |plan| {
            let overage =
                Overage::Bill { cap: None, price: price.parse().unwrap(), per: Units::saturating(per) };
            plan.meters[0].quota = Some(Quota { overage, ..monthly(included) });
            let amount = "19.00".parse().unwrap();
            plan.price = Some(Price { amount, currency: "USD".parse().unwrap() });
            plan.spend_cap = cap.parse().unwrap();
        });
    }
}

#[tokio::test]
async fn a_spend_cap_is_tried_in_money_to_the_unit() {
    // Per case: what was used before, what is included, the price of `per` units, the cap, what a request costs in units,
    // and how many of 8 would pass.
    for (used, included, price, per, cap, units, passes) in [
        (0, 3, "0.10", 1, "0.20", 1, 5),
        (0, 3, "0.10", 1, "0.29", 1, 5),
        (0, 3, "0.10", 1, "0.30", 1, 6),
        (0, 3, "0.10", 1, "0", 1, 3),
        (0, 3, "0.10", 1, "unlimited", 1, 8),
        (0, 3, "0", 1, "0", 1, 8),
        (5, 3, "0.10", 1, "0.20", 1, 0),
        (5, 3, "0.10", 1, "0.40", 1, 2),
        (0, 0, "1", 3, "1.00", 1, 2),
        (0, 0, "1", 3, "1.000000002", 1, 3),
        // All of a request or nothing: the included rest is not taken by one that costs too much.
        (0, 5, "0.10", 1, "0.20", 4, 1),
        (0, 8, "0.10", 1, "0.40", 4, 3),
    ] {
        let scene = trying(|tried| {
            billed(included, price, per, cap)(tried);
            routes(tried, &[("GET", "/items/{id}", false, false, units)]);
        });
        if used > 0 {
            scene.told().used.insert("requests".to_owned(), used);
        }
        get(&scene, "/items/1", 8).await;
        assert_eq!(
            totals(&scene),
            [8, 8 - passes, 8 - passes, 0, 0],
            "{used} {included} {price}/{per} {cap} {units}"
        );
    }
    let scene = trying(billed(3, "0.10", 1, "0.20"));
    get(&scene, "/items/1", 6).await;
    assert_eq!(told(&scene), ["acme /items/{id}: allow -> quota-exhausted meter:requests, 1"]);
}

#[tokio::test]
async fn a_spend_cap_is_for_all_meters_together_and_who_was_refused_by_one_may_pass_another() {
    let tokens = |tried: &mut Catalog| {
        billed(3, "0.10", 1, "0.20")(tried);
        each_plan(tried, |plan| {
            let overage =
                Overage::Bill { cap: None, price: "0.01".parse().unwrap(), per: Units::saturating(1) };
            plan.meters[1].quota = Some(Quota { overage, ..monthly(10) });
        });
    };
    let scene = trying(tokens);
    // No request of the trial has charged them: 0.15 of the 0.20 are spent.
    scene.told().used.insert("tokens".to_owned(), 25);
    get(&scene, "/items/1", 5).await;
    assert_eq!(told(&scene), ["acme /items/{id}: allow -> quota-exhausted meter:requests, 2"]);

    let scene = trying(billed(3, "0.10", 1, "0.20"));
    scene.told().charges = std::iter::repeat_n(exhausted(), 7).collect();
    get(&scene, "/items/1", 7).await;
    assert_eq!(totals(&scene), [7, 5, 0, 5, 0], "three that are included, and two for the money");
}

#[tokio::test]
async fn rates_have_a_state_of_their_own() {
    let rate =
        Rate { limit: Units::saturating(2), per: Duration::from_secs(3_600), burst: Units::saturating(2) };
    let scene = trying(|tried| each_plan(tried, |plan| plan.meters[0].rate = Some(rate)));
    get(&scene, "/items/1", 5).await;
    assert_eq!(told(&scene), ["acme /items/{id}: allow -> rate-limited meter:requests, 3"]);
    // A rate comes before a quota; what is refused for want of units takes nothing of it.
    let scene = trying(|tried| {
        quota(1)(tried);
        each_plan(tried, |plan| plan.meters[0].rate = Some(rate));
    });
    get(&scene, "/items/1", 4).await;
    assert_eq!(told(&scene), ["acme /items/{id}: allow -> quota-exhausted meter:requests, 3"]);
}

#[tokio::test]
async fn in_observe_mode_what_would_be_refused_is_compared_as_refused() {
    let scene = trying(|tried| routes(tried, &[("GET", "/chat", false, false, 1)]));
    let scene = Scene { mode: Mode::Observe, ..scene };
    assert_eq!(scene.get("/chat").await.status(), 200);
    assert_eq!(told(&scene), ["acme /chat: feature-not-in-plan feature:chat -> allow, 1"]);
}

#[tokio::test]
async fn a_trial_is_forgotten_with_its_end_and_a_late_request_does_not_bring_it_back() {
    let scene = trying(quota(0));
    get(&scene, "/items/1", 2).await;
    let first = report(&scene).unwrap();
    assert_eq!((first.trial, first.totals.compared), (BEGAN, 2));
    scene.trials.recorded(&first);
    assert_eq!(report(&scene), None, "nothing is new");
    get(&scene, "/me", 1).await;
    assert_eq!(report(&scene).unwrap().rows, [], "rows that have not grown are not told again");
    scene.trials.keep(Some(BEGAN));
    assert!(report(&scene).is_some());

    let mut enforced = beside(Rollout::Shadow, quota(0));
    let mut tried = Catalog::clone(&enforced.candidate.take().unwrap().catalog);
    (tried.deployed, tried.stamp) = (Version(9), Stamp::new());
    enforced.candidate = Some(Arc::new(Candidate { catalog: Arc::new(tried), rollout: Rollout::Shadow }));
    let next = Scene { trials: Arc::clone(&scene.trials), ..Scene::over(enforced) };
    get(&next, "/items/1", 1).await;
    assert_eq!(report(&scene).map(|report| (report.trial, report.totals.compared)), Some((Version(9), 1)));
    scene.trials.recorded(&first);
    get(&scene, "/items/1", 1).await;
    assert_eq!(totals(&scene), [1, 1, 1, 0, 0], "one that is decided by the policies before is not counted");
    scene.trials.keep(Some(BEGAN));
    assert!(report(&scene).is_some(), "who asks has not heard of it yet");
    scene.trials.keep(None);
    assert_eq!(report(&scene), None);
}

#[tokio::test]
async fn rights_are_compiled_again_when_the_tenant_is_changed() {
    let scene = trying(|tried| routes(tried, &[("GET", "/me", false, true, 0)]));
    get(&scene, "/me", 2).await;
    scene.told().plan = "rich";
    get(&scene, "/me", 1).await;
    assert_eq!(totals(&scene)[1], 3, "kept while nothing says otherwise");
    scene.freshness.outdate(&TenantId::parse("acme").unwrap(), Version(2));
    get(&scene, "/me", 1).await;
    assert_eq!(totals(&scene), [4, 3, 3, 0, 0]);
}

#[tokio::test]
async fn what_browsers_ask_beforehand_is_not_compared() {
    let scene = trying(|tried| routes(tried, &[]));
    let mut preflight = request("OPTIONS", "/items/1");
    preflight.headers_mut().insert("origin", "https://a.example".parse().unwrap());
    preflight.headers_mut().insert("access-control-request-method", "GET".parse().unwrap());
    assert_eq!(scene.send(preflight).await.status(), 200);
    assert_eq!(totals(&scene), [0; 5]);
}
