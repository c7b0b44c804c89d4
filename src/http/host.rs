//! What may stand in a Host header: `host[:port]` and nothing else.

use std::net::Ipv6Addr;

/// Whether the value is a non-empty host, a name or an address, with an optional port.
///
/// Stricter than RFC 3986: the punctuation that it allows in names but that no real name has is refused.
pub(super) fn is_valid(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, after)) = rest.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            match after.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if after.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let host_fits = host.is_none_or(|h| {
        !h.is_empty()
            && h.len() <= 255
            && h.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    });
    let port_fits = port.is_none_or(|p| {
        p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()) && (p.is_empty() || p.parse::<u16>().is_ok())
    });
    host_fits && port_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["a", "api.example.com", "a_b", "127.0.0.1:80", "[::1]", "[::1]:8080", "h:", "h:65535"] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a,b", "a/b", "a@b", "user@h", "h:x", "h:65536", "h:-1", "h:1:2", "[::1",
            "[x]", "[::1]x", "::1", "a\tb", "h\u{e9}", "a?b", "a#b", "a\\b", "http://h", "h:+1",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
