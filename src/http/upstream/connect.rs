//! New connections to the upstream: the name is looked up each time, TLS is spoken where the address asks for it.

use std::{future::Future, pin::Pin, time::Duration};

use ::http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use tower::{Service, ServiceExt};

use super::stream::Stream;
use crate::http::BoxError;
use crate::pipeline::request::ForwardError;
use crate::tls;

/// A connection that is being made.
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Stream, ForwardError>>>>;

/// Why an upstream cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUpstream {
    /// Not `http://host[:port]` or `https://host[:port]`.
    #[error("`{0}` is not an upstream: expected `http://host[:port]` or `https://host[:port]`")]
    Address(Uri),
    /// No TLS with it.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Makes connections to one upstream.
#[derive(Clone)]
pub(super) struct Connector {
    connector: HttpsConnector<HttpConnector>,
    target: Uri,
    authority: Authority,
    limit: Duration,
}

impl Connector {
    /// A connector that trusts the system's certificate authorities, or Mozilla's where the system has none.
    pub(super) fn new(upstream: &Uri, limit: Duration) -> Result<Self, InvalidUpstream> {
        // Loading the system's authorities reads many files: only where they are needed.
        let needed = upstream.scheme() == Some(&Scheme::HTTPS);
        let tls = if needed { tls::usual()? } else { tls::of_browsers()? };
        Self::with_tls(upstream, limit, tls)
    }

    /// A connector that speaks TLS as it is told.
    pub(super) fn with_tls(
        upstream: &Uri,
        limit: Duration,
        tls: ClientConfig,
    ) -> Result<Self, InvalidUpstream> {
        let invalid = || InvalidUpstream::Address(upstream.clone());
        let scheme =
            upstream.scheme().filter(|s| [Scheme::HTTP, Scheme::HTTPS].contains(s)).ok_or_else(invalid)?;
        let authority =
            upstream.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(invalid)?.clone();
        let target = Uri::builder()
            .scheme(scheme.clone())
            .authority(authority.clone())
            .path_and_query(PathAndQuery::from_static("/"))
            .build()
            .map_err(|_| invalid())?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { connector, target, authority, limit })
    }

    /// The upstream's own name, for clients that give none.
    pub(super) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// A new connection; nothing was sent if there is none.
    pub(super) fn connect(&self) -> Connecting {
        let unreachable = |reason: String| ForwardError::Unreachable { seen: false, reason };
        let (mut connector, target, limit) = (self.connector.clone(), self.target.clone(), self.limit);
        Box::pin(async move {
            let connecting = async {
                connector.ready().await?;
                connector.call(target).await
            };
            match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(stream)) => Ok(Stream::from(stream)),
                Ok(Err(error)) => Err(unreachable(chain(&error))),
                Err(_) => Err(unreachable(format!("no connection within {limit:?}"))),
            }
        })
    }
}

/// An error and all that caused it, in one line.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
