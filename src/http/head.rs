//! Judges an HTTP/1 request's head and makes a request of it. Every refusal is Plangate's own answer.

use std::mem::MaybeUninit;

use ::http::{
    HeaderName, Method, Request, Uri, Version,
    header::{CONNECTION, EXPECT},
    request,
};
use bytes::BytesMut;

use super::{fields::Fields, headers, host};
use crate::pipeline::{
    faults::{Ambiguous, Malformed},
    language::Language,
    request::HeadRefusal,
};

/// The most header fields that a head may have.
pub(super) const MAX_FIELDS: usize = 100;
/// The `http` crate holds no longer target or name.
const MAX_TARGET: usize = 65_000;

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// An acceptable head.
#[derive(Debug)]
pub(super) struct Head {
    pub parts: request::Parts,
    pub framing: Framing,
    /// The client wants to go on with the connection.
    pub keep: bool,
    /// The client waits for the word to go on before it sends the body.
    pub expects: bool,
    /// In which language the client wants to be refused.
    pub language: Language,
}

/// What is to be done with the bytes that have come.
#[derive(Debug)]
pub(super) enum Verdict {
    Partial,
    Accepted(Box<Head>),
    Refused(HeadRefusal),
}

/// Judges the bytes from a head's first on, and takes an acceptable head off them.
pub(super) fn read(bytes: &mut BytesMut, cap: usize) -> Verdict {
    match take(bytes, cap) {
        Ok(Some(head)) => Verdict::Accepted(head),
        Ok(None) => Verdict::Partial,
        Err(refusal) => Verdict::Refused(refusal),
    }
}

fn take(bytes: &mut BytesMut, cap: usize) -> Result<Option<Box<Head>>, HeadRefusal> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, &mut fields);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < cap => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(HeadRefusal::TooLarge),
        Err(error) => return Err(unparsable(error, &request)),
    };
    if length > cap {
        return Err(HeadRefusal::TooLarge);
    }
    if !lines_end_in_crlf(&bytes[..length]) {
        return Err(HeadRefusal::Malformed(Malformed::LineEnd));
    }
    let mut fields = Fields::of(bytes);
    let (framing, seen) = judge(&request, &mut fields)?;
    let old = request.version == Some(0);
    let method = request.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let method = method.ok_or(HeadRefusal::Malformed(Malformed::Method))?;
    let target = request.path.map_or(0..0, |path| {
        let begin = path.as_ptr() as usize - bytes.as_ptr() as usize;
        begin..begin + path.len()
    });
    let head = bytes.split_to(length).freeze();
    let uri = Uri::from_maybe_shared(head.slice(target));
    let mut parts = Request::new(()).into_parts().0;
    parts.uri = uri.map_err(|_| HeadRefusal::AmbiguousPath(Ambiguous::NotAPath))?;
    parts.method = method;
    parts.version = if old { Version::HTTP_10 } else { Version::HTTP_11 };
    let headers = fields.into_map(&head, 0);
    parts.headers = headers.map_err(|_| HeadRefusal::Malformed(Malformed::HeaderValue))?;
    let keep = !seen.close && (!old || seen.keep);
    let language = if seen.asks_language { Language::asked(&parts.headers) } else { Language::default() };
    Ok(Some(Box::new(Head { parts, framing, keep, expects: seen.expects && !old, language })))
}

fn unparsable(error: httparse::Error, request: &httparse::Request<'_, '_>) -> HeadRefusal {
    match error {
        httparse::Error::TooManyHeaders => HeadRefusal::TooLarge,
        httparse::Error::Token if request.method.is_some() => HeadRefusal::AmbiguousPath(Ambiguous::NotAPath),
        httparse::Error::Token => HeadRefusal::Malformed(Malformed::Method),
        httparse::Error::Version => HeadRefusal::Malformed(Malformed::Version),
        httparse::Error::HeaderName => HeadRefusal::Malformed(Malformed::HeaderName),
        httparse::Error::HeaderValue => HeadRefusal::Malformed(Malformed::HeaderValue),
        httparse::Error::NewLine | httparse::Error::Status => HeadRefusal::Malformed(Malformed::LineEnd),
    }
}

/// No LF without CR and no CR without LF; counted so that the compiler can do many bytes at a time.
fn lines_end_in_crlf(head: &[u8]) -> bool {
    let feeds = head.iter().filter(|b| **b == b'\n').count();
    let returns = head.iter().filter(|b| **b == b'\r').count();
    let pairs = head.iter().zip(&head[1..]).filter(|(a, b)| **a == b'\r' && **b == b'\n').count();
    feeds == pairs && returns == pairs
}

