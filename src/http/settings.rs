//! What the data plane is told by configuration.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use ::http::Uri;
use ipnet::IpNet;

use crate::ports::Readiness;

/// Everything that the listener and the proxy need to know.
#[derive(Clone)]
pub struct Settings {
    /// Scheme and authority of the service behind; its path is not used.
    pub upstream: Uri,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much there may be.
    pub caps: Caps,
    /// Peers whose `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The path on which load balancers ask for readiness; `None` is off.
    pub probe: Option<String>,
    /// Answers the probe.
    pub readiness: ReadinessHook,
    /// Open client connections of all workers; also the metric `plangate_connections`.
    pub connections: Arc<AtomicUsize>,
}

/// Asked at each probe.
pub type ReadinessHook = Arc<dyn Fn() -> Readiness + Send + Sync>;

/// The time-outs of the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head (the first head: from the accept) to its end.
    pub request_head: Duration,
    /// For a new connection to the upstream, name look-up and TLS included.
    pub connect: Duration,
    /// From the last byte of the request's body to the upstream's answer.
    pub response_head: Duration,
    /// For kept connections, to both sides, between requests.
    pub idle: Duration,
    /// No byte either way while a body, an event stream or a WebSocket is under way.
    pub stream_idle: Duration,
    /// How long requests may go on after the order to stop.
    pub drain: Duration,
}

/// The bounds of the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Client connections over all workers.
    pub connections: usize,
    /// Bytes of a request's head.
    pub request_head: usize,
}

impl Settings {
    /// Settings with the defaults of the configuration file, always ready.
    #[must_use]
    pub fn new(upstream: Uri) -> Self {
        Self {
            upstream,
            timeouts: Timeouts::default(),
            caps: Caps::default(),
            trusted_proxies: Vec::new(),
            probe: Some("/.plangate/readyz".to_owned()),
            readiness: Arc::new(Readiness::yes),
            connections: Arc::default(),
        }
    }

    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(10),
            connect: Duration::from_secs(3),
            response_head: Duration::from_secs(60),
            idle: Duration::from_secs(75),
            stream_idle: Duration::from_secs(600),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Caps {
    fn default() -> Self {
        Self { connections: 10_000, request_head: 64 * 1024 }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("upstream", &self.upstream)
            .field("timeouts", &self.timeouts)
            .field("caps", &self.caps)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}
