//! Headers that concern one hop only, and what of them is said anew on the next hop.

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, UPGRADE},
    request,
};

/// Removes what concerns one hop only, and what `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let mut doomed: Vec<HeaderName> = named_by_connection(headers).collect();
    doomed.extend(headers.keys().filter(|name| is_hop_by_hop(name)).cloned());
    for name in doomed {
        headers.remove(name);
    }
}

/// The fields that `Connection` names: but never those on which the message's end or its destination depend.
pub(super) fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let tokens = headers.get_all(CONNECTION).iter().map(HeaderValue::as_bytes).flat_map(tokens);
    // These end here anyway.
    let tokens =
        tokens.filter(|t| !t.eq_ignore_ascii_case(b"close") && !t.eq_ignore_ascii_case(b"keep-alive"));
    let names = tokens.filter_map(|token| HeaderName::from_bytes(token).ok());
    names.filter(|name| *name != CONTENT_LENGTH && *name != HOST)
}

/// Whether the field concerns one hop only.
pub(super) fn is_hop_by_hop(name: &HeaderName) -> bool {
    let text = name.as_str();
    // The first letter rules nearly all others out.
    if !matches!(text.as_bytes().first(), Some(b'c' | b'h' | b'k' | b'p' | b't' | b'u')) {
        return false;
    }
    matches!(
        text,
        "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade" | "http2-settings" | "proxy"
    ) || text.starts_with("proxy-")
}

/// The elements of a comma-separated value.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .flat_map(tokens)
        .any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether the request asks for a WebSocket.
pub(super) fn wants_websocket(parts: &request::Parts) -> bool {
    parts.headers.contains_key(UPGRADE)
        && parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && lists(&parts.headers, UPGRADE, "websocket")
        && lists(&parts.headers, CONNECTION, "upgrade")
}

/// Whether the value of an `Upgrade` names the WebSocket.
pub(super) fn names_websocket(value: &[u8]) -> bool {
    tokens(value).any(|token| token.eq_ignore_ascii_case(b"websocket"))
}

/// Whether the sender takes trailers.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    lists(headers, TE, "trailers")
}

/// Writes one field in the form of HTTP/1.
pub(super) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}

/// The length that the value of a `Content-Length` says.
pub(super) fn length_in(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0, |sum: u64, digit| {
        digit.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), HeaderValue::from_str(v).unwrap()))
            .collect()
    }

    #[test]
    fn one_hop_only() {
        let mut headers = map(&[
            ("connection", "close, X-Gone,, host , content-length"),
            ("x-gone", "1"),
            ("host", "h"),
            ("content-length", "3"),
            ("keep-alive", "1"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("proxy", "http://evil"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "1"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(
            headers,
            map(&[("host", "h"), ("content-length", "3"), ("trailer", "x-sum"), ("x-kept", "1")])
        );
        let mut many = HeaderMap::new();
        many.append("connection", HeaderValue::from_static("a"));
        many.append("connection", HeaderValue::from_static("b, bad name"));
        many.append("a", HeaderValue::from_static("1"));
        many.append("a", HeaderValue::from_static("2"));
        many.append("b", HeaderValue::from_static("1"));
        remove_hop_by_hop(&mut many);
        assert!(many.is_empty());
    }

    #[test]
    fn what_ends_at_a_hop_tells_no_cost() {
        use crate::domain::settlement::CostHeader;
        for name in [
            "connection",
            "keep-alive",
            "te",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
            "proxy",
            "proxy-authenticate",
        ] {
            assert!(is_hop_by_hop(&HeaderName::from_static(name)));
            assert!(CostHeader::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn only_a_whole_websocket_handshake_counts() {
        let asks = |fields: &[(&str, &str)], method: &str| {
            let mut request = ::http::Request::builder().method(method).body(()).unwrap();
            *request.headers_mut() = map(fields);
            wants_websocket(&request.into_parts().0)
        };
        let both = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(asks(&both, "GET"));
        assert!(!asks(&both, "POST"));
        assert!(!asks(&both[1..], "GET"));
        assert!(!asks(&[("connection", "upgrade"), ("upgrade", "h2c")], "GET"));
    }
}
