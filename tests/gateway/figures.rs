//! The figures (contract, section 7): their names, labels and form, and that they say what happened.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{
    admin::TOKEN,
    client::{Wire, ask, get},
    process::{Gateway, Setup, eventually},
    upstream::Upstream,
};

/// One sample: the name with its labels, and the value.
type Samples = BTreeMap<String, f64>;

/// Reads the figures, checking the text as the OpenMetrics specification has it.
async fn scrape(gateway: &Gateway) -> Samples {
    let reply = get("/metrics").bearer(TOKEN).send(gateway.admin.0).await;
    assert_eq!(reply.status, 200);
    let kind = reply.header("content-type").unwrap();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = reply.text();
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    let (mut types, mut samples) = (BTreeMap::new(), Samples::new());
    let mut family = String::new();
    for line in text.lines().take_while(|line| *line != "# EOF") {
        assert!(!line.is_empty() && line.trim() == line, "{line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(name.starts_with("plangate_"), "{line}");
            match word {
                "TYPE" => {
                    assert!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                    assert!(
                        types.insert(name.to_owned(), rest.to_owned()).is_none(),
                        "{name} is there twice"
                    );
                    family = name.to_owned();
                }
                "HELP" => assert!(rest.len() > 5, "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        let suffix = bare.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        let allowed: &[&str] = match types[&family].as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{line} does not suit {family}");
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(samples.insert(name.to_owned(), value).is_none(), "{name} is there twice");
    }
    for (name, _) in types.iter().filter(|(_, kind)| *kind == "histogram") {
        check_histogram(&text, name, &samples);
    }
    samples
}

/// Buckets grow in bound and value, and the last, without a bound, holds all.
fn check_histogram(text: &str, name: &str, samples: &Samples) {
    let prefix = format!("{name}_bucket{{le=\"");
    let buckets: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(|rest| rest.split_once("\"} ").unwrap())
        .map(|(bound, count)| (bound.replace("+Inf", "inf").parse().unwrap(), count.parse().unwrap()))
        .collect();
    assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
    let last = buckets.last().unwrap();
    assert!(last.0.is_infinite(), "{name} has no +Inf bucket");
    assert_eq!(last.1, samples[&format!("{name}_count")]);
}

/// The sum of all samples that begin so.
fn sum(samples: &Samples, start: &str) -> f64 {
    samples.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum()
}

fn labels(samples: &Samples, name: &str) -> BTreeSet<String> {
    let of = samples.keys().filter_map(|sample| sample.strip_prefix(name)?.strip_prefix('{'));
    of.flat_map(|labels| {
        labels.trim_end_matches('}').split("\",").map(|l| l.split('=').next().unwrap().to_owned())
    })
    .collect()
}

#[tokio::test]
async fn every_figure_of_the_contract_is_there_by_its_name() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    scrape(&gateway).await;
    let key = gateway.admin.tenant("a-tenant-of-this-name", "big").await;
    for (method, path) in
        [("GET", "/v1/messages"), ("POST", "/v1/ai/chat"), ("GET", "/nothing"), ("GET", "/v1//x")]
    {
        ask(method, path).key(&key).send(gateway.data).await;
    }
    let samples = scrape(&gateway).await;
    let families: BTreeSet<&str> = samples.keys().map(|name| name.split('{').next().unwrap()).collect();
    for name in [
        "plangate_requests_total",
        "plangate_decision_seconds_bucket",
        "plangate_decision_seconds_count",
        "plangate_decision_seconds_sum",
        "plangate_upstream_seconds_bucket",
        "plangate_upstream_seconds_count",
        "plangate_quota_units_total",
        "plangate_settle_kept_total",
        "plangate_ledger_grants_total",
        "plangate_ledger_recalls_total",
        "plangate_ledger_flush_lag_seconds",
        "plangate_rights_age_seconds",
        "plangate_rights_cache_hits_total",
        "plangate_rights_cache_misses_total",
        "plangate_change_applied_seconds_count",
        "plangate_connections",
        "plangate_policies_good",
        "plangate_policy_reloads_total",
        "plangate_policy_reload_failures_total",
    ] {
        assert!(families.contains(name), "{name} is missing: {families:?}");
    }
    assert!(!families.iter().any(|name| name.contains("millis")), "base units only: {families:?}");
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(labels(&samples, "plangate_requests_total"), set(&["outcome", "code", "plan"]));
    assert_eq!(labels(&samples, "plangate_quota_units_total"), set(&["meter", "kind"]));
    assert_eq!(labels(&samples, "plangate_settle_kept_total"), set(&["reason"]));
    assert_eq!(labels(&samples, "plangate_decision_seconds_bucket"), set(&["le"]));
    let kinds: BTreeSet<&str> = ["admitted", "refunded", "overrun"].into();
    for kind in kinds {
        assert!(
            samples
                .contains_key(&format!("plangate_quota_units_total{{meter=\"requests\",kind=\"{kind}\"}}"))
        );
    }
    let all: String = samples.keys().cloned().collect();
    assert!(!all.contains("a-tenant-of-this-name") && !all.contains(&key), "no label holds a tenant");
}

#[tokio::test]
async fn figures_say_what_passed_and_what_did_not() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let (small, big) = (admin.tenant("s", "small").await, admin.tenant("b", "big").await);
    let before = scrape(&gateway).await;
    assert_eq!(sum(&before, "plangate_requests_total"), 0.0, "the admin's calls are no requests");
    for _ in 0..7 {
        get("/v1/messages").key(&small).send(gateway.data).await; // 5 pass, 2 do not
    }
    get("/v1/export/all").key(&small).send(gateway.data).await;
    get("/v1/export/all").key(&big).send(gateway.data).await; // 10 units
    get("/v1/messages").key(&big).with("x-want-status", "503").send(gateway.data).await;
    get("/v1/me").key(&big).send(gateway.data).await; // costs nothing
    get("/healthz").send(gateway.data).await;
    get("/v1/messages").send(gateway.data).await;
    let after = scrape(&gateway).await;
    let requests = |outcome: &str, code: &str, plan: &str| {
        let name =
            format!("plangate_requests_total{{outcome=\"{outcome}\",code=\"{code}\",plan=\"{plan}\"}}");
        after.get(&name).copied().unwrap_or(0.0)
    };
    assert_eq!(requests("forwarded", "2xx", "small"), 5.0);
    assert_eq!(requests("refused", "quota-exhausted", "small"), 2.0);
    assert_eq!(requests("refused", "feature-not-in-plan", "small"), 1.0);
    assert_eq!(requests("forwarded", "2xx", "big"), 2.0);
    assert_eq!(requests("forwarded", "5xx", "big"), 1.0);
    assert_eq!(requests("forwarded", "2xx", ""), 1.0, "a public route");
    assert_eq!(requests("refused", "credential-missing", ""), 1.0);
    assert_eq!(sum(&after, "plangate_requests_total"), 13.0, "each request once");
    assert_eq!(upstream.count(), 9);
    let units =
        |kind: &str| after[&format!("plangate_quota_units_total{{meter=\"requests\",kind=\"{kind}\"}}")];
    assert_eq!((units("admitted"), units("refunded"), units("overrun")), (16.0, 0.0, 0.0));
    assert_eq!(
        after["plangate_decision_seconds_count"], 8.0,
        "one for each admitted request with an identity"
    );
    assert_eq!(after["plangate_upstream_seconds_count"], 8.0);
    assert!(after["plangate_decision_seconds_sum"] > 0.0);
    assert_eq!(after["plangate_change_applied_seconds_count"], 6.0, "one for each change");
    assert!(
        after["plangate_rights_cache_misses_total"] >= 2.0
            && after["plangate_rights_cache_hits_total"] >= 8.0
    );
    assert!(after["plangate_ledger_grants_total"] >= 2.0);
    assert_eq!((after["plangate_rights_age_seconds"], after["plangate_policies_good"]), (0.0, 1.0));
    assert!(after["plangate_ledger_flush_lag_seconds"] < 30.0);
    // Counters never fall.
    for (name, value) in before.iter().filter(|(name, _)| name.contains("_total") || name.contains("_count"))
    {
        assert!(after[name] >= *value, "{name}");
    }
}

