//! What conditions come to for a request.

use super::*;
use crate::domain::{
    attributes::{AttributeName, AttributeValue, Attributes},
    time::UnixMillis,
    units::Units,
};

/// Asks as `GET /v1/caf%C3%A9/a/b?n=5&page=a+b%21&n=6&empty` from 10.1.2.3, at 2026-03-01T07:30:00.250Z.
fn with<T>(headers: &[(&str, &str)], ask: impl FnOnce(&RequestFacts<'_>) -> T) -> T {
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let named = |name: &str, value| (AttributeName::parse(name).unwrap(), value);
    let attributes = Attributes::new([
        named("region", AttributeValue::text("eu").unwrap()),
        named("level", AttributeValue::Number(7)),
        named("beta", AttributeValue::Flag(true)),
    ])
    .unwrap();
    ask(&RequestFacts {
        method: "GET",
        path: "/v1/caf%C3%A9/a/b",
        query: "n=5&page=a+b%21&n=6&empty",
        headers: &headers as &(dyn HeaderLookup + Sync),
        client: Some("10.1.2.3".parse().unwrap()),
        now: UnixMillis(1_772_350_200_250),
        tenant: Some(TenantFacts { id: "acme", plan: "pro", attributes: Some(&attributes) }),
    })
}

fn holds(text: &str, headers: &[(&str, &str)]) -> Result<bool, ConditionError> {
    let (program, mistakes) = compiled(text, false, Wanted::Condition);
    let program = program.unwrap_or_else(|| panic!("{text}: {mistakes:?}"));
    with(headers, |facts| program.holds(facts))
}

#[test]
fn conditions_hold_or_not() {
    let headers = [("x-n", "21"), ("x-list", "a"), ("x-list", "b"), ("cookie", "secret"), ("host", "h")];
    for (text, out) in [
        ("request.method == 'GET'", true),
        ("request.path == '/v1/caf%C3%A9/a/b'", true),
        ("request.params.id == 'caf\u{e9}'", true),
        ("request.params.rest == 'a/b'", true),
        ("request.params == {'id': 'caf\u{e9}', 'rest': 'a/b'}", true),
        ("request.query.n == '5'", true),
        ("request.query['page'] == 'a b!'", true),
        ("request.query.empty == '' && !('none' in request.query)", true),
        ("has(request.query.page) && !has(request.query.none)", true),
        ("size(request.query) == 3", true),
        ("request.query.exists(k, request.query[k] == '5')", true),
        ("request.headers['x-list'] == 'a, b'", true),
        ("request.headers.host == 'h'", true),
        ("int(request.headers['x-n']) * 2 == 42", true),
        ("request.headers.exists(h, h == 'cookie')", false),
        ("size(request.headers) == 3", true),
        ("'x-n' in request.headers && !('x-m' in request.headers)", true),
        ("client.address == '10.1.2.3' && client.address.inCidr('10.0.0.0/8')", true),
        ("inCidr(client.address, '192.168.0.0/16')", false),
        ("request.time.getHours() == 7 && request.time.getHours('Europe/Berlin') == 8", true),
        ("request.time > timestamp('2026-03-01T07:30:00Z')", true),
        ("request.time == timestamp('2026-03-01T07:30:00.250Z')", true),
        ("tenant.id == 'acme' && tenant.plan == 'pro'", true),
        ("tenant.region == 'eu' && tenant.level == 7 && tenant.beta", true),
        ("has(tenant.region) && !has(tenant.industry)", true),
        ("!has(tenant.industry) || tenant.industry == 'x'", true),
        ("request.path.matches('^/v1/[^/]+/a') && !request.path.matches('^/v2')", true),
        ("request.headers['x-n'].matches('^\\\\d{2}$')", true),
        ("['free', 'pro'].exists(p, p == tenant.plan)", true),
        ("{'free': 1, 'pro': 2}[tenant.plan] == 2", true),
        // As CEL has it: one side that decides makes an error of the other one's not matter.
        ("request.headers['none'] == 'a' || true", true),
        ("false && request.headers['none'] == 'a'", false),
    ] {
        assert_eq!(holds(text, &headers), Ok(out), "{text}");
    }
}

#[test]
fn what_cannot_be_told_says_so_without_what_was_sent() {
    let long = "x".repeat(9000);
    let headers = [("x-word", "se\u{301}cret"), ("x-long", long.as_str()), ("x-big", "99999999999999999999")];
    for (text, why) in [
        ("request.headers['x-none'] == 'a'", "`request.headers['x-none']` is missing"),
        ("request.query.none == 'a'", "`request.query['none']` is missing"),
        ("tenant.industry == 'a'", "`tenant.industry` is missing"),
        ("request.headers['x-long'] == 'a'", "`request.headers['x-long']` is too long"),
        ("int(request.headers['x-word']) == 1", "`int(...)` of what is no whole number"),
        ("int(request.headers['x-big']) == 1", "`int(...)` of what is no whole number"),
        ("int(request.query.empty) == 1", "`int(...)` of what is no whole number"),
        ("double(request.headers['x-word']) == 1.0", "`double(...)` of what is no number"),
        ("bool(request.headers['x-word'])", "`bool(...)` of what is neither `true` nor `false`"),
        ("timestamp(request.headers['x-word']) < request.time", "`timestamp(...)` of what is no instant"),
        ("inCidr(request.headers['x-word'], '10.0.0.0/8')", "`inCidr(...)` of what is no address"),
        ("1 / (tenant.level - 7) == 1", "a division by zero"),
        ("1 % (tenant.level - 7) == 1", "a division by zero"),
        ("tenant.level * 9223372036854775807 > 1", "a number is too large"),
        ("{'free': 1}[tenant.plan] == 1", "a map has no such key"),
        ("[1][tenant.level] == 1", "a list has no such place"),
        ("tenant.region > 5", "a value is of another kind than is expected of it"),
        ("tenant.level", "the condition is neither true nor false"),
    ] {
        let said = holds(text, &headers).unwrap_err().to_string();
        assert_eq!(said, why, "{text}");
        assert!(!said.contains("cret") && !said.contains("999"), "{said}");
    }
}

#[test]
fn maps_that_are_looked_through_are_bounded() {
    let names: Vec<String> = (0..65).map(|n| format!("x-{n}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let text = "request.headers.all(h, h.startsWith('x-'))";
    assert_eq!(holds(text, &headers[..64]), Ok(true));
    assert_eq!(holds(text, &headers), Err(ConditionError::TooMany("request.headers".into())));
    assert_eq!(holds("request.headers['x-64'] == '1'", &headers), Ok(true), "one is looked up all the same");
}

#[test]
fn what_is_not_known_of_a_request_is_missing() {
    let (program, _) = compiled("client.address == 'a'", false, Wanted::Condition);
    let (plan, _) = compiled("tenant.plan == 'a'", false, Wanted::Condition);
    with(&[], |facts| {
        let facts = RequestFacts { client: None, tenant: None, ..*facts };
        let missing = |what: &str| Err(ConditionError::Missing(what.into()));
        assert_eq!(program.unwrap().holds(&facts), missing("client.address"));
        assert_eq!(plan.unwrap().holds(&facts), missing("tenant.plan"));
    });
}

#[test]
fn amounts_are_numbers_of_units() {
    let units = |text: &str, value: &str| {
        let (program, mistakes) = compiled(text, false, Wanted::Amount);
        let program = program.unwrap_or_else(|| panic!("{text}: {mistakes:?}"));
        with(&[("x-n", value)], |facts| program.units(facts))
    };
    let text = "int(request.headers['x-n']) * 2";
    for (value, out) in [("0", 0), ("7", 14), ("4503599627370495", 9_007_199_254_740_990)] {
        assert_eq!(units(text, value), Ok(Units::saturating(out)), "{value}");
    }
    for value in ["-1", "4503599627370496", "4611686018427387903"] {
        assert_eq!(units(text, value), Err(ConditionError::OutOfRange), "{value}");
    }
    assert!(matches!(units(text, "9223372036854775807"), Err(ConditionError::Failed(_))));
    assert!(matches!(units("tenant.region", "1"), Err(ConditionError::Failed(_))));
}
