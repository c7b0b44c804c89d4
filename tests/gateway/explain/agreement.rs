//! What check says is what the gateway does: for random tenants and requests.

use super::*;

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const PLANS: &[&str] = &["small", "big", "open", "base", "team", "quiet", "slow"];
const TARGETS: &[&str] = &[
    "GET /v1/messages",
    "POST /v1/messages?page=2",
    "GET /v1/messages/7",
    "DELETE /v1/messages/7",
    "GET /v1/messages/a%2fb",
    "GET /v1//messages",
    "PUT /v1/export/a/b",
    "GET /v1/export",
    "POST /v1/ai/chat",
    "GET /v1/me",
    "PUT /v1/free/x",
    "GET /healthz",
    "POST /healthz",
    "GET /nothing",
    "GET /.plangate/x",
    "TRACE /v1/messages",
];

/// Makes a tenant that may have anything, and returns its key.
async fn tenant(gateway: &Gateway, name: &str, numbers: &mut Numbers) -> String {
    let admin = gateway.admin;
    let plan = *numbers.of(PLANS);
    let key = if numbers.one_in(10) {
        admin.ok("PUT", &format!("/v1/tenants/{name}"), json!({})).await;
        return admin.key(name).await;
    } else {
        admin.tenant(name, plan).await
    };
    let mut set = json!({ "features": {}, "quotas": {}, "rates": {} });
    for feature in ["chat", "export"] {
        if numbers.one_in(4) {
            set["features"][feature] = json!(numbers.one_in(2));
        }
    }
    if numbers.one_in(2) {
        let (month, hour) = (numbers.below(15), 1 + numbers.below(12));
        set["quotas"]["requests"] = if numbers.one_in(3) {
            json!({ "limit": month, "overage": { "mode": "allow", "cap": 2 } })
        } else {
            json!({ "limit": month, "hour": hour, "day": hour + 1 })
        };
    }
    if numbers.one_in(3) {
        set["quotas"]["ai_tokens"] = json!({ "limit": numbers.below(20) });
    }
    // How much of a rate is left changes by the moment: one that is full, or never enough.
    let burst = if numbers.one_in(4) { 9 } else { 100_000 };
    set["rates"]["requests"] = json!({ "limit": 100_000, "per": "1s", "burst": burst });
    admin.overrides(name, set).await;
    if numbers.one_in(4) {
        let grant =
            json!({ "meter": "requests", "units": 1 + numbers.below(12), "priority": numbers.below(200) });
        admin.ok("POST", &format!("/v1/tenants/{name}/grants"), grant).await;
    }
    if numbers.one_in(4) {
        admin.ok("PUT", &format!("/v1/tenants/{name}/addons/boost"), json!({})).await;
    }
    if numbers.one_in(8) {
        admin.ok("POST", &format!("/v1/tenants/{name}/suspend"), Value::Null).await;
    }
    if numbers.one_in(8) {
        admin.ok("POST", &format!("/v1/tenants/{name}/subscription/pause"), Value::Null).await;
    }
    key
}

/// Compares an answer of the gateway with what was said of it before.
fn agrees(said: &Value, reply: &Reply, what: &str) {
    assert_eq!(said["allow"], json!(reply.status == 200), "{what}");
    let steps = said["steps"].as_array().unwrap();
    let refusing: Vec<_> = steps.iter().filter(|step| step["ok"] == false).collect();
    if reply.status == 200 {
        assert!(refusing.is_empty(), "{what}");
        return;
    }
    let answer = reply.json();
    assert_eq!(refusing.len(), 1, "one step refuses: {what}");
    assert_eq!(refusing[0], steps.last().unwrap(), "the last one: {what}");
    for field in ["status", "code"] {
        assert_eq!(said[field], answer[field], "{field}: {what}");
    }
    let lacking = said["quotas"].as_array().unwrap().iter().filter(|quota| quota["ok"] == false).count();
    if lacking < 2 {
        assert_eq!(said["detail"], answer["detail"], "{what}");
    }
    assert_eq!(said.get("plans").unwrap_or(&json!([])), answer.get("plans").unwrap_or(&json!([])), "{what}");
    if answer["code"] == "quota-exhausted" {
        let quotas = said["quotas"].as_array().unwrap();
        // Of several that have too little left, the gateway may name any.
        let named = |quota: &&Value| {
            quota["ok"] == false && ["meter", "window"].iter().all(|f| quota[f] == answer[f])
        };
        let quota = quotas.iter().find(named).unwrap_or_else(|| panic!("{what}"));
        for field in ["limit", "resets_at"] {
            assert_eq!(quota[field], answer[field], "{field}: {what}");
        }
    }
    if answer["code"] == "feature-not-in-plan" && answer["feature"].is_string() {
        let features = said["features"].as_array().unwrap();
        let lacking = features.iter().find(|feature| feature["ok"] == false).unwrap();
        assert_eq!(lacking["feature"], answer["feature"], "{what}");
    }
}

#[tokio::test]
async fn check_and_gateway_agree_for_random_tenants_and_requests() {
    let upstream = Upstream::start().await;
    let gateway = set_up(&upstream).start().await;
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    for number in 0..16 {
        let name = format!("tenant-{number}");
        let key = tenant(&gateway, &name, &mut numbers).await;
        for _ in 0..14 {
            let request = *numbers.of(TARGETS);
            let said = check(&gateway, &name, request).await;
            let (method, path) = request.split_once(' ').unwrap();
            let reply = ask(method, path).key(&key).send(gateway.data).await;
            let what = format!("{name}: {request}: {said}, the gateway answered {reply:?}");
            agrees(&said, &reply, &what);
            refused += usize::from(reply.status != 200);
        }
    }
    assert!((50..200).contains(&refused), "both were tried: {refused}");
}
