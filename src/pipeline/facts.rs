//! What conditions can know of a request: a view of its head, which is looked at only where a route has conditions.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderMap, HeaderName, Method, Uri, header};

use super::request::{Client, Head};
use crate::domain::{
    condition::{HeaderLookup, RequestFacts, hidden, joined},
    time::UnixMillis,
};

/// The way that a request has come, as a trusted proxy tells it.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request's head as conditions see it.
pub(super) struct Facts<'h> {
    method: &'h Method,
    uri: &'h Uri,
    headers: Seen<'h>,
    client: Option<IpAddr>,
    now: UnixMillis,
}

/// A copy of all that conditions see of a request, for one that is decided once more after a wait.
pub(super) struct Copied {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    secret: Option<HeaderName>,
    client: Client,
    arrived: UnixMillis,
}

impl Copied {
    pub(super) fn of<B>(Head { request, context }: &Head<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            secret: context.parts.secret_header.clone(),
            client: context.client,
            arrived: context.arrived,
        }
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        let Self { method, uri, headers, secret, client, arrived } = self;
        Facts {
            method,
            uri,
            headers: Seen { map: headers, secret: secret.as_ref() },
            client: address(*client, headers),
            now: *arrived,
        }
    }

    pub(super) const fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }
}

impl<'h> Facts<'h> {
    pub(super) fn of<B>(Head { request, context }: &'h Head<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: Seen { map: request.headers(), secret: context.parts.secret_header.as_ref() },
            client: address(context.client, request.headers()),
            now: context.arrived,
        }
    }

    pub(super) const fn method(&self) -> &Method {
        self.method
    }

    /// Canonical.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn request(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: self.method.as_str(),
            path: self.uri.path(),
            query: self.uri.query().unwrap_or_default(),
            headers: &self.headers,
            client: self.client,
            now: self.now,
            tenant: None,
        }
    }
}

/// Where the request comes from. Behind a trusted proxy it is what that one says last: the entries before may be anybody's.
fn address(client: Client, headers: &HeaderMap) -> Option<IpAddr> {
    if !client.trusted {
        return client.address;
    }
    let Some(last) = headers.get_all(FORWARDED_FOR).iter().next_back() else { return client.address };
    let text = last.to_str().ok()?;
    text.rsplit(',').next()?.trim().parse().ok()
}

/// The headers that conditions see.
struct Seen<'h> {
    map: &'h HeaderMap,
    /// The one that holds the installation's keys.
    secret: Option<&'h HeaderName>,
}

impl Seen<'_> {
    fn sees(&self, name: &str) -> bool {
        hidden(name).is_none() && self.secret.is_none_or(|secret| secret != name) && !self.is_nominated(name)
    }

    /// Whether the client says that it concerns the connection alone: then the upstream never sees it.
    fn is_nominated(&self, name: &str) -> bool {
        let mut lines = self.map.get_all(header::CONNECTION).iter();
        lines.any(|line| {
            let mut names = line.as_bytes().split(|byte| *byte == b',');
            names.any(|other| other.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        })
    }
}

impl HeaderLookup for Seen<'_> {
    fn value<'h>(&'h self, name: &str) -> Option<Cow<'h, [u8]>> {
        if !self.sees(name) {
            return None;
        }
        joined(self.map.get_all(name).iter().map(http::HeaderValue::as_bytes))
    }

    fn names<'h>(&'h self, see: &mut dyn FnMut(&'h str)) {
        self.map.keys().map(HeaderName::as_str).filter(|name| self.sees(name)).for_each(see);
    }
}
