//! What is read, typed, bounded and refused.

use super::{check::compile, *};

fn explore(text: &str) -> String {
    let pattern = Pattern::parse("/v1/{id}/{*rest}").unwrap();
    let scope = Scope { path: Some(&pattern), attributes: None, public: false };
    let (program, mistakes) = compile(text, scope, Wanted::Condition);
    let mut out = format!("{text}\n  -> {}", if program.is_some() { "ok" } else { "no" });
    for Mistake { code, span, message, help, .. } in mistakes {
        let marked = text.get(span.clone()).unwrap_or("?");
        out.push_str(&format!("\n  {code} {span:?} [{marked}] {message} / {help:?}"));
    }
    out
}

#[test]
fn look() {
    for text in [
        "tenant.region == 'eu'",
        "tenant.regoin == 'eu' && request.metod == 'GET'",
        "request.headers['x-n'] == 'a'",
        "'x-n' in request.headers",
        "request.headers['X-N'] == 'a'",
        "request.headers['cookie'] == 'a'",
        "int(request.headers['x-n']) * 2 > 5",
        "intt(request.headers['x-n']) > 5",
        "request.path.startWith('/a')",
        "request.path.startsWith(5)",
        "has(tenant.region)",
        "has(request.query.page)",
        "request.query.page == 'é' && unknwn",
        "request.headers.exists(h, h.startsWith('x-'))",
        "request.headers.exists(h, request.headers[h] == 'a')",
        "['a','b'].exists(x, x == tenant.plan)",
        "request.time.getHours('Europe/Berlin') < 8",
        "request.time.getHours('Europe/Berlim') < 8",
        "request.time < timestamp('2026-01-01T00:00:00Z')",
        "request.time < timestamp('2026-01-01')",
        "client.address.inCidr('10.0.0.0/8')",
        "inCidr(client.address, '10.0.0.1')",
        "request.params.id == '5' || request.params.nope == '1'",
        "1 + 1",
        "1 == 1.0",
        "1 + 1.0 == 2.0",
        "true && ",
        "a b",
        "(1",
        "'abc",
        "request.path.matches('^/v1/[a-z]+$')",
        "request.path.matches('[')",
        "request.path.matches(tenant.x)",
        "request == 1",
        "tenant.plan in ['a', 'b'] ? true : false",
        "tenant.plan == null",
        "99999999999999999999 == 1",
        "request.query.exists(a, request.headers.exists(b, a == b))",
        "size(request.headers) > 3",
        "{'a': 1}[tenant.plan] == 1",
        "!tenant.beta",
        "--1 == 1",
        "request.time + duration('1h') > request.time",
        "request.headers.map(h, h + 'a') == ['a']",
        "request.headers.filter(h, h == 'a') == ['a']",
        "'\\z' == 'a'",
        "a.b.c == 1",
        "[1,2].all(request, request > 0)",
        "dyn(1) == 1",
        "optional.of(1).hasValue()",
        "google.protobuf.Foo{a: 1} == 1",
        "request.?path == 'a'",
        "size('a', 'b') == 1",
    ] {
        println!("{}", explore(text));
    }
}
