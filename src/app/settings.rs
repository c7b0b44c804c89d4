//! Configuration in the words of each part.

use std::{net::SocketAddr, sync::Arc};

use super::{
    config::{Config, RetentionConfig, StripeConfig, UnknownTenant, WebhooksConfig},
    meter_events::MeterEventSettings,
    mistake,
    readiness::ReadinessBoard,
    start::StartError,
};
use crate::{
    credentials::{self, IssuerSettings, TokenKeys},
    directory::{self, UnknownTenants},
    domain::id::PlanId,
    http,
    metrics::Metrics,
    outgoing::{HttpOutgoing, Rule},
    policy::Watched,
    ports::{Outgoing, Policies},
    store::Retention,
};

/// What the listener and the proxy are told.
pub(super) fn data_plane(config: &Config, board: Arc<ReadinessBoard>, metrics: &Metrics) -> http::Settings {
    let timeouts = &config.timeouts;
    http::Settings {
        upstream: config.upstream.0.clone(),
        timeouts: http::Timeouts {
            request_head: timeouts.request_head.0,
            connect: timeouts.connect.0,
            response_head: timeouts.response_head.0,
            idle: timeouts.idle.0,
            stream_idle: timeouts.stream_idle.0,
            drain: timeouts.drain.0,
        },
        caps: http::Caps { connections: config.caps.connections, request_head: config.caps.request_head.0 },
        trusted_proxies: config.trusted_proxies.iter().map(|cidr| cidr.0).collect(),
        probe: Some(config.probe.0.clone()).filter(|path| !path.is_empty()),
        readiness: Arc::new(move || board.read()),
        connections: Arc::clone(&metrics.connections),
    }
}

/// What the directory is told.
pub(super) fn directory(config: &Config, watched: &Watched) -> Result<directory::Settings, StartError> {
    let catalog = watched.catalog();
    // What the database will say is not known yet.
    let has = |plan: &PlanId| !watched.is_a_folder() || catalog.plan(plan.as_str()).is_some();
    let unknown = match &config.tenants.unknown {
        UnknownTenant::Deny => UnknownTenants::Deny,
        UnknownTenant::Plan(name) => {
            let key = "tenants.unknown.plan";
            let known = PlanId::parse(name).ok().filter(has);
            let plan = known.ok_or_else(|| StartError::Value {
                key,
                detail: format!(
                    "{}: expected a plan that the policies have",
                    mistake::shown(key, &name.as_str().into())
                ),
            })?;
            UnknownTenants::Enroll(plan)
        }
    };
    let (capacity, serve_stale) = (config.caps.tenants_cached, config.serve_stale.0);
    Ok(directory::Settings { capacity, serve_stale, unknown })
}

/// What makes requests of others.
pub(super) fn outgoing(config: &WebhooksConfig) -> Result<Arc<dyn Outgoing>, StartError> {
    let rule = Rule { allow: config.allow.iter().map(|cidr| cidr.0).collect(), http: config.http };
    HttpOutgoing::new(rule)
        .map(|outgoing| Arc::new(outgoing) as _)
        .map_err(|error| StartError::System(std::io::Error::other(error)))
}

/// How usage is told to Stripe; `None`: it is not.
pub(super) fn meter_events(config: &StripeConfig) -> Result<Option<MeterEventSettings>, StartError> {
    let key = match (&config.api_key, &config.api_key_file) {
        (Some(key), _) => key.0.clone(),
        (None, Some(file)) => {
            let read = std::fs::read_to_string(file);
            read.map_err(|source| StartError::File {
                key: "stripe.api_key_file",
                file: file.display().to_string(),
                source,
            })?
        }
        (None, None) => return Ok(None),
    };
    let key = key.trim().to_owned();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = "expected a key of visible characters, such as sk_live_ or rk_live_ and what follows it";
        return Err(StartError::Value { key: "stripe.api_key", detail: detail.to_owned() });
    }
    let base = config.api_base.as_ref().map_or_else(|| STRIPE.to_owned(), ToString::to_string);
    // The operator's own word, unlike the address of a webhook: it may be anywhere.
    let anywhere = ["0.0.0.0/0", "::/0"].iter().filter_map(|cidr| cidr.parse().ok()).collect();
    let outgoing = HttpOutgoing::new(Rule { allow: anywhere, http: true })
        .map_err(|error| StartError::System(std::io::Error::other(error)))?;
    Ok(Some(MeterEventSettings { base, key, rest: config.told_after.0, outgoing: Arc::new(outgoing) }))
}

/// Where Stripe's API is.
const STRIPE: &str = "https://api.stripe.com";

/// What the store's housekeeping is told.
pub(super) const fn retention(kept: &RetentionConfig) -> Retention {
    Retention { usage_hours: kept.usage_hours.0, usage_days: kept.usage_days.0, audit: kept.audit.0 }
}

/// What the authenticator is told.
pub(super) fn identity(config: &Config) -> Result<credentials::Settings, StartError> {
    let issuers = config
        .identity
        .jwt
        .iter()
        .map(|issuer| {
            Ok(IssuerSettings {
                issuer: issuer.issuer.clone(),
                audience: issuer.audience.clone(),
                algorithms: issuer.algorithms.iter().map(|name| name.0).collect(),
                keys: token_keys(issuer)?,
                tenant_claim: issuer.tenant_claim.clone(),
                leeway: issuer.leeway.0,
                cookie: issuer.cookie.clone(),
            })
        })
        .collect::<Result<_, StartError>>()?;
    Ok(credentials::Settings {
        api_key_header: config.identity.api_key_header.0.clone(),
        issuers,
        cached: config.caps.tenants_cached,
    })
}

fn token_keys(issuer: &super::config::Issuer) -> Result<TokenKeys, StartError> {
    if let Some(file) = &issuer.jwks_file {
        return Ok(TokenKeys::JwksFile(file.clone()));
    }
    if let Some(url) = &issuer.jwks_url {
        return Ok(TokenKeys::JwksUrl(url.to_string()));
    }
    let file = issuer.hs256_secret_file.clone().unwrap_or_default();
    let mut bytes = std::fs::read(&file).map_err(|source| StartError::File {
        key: "identity.jwt.hs256_secret_file",
        file: file.display().to_string(),
        source,
    })?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(TokenKeys::Hs256Secret(bytes))
}

/// Listeners share their port among this node's workers, which would hide that another process has it, too.
pub(super) fn check_free(key: &'static str, address: SocketAddr) -> Result<(), StartError> {
    std::net::TcpListener::bind(address).map(drop).map_err(|source| StartError::Listen {
        key,
        address,
        source,
    })
}
