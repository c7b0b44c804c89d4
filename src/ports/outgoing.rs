//! Requests that this node makes of others, such as webhooks and a billing system's API.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// A POST.
#[derive(Debug, Clone)]
pub struct OutgoingRequest {
    /// Where to: `https` or `http`, without user information.
    pub url: String,
    /// Its headers, with `content-type`; `host`, `content-length` and `user-agent` are added.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Bytes,
}

/// What came back. Redirects are answers, too: none is followed.
#[derive(Debug, Clone)]
pub struct OutgoingAnswer {
    /// The status.
    pub status: u16,
    /// The first 64 KiB of the body.
    pub body: Bytes,
    /// `Retry-After`, where it is in seconds.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutgoingError {
    /// The URL is none that may be asked.
    #[error("`{url}` cannot be called: {reason}")]
    Url {
        /// The URL, without what may be secret.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Every address of the host is one that may not be connected to.
    #[error("`{host}` is at {address}, which is not a public address")]
    Forbidden {
        /// The host's name.
        host: String,
        /// The address.
        address: std::net::IpAddr,
    },
    /// No answer at all, it broke off, or it did not come in time.
    #[error("{0}")]
    Failed(String),
}

/// Makes requests of others.
#[async_trait]
pub trait Outgoing: Send + Sync + 'static {
    /// Checks what can be said of a URL without asking anybody: its form, its scheme, and an address that it names itself.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, url: &str) -> Result<(), OutgoingError>;

    /// Makes one, within a bounded time.
    async fn post(&self, request: OutgoingRequest) -> Result<OutgoingAnswer, OutgoingError>;
}