/// Looks at all there is, and notes the fields.
fn judge(request: &httparse::Request<'_, '_>, fields: &mut Fields) -> Result<(Framing, Seen), HeadRefusal> {
    let malformed = |why| Err(HeadRefusal::Malformed(why));
    if let Some("TRACE" | "CONNECT") = request.method {
        return malformed(Malformed::MethodNotServed);
    }
    let target = request.path.unwrap_or_default();
    if target.len() > MAX_TARGET {
        return Err(HeadRefusal::TooLarge);
    }
    judge_target(target.as_bytes())?;
    let mut seen = Seen::default();
    for field in request.headers.iter() {
        seen.field(field)?;
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| HeadRefusal::Malformed(Malformed::HeaderName))?;
        seen.hop(&name, field.value);
        fields.add(name, field.value);
    }
    let old = request.version == Some(0);
    match seen.hosts {
        0 if !old => return malformed(Malformed::NoHost),
        0 | 1 => {}
        _ => return malformed(Malformed::ManyHosts),
    }
    match (seen.length, seen.chunked) {
        (Some(_), true) => malformed(Malformed::LengthAndEncoding),
        (None, true) if old => malformed(Malformed::OldEncoding),
        (None, true) => Ok((Framing::Chunked, seen)),
        (length, false) => Ok((Framing::Length(length.unwrap_or(0)), seen)),
    }
}

/// Origin form, and only bytes that `http::Uri` takes; whether the path is canonical is looked at later.
pub(super) fn judge_target(target: &[u8]) -> Result<(), HeadRefusal> {
    if target.first() != Some(&b'/') {
        return Err(HeadRefusal::AmbiguousPath(Ambiguous::NotOriginForm));
    }
    let end = target.iter().position(|b| *b == b'#').unwrap_or(target.len());
    let path_end = target[..end].iter().position(|b| *b == b'?').unwrap_or(end);
    let path_fits = |b: &u8| matches!(b, 0x21 | 0x24..=0x3b | 0x3d | 0x40..=0x5f | 0x61..=0x7a | 0x7c | 0x7e);
    let query_fits = |b: &u8| matches!(b, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e | 0x80..=0xff);
    if !target[..path_end].iter().all(path_fits) {
        return Err(HeadRefusal::AmbiguousPath(Ambiguous::PathByte));
    }
    if !target[path_end..end].iter().all(query_fits) {
        return Err(HeadRefusal::AmbiguousPath(Ambiguous::QueryByte));
    }
    Ok(())
}

/// The fields that decide where a request ends and for whom it is, and what becomes of the connection after it.
#[derive(Default)]
struct Seen {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    expects: bool,
    asks_language: bool,
}

impl Seen {
    fn hop(&mut self, name: &HeaderName, value: &[u8]) {
        if *name == CONNECTION {
            for token in headers::tokens(value) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if *name == EXPECT {
            self.expects |= value.eq_ignore_ascii_case(b"100-continue");
        }
    }

    fn field(&mut self, field: &httparse::Header<'_>) -> Result<(), HeadRefusal> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            4 if is("host") => {
                self.hosts += 1;
                if !host::is_valid(field.value) {
                    return Err(HeadRefusal::Malformed(Malformed::Host));
                }
            }
            14 if is("content-length") => {
                if self.length.is_some() {
                    return Err(HeadRefusal::Malformed(Malformed::ManyLengths));
                }
                self.length = Some(content_length(field.value)?);
            }
            // Hardly anybody asks for another one than is spoken anyway: then this is all that it costs.
            15 if is("accept-language") => self.asks_language |= Language::may_matter(field.value),
            17 if is("transfer-encoding") => {
                if self.chunked {
                    return Err(HeadRefusal::Malformed(Malformed::ManyEncodings));
                }
                if !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadRefusal::Malformed(Malformed::Encoding));
                }
                self.chunked = true;
            }
            length if length > MAX_TARGET => return Err(HeadRefusal::TooLarge),
            _ => {}
        }
        Ok(())
    }
}

