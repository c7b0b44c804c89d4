//! Reads the configuration's file and lays the environment over it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{config::Config, places::Places};

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
];

const JSON: &[&str] = &[
    "workers",
    "tenants",
    "tenants.unknown",
    "trusted_proxies",
    "cors",
    "cors.origins",
    "admin",
    "identity",
    "identity.jwt",
    "timeouts",
    "caps",
    "caps.connections",
    "caps.tenants_cached",
];

/// Variables of the same prefix that the shell commands read.
const OTHERS: &[&str] = &["PLANGATE_ADMIN_URL", "PLANGATE_CONFIG", "PLANGATE_LOG"];

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
    let mut places = Places::default();
    let mut document = match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text)?,
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => Map::new(),
        Err(source) => return Err(ConfigError::Unreadable { file: path, source }),
    };
    places.file = Some(path);
    let mut variables: Vec<(String, String)> =
        variables.filter(|(name, _)| name.starts_with("PLANGATE_")).collect();
    // A variable for a whole map comes before those for its parts.
    variables.sort();
    for (name, value) in variables {
        if let Some(key) = overlay(&mut document, &name, &value)? {
            places.variables.push((key, name));
        } else if !OTHERS.contains(&name.as_str()) {
            tracing::warn!(variable = name, "no configuration key has this variable");
        }
    }
    decode(Value::Object(document), places)
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
fn overlay(document: &mut Map<String, Value>, name: &str, text: &str) -> Result<Option<String>, ConfigError> {
    let find = |keys: &[&'static str]| keys.iter().copied().find(|key| variable(key) == name);
    let (key, value) = if let Some(key) = find(TEXTS) {
        (key, Value::String(text.to_owned()))
    } else if let Some(key) = find(JSON) {
        let plain = !text.trim_start().starts_with(['{', '[', '"']) && key == "tenants.unknown";
        let value = if plain { Ok(Value::String(text.to_owned())) } else { serde_json::from_str(text) };
        let value = value.map_err(|_| ConfigError::Value {
            place: name.to_owned(),
            key: key.to_owned(),
            detail: format!("`{text}`: expected a number, or a list or map as JSON"),
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
    Ok(Some(key.to_owned()))
}

fn decode(document: Value, places: Places) -> Result<Config, ConfigError> {
    let error =
        |key: &str, detail: String| ConfigError::Value { place: places.of(key), key: key.to_owned(), detail };
    let config: Config = serde_path_to_error::deserialize(&document).map_err(|wrong| {
        let path = wrong.path().to_string();
        let mut detail = in_plain_words(&wrong.into_inner().to_string());
        let value = document.pointer(&pointer(&path)).filter(|_| path != "." && path != "admin.token");
        if let Some(value) = value.filter(|_| !detail.contains('`')) {
            detail = format!("`{value}`: {detail}");
        }
        if path == "admin.token" {
            // Whatever it is, it is a secret.
            detail = "expected a text".to_owned();
        }
        let key = if path == "." { "(top level)".to_owned() } else { path };
        error(&key, detail)
    })?;
    check(&config).map_err(|(key, detail)| error(key, detail))?;
    Ok(Config { places, ..config })
}

/// What serde says, without its names of types.
fn in_plain_words(text: &str) -> String {
    ["usize", "u64", "u32"]
        .iter()
        .fold(text.to_owned(), |text, name| {
            text.replace(&format!("expected {name}"), "expected a whole number")
        })
        .replace("expected a sequence", "expected a list")
        .replace("unknown field", "unknown key")
        .replace("missing field", "missing key")
}

/// A path such as `identity.jwt[0].issuer` as a JSON pointer.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
}

/// What no single value can say of itself.
fn check(config: &Config) -> Result<(), (&'static str, String)> {
    if let Some(workers) = config.workers
        && !(1..=1024).contains(&workers)
    {
        return Err(("workers", format!("`{workers}`: expected 1 to 1024")));
    }
    if let Some(node) = &config.node
        && !((1..=63).contains(&node.len()) && node.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(("node", format!("`{node}`: expected 1 to 63 visible characters")));
    }
    if config.policies.as_os_str() == "database" {
        return Err((
            "policies",
            "`database`: expected a folder (revisions in the database come later)".into(),
        ));
    }
    if !["sqlite://", "postgres://", "postgresql://"].iter().any(|s| config.database.starts_with(s)) {
        // The URL may hold a password, so only its scheme is shown.
        let scheme = config.database.split(':').next().unwrap_or_default();
        return Err((
            "database",
            format!("`{scheme}:...`: expected sqlite://PATH or postgres://user@host/db"),
        ));
    }
    let timeouts = &config.timeouts;
    for (key, span) in [
        ("timeouts.request_head", timeouts.request_head),
        ("timeouts.connect", timeouts.connect),
        ("timeouts.response_head", timeouts.response_head),
        ("timeouts.idle", timeouts.idle),
        ("timeouts.stream_idle", timeouts.stream_idle),
    ] {
        if span.0.is_zero() {
            return Err((key, "`0`: expected more than zero".to_owned()));
        }
    }
    if config.caps.connections == 0 {
        return Err(("caps.connections", "`0`: expected at least 1".to_owned()));
    }
    if config.caps.request_head.0 < 1024 || config.caps.request_head.0 > 1 << 20 {
        let given = config.caps.request_head.0;
        return Err(("caps.request_head", format!("`{given}`: expected 1KiB to 1MiB")));
    }
    config.identity.jwt.iter().try_for_each(check_issuer)
}

fn check_issuer(issuer: &super::config::Issuer) -> Result<(), (&'static str, String)> {
    let name = &issuer.issuer;
    let sources = [issuer.jwks_file.is_some(), issuer.jwks_url.is_some(), issuer.hs256_secret_file.is_some()];
    if sources.iter().filter(|given| **given).count() != 1 {
        let detail = format!("`{name}`: expected exactly one of jwks_file, jwks_url and hs256_secret_file");
        return Err(("identity.jwt", detail));
    }
    let symmetric = issuer.hs256_secret_file.is_some();
    if issuer.algorithms.is_empty() || issuer.algorithms.iter().any(|a| (a == "HS256") != symmetric) {
        let detail = format!("`{name}`: expected algorithms: [HS256] with hs256_secret_file, others without");
        return Err(("identity.jwt", detail));
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
                ("PLANGATE_TRUSTED_PROXIES", "[\"10.0.0.0/8\",\"::1\"]"),
                ("PLANGATE_NO_SUCH", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.tenants.unknown, UnknownTenant::Plan("free".into()));
        assert_eq!(config.caps.request_head.0, 8192);
        assert_eq!(config.workers, Some(3));
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
            ("listen: 127.0.0.1:1", vec!["upstream", "missing key"]),
            ("upstream: http://x\nlisten: a\nlisten: b", vec!["line 3", "duplicate", "listen"]),
            ("upstream: http://x\ntimeouts: { idle: 5 }", vec!["timeouts.idle", "`5`", "30s"]),
            ("upstream: http://x\ncaps: { connections: 1.5 }", vec!["caps.connections", "a whole number"]),
            ("upstream: http://x\ntrusted_proxies: 10.0.0.0/8", vec!["trusted_proxies", "a list"]),
            ("upstream: http://x\nadmin: { token: [secret] }", vec!["admin.token", "a text"]),
            ("upstream: http://x\ndatabase: mysql://u:secret@h/d", vec!["database", "mysql", "sqlite://"]),
            ("upstream: http://x\nmode: audit", vec!["mode", "audit", "observe"]),
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
