//! How an answer is framed towards the client (RFC 9112, section 6), and its head in bytes.

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TE, TRAILER, TRANSFER_ENCODING},
    response,
};

use crate::{
    http::headers::{self, write_field},
    pipeline::header_text::push_number,
};

/// How the body of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, whatever its length is said to be.
    None,
    Length(u64),
    Chunked,
    /// Its end is the connection's.
    UntilClose,
}

/// What an answer depends on in its request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub version: Version,
    pub of_head: bool,
    pub takes_trailers: bool,
}

impl Asked {
    pub fn of(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        let takes_trailers = headers.contains_key(TE) && headers::takes_trailers(headers);
        Self { version, of_head: *method == Method::HEAD, takes_trailers }
    }

    /// How an answer is framed whose body has this length, where that is known.
    pub fn framing(self, status: StatusCode, length: Option<u64>) -> Framing {
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match length {
            _ if self.of_head || bodiless || status.is_informational() => Framing::None,
            Some(length) => Framing::Length(length),
            None if self.version == Version::HTTP_11 => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }
}

/// Writes the head of an answer. `keep`: the connection goes on after it.
pub(super) fn write(
    out: &mut Vec<u8>,
    parts: &response::Parts,
    asked: Asked,
    (framing, length): (Framing, Option<u64>),
    keep: bool,
    date: &[u8],
) {
    let old = asked.version == Version::HTTP_10;
    out.extend_from_slice(if old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or("-").as_bytes());
    out.extend_from_slice(b"\r\n");
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in &parts.headers {
        if !is_framing(name) || (switching && *name == CONNECTION) {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    match (framing, length) {
        (Framing::Length(length), _) => length_field(out, length),
        // What a GET would be answered with.
        (Framing::None, length) if asked.of_head => match parts.headers.get(CONTENT_LENGTH) {
            Some(said) => write_field(out, CONTENT_LENGTH.as_str(), said.as_bytes()),
            None => length.filter(|length| *length > 0).into_iter().for_each(|n| length_field(out, n)),
        },
        (Framing::Chunked, _) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (Framing::None | Framing::UntilClose, _) => {}
    }
    if !switching {
        match (keep, old) {
            (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (false, false) => out.extend_from_slice(b"connection: close\r\n"),
            (true, false) | (false, true) => {}
        }
    }
    if !parts.headers.contains_key(DATE) {
        write_field(out, DATE.as_str(), date);
    }
    out.extend_from_slice(b"\r\n");
}

/// Fields that are said here or not at all.
fn is_framing(name: &HeaderName) -> bool {
    matches!(name.as_str().as_bytes().first(), Some(b'c' | b't'))
        && (*name == CONTENT_LENGTH || *name == CONNECTION || *name == TRANSFER_ENCODING)
}

fn length_field(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    push_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// The trailers that may follow: those that the head has announced, where the client takes any.
pub(super) fn trailers(
    asked: Asked,
    head: &HeaderMap,
    trailers: &HeaderMap,
) -> Vec<(HeaderName, HeaderValue)> {
    if !asked.takes_trailers {
        return Vec::new();
    }
    let announced: Vec<HeaderName> = head
        .get_all(TRAILER)
        .iter()
        .flat_map(|value| headers::tokens(value.as_bytes()))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !is_framing(name))
        .collect();
    trailers
        .iter()
        .filter(|(name, _)| announced.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: Version, method: &Method, status: u16, length: Option<u64>, keep: bool) -> String {
        let mut parts = ::http::Response::new(()).into_parts().0;
        parts.status = StatusCode::from_u16(status).unwrap();
        for (name, value) in
            [("a", "1"), ("content-length", "77"), ("connection", "x"), ("transfer-encoding", "gzip")]
        {
            parts.headers.insert(name, HeaderValue::from_static(value));
        }
        let asked = Asked::of(method, version, &HeaderMap::new());
        let mut out = Vec::new();
        write(&mut out, &parts, asked, (asked.framing(parts.status, length), length), keep, b"now");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads() {
        let get = |length, keep| head(Version::HTTP_11, &Method::GET, 200, length, keep);
        assert_eq!(get(Some(3), true), "HTTP/1.1 200 OK\r\na: 1\r\ncontent-length: 3\r\ndate: now\r\n\r\n");
        assert_eq!(
            get(None, false),
            "HTTP/1.1 200 OK\r\na: 1\r\ntransfer-encoding: chunked\r\nconnection: close\r\ndate: now\r\n\r\n"
        );
        let old = |length, keep| head(Version::HTTP_10, &Method::GET, 404, length, keep);
        assert_eq!(old(None, false), "HTTP/1.0 404 Not Found\r\na: 1\r\ndate: now\r\n\r\n");
        assert_eq!(
            old(Some(0), true),
            "HTTP/1.0 404 Not Found\r\na: 1\r\ncontent-length: 0\r\nconnection: keep-alive\r\ndate: now\r\n\r\n"
        );
        let none = |method, status| head(Version::HTTP_11, &method, status, Some(0), true);
        assert_eq!(
            none(Method::HEAD, 200),
            "HTTP/1.1 200 OK\r\na: 1\r\ncontent-length: 77\r\ndate: now\r\n\r\n"
        );
        assert_eq!(none(Method::GET, 204), "HTTP/1.1 204 No Content\r\na: 1\r\ndate: now\r\n\r\n");
        assert_eq!(none(Method::GET, 304), "HTTP/1.1 304 Not Modified\r\na: 1\r\ndate: now\r\n\r\n");
        let switching = none(Method::GET, 101);
        assert_eq!(
            switching,
            "HTTP/1.1 101 Switching Protocols\r\na: 1\r\nconnection: x\r\ndate: now\r\n\r\n"
        );
    }

    #[test]
    fn only_announced_trailers_go_to_those_who_take_them() {
        let map = |fields: &[(&'static str, &'static str)]| -> HeaderMap {
            fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
        };
        let sent = |te: &'static str| {
            let asked = Asked::of(&Method::GET, Version::HTTP_11, &map(&[("te", te)]));
            let head = map(&[("trailer", "x-a, content-length")]);
            trailers(asked, &head, &map(&[("x-a", "1"), ("x-b", "2"), ("content-length", "9")])).len()
        };
        assert_eq!((sent("trailers"), sent("gzip")), (1, 0));
    }
}
