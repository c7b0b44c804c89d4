//! Reads the configuration's file and lays the environment over it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    config::{Config, Issuer, RetentionConfig, StripeConfig},
    mistake::{self, Mistake},
    places::Places,
    values::Kept,
};
use crate::{credentials::Algorithm, wire::duration};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "plangate.yaml";

/// Why there is no configuration. Shown in one line; the exit code is 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not YAML.
    #[error("{}: {detail}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Where and why.
        detail: String,
    },
    /// A key has a value that does not fit.
    #[error("{place}: {key}: {detail}")]
    Value {
        /// The file, or the environment variable.
        place: String,
        /// The key's path.
        key: String,
        /// The value, and what was expected.
        detail: String,
    },
}

/// Keys whose variables hold plain text; the others hold JSON (numbers, lists, maps).
const TEXTS: &[&str] = &[
    "listen",
    "upstream",
    "policies",
    "database",
    "data_dir",
    "node",
    "mode",
    "tenants.unknown.plan",
    "probe",
    "serve_stale",
    "admin.listen",
    "admin.token",
    "identity.api_key_header",
    "timeouts.request_head",
    "timeouts.connect",
    "timeouts.response_head",
    "timeouts.idle",
    "timeouts.stream_idle",
    "timeouts.drain",
    "caps.request_head",
    "retention.usage_hours",
    "retention.usage_days",
    "retention.audit",
    "stripe.listen",
    "stripe.webhook_secrets_file",
    "stripe.api_key",
    "stripe.api_key_file",
    "stripe.api_base",
    "stripe.told_after",
];

/// Keys whose variables hold JSON, and what is expected there.
const JSON: &[(&str, &str)] = &[
    ("workers", "a whole number"),
    ("tenants", "a map as JSON"),
    ("tenants.unknown", "deny, or {\"plan\": NAME} as JSON"),
    ("trusted_proxies", "a list as JSON, such as [\"10.0.0.0/8\"]"),
    ("cors", "a map as JSON"),
    ("cors.origins", "a list as JSON, such as [\"https://app.example\"]"),
    ("admin", "a map as JSON"),
    ("identity", "a map as JSON"),
    ("identity.jwt", "a list of maps as JSON"),
    ("timeouts", "a map as JSON"),
    ("caps", "a map as JSON"),
    ("caps.connections", "a whole number"),
    ("caps.tenants_cached", "a whole number"),
    ("retention", "a map as JSON"),
    ("webhooks", "a map as JSON"),
    ("webhooks.allow", "a list as JSON, such as [\"10.0.0.0/8\"]"),
    ("webhooks.http", "true or false"),
    ("stripe", "a map as JSON"),
    ("stripe.webhook_secrets", "a list as JSON, such as [\"whsec_...\"]"),
];

/// How long usage may rest before it is told.
const LONGEST_REST: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Longer than any month.
const SHORTEST_HOURS: Kept = Kept::days(35);

/// Variables of the same prefix that the shell commands read.
const OTHERS: &[&str] = &["PLANGATE_ADMIN_URL", "PLANGATE_CONFIG", "PLANGATE_LOG", "PLANGATE_WEBHOOK_SECRET"];

fn variable(key: &str) -> String {
    format!("PLANGATE_{}", key.replace('.', "_").to_uppercase())
}

/// Reads `file` (or the default file, if it is there) and the variables.
///
/// # Errors
/// The first thing that is wrong.
pub fn load(
    file: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let path = file.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_path_buf);
    let mut document = match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text)?,
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => Map::new(),
        Err(source) => return Err(ConfigError::Unreadable { file: path, source }),
    };
    let mut places = Places { file: Some(path.clone()), variables: Vec::new() };
    let mut variables: Vec<(String, String)> =
        variables.filter(|(name, _)| name.starts_with("PLANGATE_")).collect();
    // A variable for a whole map comes before those for its parts.
    variables.sort();
    for (name, value) in variables {
        if let Some(key) = overlay(&mut document, &name, &value)? {
            places.variables.push((key.to_owned(), name));
        } else if !OTHERS.contains(&name.as_str()) {
            tracing::warn!(variable = name, "no configuration key has this variable");
        }
    }
    decode(&Value::Object(document), places)
}

