//! Connects to whom a URL names: resolved once, judged, and connected to at exactly that address.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::{
    address::Rule,
    target::{Host, Target},
};
use crate::ports::OutgoingError;

/// How long the name and the connection may take together.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Addresses of one name that are looked at.
const MOST_ADDRESSES: usize = 32;

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of a name, in the order in which they are to be tried.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// As the machine resolves names.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// Makes connections by a rule.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) rule: Arc<Rule>,
    pub(super) resolver: Arc<dyn Resolver>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = OutgoingError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OutgoingError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OutgoingError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let connecting = tokio::time::timeout(CONNECT_WITHIN, this.connect(&uri));
            connecting.await.unwrap_or_else(|_| {
                let seconds = CONNECT_WITHIN.as_secs();
                Err(OutgoingError::Failed(format!("no connection within {seconds} s")))
            })
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<TokioIo<TcpStream>, OutgoingError> {
        // What hyper was given was read before; here the very text that it acts upon is read once more.
        let target = Target::parse(&uri.to_string(), &self.rule)?;
        let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(usual);
        let addresses = self.addresses(&target.host).await?;
        let mut last = OutgoingError::Failed("the host's name has no address".to_owned());
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(TokioIo::new(stream));
                }
                Err(error) => {
                    last = OutgoingError::Failed(format!("no connection to {address} port {port}: {error}"));
                }
            }
        }
        Err(last)
    }

    /// The addresses of a host, each of which may be connected to.
    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, OutgoingError> {
        let (name, addresses) = match host {
            Host::Address(address) => (address.to_string(), vec![*address]),
            Host::Name(name) => {
                let found = self.resolver.resolve(name).await.map_err(|error| {
                    OutgoingError::Failed(format!("`{name}` could not be resolved: {error}"))
                })?;
                (name.clone(), found)
            }
        };
        let addresses: Vec<IpAddr> = addresses.into_iter().take(MOST_ADDRESSES).collect();
        // One that is not public is reason to distrust the others.
        match addresses.iter().find(|address| !self.rule.permits(**address)) {
            Some(address) => Err(OutgoingError::Forbidden { host: name, address: *address }),
            None => Ok(addresses),
        }
    }
}
