//! The configuration: one file, and an environment variable for each of its keys (contract, section 3).

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::Uri;
use serde::Deserialize;

use super::{
    places::Places,
    values::{
        AlgorithmName, ByteSize, Cidr, HeaderText, Kept, Origin, Probe, Span, UpstreamUri, WebhookSecret,
    },
};

/// Everything that can be configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of keys")]
pub struct Config {
    /// Where clients connect.
    #[serde(default = "defaults::listen", deserialize_with = "super::values::address")]
    pub listen: SocketAddr,
    /// Whom requests are forwarded to.
    pub upstream: UpstreamUri,
    /// The folder of the policy files; `database`: there is none, what was applied is in force.
    #[serde(default = "defaults::policies", deserialize_with = "super::values::plain")]
    pub policies: PathBuf,
    /// The database's URL.
    #[serde(default = "defaults::database", deserialize_with = "super::values::plain")]
    pub database: String,
    /// Where this node keeps files of its own.
    #[serde(default = "defaults::data_dir", deserialize_with = "super::values::plain")]
    pub data_dir: PathBuf,
    /// Data-plane threads; the cores where it is not given.
    #[serde(default, deserialize_with = "super::values::optional_whole")]
    pub workers: Option<usize>,
    /// This node's stable name; the host name where it is not given.
    #[serde(default, deserialize_with = "super::values::optional")]
    pub node: Option<String>,
    /// Whether refusals are carried out.
    #[serde(default)]
    pub mode: ModeWord,
    /// What becomes of unknown tenants.
    #[serde(default)]
    pub tenants: Tenants,
    /// Peers whose forwarding headers are believed.
    #[serde(default)]
    pub trusted_proxies: Vec<Cidr>,
    /// The load balancer's path on the data listener; empty is off.
    #[serde(default)]
    pub probe: Probe,
    /// Who may read refusals from a browser.
    #[serde(default)]
    pub cors: CorsConfig,
    /// The admin listener.
    #[serde(default)]
    pub admin: Admin,
    /// How tenants prove who they are.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// Bounds on waiting.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Bounds on everything else.
    #[serde(default)]
    pub caps: Caps,
    /// How long a node that hears nothing goes on with what it knows.
    #[serde(default = "defaults::serve_stale")]
    pub serve_stale: Span,
    /// How long the past is kept.
    #[serde(default)]
    pub retention: RetentionConfig,
    /// What may be told to whom.
    #[serde(default)]
    pub webhooks: WebhooksConfig,
    /// Stripe.
    #[serde(default)]
    pub stripe: StripeConfig,
    /// Where it was read.
    #[serde(skip)]
    pub places: Places,
}

/// `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModeWord {
    /// Refusals are carried out.
    #[default]
    Enforce,
    /// They are counted and logged only.
    Observe,
}

/// `tenants`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of keys")]
pub struct Tenants {
    /// `deny`, or the plan on which an unknown tenant's first valid token puts it.
    #[serde(default)]
    pub unknown: UnknownTenant,
}

/// `tenants.unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UnknownTenant {
    /// Refused.
    #[default]
    Deny,
    /// Made on this plan.
    Plan(String),
}

/// `cors`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of keys")]
pub struct CorsConfig {
    /// Origins such as `https://app.example`, or `*`.
    #[serde(default)]
    pub origins: Vec<Origin>,
}

/// `admin`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of keys")]
pub struct Admin {
    /// Where administrators connect.
    #[serde(default = "defaults::admin_listen", deserialize_with = "super::values::address")]
    pub listen: SocketAddr,
    /// The token they show; without one every call is refused.
    #[serde(default, deserialize_with = "super::values::optional")]
    pub token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: defaults::admin_listen(), token: None }
    }
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// `identity`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of keys")]
pub struct IdentityConfig {
    /// The header that carries API keys.
    #[serde(default = "defaults::api_key_header")]
    pub api_key_header: HeaderText,
    /// Token issuers.
    #[serde(default)]
    pub jwt: Vec<Issuer>,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self { api_key_header: defaults::api_key_header(), jwt: Vec::new() }
    }
}

/// One entry of `identity.jwt`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map of keys")]
pub struct Issuer {
    /// The `iss` claim.
    #[serde(deserialize_with = "super::values::plain")]
    pub issuer: String,
    /// What `aud` must contain.
    #[serde(deserialize_with = "super::values::plain")]
    pub audience: String,
    /// Accepted algorithms.
    pub algorithms: Vec<AlgorithmName>,
    /// A file with the issuer's keys.
    #[serde(default, deserialize_with = "super::values::optional")]
    pub jwks_file: Option<PathBuf>,
    /// Where the issuer publishes its keys.
    #[serde(default, deserialize_with = "super::values::optional_uri")]
    pub jwks_url: Option<Uri>,
    /// A file with a shared secret, for HS256.
    #[serde(default, deserialize_with = "super::values::optional")]
    pub hs256_secret_file: Option<PathBuf>,
    /// The claim that names the tenant.
    #[serde(default = "defaults::tenant_claim", deserialize_with = "super::values::plain")]
    pub tenant_claim: String,
    /// How far clocks may differ.
    #[serde(default = "defaults::leeway")]
    pub leeway: Span,
    /// A cookie that carries the token, too.
    #[serde(default, deserialize_with = "super::values::optional")]
    pub cookie: Option<String>,
}

