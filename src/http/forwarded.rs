//! What the upstream is told of the client: nothing that the client could have made up itself.

use std::fmt::Write as _;

use ::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{FORWARDED, HOST},
};

use crate::pipeline::{
    names::{self, folds_to},
    request::{Client, Subject},
};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Removes what a client may not say: Plangate's own names in every spelling that some server folds into one, and, where
/// the peer is not trusted, the names of proxies.
pub(super) fn remove_forged(headers: &mut HeaderMap, trusted: bool) {
    names::remove(headers, |name| is_forged(name, trusted));
}

fn is_forged(name: &str, trusted: bool) -> bool {
    if names::is_own(name) {
        return true;
    }
    let of_proxies = folds_to(name, "xforwarded", true)
        || folds_to(name, "xrealip", false)
        || folds_to(name, "forwarded", false);
    // A trusted proxy spells them right; any other spelling came through it from its client.
    let well_spelt = name.starts_with("x-forwarded-") && !name.contains('_')
        || name == "x-real-ip"
        || name == FORWARDED.as_str();
    of_proxies && !(trusted && well_spelt)
}

/// Says who the client is and for whom the request is made. What was forged must be gone already.
pub(super) fn set(
    headers: &mut HeaderMap,
    client: Client,
    request_id: HeaderValue,
    subject: Option<&Subject>,
) {
    match address(headers, client) {
        Some(value) => drop(headers.insert(FOR, value)),
        None => drop(headers.remove(FOR)),
    }
    if !client.trusted || !headers.contains_key(PROTO) {
        headers.insert(PROTO, HeaderValue::from_static("http"));
    }
    if (!client.trusted || !headers.contains_key(FORWARDED_HOST))
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
    names::set(headers, request_id, subject);
}

/// The way the request has come: the trusted part of it, and the peer.
fn address(headers: &HeaderMap, client: Client) -> Option<HeaderValue> {
    let mut way = String::new();
    if client.trusted {
        for value in headers.get_all(FOR).iter().filter_map(|value| value.to_str().ok()) {
            let comma = if way.is_empty() { "" } else { ", " };
            let _ = write!(way, "{comma}{value}");
        }
    }
    if let Some(address) = client.address {
        let comma = if way.is_empty() { "" } else { ", " };
        let _ = write!(way, "{comma}{address}");
    }
    if way.is_empty() { None } else { HeaderValue::try_from(way).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{PlanId, TenantId};

    fn forwarded(fields: &[(&'static str, &str)], trusted: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        remove_forged(&mut headers, trusted);
        let client = Client { address: Some("10.0.0.9".parse().unwrap()), trusted };
        let subject = Subject::new(TenantId::parse("acme").unwrap(), Some(PlanId::parse("basic").unwrap()));
        set(&mut headers, client, HeaderValue::from_static("id-1"), Some(&subject));
        headers
    }

    fn get(headers: &HeaderMap, name: &str) -> String {
        let values: Vec<_> = headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
        values.join(" | ")
    }

    const FORGED: &[(&str, &str)] = &[
        ("host", "h"),
        ("x-plangate-tenant", "evil"),
        ("x_plangate_tenant", "evil"),
        ("xplangate-plan", "evil"),
        ("x--plan.gate-x", "evil"),
        ("x-request-id", "evil"),
        ("x_request_id", "evil"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2"),
        ("x_forwarded_for", "evil"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer"),
        ("x-forwarded-prefix", "/p"),
        ("x-real-ip", "1.1.1.1"),
        ("forwarded", "for=1.1.1.1"),
        ("x-plan", "kept"),
    ];

    #[test]
    fn a_client_is_not_believed() {
        let headers = forwarded(FORGED, false);
        assert_eq!(get(&headers, "x-forwarded-for"), "10.0.0.9");
        assert_eq!(get(&headers, "x-forwarded-proto"), "http");
        assert_eq!(get(&headers, "x-forwarded-host"), "h");
        assert_eq!(get(&headers, "x-plangate-tenant"), "acme");
        assert_eq!(get(&headers, "x-plangate-plan"), "basic");
        assert_eq!(get(&headers, "x-request-id"), "id-1");
        assert_eq!(get(&headers, "x-plan"), "kept");
        assert_eq!(headers.len(), 8, "{headers:?}");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_extended() {
        let headers = forwarded(FORGED, true);
        assert_eq!(get(&headers, "x-forwarded-for"), "1.1.1.1, 2.2.2.2, 10.0.0.9");
        assert_eq!(get(&headers, "x-forwarded-proto"), "https");
        assert_eq!(get(&headers, "x-forwarded-host"), "outer");
        assert_eq!(get(&headers, "forwarded"), "for=1.1.1.1");
        assert_eq!(get(&headers, "x-plangate-tenant"), "acme");
        assert_eq!(get(&headers, "x-request-id"), "id-1");
        assert!(!headers.contains_key("x_forwarded_for") && !headers.contains_key("x_plangate_tenant"));
        let bare = forwarded(&[("host", "h")], true);
        assert_eq!(get(&bare, "x-forwarded-for"), "10.0.0.9");
        assert_eq!(get(&bare, "x-forwarded-host"), "h");
    }
}
