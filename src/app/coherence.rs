//! What no single value of the configuration can say of itself: bounds, and values that need or exclude each other.

use serde_json::Value;

use super::{
    config::{Config, Issuer, RetentionConfig, StripeConfig},
    mistake::{self, Mistake},
    values::Kept,
};
use crate::{credentials::Algorithm, wire::duration};

/// How long usage may rest before it is told.
const LONGEST_REST: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Longer than any month.
const SHORTEST_HOURS: Kept = Kept::days(35);

/// The first value that does not fit.
pub(super) fn check(config: &Config) -> Result<(), Mistake> {
    let mistake = |key: &str, detail: String| Err((key.to_owned(), detail));
    if let Some(workers) = config.workers
        && !(1..=1024).contains(&workers)
    {
        return mistake("workers", format!("`{workers}`: expected 1 to 1024"));
    }
    if let Some(node) = &config.node
        && !((1..=63).contains(&node.len()) && node.bytes().all(|b| b.is_ascii_graphic()))
    {
        let node = mistake::shown("node", &Value::from(node.as_str()));
        return mistake("node", format!("{node}: expected 1 to 63 visible characters"));
    }
    if !["sqlite://", "postgres://", "postgresql://"].iter().any(|s| config.database.starts_with(s)) {
        // The URL may hold a password, so only its scheme is shown.
        let scheme = config.database.split_once("://").map_or("...", |(scheme, _)| scheme);
        let detail = format!("`{scheme}://...`: expected sqlite://PATH or postgres://user@host/db");
        return mistake("database", detail);
    }
    check_bounds(config)?;
    check_retention(&config.retention)?;
    check_stripe(&config.stripe)?;
    config.identity.jwt.iter().enumerate().try_for_each(|(place, issuer)| check_issuer(place, issuer))
}

fn check_bounds(config: &Config) -> Result<(), Mistake> {
    let mistake = |key: &str, detail: String| Err((key.to_owned(), detail));
    let timeouts = &config.timeouts;
    for (key, span) in [
        ("timeouts.request_head", timeouts.request_head),
        ("timeouts.connect", timeouts.connect),
        ("timeouts.response_head", timeouts.response_head),
        ("timeouts.idle", timeouts.idle),
        ("timeouts.stream_idle", timeouts.stream_idle),
    ] {
        if span.0.is_zero() {
            return mistake(key, "`0s`: expected more than zero".to_owned());
        }
    }
    let caps = &config.caps;
    if !(1..=1_000_000).contains(&caps.connections) {
        return mistake("caps.connections", format!("`{}`: expected 1 to 1000000", caps.connections));
    }
    if !(1..=1_000_000_000).contains(&caps.tenants_cached) {
        return mistake(
            "caps.tenants_cached",
            format!("`{}`: expected 1 to 1000000000", caps.tenants_cached),
        );
    }
    if caps.request_head.0 < 1024 || caps.request_head.0 > 1 << 20 {
        return mistake("caps.request_head", format!("`{}`: expected 1KiB to 1MiB", caps.request_head.0));
    }
    Ok(())
}

fn check_retention(kept: &RetentionConfig) -> Result<(), Mistake> {
    let RetentionConfig { usage_hours: hours, usage_days: days, audit } = *kept;
    let at_least = |key: &str, given: Kept, least: Kept, why: &str| {
        if given.0 >= least.0 {
            return Ok(());
        }
        let (given, least) = (duration::format(given.0), duration::format(least.0));
        Err((format!("retention.{key}"), format!("`{given}`: expected at least {least}{why}")))
    };
    at_least("usage_hours", hours, SHORTEST_HOURS, ", so that a running billing month keeps its hours")?;
    at_least("usage_days", days, hours, ", as long as retention.usage_hours")?;
    at_least("audit", audit, Kept::days(1), "")
}

fn check_stripe(stripe: &StripeConfig) -> Result<(), Mistake> {
    if stripe.listen.is_some() && stripe.webhook_secrets.is_empty() && stripe.webhook_secrets_file.is_none() {
        let detail = "missing: expected the secret of the endpoint, or webhook_secrets_file".to_owned();
        return Err(("stripe.webhook_secrets".to_owned(), detail));
    }
    if stripe.api_key.is_some() && stripe.api_key_file.is_some() {
        let detail = "expected either the key, or stripe.api_key_file".to_owned();
        return Err(("stripe.api_key".to_owned(), detail));
    }
    if stripe.told_after.0 > LONGEST_REST {
        let given = duration::format(stripe.told_after.0);
        let detail = format!("`{given}`: expected at most 24h, as Stripe takes nothing that is much older");
        return Err(("stripe.told_after".to_owned(), detail));
    }
    Ok(())
}

fn check_issuer(place: usize, issuer: &Issuer) -> Result<(), Mistake> {
    let name = mistake::shown("issuer", &Value::from(issuer.issuer.as_str()));
    let sources = [issuer.jwks_file.is_some(), issuer.jwks_url.is_some(), issuer.hs256_secret_file.is_some()];
    if sources.iter().filter(|given| **given).count() != 1 {
        let detail = format!("{name}: expected exactly one of jwks_file, jwks_url and hs256_secret_file");
        return Err((format!("identity.jwt[{place}]"), detail));
    }
    let symmetric = issuer.hs256_secret_file.is_some();
    let unfit = issuer.algorithms.iter().find(|name| (name.0 == Algorithm::Hs256) != symmetric);
    if let Some(unfit) = unfit {
        let expected = if symmetric {
            "HS256 alone with hs256_secret_file"
        } else {
            "HS256 only with hs256_secret_file"
        };
        let detail = format!("`{}` for {name}: expected {expected}", unfit.0);
        return Err((format!("identity.jwt[{place}].algorithms"), detail));
    }
    Ok(())
}
