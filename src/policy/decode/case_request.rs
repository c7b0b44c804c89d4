//! The request of a case: `GET /v1/messages?page=2`, or a map where more of it matters.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Fields, named, route_text, scalar};
use crate::domain::condition::hidden;
use crate::policy::{
    case::Request,
    diagnostic::Findings,
    schema,
    tree::{Node, Value},
};

/// Reads a request.
pub(super) fn decode(node: &Node, findings: &mut Findings<'_>) -> Option<Request> {
    if let Value::Map(_) = &node.value {
        return whole(node, findings);
    }
    let text = scalar::text(node, "a method and a path for `request`", findings)?;
    let mut parts = text.split_ascii_whitespace();
    let (Some(method), Some(target), None) = (parts.next(), parts.next(), parts.next()) else {
        let message = format!("expected a method, a space and a path, found {}", node.describe());
        findings.error("invalid-request", node.place, message);
        return None;
    };
    let method = is_method(method, node, findings)?;
    Some(request(method, target))
}

fn request(method: &str, target: &str) -> Request {
    // A fragment is never sent.
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    Request {
        method: method.to_owned(),
        path: route_text::canonical(path),
        shown: path.to_owned(),
        query,
        headers: BTreeMap::new(),
        seen: Vec::new(),
        client: None,
    }
}

fn is_method<'t>(method: &'t str, node: &Node, findings: &mut Findings<'_>) -> Option<&'t str> {
    if !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_')) {
        return Some(method);
    }
    let help = format!("write `{}`", method.to_ascii_uppercase());
    let shown: String = method.chars().take(80).collect();
    findings.error_help(
        "invalid-request",
        node.place,
        format!("`{shown}` is not one upper-case method"),
        Some(help).filter(|_| method.bytes().all(|b| b.is_ascii_alphabetic()) && !method.is_empty()),
    );
    None
}

/// The form that names every part.
fn whole(node: &Node, findings: &mut Findings<'_>) -> Option<Request> {
    let fields = Fields::read(node, "a request", schema::Request::KEYS, findings)?;
    let method = fields.need("method", "a method such as `GET`", findings).and_then(|node| {
        let text = scalar::text(node, "a method such as `GET`", findings)?;
        is_method(text, node, findings)
    });
    let path = fields.need("path", "a path such as `/v1/messages/1`", findings).and_then(|node| {
        let text = scalar::text(node, "a path such as `/v1/messages/1`", findings)?;
        if text.contains(char::is_whitespace) {
            let help = "a space in a path is written `%20`".to_owned();
            findings.error_help("invalid-request", node.place, "a path has no spaces", help);
            return None;
        }
        Some(text)
    });
    let query = match fields.get("query") {
        Some(node) => query(node, path, findings).map(Some),
        None => Some(None),
    };
    let headers = fields.get("headers").map_or(Some(BTreeMap::new()), |node| headers(node, findings));
    let client = match fields.get("client") {
        Some(node) => client(node, findings).map(Some),
        None => Some(None),
    };
    let mut found = request(method?, path?);
    found.query = query?.or(found.query);
    found.headers = headers?;
    let seen = found.headers.iter().filter(|(name, _)| hidden(name).is_none());
    found.seen = seen.map(|(name, value)| (name.clone(), value.clone())).collect();
    found.client = client?;
    Some(found)
}

fn query(node: &Node, path: Option<&str>, findings: &mut Findings<'_>) -> Option<String> {
    let text = match &node.value {
        // `1` alone is a query, too.
        Value::Scalar { text, .. } if !node.is_null() => text.as_str(),
        _ => scalar::text(node, "a query such as `page=2`", findings)?,
    };
    if path.is_some_and(|path| path.contains('?')) {
        findings.error("contradiction", node.place, "the path has a query already: give one of the two");
        return None;
    }
    if let Some(rest) = text.strip_prefix('?') {
        let help = format!("write `{rest}`");
        findings.error_help("invalid-request", node.place, "a query stands without its question mark", help);
        return None;
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        findings.error("invalid-request", node.place, "a query has neither spaces nor `#`");
        return None;
    }
    Some(text.to_owned())
}

fn headers(node: &Node, findings: &mut Findings<'_>) -> Option<BTreeMap<String, String>> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let (mut out, mut good) = (BTreeMap::new(), true);
    for (name, node) in named(node, "`headers`", findings) {
        if name.value.is_empty() || !name.value.bytes().all(token) {
            let shown: String = name.value.chars().take(80).collect();
            findings.error("invalid-request", name.place, format!("`{shown}` is not a header's name"));
            good = false;
            continue;
        }
        let value = match &node.value {
            // Whatever a number or a word means in YAML, it is sent as it was written.
            Value::Scalar { text, .. } if !node.is_null() && !text.contains(char::is_control) => text,
            _ => {
                let message =
                    format!("expected a text without control characters, found {}", node.describe());
                findings.error("invalid-request", node.place, message);
                good = false;
                continue;
            }
        };
        if out.insert(name.value.to_ascii_lowercase(), value.clone()).is_some() {
            let message = format!("a second `{}`: the case of letters says nothing", name.value);
            findings.error("duplicate-name", name.place, message);
            good = false;
        }
    }
    good.then_some(out)
}

fn client(node: &Node, findings: &mut Findings<'_>) -> Option<IpAddr> {
    let parsed = match &node.value {
        Value::Scalar { text, .. } => text.parse().ok(),
        _ => None,
    };
    if parsed.is_none() {
        let message = format!("expected an address such as `10.0.0.1`, found {}", node.describe());
        findings.error("invalid-request", node.place, message);
    }
    parsed
}
