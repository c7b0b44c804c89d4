//! Headers that concern one hop only, and what of them is said anew on the next hop.

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request,
};

/// Removes what concerns one hop only, and what `Connection` names: but never the fields on which the message's end or
/// its destination depend.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        doomed.extend(
            tokens(value)
                .filter_map(|token| HeaderName::from_bytes(token).ok())
                .filter(|name| *name != CONTENT_LENGTH && *name != HOST),
        );
    }
    doomed.extend(headers.keys().filter(|name| is_hop_by_hop(name)).cloned());
    for name in doomed {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    let text = name.as_str();
    matches!(
        text,
        "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade" | "http2-settings" | "proxy"
    ) || text.starts_with("proxy-")
}

/// The elements of a comma-separated value.
fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().flat_map(tokens).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether the request asks for a WebSocket.
pub(super) fn wants_websocket(parts: &request::Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && lists(&parts.headers, UPGRADE, "websocket")
        && lists(&parts.headers, CONNECTION, "upgrade")
}

/// Whether an answer goes over to a WebSocket.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    lists(headers, UPGRADE, "websocket")
}

/// What one hop was told and the next is to be told, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    pub chunked: bool,
    pub trailers: bool,
    pub websocket: bool,
}

impl Hop {
    /// Reads it from a client's request; `empty` is whether it has no body.
    pub(super) fn of(parts: &request::Parts, empty: bool) -> Self {
        let sized = parts.headers.contains_key(CONTENT_LENGTH);
        Self {
            chunked: !empty && (!sized || parts.headers.contains_key(TRANSFER_ENCODING)),
            trailers: lists(&parts.headers, TE, "trailers"),
            websocket: wants_websocket(parts),
        }
    }

    /// Says it in the request to the upstream. Without this hyper would send a GET's unsized body as none.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        if self.chunked {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if self.websocket {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        } else if self.trailers {
            headers.insert(CONNECTION, HeaderValue::from_static("TE"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
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