fn content_length(value: &[u8]) -> Result<u64, HeadRefusal> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    // Sums with it must not overflow.
    number.filter(|length| *length < u64::MAX - 2).ok_or(HeadRefusal::Malformed(Malformed::Length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: usize = 4096;

    /// What is said of a head, without the request.
    #[derive(Debug, PartialEq)]
    enum Judged {
        Partial,
        Accepted(usize, Framing),
        Refused(HeadRefusal),
    }

    fn examine(bytes: &[u8], cap: usize) -> Judged {
        let mut left = BytesMut::from(bytes);
        match read(&mut left, cap) {
            Verdict::Partial => Judged::Partial,
            Verdict::Accepted(head) => Judged::Accepted(bytes.len() - left.len(), head.framing),
            Verdict::Refused(refusal) => Judged::Refused(refusal),
        }
    }

    fn verdict(head: &str) -> Judged {
        examine(head.as_bytes(), CAP)
    }

    fn framing(fields: &str) -> Option<Framing> {
        match verdict(&format!("POST /x HTTP/1.1\r\nHost: h\r\n{fields}\r\n")) {
            Judged::Accepted(_, framing) => Some(framing),
            _ => None,
        }
    }

    #[test]
    fn framings() {
        assert_eq!(framing(""), Some(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 12\r\n"), Some(Framing::Length(12)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Some(Framing::Chunked));
        for bad in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\ncontent-length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: 1 1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 18446744073709551615\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "X: a\r\n Transfer-Encoding: chunked\r\n",
            "X: a\r\n\tb\r\n",
            "X: a\nContent-Length: 3\r\n",
            "X: a\rContent-Length: 3\r\n",
            "X: a\0b\r\n",
            "X\0: a\r\n",
            ": a\r\n",
            "no colon\r\n",
            "Host: other\r\n",
        ] {
            assert_eq!(framing(bad), None, "{bad}");
        }
    }

    #[test]
    fn request_lines_and_hosts() {
        use HeadRefusal::{AmbiguousPath, Malformed};
        let refused = |head: &str| match verdict(head) {
            Judged::Refused(refusal) => refusal,
            other => panic!("{head:?}: {other:?}"),
        };
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "\x16\x03\x01",
        ] {
            assert!(matches!(refused(head), Malformed(_)), "{head:?}");
        }
        for target in ["*", "http://a/", "a:80", "//\u{7f}", "/a\"", "/a{b}", "/é", "/a?b\"", "/a?<>"] {
            let head = format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(matches!(refused(&head), AmbiguousPath(_)), "{head:?}");
        }
        for head in
            ["GET / HTTP/1.0\r\n\r\n", "FOO /a?b=|[é#frag HTTP/1.1\r\nhOST: [::1]:80\r\nX-Y:  z \r\n\r\n"]
        {
            assert!(matches!(verdict(head), Judged::Accepted(..)), "{head:?}");
        }
    }

    #[test]
    fn sizes() {
        let head =
            |padding: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(padding));
        let most = CAP - head(0).len();
        assert!(matches!(verdict(&head(most)), Judged::Accepted(..)));
        assert_eq!(verdict(&head(most + 1)), Judged::Refused(HeadRefusal::TooLarge));
        assert_eq!(verdict(&head(CAP)[..CAP]), Judged::Refused(HeadRefusal::TooLarge));
        assert_eq!(verdict(&head(0)[..20]), Judged::Partial);
        let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n));
        assert!(matches!(verdict(&fields(99)), Judged::Accepted(..)));
        assert_eq!(verdict(&fields(100)), Judged::Refused(HeadRefusal::TooLarge));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(65_530));
        assert_eq!(examine(long.as_bytes(), 1 << 20), Judged::Refused(HeadRefusal::TooLarge));
    }

    /// Whatever is accepted here must make a request.
    #[test]
    fn what_is_accepted_the_http_crate_takes() {
        for byte in 0..=255_u8 {
            for target in [[b"/".as_slice(), &[byte]].concat(), [b"/?".as_slice(), &[byte]].concat()] {
                if judge_target(&target).is_ok() && byte.is_ascii() {
                    assert!(::http::Uri::try_from(target.as_slice()).is_ok(), "{target:?}");
                }
            }
            let name = [b"x", std::slice::from_ref(&byte)].concat();
            let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", name.as_slice(), b": b\r\n\r\n"].concat();
            if matches!(examine(&head, CAP), Judged::Accepted(..)) && byte != b':' {
                assert!(::http::HeaderName::from_bytes(&name).is_ok(), "{byte}");
            }
            let head = [&name[..], b" / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            if matches!(examine(&head, CAP), Judged::Accepted(..)) {
                assert!(::http::Method::from_bytes(&name).is_ok(), "{byte}");
            }
        }
    }
}
