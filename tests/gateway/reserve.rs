//! Charges known only after the answer: reserved before it, settled by its header, exact after every ending.

mod endings;
mod values;

use serde_json::{Value, json};

use crate::support::{
    admin::TOKEN,
    client::{Ask, Reply, ask, get},
    load::volley,
    origin::Origin,
    postgres::Postgres,
    process::{Gateway, Setup},
    upstream::Upstream,
};

const ROUTES: &str = "unmatched: deny\ndefaults: { charge: { requests: 1 } }\nroutes:\n\
    \x20 - { match: \"* /v1/messages\" }\n\
    \x20 - { match: \"* /v1/ai/chat\", charge: { requests: 1, ai_tokens: { reserve: 40, from: { header: X-Usage-AI-Tokens } } } }\n\
    \x20 - { match: \"* /v1/ai/both\", charge: { requests: { reserve: 3, from: { header: x-usage-requests } }, ai_tokens: { reserve: 40, from: { header: x-usage-ai-tokens } } } }\n\
    \x20 - { match: \"* /v1/ai/huge\", charge: { requests: 1, ai_tokens: { reserve: 9007199254740991, from: { header: x-usage-ai-tokens } } } }\n";

/// `windows` has a day of 60 tokens under a month of 100, `month` the month alone, `rated` 50 tokens an hour.
const PLANS: [(&str, &str); 4] = [
    (
        "windows",
        "plan: windows\nquotas:\n  requests: { limit: 1000 }\n  ai_tokens: { limit: 100, day: 60 }\n",
    ),
    ("month", "plan: month\nquotas:\n  requests: { limit: 1000 }\n  ai_tokens: { limit: 100 }\n"),
    (
        "rated",
        "plan: rated\nquotas:\n  requests: { limit: 1000 }\n  ai_tokens: { limit: 100000 }\nrates:\n  ai_tokens: { limit: 50, per: 1h, burst: 50 }\n",
    ),
    ("endless", "plan: endless\nquotas:\n  requests: unlimited\n  ai_tokens: unlimited\n"),
];

const EXHAUSTED: &str = "quota-exhausted";

fn with_policies(setup: Setup) -> Setup {
    setup.policy("routes.yaml", ROUTES);
    for (name, text) in PLANS {
        setup.policy(&format!("plans/{name}.yaml"), text);
    }
    setup
}

/// A gateway in front of `origin`, and a key of the tenant `acme`.
async fn before(origin: &Origin, plan: &str) -> (Setup, Gateway, String) {
    let setup = with_policies(Setup::at(&origin.url()));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", plan).await;
    (setup, gateway, key)
}

fn chat(key: &str) -> Ask {
    ask("POST", "/v1/ai/chat").key(key).json(&json!({}))
}

/// The same, answered with this cost.
fn costing(key: &str, cost: &str) -> Ask {
    chat(key).with("x-want-header", &format!("x-usage-ai-tokens: {cost}"))
}

async fn rights(gateway: &Gateway) -> Value {
    gateway.admin.get("/v1/tenants/acme/rights").await["quotas"].clone()
}

/// Requests and tokens used this month.
async fn used(gateway: &Gateway) -> (u64, u64) {
    let quotas = rights(gateway).await;
    let of = |meter: &str| quotas[meter]["used"].as_u64().unwrap();
    assert_eq!((&quotas["requests"]["uncertain"], &quotas["ai_tokens"]["uncertain"]), (&json!(0), &json!(0)));
    (of("requests"), of("ai_tokens"))
}

/// What an item of the `RateLimit` header says is left.
fn left(reply: &Reply, item: &str) -> u64 {
    let header = reply.header("ratelimit").unwrap();
    let item = format!("\"{item}\";r=");
    let rest = header.split(", ").find_map(|part| part.strip_prefix(&item)).unwrap();
    rest.split(';').next().unwrap().parse().unwrap()
}

/// The value of a figure, by its name and labels.
async fn figure(gateway: &Gateway, name: &str) -> u64 {
    let text = get("/metrics").bearer(TOKEN).send(gateway.admin.0).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// Tokens admitted, refunded and overrun.
async fn tokens(gateway: &Gateway) -> [u64; 3] {
    let mut counts = [0; 3];
    for (count, kind) in counts.iter_mut().zip(["admitted", "refunded", "overrun"]) {
        let name = format!("plangate_quota_units_total{{meter=\"ai_tokens\",kind=\"{kind}\"}}");
        *count = figure(gateway, &name).await;
    }
    counts
}

/// Reserves kept as the header was missing, and as it was invalid.
async fn kept(gateway: &Gateway) -> (u64, u64) {
    let of = async |reason: &str| {
        figure(gateway, &format!("plangate_settle_kept_total{{reason=\"{reason}\"}}")).await
    };
    (of("missing").await, of("invalid").await)
}

#[tokio::test]
async fn the_true_cost_is_charged_in_every_window() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    every_window(setup).await;
}

