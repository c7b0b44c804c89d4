//! Which role a call needs: one rule for every operation, by its method and path.

use http::Method;

use crate::domain::role::Role;

/// The rules; the first that fits holds. `*` stands for any method or one segment of a path, `**` for any rest, also none.
///
/// A new family of paths needs a rule here: a test fails for an operation that has none, and until then only an
/// administrator may call it.
const RULES: &[(&str, &str, Role)] = &[
    // Whatever is read, and what asks what would be.
    ("GET", "/**", Role::Viewer),
    ("POST", "/v1/check", Role::Viewer),
    ("POST", "/v1/policy/diff", Role::Viewer),
    // What concerns the whole installation.
    ("*", "/v1/billing/**/replay", Role::Admin),
    ("*", "/v1/billing/**/retry", Role::Admin),
    ("*", "/v1/nodes/**", Role::Admin),
    ("*", "/v1/policy/**", Role::Admin),
    ("*", "/v1/tokens/**", Role::Admin),
    ("*", "/v1/webhooks/**", Role::Admin),
    // What concerns a tenant.
    ("*", "/v1/billing/**", Role::Operator),
    ("*", "/v1/tenants/**", Role::Operator),
    ("*", "/v1/usage/**", Role::Operator),
];

/// The role that a rule names, if one fits.
pub(super) fn declared(method: &Method, path: &str) -> Option<Role> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let fits = |(of, pattern, _): &&(&str, &str, Role)| {
        let pattern: Vec<&str> = pattern.trim_start_matches('/').split('/').collect();
        (*of == "*" || *of == method) && covers(&pattern, &segments)
    };
    RULES.iter().find(fits).map(|(_, _, role)| *role)
}

/// The role that a call needs.
pub(super) fn needed(method: &Method, path: &str) -> Role {
    declared(method, path).unwrap_or(Role::Admin)
}

fn covers(pattern: &[&str], segments: &[&str]) -> bool {
    match (pattern.split_first(), segments.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), first) => {
            covers(rest, segments) || first.is_some_and(|(_, further)| covers(pattern, further))
        }
        (Some((one, rest)), Some((first, further))) => (*one == "*" || one == first) && covers(rest, further),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_role() {
        let mut operations = 0;
        for (path, item) in &crate::admin::document().paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
                (Method::PATCH, &item.patch),
                (Method::HEAD, &item.head),
                (Method::OPTIONS, &item.options),
                (Method::TRACE, &item.trace),
            ] {
                if operation.is_some() {
                    operations += 1;
                    assert!(declared(&method, path).is_some(), "add a rule for {method} {path}");
                }
            }
        }
        assert!(operations > 40, "{operations}");
    }

    #[test]
    fn what_each_role_may_do() {
        for (method, path, role) in [
            ("GET", "/v1/tenants", Role::Viewer),
            ("HEAD", "/v1/audit/head", Role::Viewer),
            ("GET", "/v1/tokens", Role::Viewer),
            ("POST", "/v1/check", Role::Viewer),
            ("POST", "/v1/policy/diff", Role::Viewer),
            ("POST", "/v1/policy/apply", Role::Admin),
            ("POST", "/v1/nodes/{name}/lost", Role::Admin),
            ("POST", "/v1/tokens", Role::Admin),
            ("DELETE", "/v1/tokens/{token}", Role::Admin),
            ("POST", "/v1/webhooks/{id}/replay", Role::Admin),
            ("PUT", "/v1/tenants/{tenant}", Role::Operator),
            ("DELETE", "/v1/tenants/{tenant}/keys/{key}", Role::Operator),
            ("POST", "/v1/usage/events", Role::Operator),
            ("PUT", "/v1/billing/customers/{customer}", Role::Operator),
            ("POST", "/v1/billing/events/{event}/replay", Role::Admin),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(declared(&method, path), Some(role), "{method} {path}");
        }
        assert_eq!(declared(&Method::POST, "/v1/checks"), None);
        assert_eq!(needed(&Method::POST, "/v1/something/new"), Role::Admin, "until somebody says otherwise");
    }
}