/// `timeouts`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of keys")]
pub struct Timeouts {
    /// A request's head, from its first byte.
    pub request_head: Span,
    /// A connection to the upstream.
    pub connect: Span,
    /// The upstream's head, from the last byte of the request's body.
    pub response_head: Span,
    /// A kept connection without a request.
    pub idle: Span,
    /// A body, event stream or WebSocket without a byte either way.
    pub stream_idle: Span,
    /// Open requests at shutdown.
    pub drain: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            request_head: seconds(10),
            connect: seconds(3),
            response_head: seconds(60),
            idle: seconds(75),
            stream_idle: seconds(600),
            drain: seconds(30),
        }
    }
}

/// `caps`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of keys")]
pub struct Caps {
    /// Open client connections.
    #[serde(deserialize_with = "super::values::whole")]
    pub connections: usize,
    /// Bytes of a request's head.
    pub request_head: ByteSize,
    /// Tenants kept in memory.
    #[serde(deserialize_with = "super::values::whole")]
    pub tenants_cached: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self { connections: 10_000, request_head: ByteSize(64 * 1024), tenants_cached: 1_000_000 }
    }
}

/// `stripe`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of keys")]
pub struct StripeConfig {
    /// Where Stripe's webhooks arrive; without it nowhere.
    #[serde(deserialize_with = "super::values::optional_address")]
    pub listen: Option<SocketAddr>,
    /// The secrets of the endpoint in Stripe: one, or several while they are rotated.
    pub webhook_secrets: Vec<WebhookSecret>,
    /// A file with more of them, one a line.
    #[serde(deserialize_with = "super::values::optional")]
    pub webhook_secrets_file: Option<PathBuf>,
    /// The key with which usage is told; without one, nor a file with it, none is.
    #[serde(deserialize_with = "super::values::optional")]
    pub api_key: Option<Secret>,
    /// A file with that key.
    #[serde(deserialize_with = "super::values::optional")]
    pub api_key_file: Option<PathBuf>,
    /// Where Stripe's API is.
    #[serde(deserialize_with = "super::values::optional_uri")]
    pub api_base: Option<Uri>,
    /// How long usage rests before it is told, so that what is given back meanwhile never is.
    pub told_after: Span,
}

impl Default for StripeConfig {
    fn default() -> Self {
        Self {
            listen: None,
            webhook_secrets: Vec::new(),
            webhook_secrets_file: None,
            api_key: None,
            api_key_file: None,
            api_base: None,
            told_after: Span(Duration::from_secs(3_600)),
        }
    }
}

/// `retention`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of keys")]
pub struct RetentionConfig {
    /// Usage by the hour; from then on by the tenant's days.
    pub usage_hours: Kept,
    /// Usage by the day.
    pub usage_days: Kept,
    /// The audit log.
    pub audit: Kept,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { usage_hours: Kept::days(92), usage_days: Kept::days(800), audit: Kept::days(400) }
    }
}

/// `webhooks`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a map of keys")]
pub struct WebhooksConfig {
    /// Addresses that may be called though they are not public.
    pub allow: Vec<Cidr>,
    /// Whether `http` may be spoken, too.
    pub http: bool,
}

mod defaults {
    use super::{Duration, HeaderText, PathBuf, SocketAddr, Span};

    pub(super) fn listen() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8080))
    }
    pub(super) fn admin_listen() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8081))
    }
    pub(super) fn policies() -> PathBuf {
        PathBuf::from("./policies")
    }
    pub(super) fn database() -> String {
        "sqlite://plangate-data/plangate.db".to_owned()
    }
    pub(super) fn data_dir() -> PathBuf {
        PathBuf::from("./plangate-data")
    }
    pub(super) const fn serve_stale() -> Span {
        Span(Duration::from_secs(600))
    }
    pub(super) fn api_key_header() -> HeaderText {
        HeaderText(http::HeaderName::from_static("x-api-key"))
    }
    pub(super) fn tenant_claim() -> String {
        "tenant".to_owned()
    }
    pub(super) const fn leeway() -> Span {
        Span(Duration::from_secs(30))
    }
}

impl Config {
    /// Data-plane threads.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.workers
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get))
    }

    /// Whether there is no policy folder: what was applied is in force, and nothing else.
    #[must_use]
    pub fn has_policies_in_database(&self) -> bool {
        self.policies.as_os_str() == "database"
    }

    /// This node's stable name.
    #[must_use]
    pub fn node_name(&self) -> String {
        self.node.clone().unwrap_or_else(|| {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            if name.is_empty() { "plangate".to_owned() } else { name }
        })
    }
}