#[tokio::test]
async fn the_true_cost_is_charged_in_every_window_on_postgres() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream)).with("/database", Postgres::shared().url());
    every_window(setup).await;
}

async fn every_window(setup: Setup) {
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "windows").await;
    let windows = async || {
        let tokens = &rights(&gateway).await["ai_tokens"];
        let day = &tokens["windows"][0];
        assert_eq!(day["per"], "day");
        let of = |value: &Value| value.as_u64().unwrap();
        (of(&tokens["used"]), of(&day["used"]), of(&tokens["remaining"]), of(&day["remaining"]))
    };
    let below = costing(&key, "7").send(gateway.data).await;
    assert_eq!((below.status, below.header("x-usage-ai-tokens")), (200, Some("7")), "unchanged");
    // The reserve still counts when the head is written.
    assert_eq!((left(&below, "ai_tokens"), left(&below, "ai_tokens-day")), (60, 20));
    assert_eq!(left(&below, "requests"), 999);
    assert_eq!(windows().await, (7, 7, 93, 53));
    assert_eq!(tokens(&gateway).await, [40, 33, 0]);
    let exact = costing(&key, "40").send(gateway.data).await;
    assert_eq!((left(&exact, "ai_tokens"), left(&exact, "ai_tokens-day")), (53, 13));
    assert_eq!(windows().await, (47, 47, 53, 13));
    assert_eq!(tokens(&gateway).await, [80, 33, 0]);
    // Thirteen are left of the day: a reserve of forty does not fit, whatever the answer would have cost.
    let refused = costing(&key, "1").send(gateway.data).await;
    assert_eq!((refused.code().as_str(), &refused.json()["window"]), (EXHAUSTED, &json!("day")));
    assert_eq!((windows().await, used(&gateway).await), ((47, 47, 53, 13), (2, 47)));
    assert_eq!(kept(&gateway).await, (0, 0));
    // It is all in the database.
    assert!(gateway.stop().await.success());
    let gateway = setup.start().await;
    assert_eq!(used(&gateway).await, (2, 47));
}

#[tokio::test]
async fn more_than_was_reserved_is_recorded_above_the_limit() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "month").await;
    assert_eq!(costing(&key, "50").send(gateway.data).await.status, 200);
    assert_eq!(used(&gateway).await, (1, 50));
    assert_eq!(tokens(&gateway).await, [40, 0, 10]);
    assert_eq!(costing(&key, "90").send(gateway.data).await.status, 200);
    assert_eq!(used(&gateway).await, (2, 140));
    assert_eq!(tokens(&gateway).await, [80, 0, 60]);
    assert_eq!(rights(&gateway).await["ai_tokens"]["remaining"], 0);
    let refused = chat(&key).send(gateway.data).await;
    assert_eq!((refused.code().as_str(), left(&refused, "ai_tokens")), (EXHAUSTED, 0));
    assert_eq!((used(&gateway).await, upstream.count()), ((2, 140), 2));
    // More of them make room again, but only beyond what is owed.
    let raise = json!({ "quotas": { "ai_tokens": { "limit": 180 } } });
    gateway.admin.overrides("acme", raise).await;
    assert_eq!(costing(&key, "0").send(gateway.data).await.status, 200);
    assert_eq!(used(&gateway).await, (3, 140));
    assert_eq!(tokens(&gateway).await, [120, 40, 60]);
}

