//! What is read, typed, bounded and refused; and what the rest comes to.

mod evaluation;
mod hostile;

use super::{check::compile, eval::Program, *};
use crate::domain::condition::{Amount, ConditionError, HeaderLookup, Predicate, RequestFacts, TenantFacts};

fn declared() -> BTreeMap<String, AttributeTerms> {
    let terms = |kind, values: &[&str]| AttributeTerms {
        kind,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    BTreeMap::from([
        ("region".to_owned(), terms(AttributeKind::Text, &["eu", "us"])),
        ("level".to_owned(), terms(AttributeKind::Number, &[])),
        ("beta".to_owned(), terms(AttributeKind::Flag, &[])),
    ])
}

/// Compiles for the route `/v1/{id}/{*rest}`.
fn compiled(text: &str, declared: bool, wanted: Wanted) -> (Option<Program>, Vec<Mistake>) {
    let path = Pattern::parse("/v1/{id}/{*rest}").unwrap();
    let attributes = self::declared();
    let attributes = declared.then_some(&attributes);
    compile(text, Scope { path: Some(&path), attributes, public: false }, wanted)
}

#[test]
fn what_is_right_is_taken() {
    for text in [
        "true",
        "tenant.region == 'eu'",
        "\"eu\" == tenant.region && !tenant.beta",
        "request.headers['x-n'] == 'a' || request.headers.host == 'b'",
        "'x-n' in request.headers && !('y' in request.query)",
        "int(request.headers['x-n']) * 2 > 5",
        "has(tenant.region) && has(request.query.page)",
        "request.headers.exists(h, h.startsWith('x-'))",
        "request.headers.exists(h, request.headers[h] == 'a')",
        "request.query.all(k, k in ['a', 'b'])",
        "['a', 'b'].exists(x, x == tenant.plan)",
        "[1, 2].exists_one(x, x > 1)",
        "[1, 2].map(x, x * 2) == [2, 4]",
        "request.headers.filter(h, h == 'a') == ['a']",
        "[1, 2].all(request, request > 0)",
        "request.time.getHours('Europe/Berlin') < 8",
        "request.time < timestamp('2026-01-01T00:00:00Z')",
        "request.time - timestamp('2026-01-01T00:00:00Z') > duration('1h')",
        "request.time + duration('1h') > request.time",
        "client.address.inCidr('10.0.0.0/8') || inCidr(client.address, 'fd00::/8')",
        "request.params.id == '5' && request.params.rest.startsWith('a')",
        "1 == 1.0 && 1 < 1.5",
        "--1 == 1",
        "request.path.matches('^/v1/[a-z]+$')",
        "tenant.plan in ['a', 'b'] ? true : false",
        "{'a': 1, 'b': 2}[tenant.plan] == 1",
        "size(request.headers) > 3 && request.path.size() < 10",
        "tenant.level % 2 == 0",
        "string(tenant.level) == '5' && bool('true') && double('1.5') > 1.0",
        "request.path + request.method == 'a'",
    ] {
        let (program, mistakes) = compiled(text, true, Wanted::Condition);
        assert!(program.is_some() && mistakes.is_empty(), "{text}: {mistakes:?}");
    }
    for text in ["5", "int(request.query.n)", "size(request.path) / 2", "tenant.level", "true ? 1 : 2"] {
        let (program, mistakes) = compiled(text, true, Wanted::Amount);
        assert!(program.is_some() && mistakes.is_empty(), "{text}: {mistakes:?}");
    }
}

#[test]
fn what_is_wrong_is_marked() {
    for (text, code, marked) in [
        ("tenant.regoin == 'eu'", "unknown-attribute", "regoin"),
        ("request.metod == 'GET'", "unknown-variable", "metod"),
        ("client.adress == 'a'", "unknown-variable", "adress"),
        ("request.query.p == '\u{e9}' && unknwn", "unknown-variable", "unknwn"),
        ("request.headers['X-N'] == 'a'", "invalid-header", "'X-N'"),
        ("request.headers['a b'] == 'a'", "invalid-header", "'a b'"),
        ("'cookie' in request.headers", "hidden-header", "'cookie'"),
        ("request.headers['x-plangate-tenant'] == 'a'", "hidden-header", "'x-plangate-tenant'"),
        ("intt(request.query.n) > 5", "unknown-function", "intt"),
        ("request.path.startsWith(5)", "condition-type", "startsWith"),
        ("request.time.getHours('Mars') < 8", "invalid-condition", "'Mars'"),
        ("request.time.getHours(tenant.plan) < 8", "condition-cost", "."),
        ("request.time < timestamp('soon')", "invalid-condition", "'soon'"),
        ("duration('long') < duration('1h')", "invalid-condition", "'long'"),
        ("inCidr(client.address, '10.0.0.1')", "invalid-condition", "'10.0.0.1'"),
        ("request.params.nope == '1'", "unknown-variable", "nope"),
        ("has(request.params.id)", "condition-type", "id"),
        ("has(tenant.plan)", "condition-type", "plan"),
        ("1 + 1", "condition-type", "1 + 1"),
        ("1 + 1.0 == 2.0", "condition-type", "+"),
        ("'a' && true", "condition-type", "'a'"),
        ("tenant.region == 5", "condition-type", "=="),
        ("tenant.plan == null", "invalid-condition", "null"),
        ("b'a' == b'a'", "invalid-condition", "b"),
        ("1u == 1u", "invalid-condition", "1u"),
        ("request.path.matches(request.query.p)", "condition-cost", "matches"),
        ("request.path.matches('(')", "invalid-condition", "'('"),
        ("request == 'a'", "condition-type", "request"),
        ("true && ", "invalid-condition", "&"),
        ("tenant b", "invalid-condition", "b"),
        ("request.query.exists(a, request.headers.exists(b, a == b))", "condition-cost", "("),
        ("[[1].all(x, true)].all(y, y)", "condition-cost", "("),
        ("tenant.plan.split('.').exists(x, x == 'a')", "unknown-function", "split"),
        ("request.headers.map(h, h + 'a') == ['a']", "condition-cost", "+"),
        ("[1, 2].map(x, x).exists(y, y == 1)", "condition-cost", "("),
        ("{1: 2}[1] == 2", "condition-type", "1"),
        ("request.path.foo == 'a'", "condition-type", "foo"),
        ("tenant['region'] == 'eu'", "condition-type", "'region'"),
        ("dyn(1) == 1", "unknown-function", "dyn"),
        ("type(1) == int", "unknown-function", "type"),
    ] {
        let (program, mistakes) = compiled(text, true, Wanted::Condition);
        let Some(first) = mistakes.first() else { panic!("{text}: nothing is wrong") };
        assert_eq!((first.code, text.get(first.span.clone())), (code, Some(marked)), "{text}: {mistakes:?}");
        assert!(program.is_none() && !first.warning, "{text}");
    }
    let (_, mistakes) = compiled("5.5", true, Wanted::Amount);
    assert_eq!(mistakes[0].help.as_deref(), Some("write `int(...)` around it"));
}

#[test]
fn without_a_list_of_attributes_any_may_be_used() {
    assert!(compiled("tenant.anything == 5 && tenant.else", false, Wanted::Condition).0.is_some());
    let (program, mistakes) = compiled("tenant.region in ['eu', 'uk']", true, Wanted::Condition);
    assert!(program.is_some());
    assert!(
        mistakes.len() == 1 && mistakes[0].warning && mistakes[0].code == "unknown-value",
        "{mistakes:?}"
    );
}

#[test]
fn a_public_route_asks_nothing_of_the_tenant() {
    let path = Pattern::parse("/v1").unwrap();
    for (text, good) in [
        ("request.query.key == 'a'", true),
        ("tenant.plan == 'a'", false),
        ("has(tenant.region)", false),
        ("client.address == 'a' && tenant.id == 'b'", false),
    ] {
        let scope = Scope { path: Some(&path), attributes: None, public: true };
        assert_eq!(compile(text, scope, Wanted::Condition).0.is_some(), good, "{text}");
    }
}
