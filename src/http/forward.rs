//! The bottom of the stack: sends a request to the upstream, once, and streams the answer back.

use std::{
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use ::http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST},
    request,
    uri::PathAndQuery,
};
use ::http_body::Body;
use bytes::Bytes;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    upgrade::OnUpgrade,
};
use rustls::ClientConfig;
use tower::Service;

use super::{
    BoxError,
    connect::{Connector, InvalidUpstream, chain},
    forwarded,
    headers::{self, Hop},
    pool::Pool,
    response::{self, Lease, ProxyBody},
    sending::{Sending, Sent},
    settings::{Settings, Timeouts},
    tasks::Tasks,
    tunnel,
};
use crate::pipeline::request::{Client, ForwardError, Forwardable, Subject};

/// Forwards requests to the upstream over connections of its own thread.
///
/// The client's `Host` is passed on as it is, as `X-Forwarded-Host` is; a request without one gets the upstream's name.
pub struct Proxy<B: 'static> {
    inner: Rc<Inner<B>>,
}

struct Inner<B: 'static> {
    connector: Connector,
    pool: Rc<Pool<Sending<B>>>,
    timeouts: Timeouts,
    tasks: Tasks,
}

impl<B: 'static> Clone for Proxy<B> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<B: 'static> Proxy<B> {
    /// A proxy for one worker thread, to be used inside its `LocalSet`.
    ///
    /// # Errors
    /// [`InvalidUpstream`] if `settings.upstream` can never be reached.
    pub fn new(settings: &Settings, tasks: &Tasks) -> Result<Self, InvalidUpstream> {
        let connector = Connector::new(&settings.upstream, settings.timeouts.connect)?;
        Ok(Self::over(connector, settings, tasks))
    }

    /// The same with its own TLS configuration (other authorities, a client's certificate).
    ///
    /// # Errors
    /// As of [`Proxy::new`].
    pub fn with_tls(settings: &Settings, tasks: &Tasks, tls: ClientConfig) -> Result<Self, InvalidUpstream> {
        let connector = Connector::with_tls(&settings.upstream, settings.timeouts.connect, tls)?;
        Ok(Self::over(connector, settings, tasks))
    }

    fn over(connector: Connector, settings: &Settings, tasks: &Tasks) -> Self {
        let pool = Pool::new(settings.timeouts.idle, tasks.clone());
        let inner = Inner { connector, pool, timeouts: settings.timeouts, tasks: tasks.clone() };
        Self { inner: Rc::new(inner) }
    }
}

impl<B> Service<Forwardable<B>> for Proxy<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ProxyBody<B>>;
    type Error = ForwardError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ForwardError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Forwardable<B>) -> Self::Future {
        let inner = Rc::clone(&self.inner);
        Box::pin(async move { inner.forward(request).await })
    }
}