#[tokio::test]
async fn all_meters_or_none() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let key = admin.tenant("acme", "month").await;
    let limits = async |requests: u64, tokens: u64| {
        let quotas = json!({ "requests": { "limit": requests }, "ai_tokens": { "limit": tokens } });
        admin.overrides("acme", json!({ "quotas": quotas })).await;
    };
    limits(10, 39).await;
    let refused = chat(&key).send(gateway.data).await;
    assert_eq!((refused.code().as_str(), &refused.json()["meter"]), (EXHAUSTED, &json!("ai_tokens")));
    limits(0, 1000).await;
    let refused = chat(&key).send(gateway.data).await;
    assert_eq!((refused.code().as_str(), &refused.json()["meter"]), (EXHAUSTED, &json!("requests")));
    limits(2, 1000).await;
    let refused = ask("POST", "/v1/ai/both").key(&key).send(gateway.data).await;
    assert_eq!((refused.code().as_str(), &refused.json()["meter"]), (EXHAUSTED, &json!("requests")));
    // A reserve above the whole limit, however large.
    limits(10, 1000).await;
    let refused = ask("POST", "/v1/ai/huge").key(&key).send(gateway.data).await;
    assert_eq!((refused.code().as_str(), &refused.json()["meter"]), (EXHAUSTED, &json!("ai_tokens")));
    assert_eq!((used(&gateway).await, upstream.count()), ((0, 0), 0), "nothing was charged");
    // Two reserves, each settled by its own header, or kept where there is none.
    let both = ask("POST", "/v1/ai/both").key(&key);
    let told = both.clone().with("x-want-header", "x-usage-requests: 1");
    assert_eq!(told.send(gateway.data).await.status, 200);
    assert_eq!((used(&gateway).await, kept(&gateway).await), ((1, 40), (1, 0)));
    let told =
        both.with("x-want-header", "x-usage-requests: 5").with("x-want-header", "x-usage-ai-tokens: 2");
    assert_eq!(told.send(gateway.data).await.status, 200);
    assert_eq!((used(&gateway).await, kept(&gateway).await), ((6, 42), (1, 0)));
}

#[tokio::test]
async fn the_rate_gets_back_what_was_not_used() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "rated").await;
    // Each reserves forty of a burst of fifty.
    for n in 1..=3 {
        let reply = costing(&key, "2").send(gateway.data).await;
        assert_eq!((reply.status, left(&reply, "ai_tokens-rate")), (200, 12 - 2 * n));
    }
    assert_eq!(chat(&key).send(gateway.data).await.status, 200, "kept");
    assert_eq!(chat(&key).send(gateway.data).await.code(), "rate-limited");
    assert_eq!(used(&gateway).await, (4, 46));
}

#[tokio::test]
async fn many_at_once_are_settled_to_the_unit() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "month").await;
    let raise = json!({ "quotas": { "ai_tokens": { "limit": 1003 }, "requests": { "limit": 100_000 } } });
    gateway.admin.overrides("acme", raise).await;
    let tally = volley(&costing(&key, "7"), &[gateway.data], 16, 400).await;
    assert_eq!(tally.passed() + tally.of(EXHAUSTED), 400);
    let passed = tally.passed() as u64;
    assert_eq!((used(&gateway).await, upstream.count() as u64), ((passed, 7 * passed), passed));
    // The last that fits: forty must be left before it.
    let mut passed = passed;
    while costing(&key, "7").send(gateway.data).await.status == 200 {
        passed += 1;
    }
    assert_eq!((passed, used(&gateway).await.1), (138, 966), "37 are left");
}

#[tokio::test]
async fn check_tells_the_reserve_as_such() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream));
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "windows").await;
    let check = async |path: &str| {
        let asked = json!({ "tenant": "acme", "method": "POST", "path": path });
        gateway.admin.ok("POST", "/v1/check", asked).await
    };
    let said = check("/v1/ai/chat").await;
    assert_eq!((&said["allow"], &said["charge"]), (&json!(true), &json!({ "requests": 1, "ai_tokens": 40 })));
    assert_eq!(said["reserved"], json!({ "ai_tokens": "x-usage-ai-tokens" }));
    let needs: Vec<&Value> = said["quotas"].as_array().unwrap().iter().map(|quota| &quota["needs"]).collect();
    assert_eq!(needs, [&json!(40), &json!(40), &json!(1)], "{said}");
    assert_eq!(check("/v1/messages").await.get("reserved"), None);
    let huge = check("/v1/ai/huge").await;
    assert_eq!((&huge["allow"], &huge["code"]), (&json!(false), &json!(EXHAUSTED)));
    assert_eq!(used(&gateway).await, (0, 0));
}

#[tokio::test]
async fn who_only_watches_settles_the_same() {
    let upstream = Upstream::start().await;
    let setup = with_policies(Setup::before(&upstream)).with("/mode", "observe");
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "month").await;
    assert_eq!(costing(&key, "7").send(gateway.data).await.status, 200);
    assert_eq!(costing(&key, "70").send(gateway.data).await.status, 200);
    assert_eq!(used(&gateway).await, (2, 77));
    // One that would have been refused passes, and takes nothing.
    assert_eq!(costing(&key, "7").send(gateway.data).await.status, 200);
    assert_eq!((used(&gateway).await, upstream.count()), ((2, 77), 3));
    assert_eq!(tokens(&gateway).await, [80, 33, 30]);
}
