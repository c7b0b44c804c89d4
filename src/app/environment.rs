//! Reads the configuration's file and lays the environment over it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    coherence::check,
    config::Config,
    mistake::{self, Mistake},
    places::Places,
    variables::{OTHERS, PREFIX, overlay},
};

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
        variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
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

fn decode(document: &Value, places: Places) -> Result<Config, ConfigError> {
    let told = |(key, detail): Mistake| ConfigError::Value { place: places.of(&key), key, detail };
    let config: Config = serde_path_to_error::deserialize(document).map_err(|wrong| {
        let path = wrong.path().to_string();
        told(mistake::describe(document, &path, &wrong.into_inner().to_string()))
    })?;
    check(&config).map_err(told)?;
    Ok(Config { places, ..config })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{
        super::{config::UnknownTenant, values::Kept},
        *,
    };

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
