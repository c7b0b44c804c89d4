//! A request's head as the upstream gets it: the client's, less what concerns one hop or was made up, plus what Plangate
//! says of the client and the tenant.

use std::{io::Write as _, net::IpAddr};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRANSFER_ENCODING},
    request,
};

use crate::{
    http::{
        forwarded::{self, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO},
        headers::{self, write_field},
    },
    pipeline::{
        header_text::push_number,
        names,
        request::{Client, Subject},
        respond::REQUEST_ID,
    },
};

/// How the body after a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Empty,
    Length(u64),
    Chunked,
}

/// What the upstream is told beside the client's own words.
pub(super) struct Told<'a> {
    pub client: Client,
    pub request_id: &'a HeaderValue,
    pub subject: Option<&'a Subject>,
    /// The upstream's own name, for clients that give none.
    pub host: &'a str,
    /// There is no body.
    pub empty: bool,
    pub websocket: bool,
}

/// Writes the head. How its body must be sent.
pub(super) fn write(out: &mut Vec<u8>, parts: &request::Parts, told: &Told<'_>) -> Framing {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    put(out, &[parts.method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\nhost: "]);
    let host = host(parts, told.host);
    put(out, &[host, b"\r\n"]);
    let trusted = told.client.trusted;
    let named = Named::by(&parts.headers);
    for (name, value) in &parts.headers {
        if !is_ours_to_say(name, trusted) && !named.has(name) {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
    if parts.headers.contains_key(COOKIE) && !named.has(&COOKIE) {
        cookies(out, &parts.headers);
    }
    forwarded(out, &parts.headers, told.client, host);
    write_field(out, REQUEST_ID.as_str(), told.request_id.as_bytes());
    if let Some(subject) = told.subject {
        write_field(out, names::TENANT.as_str(), subject.tenant().as_bytes());
        if let Some(plan) = subject.plan() {
            write_field(out, names::PLAN.as_str(), plan.as_bytes());
        }
    }
    let framing = framing(out, parts, told.empty);
    if told.websocket {
        out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n");
    } else if parts.headers.contains_key(TE) && headers::takes_trailers(&parts.headers) {
        out.extend_from_slice(b"connection: TE\r\nte: trailers\r\n");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

fn host<'a>(parts: &'a request::Parts, upstream: &'a str) -> &'a [u8] {
    match parts.uri.authority() {
        Some(named) => named.as_str().as_bytes(),
        None => parts.headers.get(HOST).map_or(upstream.as_bytes(), HeaderValue::as_bytes),
    }
}

/// Fields that are written by themselves or not at all, whatever the client says in them.
fn is_ours_to_say(name: &HeaderName, trusted: bool) -> bool {
    let text = name.as_str();
    match text.as_bytes().first() {
        Some(b'h') if *name == HOST => true,
        Some(b'c') if *name == CONTENT_LENGTH || *name == COOKIE => true,
        // The client is told to go on when its body is asked for.
        Some(b'e') if *name == EXPECT => true,
        Some(b'x') if *name == FORWARDED_FOR => true,
        _ => headers::is_hop_by_hop(name) || forwarded::is_forged(text, trusted),
    }
}

/// The fields that `Connection` names: these end here, too. Never those on which the message's end or its destination
/// depend.
struct Named(Vec<HeaderName>);

impl Named {
    fn by(headers: &HeaderMap) -> Self {
        if !headers.contains_key(CONNECTION) {
            return Self(Vec::new());
        }
        Self(headers::named_by_connection(headers).collect())
    }

    fn has(&self, name: &HeaderName) -> bool {
        !self.0.is_empty() && self.0.contains(name)
    }
}

/// HTTP/2 allows cookies in many fields, HTTP/1 wants them in one.
fn cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    out.extend_from_slice(b"cookie: ");
    for (nth, crumb) in headers.get_all(COOKIE).iter().enumerate() {
        put(out, &[if nth > 0 { b"; " } else { b"" }, crumb.as_bytes()]);
    }
    out.extend_from_slice(b"\r\n");
}

fn forwarded(out: &mut Vec<u8>, headers: &HeaderMap, client: Client, host: &[u8]) {
    let way = client.trusted && headers.contains_key(FORWARDED_FOR);
    if way || client.address.is_some() {
        put(out, &[FORWARDED_FOR.as_str().as_bytes(), b": "]);
        let mut comma: &[u8] = b"";
        if way {
            for value in headers.get_all(FORWARDED_FOR) {
                put(out, &[comma, value.as_bytes()]);
                comma = b", ";
            }
        }
        if let Some(address) = client.address {
            out.extend_from_slice(comma);
            self::address(out, address);
        }
        out.extend_from_slice(b"\r\n");
    }
    if !client.trusted || !headers.contains_key(FORWARDED_PROTO) {
        write_field(out, FORWARDED_PROTO.as_str(), b"http");
    }
    if !client.trusted || !headers.contains_key(FORWARDED_HOST) {
        write_field(out, FORWARDED_HOST.as_str(), host);
    }
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (nth, octet) in address.octets().into_iter().enumerate() {
                if nth > 0 {
                    out.push(b'.');
                }
                push_number(out, u64::from(octet));
            }
        }
        // Writing to memory cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

fn framing(out: &mut Vec<u8>, parts: &request::Parts, empty: bool) -> Framing {
    let said = parts.headers.get(CONTENT_LENGTH);
    if empty {
        // HTTP/2 has other means to say so: where a body would have a meaning, its absence is said, too.
        let has_meaning = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        if said.is_some() || (has_meaning && parts.version == Version::HTTP_2) {
            out.extend_from_slice(b"content-length: 0\r\n");
        }
        return Framing::Empty;
    }
    let said = said.filter(|_| !parts.headers.contains_key(TRANSFER_ENCODING));
    match said.and_then(|said| headers::length_in(said.as_bytes())) {
        Some(length) => {
            out.extend_from_slice(b"content-length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
            Framing::Length(length)
        }
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{PlanId, TenantId};

    fn forwarded(fields: &[(&'static str, &str)], trusted: bool) -> HeaderMap {
        let mut parts = ::http::Request::new(()).into_parts().0;
        for (name, value) in fields {
            parts.headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let subject = Subject::new(TenantId::parse("acme").unwrap(), Some(PlanId::parse("basic").unwrap()));
        let told = Told {
            client: Client { address: Some("10.0.0.9".parse().unwrap()), trusted },
            request_id: &HeaderValue::from_static("id-1"),
            subject: Some(&subject),
            host: "upstream",
            empty: true,
            websocket: false,
        };
        let mut out = Vec::new();
        assert_eq!(write(&mut out, &parts, &told), Framing::Empty);
        let text = String::from_utf8(out).unwrap();
        let lines = text.strip_prefix("GET / HTTP/1.1\r\n").unwrap().strip_suffix("\r\n\r\n").unwrap();
        let fields = lines.split("\r\n").map(|line| line.split_once(": ").unwrap());
        fields.map(|(n, v)| (n.parse::<HeaderName>().unwrap(), HeaderValue::from_str(v).unwrap())).collect()
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