#[tokio::test]
async fn units_given_back_and_connections_are_counted() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    drop(upstream);
    let failed = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!((failed.status, failed.code().as_str()), (502, "upstream-unreachable"));
    let samples = scrape(&gateway).await;
    assert_eq!(samples["plangate_quota_units_total{meter=\"requests\",kind=\"refunded\"}"], 1.0);
    assert_eq!(
        sum(&samples, "plangate_requests_total{outcome=\"failed\",code=\"upstream-unreachable\""),
        1.0
    );
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);

    let (mut first, mut second) = (Wire::to(gateway.data).await, Wire::to(gateway.data).await);
    for wire in [&mut first, &mut second] {
        assert_eq!(get("/v1/me").send_on(wire, gateway.data).await.status, 401);
    }
    let connections = async |expected: f64| scrape(&gateway).await["plangate_connections"] == expected;
    eventually("both connections are counted", async || connections(2.0).await).await;
    drop(first);
    eventually("the closed one is not", async || connections(1.0).await).await;
}

#[tokio::test]
async fn observed_refusals_are_counted_and_forwarded() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/mode", json!("observe"));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    assert_eq!(get("/v1/export/all").key(&key).send(gateway.data).await.status, 200);
    let samples = scrape(&gateway).await;
    let observed =
        "plangate_requests_total{outcome=\"observed\",code=\"feature-not-in-plan\",plan=\"small\"}";
    assert_eq!(samples[observed], 1.0);
    assert_eq!(upstream.count(), 1);
}
