//! What all writes have in common on their way in: body, `wait`, `Idempotency-Key` and where they come from.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::digest;
use axum::extract::{ConnectInfo, FromRequest, Request};
use http::{HeaderMap, request::Parts};
use serde::de::DeserializeOwned;

use super::{
    MAX_BODY, MAX_POLICIES, Shared,
    access::Caller,
    body, instants,
    params::Params,
    problem::{Code, Problem},
    views::Nothing,
};
use crate::{
    domain::command::When,
    ports::{Idempotency, Origin},
    wire::hex,
};

/// A write: what it asks, and what the answer depends on.
pub(super) struct Write<T> {
    /// The body.
    pub(super) asked: T,
    /// The rest.
    pub(super) ticket: Ticket,
}

/// Where a write comes from, and what it waits for.
pub(super) struct Ticket {
    pub(super) origin: Origin,
    pub(super) wait: Wait,
}

/// What a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until the change is in force on every node that can be waited for.
    Applied,
    /// For nothing but its commit.
    None,
}

/// A write without a body, for which the query may say when.
pub(super) struct WriteAt {
    /// The parameter `at`.
    pub(super) at: Option<When>,
    /// The rest.
    pub(super) ticket: Ticket,
}

impl<T: DeserializeOwned> FromRequest<Shared> for Write<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        Ok(Self::read(request, shared, MAX_BODY, |_| Ok(())).await?.0)
    }
}

/// A write that brings policy files.
pub(super) struct WritePolicies<T>(pub(super) Write<T>);

impl<T: DeserializeOwned> FromRequest<Shared> for WritePolicies<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        Ok(Self(Write::read(request, shared, MAX_POLICIES, |_| Ok(())).await?.0))
    }
}

impl FromRequest<Shared> for WriteAt {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let when = |params: &mut Params| {
            let Some(text) = params.take("at") else { return Ok(None) };
            instants::when(&text).map(Some).map_err(|detail| Problem::parameter("at", detail))
        };
        let (write, at) = Write::<Nothing>::read(request, shared, MAX_BODY, when).await?;
        Ok(Self { at, ticket: write.ticket })
    }
}

/// A write without a body, for which the query may name a state.
pub(super) struct WriteState {
    /// The parameter `state`.
    pub(super) state: Option<String>,
    /// The rest.
    pub(super) ticket: Ticket,
}

impl FromRequest<Shared> for WriteState {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let state = |params: &mut Params| Ok(params.take("state"));
        let (write, state) = Write::<Nothing>::read(request, shared, MAX_BODY, state).await?;
        Ok(Self { state, ticket: write.ticket })
    }
}

impl<T: DeserializeOwned> Write<T> {
    /// Reads a write, and from its query what only some calls take.
    async fn read<P>(
        request: Request,
        shared: &Shared,
        most: usize,
        take: impl FnOnce(&mut Params) -> Result<P, Problem>,
    ) -> Result<(Self, P), Problem> {
        let (parts, stream) = request.into_parts();
        let mut params = Params::of(&parts.uri)?;
        let wait = match params.take("wait").as_deref() {
            None | Some("applied") => Wait::Applied,
            Some("none") => Wait::None,
            Some(_) => return Err(Problem::parameter("wait", "expected applied or none")),
        };
        let taken = take(&mut params)?;
        params.finish()?;
        let key = idempotency_key(&parts.headers)?;
        let bytes = body::read_up_to(most, &parts.headers, stream, shared.0.body_time).await?;
        let asked = body::decode(&bytes)?;
        let idempotency = key.map(|key| Idempotency { key, fingerprint: fingerprint(&parts, &bytes) });
        let source = match parts.extensions.get::<ConnectInfo<SocketAddr>>() {
            Some(ConnectInfo(peer)) => client(peer.ip(), &parts.headers, &*shared.trusts).to_string(),
            None => "local".to_owned(),
        };
        let actor = parts.extensions.get::<Caller>().map_or("unknown", |caller| &*caller.name).to_owned();
        let origin = Origin { at: shared.clock.now(), actor, source, idempotency };
        Ok((Self { asked, ticket: Ticket { origin, wait } }, taken))
    }
}

/// Who made a request: the peer or, where that is a proxy that is trusted, whom it says it speaks for. Each proxy adds its
/// own peer at the end, so the last address that is no trusted proxy is the last one that somebody trusted has seen.
fn client(peer: IpAddr, headers: &HeaderMap, trusts: &dyn Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    while trusts(client) {
        let hop = hops.next().and_then(|hop| std::str::from_utf8(hop).ok());
        // What is no address was not written by whom is trusted.
        let Some(hop) = hop.and_then(|hop| hop.trim().parse::<IpAddr>().ok()) else { break };
        client = hop.to_canonical();
    }
    client
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(first) = given.next() else { return Ok(None) };
    let bytes = first.as_bytes();
    let fits = (1..=255).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(bytes) {
        Ok(key) if fits && given.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(Problem::new(
            Code::HeaderInvalid,
            "Idempotency-Key: expected one value of 1 to 255 visible ASCII characters",
        )),
    }
}

/// Two requests are the same if method, path, query and body are.
pub(super) fn fingerprint(parts: &Parts, body: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(parts.method.as_str().as_bytes());
    context.update(b"\n");
    context.update(parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    context.update(b"\n");
    context.update(body);
    hex::encode(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn whom_a_trusted_proxy_speaks_for() {
        let trusts = |address: IpAddr| address.to_string().starts_with("10.");
        let of = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_str(line).unwrap());
            }
            client(peer.parse().unwrap(), &headers, &trusts).to_string()
        };
        assert_eq!(of("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "anybody can say that");
        assert_eq!(of("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("::ffff:10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["203.0.113.9, 198.51.100.7 ,10.0.0.2"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["203.0.113.9", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(of("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "a request of a proxy itself");
        assert_eq!(of("10.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        for broken in ["", "unknown", "198.51.100.7, ", "198.51.100.7, x", "198.51.100.7:80"] {
            assert_eq!(of("10.0.0.1", &[broken]), "10.0.0.1", "{broken:?}");
        }
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }
}