fn parse(file: &Path, text: &str) -> Result<Map<String, Value>, ConfigError> {
    let syntax = |detail: String| ConfigError::Syntax { file: file.to_path_buf(), detail };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(syntax("expected a map of keys, such as `listen: 127.0.0.1:8080`".to_owned())),
        Err(error) => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or("not YAML");
            let line = line.strip_prefix("error: ").unwrap_or(line);
            // What follows is advice to programmers.
            Err(syntax(line.split(", set ").next().unwrap_or(line).to_owned()))
        }
    }
}

/// Lays one variable over the document. Returns the key that it stands for, if any.
fn overlay(
    document: &mut Map<String, Value>,
    name: &str,
    text: &str,
) -> Result<Option<&'static str>, ConfigError> {
    let (key, value) = if let Some(key) = TEXTS.iter().copied().find(|key| variable(key) == name) {
        (key, Value::String(text.to_owned()))
    } else if let Some((key, expected)) = JSON.iter().copied().find(|(key, _)| variable(key) == name) {
        let plain = !text.trim_start().starts_with(['{', '[', '"']) && key == "tenants.unknown";
        let value = if plain { Ok(Value::String(text.to_owned())) } else { serde_json::from_str(text) };
        let value = value.map_err(|_| ConfigError::Value {
            place: name.to_owned(),
            key: key.to_owned(),
            // Where a map or a list was meant, nobody knows what part of the text is secret.
            detail: match expected {
                "a whole number" => format!("`{text}`: expected {expected}"),
                _ => format!("not readable: expected {expected}"),
            },
        })?;
        (key, value)
    } else {
        return Ok(None);
    };
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut place = document;
    for part in parts {
        let next = place.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if !next.is_object() {
            *next = Value::Object(Map::new());
        }
        let Value::Object(map) = next else { return Ok(None) };
        place = map;
    }
    place.insert(last.to_owned(), value);
    Ok(Some(key))
}

fn decode(document: &Value, places: Places) -> Result<Config, ConfigError> {
    let told = |(key, detail): Mistake| ConfigError::Value { place: places.of(&key), key, detail };
    let config: Config = serde_path_to_error::deserialize(document).map_err(|wrong| {
        let path = wrong.path().to_string();
        told(mistake::describe(document, &path, &wrong.into_inner().to_string()))
    })?;
    check(&config).map_err(told)?;
    Ok(Config { places, ..config })
}

