//! An answer's head: read from the upstream's bytes, made fit for the client, and what it says of the body behind it.
//!
//! Where the body ends is decided here once (RFC 9112, section 6.3), and the length is said as it was understood, so that
//! both sides see the same end.

use std::mem::MaybeUninit;

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
    response,
};
use bytes::BytesMut;

use crate::http::{fields::Fields, headers};

/// The most header fields that a head may have.
const MAX_FIELDS: usize = 128;
/// The most bytes of a head.
const MAX_LENGTH: usize = 256 * 1024;
/// Fields that Plangate adds to an answer: room for them is made at once.
const ADDED: usize = 4;

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// A head.
#[derive(Debug)]
pub(super) struct Head {
    pub parts: response::Parts,
    pub framing: Framing,
    /// The connection can be used again after it.
    pub keep: bool,
}

/// What there is at the beginning of the upstream's bytes.
#[derive(Debug)]
pub(super) enum Read {
    Partial,
    /// An interim answer, which is not for the client (RFC 9110, section 15.2), and was taken off.
    Interim,
    Head(Head),
}

/// The upstream's bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not well-formed HTTP/1: {0}")]
pub(super) struct BadHead(&'static str);

/// Reads a head and takes it off the bytes. `of_head`: the request was a HEAD.
pub(super) fn read(bytes: &mut BytesMut, of_head: bool) -> Result<Read, BadHead> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, &mut fields);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_LENGTH => length,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_LENGTH => return Ok(Read::Partial),
        Ok(_) => return Err(BadHead("the head is too long")),
        Err(httparse::Error::TooManyHeaders) => return Err(BadHead("the head has too many fields")),
        Err(_) => return Err(BadHead("the head cannot be parsed")),
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(BadHead("the status is not a number from 100 to 999"))?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        let _ = bytes.split_to(length);
        return Ok(Read::Interim);
    }
    let mut seen = Seen { old: answer.version == Some(0), ..Seen::default() };
    let mut fields = Fields::of(bytes);
    for field in answer.headers.iter() {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadHead("a name is not valid"))?;
        if seen.is_for_client(&name, field.value)? {
            fields.add(name, field.value);
        }
    }
    let head = bytes.split_to(length).freeze();
    let mut headers = fields.into_map(&head, ADDED).map_err(|_| BadHead("a value is not valid"))?;
    seen.named.iter().for_each(|name| drop(headers.remove(name)));
    Ok(Read::Head(seen.finish(status, headers, of_head)?))
}

/// What decides where the body ends and whether another answer can follow it.
#[derive(Debug, Default)]
struct Seen {
    /// HTTP/1.0.
    old: bool,
    length: Option<u64>,
    /// The length is among the fields.
    said: bool,
    coded: bool,
    chunked: bool,
    close: bool,
    keep: bool,
    upgrade: bool,
    /// What `Connection` names.
    named: Vec<HeaderName>,
}

impl Seen {
    /// Whether the field goes on to the client as it is.
    fn is_for_client(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, BadHead> {
        if *name == CONTENT_LENGTH {
            return self.says_length(value);
        }
        if *name == CONNECTION {
            self.connects(value);
        } else if *name == TRANSFER_ENCODING {
            self.coded = true;
            // The last coding counts, also over several fields.
            let last = value.rsplit(|b| *b == b',').next().unwrap_or_default();
            self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if *name == UPGRADE {
            self.upgrade |= headers::names_websocket(value);
        } else {
            return Ok(!headers::is_hop_by_hop(name));
        }
        Ok(false)
    }

    /// Whether it can be passed on as it was said.
    fn says_length(&mut self, value: &[u8]) -> Result<bool, BadHead> {
        let length = headers::length_in(value).ok_or(BadHead("the Content-Length is not a number"))?;
        if self.length.is_some_and(|before| before != length) {
            return Err(BadHead("two different Content-Lengths"));
        }
        let plain = self.length.is_none() && (value.len() == 1 || !value.starts_with(b"0"));
        self.said |= plain;
        self.length = Some(length);
        Ok(plain)
    }

    fn connects(&mut self, value: &[u8]) {
        for token in headers::tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep = true;
            } else if let Ok(name) = HeaderName::from_bytes(token) {
                // The message's end does not depend on what ends here.
                if name != CONTENT_LENGTH {
                    self.named.push(name);
                }
            }
        }
    }

    fn finish(self, status: StatusCode, mut headers: HeaderMap, of_head: bool) -> Result<Head, BadHead> {
        if self.coded && self.old {
            return Err(BadHead("Transfer-Encoding in an HTTP/1.0 answer"));
        }
        let switching = status == StatusCode::SWITCHING_PROTOCOLS;
        let bodiless = switching || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let framing = match self.length {
            _ if bodiless || of_head => Framing::Length(0),
            _ if self.chunked => Framing::Chunked,
            Some(length) if !self.coded => Framing::Length(length),
            _ => Framing::UntilClose,
        };
        if bodiless || self.coded {
            headers.remove(CONTENT_LENGTH);
        } else if let Some(length) = self.length.filter(|_| !self.said) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if switching && self.upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        // After an answer that says its length in two ways nobody knows what comes next.
        let doubtful = self.coded && self.length.is_some();
        let keep = !self.close && (!self.old || self.keep) && !doubtful && framing != Framing::UntilClose;
        let mut parts = Response::new(()).into_parts().0;
        (parts.status, parts.version, parts.headers) = (status, Version::HTTP_11, headers);
        Ok(Head { parts, framing, keep })
    }
}

