//! Makes a request of somebody else: one connection, one answer, bounded in time and size.

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::ClientConfig;

use super::{
    address::Rule,
    connector::{Connector, Resolver, SystemResolver},
    target::Target,
};
use crate::{
    ports::{Outgoing, OutgoingAnswer, OutgoingError, OutgoingRequest},
    tls,
};

/// How long a request may take in all.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The most of an answer's head.
const LARGEST_HEAD: usize = 64 * 1024;
/// The most of its body that is read; what follows is not waited for.
const LARGEST_BODY: usize = 64 * 1024;

/// TLS cannot be spoken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TLS could not be set up: {0}")]
pub struct TlsError(String);

/// Makes requests over HTTP/1.1.
pub struct HttpOutgoing {
    rule: Arc<Rule>,
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    within: Duration,
}

impl HttpOutgoing {
    /// With the machine's resolver and the authorities that it trusts.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(rule: Rule) -> Result<Self, TlsError> {
        let tls = tls::usual().map_err(|error| TlsError(error.to_string()))?;
        Ok(Self::with(rule, Arc::new(SystemResolver), tls))
    }

    /// With another resolver and another idea of whom to trust.
    #[must_use]
    pub fn with(rule: Rule, resolver: Arc<dyn Resolver>, tls: ClientConfig) -> Self {
        let rule = Arc::new(rule);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { rule: Arc::clone(&rule), resolver });
        // Each request has a connection of its own: an address is judged for each, and a kept connection may be broken.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .http1_max_buf_size(LARGEST_HEAD)
            .build(connector);
        Self { rule, client, within: ANSWER_WITHIN }
    }

    /// Waits at most so long.
    #[must_use]
    pub const fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn exchange(&self, request: OutgoingRequest) -> Result<OutgoingAnswer, OutgoingError> {
        let target = Target::parse(&request.url, &self.rule)?;
        let malformed = |_| OutgoingError::Failed("a header's value is not one".to_owned());
        let mut made = Request::post(target.uri)
            .header(header::USER_AGENT, concat!("plangate/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        for (name, value) in request.headers {
            let value = HeaderValue::from_str(&value).map_err(|error| malformed(error.to_string()))?;
            made = made.header(HeaderName::from_static(name), value);
        }
        let made = made.body(Full::new(request.body)).map_err(|error| malformed(error.to_string()))?;
        let response = self.client.request(made).await.map_err(|error| explain(&error))?;
        let (parts, body) = response.into_parts();
        let body = beginning(body).await?;
        Ok(OutgoingAnswer { status: parts.status.as_u16(), body, retry_after: retry_after(&parts.headers) })
    }
}

/// The beginning of a body. What is beyond it is cut off, with the connection.
async fn beginning(mut body: Incoming) -> Result<Bytes, OutgoingError> {
    let mut read = BytesMut::new();
    while read.len() < LARGEST_BODY {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| OutgoingError::Failed(format!("the answer broke off: {error}")))?;
        if let Some(data) = frame.data_ref() {
            read.extend_from_slice(&data[..data.len().min(LARGEST_BODY - read.len())]);
        }
    }
    Ok(read.freeze())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX))))
}

/// An error as this port knows it: the connector's own, or the chain of causes in one line.
fn explain(error: &(dyn Error + 'static)) -> OutgoingError {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(own) = cause.downcast_ref::<OutgoingError>() {
            return own.clone();
        }
        let text = cause.to_string();
        if causes.last().is_none_or(|last: &String| !last.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    // The outermost says only that there was no answer.
    let from = usize::from(causes.len() > 1);
    OutgoingError::Failed(causes[from..].join(": "))
}

#[async_trait]
impl Outgoing for HttpOutgoing {
    fn check(&self, url: &str) -> Result<(), OutgoingError> {
        Target::parse(url, &self.rule).map(drop)
    }

    async fn post(&self, request: OutgoingRequest) -> Result<OutgoingAnswer, OutgoingError> {
        let late =
            |_| OutgoingError::Failed(format!("no complete answer within {} s", self.within.as_secs()));
        tokio::time::timeout(self.within, self.exchange(request)).await.map_err(late)?
    }
}
