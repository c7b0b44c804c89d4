//! Each word of `after` does what it says: without it, the step after it would be answered otherwise.

use std::sync::Arc;

use super::{CaseResult, Failed, run};
use crate::{
    domain::catalog::Catalog,
    policy::{case, compile::compile, source::Sources},
};

const FEATURES: &str = "\
features: { chat: {}, export: {} }
limits: { seats: {} }
meters: { requests: {}, tokens: {} }
";
const ROUTES: &str = "\
defaults: { charge: { requests: 1 } }
routes:
  - { match: \"GET /a\", features: [chat] }
  - { match: \"GET /b\", features: [export] }
  - { match: \"GET /c\", charge: { requests: 3 } }
  - { match: \"GET /d\", charge: { tokens: 1 } }
  - { match: \"GET /open\", public: true }
";
const PLANS: [(&str, &str); 9] = [
    ("small", "price: { amount: \"1\", currency: EUR }\nfeatures: [chat]\nquotas: { requests: 10 }\n"),
    (
        "big",
        "price: { amount: \"9\", currency: EUR }\nextends: small\nfeatures: [export]\nlimits: { seats: 9 }\n\
         quotas: { requests: 100 }\nchanges: { downgrade: period_end }\n",
    ),
    ("soft", "features: [chat]\nquotas: { requests: { limit: 5, overage: { mode: allow, cap: 3 } } }\n"),
    (
        "billed",
        "price: { amount: \"1\", currency: EUR }\nspend_cap: \"0.30\"\nfeatures: [chat]\n\
         quotas: { requests: { limit: 5, overage: { mode: bill, price: \"0.10\" } } }\n",
    ),
    ("rolls", "features: [chat]\nquotas: { requests: { limit: 10, rollover: { max: 50% } } }\n"),
    ("windows", "features: [chat]\nquotas: { requests: { limit: 100, hour: 2, day: 4, week: 6 } }\n"),
    ("daily", "features: [chat]\nquotas: { requests: { limit: 100, day: 4 } }\n"),
    (
        "tried",
        "features: [chat, export]\nquotas: { requests: 10 }\ntrial: { days: 7, then: small, usage: reset }\n\
         grace: { days: 3 }\n",
    ),
    (
        "fast",
        "features: [chat]\nquotas: { requests: 100 }\nrates: { requests: { limit: 1, per: 1s, burst: 4 } }\n",
    ),
];

fn sources(cases: &str) -> Sources {
    let mut sources = Sources::default();
    sources.add("features.yaml", Some(FEATURES.to_owned()));
    sources.add("routes.yaml", Some(ROUTES.to_owned()));
    for (name, text) in PLANS {
        sources.add(&format!("plans/{name}.yaml"), Some(format!("plan: {name}\n{text}")));
    }
    let addon = "addon: more\nfeatures: [export]\nquotas: { requests: { limit: 5 } }\n";
    sources.add("addons/more.yaml", Some(addon.to_owned()));
    sources.add("cases/all.yaml", Some(cases.to_owned()));
    sources
}

fn catalog(sources: &Sources) -> Arc<Catalog> {
    let compiled = compile(sources);
    Arc::new(compiled.catalog.unwrap_or_else(|| panic!("{:#?}", compiled.diagnostics)))
}

fn results(cases: &str) -> Vec<CaseResult> {
    let sources = sources(cases);
    let catalog = catalog(&sources);
    let (cases, diagnostics) = case::read(&sources, Some(&catalog));
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    run(&catalog, &cases)
}

/// A case of these steps: each what comes before, the request (none: the one before) and whether it is allowed, or else
/// the code of the refusal.
fn sequence(tenant: &str, at: &str, steps: &[(&str, &str, &str)]) -> String {
    let expect = |answer: &str| match answer {
        "ok" => "{ allow: true }".to_owned(),
        code => format!("{{ deny: {code} }}"),
    };
    let (_, request, answer) = steps[0];
    let mut text = format!(
        "cases:\n- name: x\n  at: {at}\n  tenant: {tenant}\n  request: {request}\n  expect: {}\n",
        expect(answer)
    );
    for (number, (after, request, answer)) in steps[1..].iter().enumerate() {
        text.push_str(if number == 0 { "  then:\n" } else { "" });
        text.push_str(&format!("  - expect: {}\n", expect(answer)));
        if !after.is_empty() {
            text.push_str(&format!("    after: {after}\n"));
        }
        if !request.is_empty() {
            text.push_str(&format!("    request: {request}\n"));
        }
    }
    text
}

const MARCH: &str = "2026-03-10T10:30:00Z";
const USED_UP: &str = "quota-exhausted";
const INACTIVE: &str = "subscription-inactive";
const LACKING: &str = "feature-not-in-plan";

#[track_caller]
fn holds(tenant: &str, at: &str, steps: &[(&str, &str, &str)]) {
    let result = results(&sequence(tenant, at, steps)).remove(0);
    assert!(result.passed, "{:#?}", result.failed);
    assert_eq!(result.steps, steps.len());
    assert_eq!(result.exercised.len(), steps.len());
}

#[track_caller]
fn fails(tenant: &str, at: &str, steps: &[(&str, &str, &str)]) -> Failed {
    *results(&sequence(tenant, at, steps)).remove(0).failed.expect("a step fails")
}

#[test]
fn requests_are_charged_as_far_as_they_are_let_through() {
    let used = "{ plan: small, used: { requests: 2 } }";
    holds(used, MARCH, &[("", "GET /a", "ok"), ("{ requests: 6 }", "", "ok"), ("", "", USED_UP)]);
    holds(used, MARCH, &[("", "GET /a", "ok"), ("{ requests: 1000000000000 }", "", USED_UP)]);
    // Of three units each, two more fit: one unit is left.
    let threes =
        [("", "GET /c", "ok"), ("{ requests: 100 }", "", USED_UP), ("", "GET /a", "ok"), ("", "", USED_UP)];
    holds("{ plan: small }", MARCH, &threes);
    // The request before, not the step's own.
    let other = [("", "GET /open", "ok"), ("{ requests: 100 }", "GET /a", "ok")];
    holds("{ plan: small }", MARCH, &other);
    // What is refused for another reason takes nothing.
    holds("{ plan: small }", MARCH, &[("", "GET /b", LACKING), ("{ requests: 50 }", "GET /a", "ok")]);
    // However many: slowly enough for the rate.
    holds("{ plan: fast }", MARCH, &[("", "GET /a", "ok"), ("{ requests: 50 }", "", "ok")]);
}

#[test]
fn a_burst_is_for_rates() {
    let steps = [
        ("", "GET /a", "ok"),
        ("{ burst: 2 }", "", "ok"),
        ("", "", "rate-limited"),
        ("999ms", "", "rate-limited"),
        ("1ms", "", "ok"),
        ("{ minutes: 1, burst: 3 }", "", "ok"),
        ("", "", "rate-limited"),
        // A change of plan is no pause.
        ("[{ plan: big }, { plan: fast, at: now }]", "", "rate-limited"),
    ];
    holds("{ plan: fast }", MARCH, &steps);
    // Refused by the rate, or by the quota: neither takes anything of the other.
    let used = "{ plan: fast, used: { requests: 98 } }";
    let quota = [("", "GET /a", "ok"), ("{ burst: 10 }", "", USED_UP), ("1s", "", USED_UP)];
    holds(used, MARCH, &quota);
}

#[test]
fn plans_change_now_or_later_and_usage_is_kept_or_not() {
    holds("{ plan: small }", MARCH, &[("", "GET /b", LACKING), ("{ plan: big }", "", "ok")]);
    // A downgrade from big waits for the month's end, by the plan itself.
    let down = [("", "GET /b", "ok"), ("{ plan: small }", "", "ok"), ("{ next: month }", "", LACKING)];
    holds("{ plan: big }", MARCH, &down);
    holds("{ plan: big }", MARCH, &[("", "GET /b", "ok"), ("{ plan: small, at: now }", "", LACKING)]);
    let later = [
        ("", "GET /b", LACKING),
        ("{ plan: big, at: 2026-03-12T00:00:00Z }", "", LACKING),
        ("{ at: 2026-03-11T23:59:59.999Z }", "", LACKING),
        ("1ms", "", "ok"),
    ];
    holds("{ plan: small }", MARCH, &later);
    let used = "{ plan: small, used: { requests: 10 } }";
    let keep = [("", "GET /a", USED_UP), ("[{ plan: big }, { requests: 89 }]", "", "ok"), ("", "", USED_UP)];
    holds(used, MARCH, &keep);
    let reset = [
        ("", "GET /a", USED_UP),
        ("[{ plan: small, usage: reset }, { requests: 9 }]", "", "ok"),
        ("", "", USED_UP),
    ];
    holds(used, MARCH, &reset);
    // Half of April each: 5 and 50.
    let half = [
        ("", "GET /a", USED_UP),
        ("[{ plan: big, usage: prorate }, { requests: 44 }]", "", "ok"),
        ("", "", USED_UP),
    ];
    holds(used, "2026-04-16T00:00:00Z", &half);
    let anchored = [("", "GET /a", USED_UP), ("[{ plan: small, anchor_day: 12 }, 2d]", "", "ok")];
    holds(used, MARCH, &anchored);
}

#[test]
fn trials_begin_and_end() {
    let own = [
        ("", "GET /b", INACTIVE),
        ("{ plan: tried }", "", "ok"),
        ("{ days: 6 }", "", "ok"),
        ("[{ requests: 100 }, { days: 1 }]", "", LACKING),
        // Counting began anew with its end.
        ("", "GET /a", "ok"),
    ];
    holds("{}", MARCH, &own);
    // A tenant that is on a plan comes to it without.
    holds("{ plan: small }", MARCH, &[("", "GET /a", "ok"), ("[{ plan: tried }, 8d]", "GET /b", "ok")]);
    let asked = [("", "GET /a", "ok"), ("[{ plan: big, trial_days: 2 }, 2d]", "GET /b", INACTIVE)];
    holds("{ plan: small }", MARCH, &asked);
    holds("{}", MARCH, &[("", "GET /b", INACTIVE), ("[{ plan: tried, trial_days: 0 }, 8d]", "", "ok")]);
    // Days keep the local time: in Berlin this week has an hour less.
    let spring = [
        ("", "GET /b", INACTIVE),
        ("[{ plan: tried }, 6d, { hours: 23 }]", "", "ok"),
        ("{ hours: 1 }", "", LACKING),
    ];
    holds("{ timezone: Europe/Berlin }", "2026-03-28T12:00:00Z", &spring);
}

#[test]
fn subscriptions_are_canceled_paused_and_late() {
    let tenant = "{ plan: tried }";
    holds(tenant, MARCH, &[("", "GET /a", "ok"), ("cancel", "", INACTIVE), ("undo", "", "ok")]);
    let end = [("", "GET /a", "ok"), ("{ cancel: period_end }", "", "ok"), ("{ next: month }", "", INACTIVE)];
    holds(tenant, MARCH, &end);
    holds(
        tenant,
        MARCH,
        &[("", "GET /a", "ok"), ("[{ cancel: period_end }, undo, { next: month }]", "", "ok")],
    );
    let at = [
        ("", "GET /a", "ok"),
        ("[{ cancel: 2026-03-12T00:00:00Z }, { at: 2026-03-12T00:00:00Z }]", "", INACTIVE),
    ];
    holds(tenant, MARCH, &at);
    holds(tenant, MARCH, &[("", "GET /a", "ok"), ("{ pause: true }", "", INACTIVE), ("resume", "", "ok")]);
    let late = [("", "GET /a", "ok"), ("[past_due, 2d]", "", "ok"), ("1d", "", INACTIVE), ("paid", "", "ok")];
    holds(tenant, MARCH, &late);
    let grace = [("", "GET /a", "ok"), ("[{ past_due: { grace_days: 1 } }, 1d]", "", INACTIVE)];
    holds(tenant, MARCH, &grace);
}

#[test]
fn tenants_are_suspended_and_moved() {
    let suspended =
        [("", "GET /a", "ok"), ("suspend", "", "tenant-suspended"), ("{ resume: true }", "", "ok")];
    holds("{ plan: small }", MARCH, &suspended);
    // Both: the suspension first.
    let both = [("", "GET /a", "ok"), ("[pause, suspend, resume]", "", INACTIVE), ("resume", "", "ok")];
    holds("{ plan: small }", MARCH, &both);
    // In Shanghai it is past midnight already.
    let moved = [("", "GET /a", USED_UP), ("{ timezone: Asia/Shanghai }", "", "ok")];
    holds("{ plan: daily, used: { requests: { month: 4, day: 4 } } }", "2026-03-10T20:00:00Z", &moved);
}

#[test]
fn grants_addons_and_overrides_come_on_top() {
    let used = "{ plan: small, used: { requests: 10 } }";
    let granted = [
        ("", "GET /a", USED_UP),
        ("{ grant: { requests: 2 } }", "", "ok"),
        ("", "", "ok"),
        ("", "", USED_UP),
    ];
    holds(used, MARCH, &granted);
    let expires = [
        ("", "GET /a", USED_UP),
        ("{ grant: { requests: { units: 2, expires_at: 2026-03-11T00:00:00Z } } }", "", "ok"),
        ("{ next: day }", "", USED_UP),
    ];
    holds(used, MARCH, &expires);
    let recurring = [
        ("", "GET /a", USED_UP),
        ("{ grant: { requests: { units: 1, recurring: true } } }", "", "ok"),
        ("{ next: month, requests: 10 }", "", "ok"),
        ("", "", USED_UP),
    ];
    holds(used, MARCH, &recurring);
    // Burnt before the plan's: what is left of the month is lost with it, the grant would not have been.
    let first = [
        ("", "GET /a", "ok"),
        (
            "[{ grant: { requests: { units: 5, priority: 1 } } }, { requests: 5 }, { next: month }, { requests: 9 }]",
            "",
            "ok",
        ),
        ("", "", USED_UP),
    ];
    holds("{ plan: small }", MARCH, &first);
    let addon = [
        ("", "GET /b", LACKING),
        ("{ addons: { more: 2 } }", "", "ok"),
        ("{ addons: { more: 0 } }", "", LACKING),
    ];
    holds("{ plan: small }", MARCH, &addon);
    let more = [
        ("", "GET /a", USED_UP),
        ("[{ addons: { more: 1 } }, { requests: 4 }]", "", "ok"),
        ("", "", USED_UP),
    ];
    holds(used, MARCH, &more);
    let set = [
        ("", "GET /a", USED_UP),
        ("{ overrides: { quotas: { requests: { limit: 11 } } } }", "", "ok"),
        ("{ overrides: {} }", "", USED_UP),
    ];
    holds(used, MARCH, &set);
}

#[test]
fn a_spend_cap_ends_what_is_billed() {
    let used = "{ plan: billed, used: { requests: 4 } }";
    let reached = [("", "GET /a", "ok"), ("{ requests: 3 }", "", USED_UP), ("{ next: month }", "", "ok")];
    holds(used, MARCH, &reached);
    // What was used before the case counts as spent, too; what is spent stays so where counting begins anew.
    holds("{ plan: billed, used: { requests: 8 } }", MARCH, &[("", "GET /a", USED_UP)]);
    let raised = [
        ("", "GET /a", USED_UP),
        ("{ overrides: { spend_cap: \"0.40\" } }", "", "ok"),
        ("", "", USED_UP),
        ("{ overrides: { spend_cap: unlimited } }", "", "ok"),
        ("{ overrides: {} }", "", USED_UP),
    ];
    holds("{ plan: billed, used: { requests: 8 } }", MARCH, &raised);
    let failed = fails("{ plan: billed, used: { requests: 8 } }", MARCH, &[("", "GET /a", "ok")]);
    let reason = format!("{failed:?}");
    assert!(reason.contains("the spend cap of 0.30 EUR a month is reached"), "{reason}");
}

#[test]
fn windows_begin_anew_where_the_tenant_has_them() {
    let windows = [
        ("", "GET /a", "ok"),
        ("", "", "ok"),
        ("", "", USED_UP),
        ("{ next: hour, requests: 1 }", "", "ok"),
        ("{ next: hour }", "", USED_UP),
        ("{ next: day, requests: 1 }", "", "ok"),
        ("{ next: day }", "", USED_UP),
        // The tenth of March is a Tuesday.
        ("{ next: week }", "", "ok"),
    ];
    holds("{ plan: windows }", MARCH, &windows);
    let anchored = "{ plan: small, timezone: Asia/Shanghai, anchor_day: 31, used: { requests: 10 } }";
    let month = [("", "GET /a", USED_UP), ("{ at: 2026-02-28T00:00:00+08:00 }", "", "ok")];
    holds(anchored, "2026-02-27T23:59:59+08:00", &month);
    let next = [
        ("", "GET /a", USED_UP),
        ("{ next: month }", "", "ok"),
        ("{ days: 30, requests: 100 }", "", USED_UP),
        ("1d", "", "ok"),
    ];
    holds(anchored, "2026-02-27T23:59:59+08:00", &next);
    // A window that only the new plan limits has counted before.
    let before = [("", "GET /a", "ok"), ("[{ requests: 3 }, { plan: daily }]", "", USED_UP)];
    holds(
        "{ plan: big }",
        MARCH,
        &[("", "GET /a", "ok"), ("[{ requests: 3 }, { plan: daily, at: now }]", "", USED_UP)],
    );
    holds("{ plan: small }", MARCH, &before);
    // Without a tenant there is UTC.
    let anonymous = "cases:\n- name: x\n  request: GET /open\n  expect: { allow: true }\n  then:\n  - after: { next: month }\n    \
                     request: GET /a\n    expect: { deny: credential-missing }\n";
    assert!(results(anonymous)[0].passed);
}

#[test]
fn overage_is_had_last_and_a_lower_cap_does_not_give_it_again() {
    let soft = [
        ("", "GET /a", "ok"),
        ("{ requests: 6 }", "", "ok"),
        ("", "", USED_UP),
        ("{ plan: small }", "", "ok"),
        ("", "", "ok"),
        ("", "", USED_UP),
    ];
    holds("{ plan: soft }", MARCH, &soft);
    // Five of the plan and three beyond it are eight of ten; and back again nothing more.
    let back = [
        ("", "GET /a", "ok"),
        ("{ requests: 7 }", "", USED_UP),
        ("[{ plan: small }, { plan: soft }]", "", USED_UP),
    ];
    holds("{ plan: soft }", MARCH, &back);
}

#[test]
fn what_is_left_rolls_over_for_a_month() {
    let used = "{ plan: rolls, used: { requests: 6 } }";
    // Of the four that are left (at most half of ten) all come along.
    let rolled = [("", "GET /a", "ok"), ("[{ next: month }, { requests: 12 }]", "", "ok"), ("", "", USED_UP)];
    holds(used, MARCH, &rolled);
    let unused = [
        ("", "GET /a", "ok"),
        ("[{ next: month }, { next: month }, { requests: 14 }]", "", "ok"),
        ("", "", USED_UP),
    ];
    holds(used, MARCH, &unused);
    // The same over several months at once.
    let far = [
        ("", "GET /a", "ok"),
        ("[{ at: 2026-12-24T00:00:00Z }, { requests: 14 }]", "", "ok"),
        ("", "", USED_UP),
    ];
    holds(used, MARCH, &far);
}

#[test]
fn what_cannot_be_carried_out_fails_the_step_and_names_its_line() {
    let failed =
        fails("{ plan: small }", MARCH, &[("", "GET /a", "ok"), ("resume", "", "ok"), ("", "", "ok")]);
    assert_eq!((failed.line, failed.step, failed.left), (9, 1, 1));
    let reason = failed.reason.unwrap();
    assert!(reason.starts_with("`resume` cannot be carried out: the subscription is `active`"), "{reason}");
    assert_eq!(failed.after, ["resume"]);
    for (tenant, word, why) in [
        ("{}", "pause", "the subscription is `none`"),
        ("{ plan: small }", "undo", "there is nothing to undo"),
        ("{ plan: small, state: canceled }", "paid", "the subscription is `canceled`"),
        ("{ plan: small }", "{ addons: { more: 0 } }", "does not have the add-on"),
        ("{ plan: small }", "{ plan: big, at: 2026-03-01T00:00:00Z }", "has passed"),
        ("{ plan: small }", "[{ next: month }, { at: 2026-03-20T00:00:00Z }]", "the clock only goes forward"),
        ("{ plan: small }", "{ at: 2099-01-01T00:00:00Z }", "at most ten years"),
    ] {
        let steps = [("", "GET /open", "ok"), (word, "", "ok")];
        let reason = fails(tenant, MARCH, &steps).reason.unwrap();
        assert!(reason.contains(why), "{word}: {reason}");
    }
}

#[test]
fn the_ends_of_time_are_reached_by_no_case() {
    for at in ["9999-12-30T00:00:00Z", "-009999-02-01T00:00:00Z", "0000-01-01T00:00:00Z"] {
        for word in ["{ next: month }", "{ days: 3650 }", "{ next: week, days: 1 }"] {
            let _ = results(&sequence("{ plan: rolls }", at, &[("", "GET /a", "ok"), (word, "", "ok")]));
        }
    }
}

#[test]
fn a_request_may_be_given_in_its_parts() {
    let cases = "cases:\n- name: x\n  tenant: { plan: small, attributes: { region: eu, seats: 3, beta: true } }\n  \
                 request: { method: GET, path: /b/, query: \"q=1\", headers: { X-N: 3, b: c }, client: \"::1\" }\n  expect: { allow: true }\n";
    let failed = results(cases).remove(0).failed.unwrap();
    assert_eq!(failed.request, "GET /b/?q=1, b: c, x-n: 3, from ::1");
    let tenant = failed.tenant.unwrap();
    let shown: Vec<_> = tenant.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["beta=true", "region=eu", "seats=3"]);
    let line = "cases:\n- name: x\n  tenant: { plan: small }\n  request: \"GET /a?x=1#part\"\n  expect: { allow: true }\n";
    assert!(results(line)[0].passed, "a query says nothing of the route");
}

#[test]
fn many_cases_keep_their_order_on_all_cores() {
    let mut text = "cases:\n".to_owned();
    for number in 0..1000 {
        text.push_str(&format!(
            "- {{ name: c{number}, tenant: {{ plan: small, used: {{ requests: {number} }} }}, request: GET /a, expect: {{ allow: true }} }}\n"
        ));
    }
    let results = results(&text);
    assert_eq!(results.len(), 1000);
    for (number, result) in results.iter().enumerate() {
        assert_eq!((result.name.as_str(), result.passed), (format!("c{number}").as_str(), number < 10));
    }
}

#[test]
fn coverage_is_of_what_cases_look_at() {
    let cases = "cases:\n- { name: a, tenant: { plan: small }, request: GET /a, expect: { allow: true } }\n\
                 - { name: b, tenant: { plan: small, state: paused }, request: GET /b, expect: { deny: subscription-inactive } }\n\
                 - { name: c, tenant: { plan: big, used: { requests: 99 } }, request: GET /c, expect: { deny: quota-exhausted } }\n\
                 - { name: d, request: GET /nowhere, expect: { deny: credential-missing } }\n";
    let sources = sources(cases);
    let catalog = catalog(&sources);
    let found = super::Coverage::of(&catalog, &results(cases));
    let tried = |things: &[super::Tried]| -> Vec<String> {
        things
            .iter()
            .filter(|thing| thing.is_tried())
            .map(|thing| format!("{} {:?}", thing.name, thing.answers))
            .collect()
    };
    assert_eq!(
        tried(&found.routes),
        ["GET /a {\"allow\": 1}", "GET /b {\"subscription-inactive\": 1}", "GET /c {\"quota-exhausted\": 1}"]
    );
    assert_eq!(tried(&found.features), ["chat {\"allow\": 1}"], "what was not asked for was not tried");
    assert_eq!(
        tried(&found.plans),
        ["big {\"quota-exhausted\": 1}", "small {\"allow\": 1, \"subscription-inactive\": 1}"]
    );
    assert_eq!((found.tried(), found.percent()), ((3 + 1 + 2, 5 + 2 + 9), 37));
    assert_eq!(super::percent((0, 0)), 100);
    assert_eq!(super::percent((999, 1000)), 99);
}