/// Whether the head switches to a WebSocket.
pub(super) fn is_websocket(head: &Head) -> bool {
    head.parts.status == StatusCode::SWITCHING_PROTOCOLS && head.parts.headers.contains_key(UPGRADE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, of_head: bool) -> Result<Head, BadHead> {
        let mut bytes = BytesMut::from(text);
        for cut in 0..text.len() {
            assert!(!matches!(read(&mut BytesMut::from(&text[..cut]), of_head), Ok(Read::Head(_))), "{cut}");
        }
        match read(&mut bytes, of_head)? {
            Read::Head(head) => {
                assert!(bytes.is_empty());
                Ok(head)
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    fn framing(fields: &str) -> Result<(Framing, bool), BadHead> {
        head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false).map(|head| (head.framing, head.keep))
    }

    #[test]
    fn where_the_body_ends() {
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert_eq!(framing("Content-Length: 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(framing("Content-Length: 5\r\nContent-Length: 5\r\n"), Ok((Framing::Length(5), true)));
        assert_eq!(framing(chunked), Ok((Framing::Chunked, true)));
        assert_eq!(framing("Transfer-Encoding: gzip, Chunked\r\n"), Ok((Framing::Chunked, true)));
        assert_eq!(framing("Transfer-Encoding: chunked, gzip\r\n"), Ok((Framing::UntilClose, false)));
        assert_eq!(framing(&format!("{chunked}Content-Length: 5\r\n")), Ok((Framing::Chunked, false)));
        assert_eq!(framing(""), Ok((Framing::UntilClose, false)));
        assert_eq!(framing("Content-Length: 0\r\nConnection: Close\r\n"), Ok((Framing::Length(0), false)));
        for bad in ["-1", "+5", "5, 5", "5 5", "", "0x5", "5a", "18446744073709551616"] {
            assert!(framing(&format!("Content-Length: {bad}\r\n")).is_err(), "{bad:?}");
        }
        assert!(framing("Content-Length: 5\r\nContent-Length: 6\r\n").is_err());
    }

    #[test]
    fn what_has_no_body() {
        let of_head = head("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true).unwrap();
        assert_eq!(
            (of_head.framing, of_head.parts.headers[CONTENT_LENGTH].as_bytes()),
            (Framing::Length(0), &b"7"[..])
        );
        for status in ["204", "304"] {
            let answer = head(&format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n"), false).unwrap();
            assert_eq!(answer.framing, Framing::Length(0));
            assert!(answer.keep && answer.parts.headers.is_empty());
        }
    }

    #[test]
    fn old_servers_close_unless_they_say_otherwise() {
        let keep = |fields: &str| head(&format!("HTTP/1.0 200 OK\r\n{fields}\r\n"), false).map(|h| h.keep);
        assert_eq!(keep("Content-Length: 1\r\n"), Ok(false));
        assert_eq!(keep("Content-Length: 1\r\nConnection: keep-alive\r\n"), Ok(true));
        assert!(keep("Transfer-Encoding: chunked\r\n").is_err());
    }

    #[test]
    fn only_what_is_for_the_client_passes() {
        let text = "HTTP/1.1 200 OK\r\nServer: s\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nProxy-Authenticate: x\r\nContent-Length: 03\r\n\r\n";
        let headers = head(text, false).unwrap().parts.headers;
        let lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        assert_eq!(lines, ["server=s", "set-cookie=a", "set-cookie=b", "content-length=3"]);
    }

    #[test]
    fn interim_answers_are_taken_off() {
        let mut bytes = BytesMut::from("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 X\r\n\r\n");
        assert!(matches!(read(&mut bytes, false), Ok(Read::Interim)));
        assert!(matches!(read(&mut bytes, false), Ok(Read::Head(_))));
    }

    #[test]
    fn no_bytes_panic_and_endless_heads_end() {
        for text in [
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 099 X\r\n\r\n",
            "\0",
            "HTTP/1.1 200 OK\r\n a: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
        ] {
            assert!(read(&mut BytesMut::from(text), false).is_err(), "{text:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(MAX_LENGTH));
        assert!(read(&mut BytesMut::from(long.as_str()), false).is_err());
        let many = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert!(read(&mut BytesMut::from(many.as_str()), false).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = read(&mut BytesMut::from(&[b"HTTP/1.1 200 OK\r\n", bytes.as_slice()].concat()[..]), false);
        }
    }
}