/// What no single value can say of itself.
fn check(config: &Config) -> Result<(), Mistake> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(Some(file.path()), variables)
    }

    const LEAST: &str = "upstream: http://127.0.0.1:9000\n";

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = with(LEAST, &[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
        assert_eq!(config.caps.request_head.0, 65_536);
        assert_eq!(config.probe.0, "/.plangate/readyz");
        assert_eq!(config.tenants.unknown, UnknownTenant::Deny);
        assert!(config.admin.token.is_none());
        let kept = &config.retention;
        assert_eq!([kept.usage_hours, kept.usage_days, kept.audit], [92, 800, 400].map(Kept::days));
    }

    use super::super::config::UnknownTenant;

    #[test]
    fn the_environment_wins() {
        let config = with(
            LEAST,
            &[
                ("PLANGATE_LISTEN", "127.0.0.1:1"),
                ("PLANGATE_TENANTS_UNKNOWN", "{\"plan\":\"free\"}"),
                ("PLANGATE_CAPS_REQUEST_HEAD", "8KiB"),
                ("PLANGATE_WORKERS", "3"),
                ("PLANGATE_RETENTION", "{\"audit\":\"3650d\"}"),
                ("PLANGATE_RETENTION_USAGE_HOURS", "840h"),
                ("PLANGATE_TRUSTED_PROXIES", "[\"10.0.0.0/8\",\"::1\"]"),
                ("PLANGATE_NO_SUCH", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.tenants.unknown, UnknownTenant::Plan("free".into()));
        assert_eq!(config.caps.request_head.0, 8192);
        assert_eq!(config.workers, Some(3));
        let kept = &config.retention;
        assert_eq!([kept.usage_hours, kept.usage_days, kept.audit], [35, 800, 3650].map(Kept::days));
        assert_eq!(config.trusted_proxies.len(), 2);
        let config = with(LEAST, &[("PLANGATE_TENANTS_UNKNOWN", "deny")]).unwrap();
        assert_eq!(config.tenants.unknown, UnknownTenant::Deny);
    }

    #[test]
    fn a_key_comes_from_its_variable_or_from_the_file() {
        let config = with(LEAST, &[("PLANGATE_TIMEOUTS", "{}"), ("PLANGATE_TIMEOUTS_IDLE", "1s")]).unwrap();
        assert_eq!(config.places.of("timeouts.idle"), "PLANGATE_TIMEOUTS_IDLE");
        assert_eq!(config.places.of("timeouts.drain"), "PLANGATE_TIMEOUTS");
        assert_eq!(config.places.of("listen"), config.places.file.as_ref().unwrap().display().to_string());
    }

    #[test]
    fn errors_name_file_key_value_and_what_was_expected() {
        for (text, words) in [
            ("upstream: ftp://x", vec!["upstream", "`ftp://x`", "http://"]),
            ("upstream: http://x/path", vec!["upstream", "path"]),
            ("upstream: http://x\nlisten: here", vec!["listen", "here"]),
            ("upstream: http://x\nworkers: 0", vec!["workers", "`0`", "1 to 1024"]),
            ("upstream: http://x\ntimeouts: { idle: 5 minutes }", vec!["timeouts.idle", "5 minutes", "30s"]),
            ("upstream: http://x\ncaps: { request_head: big }", vec!["caps.request_head", "`big`", "KiB"]),
            ("upstream: http://x\nlisen: 1", vec!["lisen", "unknown key"]),
            ("listen: 127.0.0.1:1", vec!["upstream: missing"]),
            ("upstream: http://x\nlisten: a\nlisten: b", vec!["line 3", "duplicate", "listen"]),
            ("upstream: http://x\ntimeouts: { idle: 5 }", vec!["timeouts.idle", "`5`", "30s"]),
            ("upstream: http://x\ncaps: { connections: 1.5 }", vec!["caps.connections", "a whole number"]),
            ("upstream: http://x\ntrusted_proxies: 10.0.0.0/8", vec!["trusted_proxies", "a list"]),
            ("upstream: http://x\ndatabase: mysql://u:secret@h/d", vec!["database", "mysql", "sqlite://"]),
            ("upstream: http://x\nmode: audit", vec!["mode", "audit", "observe"]),
            ("upstream: http://x\nworkers: many", vec!["workers: `many`: expected a whole number"]),
            ("upstream: http://x\nworkers: -1", vec!["workers: `-1`: expected a whole number"]),
            ("upstream: http://x\nadmin: secret", vec!["admin: (not shown): expected a map"]),
            (
                "upstream: http://x\nadmin: { token: [secret] }",
                vec!["admin.token: (not shown): expected a text"],
            ),
            ("upstream: http://me:secret@x", vec!["upstream: `http://***@x`: expected"]),
            ("upstream: http://x\ntrusted_proxies: [nope]", vec!["trusted_proxies", "nope", "10.0.0.0/8"]),
            ("- 1", vec!["expected a map"]),
            ("a: [", vec![]),
        ] {
            let error = with(text, &[]).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
            assert!(!["secret", "usize", "Policy"].iter().any(|word| error.contains(word)), "{error}");
            for word in words {
                assert!(error.contains(word), "{error:?} lacks {word:?}");
            }
        }
        let config = with("upstream: http://x\nserve_stale: 0", &[]).unwrap();
        assert!(config.serve_stale.0.is_zero());
        let error = with(LEAST, &[("PLANGATE_WORKERS", "many")]).unwrap_err().to_string();
        assert!(error.contains("PLANGATE_WORKERS") && error.contains("many"), "{error}");
    }
}