impl<B> Inner<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    async fn forward(&self, request: Forwardable<B>) -> Result<Response<ProxyBody<B>>, ForwardError> {
        let (request, request_id, client, subject) = request.into_parts();
        let (mut parts, body) = request.into_parts();
        let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| headers::wants_websocket(&parts));
        let (body, sent) = Sending::new(body, client.trusted);
        let mut hop = Hop::of(&parts, body.is_end_stream());
        hop.websocket = upgrade.is_some();
        let head = Outgoing { parts, hop, empty: body.is_end_stream(), host: self.connector.authority() }
            .into_parts(client, request_id, subject.as_ref());
        let method = head.method.clone();
        let (response, connection) = self.send(Request::from_parts(head, body), &sent).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(response, upgrade, &method);
        }
        let (parts, incoming) = response::clean(response, &method);
        let lease = Lease { connection, pool: Rc::clone(&self.pool), sent };
        Ok(Response::from_parts(parts, ProxyBody::new(incoming, Some(lease))))
    }

    /// Sends the request over one connection. Another is tried only where hyper gives the request back, that is where
    /// not a byte of it was written.
    async fn send(
        &self,
        mut request: Request<Sending<B>>,
        sent: &Sent,
    ) -> Result<(Response<Incoming>, SendRequest<Sending<B>>), ForwardError> {
        loop {
            let (mut connection, kept) = match self.pool.take() {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            let answer = {
                let answering = pin!(connection.try_send_request(request));
                let late = async {
                    sent.whole().await;
                    tokio::time::sleep(self.timeouts.response_head).await;
                };
                tokio::select! {
                    biased;
                    answer = answering => answer,
                    () = late => return Err(ForwardError::Timeout { seen: true }),
                }
            };
            let mut failed = match answer {
                Ok(response) => return Ok((response, connection)),
                Err(failed) => failed,
            };
            match failed.take_message() {
                Some(unsent) if kept => request = unsent,
                unsent => {
                    let seen = unsent.is_none();
                    let reason = chain(&failed.into_error().into());
                    let by_client = seen && sent.has_failed();
                    return Err(match by_client {
                        true => ForwardError::ClientBody,
                        false => ForwardError::Unreachable { seen, reason },
                    });
                }
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Sending<B>>, ForwardError> {
        let stream = self.connector.connect().await?;
        let unreachable =
            |error: hyper::Error| ForwardError::Unreachable { seen: false, reason: chain(&error.into()) };
        let (sender, connection) = http1::Builder::new().handshake(stream).await.map_err(unreachable)?;
        let cut = self.tasks.cut.clone();
        self.tasks.upstreams.spawn_local(async move {
            tokio::select! {
                biased;
                ended = connection.with_upgrades() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an upstream connection broke off");
                    }
                }
                () = cut.cancelled() => {}
            }
        });
        Ok(sender)
    }

    fn switch(
        &self,
        mut response: Response<Incoming>,
        upgrade: Option<OnUpgrade>,
        method: &Method,
    ) -> Result<Response<ProxyBody<B>>, ForwardError> {
        let unasked = || ForwardError::Unreachable {
            seen: true,
            reason: "the upstream switched to a protocol that nobody asked for".to_owned(),
        };
        let client = upgrade.filter(|_| headers::is_websocket(response.headers())).ok_or_else(unasked)?;
        let upstream = hyper::upgrade::on(&mut response);
        let tunnel = tunnel::run(client, upstream, self.timeouts.stream_idle, self.tasks.clone());
        self.tasks.clients.spawn_local(tunnel);
        let (parts, incoming) = response::clean(response, method);
        Ok(Response::from_parts(parts, ProxyBody::new(incoming, None)))
    }
}

/// A request's head on its way to the upstream.
struct Outgoing<'a> {
    parts: request::Parts,
    hop: Hop,
    empty: bool,
    host: &'a str,
}

impl Outgoing<'_> {
    fn into_parts(
        self,
        client: Client,
        request_id: HeaderValue,
        subject: Option<&Subject>,
    ) -> request::Parts {
        let Self { mut parts, hop, empty, host } = self;
        let http2 = parts.version == Version::HTTP_2;
        headers::remove_hop_by_hop(&mut parts.headers);
        forwarded::remove_forged(&mut parts.headers, client.trusted);
        // The client is told to go on when the upstream's connection asks for the body.
        parts.headers.remove(EXPECT);
        let named = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
        if let Some(named) = named {
            parts.headers.insert(HOST, named);
        } else if !parts.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(host)
        {
            parts.headers.insert(HOST, host);
        }
        if http2 {
            join_cookies(&mut parts);
            let has_meaning = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
            if empty && has_meaning && !parts.headers.contains_key(CONTENT_LENGTH) {
                parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
        }
        forwarded::set(&mut parts.headers, client, request_id, subject);
        hop.apply(&mut parts.headers);
        let target = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
        parts.version = Version::HTTP_11;
        parts
    }
}

/// HTTP/2 allows cookies in many fields, HTTP/1 wants them in one.
fn join_cookies(parts: &mut request::Parts) {
    let crumbs: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        parts.headers.insert(COOKIE, whole);
    }
}
