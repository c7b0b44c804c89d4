//! The bottom of the stack: sends a request to the upstream, once, and streams the answer back.

use std::{
    marker::PhantomData,
    rc::Rc,
    task::{Context, Poll},
};

use ::http::{Method, Response};
use ::http_body::Body;
use bytes::Bytes;
use rustls::ClientConfig;
use tower::Service;

use super::{
    answer_body::ProxyBody,
    connect::{Connector, InvalidUpstream},
    exchange::Exchange,
    pool::Pool,
    request_head::{self, Told},
    upload::Upload,
};
use crate::{
    http::{
        BoxError, headers,
        http1::Switch,
        memory::Memory,
        settings::{Settings, Timeouts},
        tasks::Tasks,
    },
    pipeline::{
        admission::Admission,
        request::{ForwardError, Forwardable},
    },
};

/// Forwards requests to the upstream over connections of its own thread.
///
/// The client's `Host` is passed on as it is, as `X-Forwarded-Host` is; a request without one gets the upstream's name.
pub struct Proxy<B> {
    upstream: Rc<Upstream>,
    bodies: PhantomData<fn(B)>,
}

/// The way to the upstream, of one thread.
pub(super) struct Upstream {
    pub connector: Connector,
    pub pool: Rc<Pool>,
    pub timeouts: Timeouts,
    pub tasks: Tasks,
    pub memory: Memory,
}

impl<B> Clone for Proxy<B> {
    fn clone(&self) -> Self {
        Self { upstream: Rc::clone(&self.upstream), bodies: PhantomData }
    }
}

impl<B> Proxy<B> {
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
        let upstream = Upstream {
            connector,
            pool: Pool::new(settings.timeouts.idle, tasks.clone()),
            timeouts: settings.timeouts,
            tasks: tasks.clone(),
            memory: Memory::default(),
        };
        Self { upstream: Rc::new(upstream), bodies: PhantomData }
    }
}

impl<B> Service<Forwardable<B>> for Proxy<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ProxyBody>;
    type Error = ForwardError;
    type Future = Exchange<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Forwardable<B>) -> Exchange<B> {
        let upstream = Rc::clone(&self.upstream);
        let ongoing = request.admission.take().map(Admission::ongoing);
        let (request, request_id, client, subject) = request.into_parts();
        let (mut parts, body) = request.into_parts();
        let websocket = headers::wants_websocket(&parts);
        let upgrade = if websocket { parts.extensions.remove::<Switch>() } else { None };
        let mut head = upstream.memory.take();
        let told = Told {
            client,
            request_id: &request_id,
            subject: subject.as_ref(),
            host: upstream.connector.authority(),
            empty: body.is_end_stream(),
            websocket: upgrade.is_some(),
        };
        let framing = request_head::write(&mut head, &parts, &told);
        let upload = Upload::new(head, body, framing, client.trusted);
        Exchange::new(upstream, upload, parts.method == Method::HEAD, (upgrade, ongoing))
    }
}
