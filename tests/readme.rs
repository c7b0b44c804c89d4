//! Holds README.md to the truth: its configuration is complete, readable, and shows the defaults.

#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::{io::Write, path::Path};

use plangate::app::{
    config::{Config, Secret},
    environment::load,
    places::Places,
};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The block that begins with `# plangate.yaml`.
fn block(text: &str) -> &str {
    let (_, after) = text.split_once("```yaml\n# plangate.yaml\n").unwrap();
    after.split_once("```").unwrap().0
}

fn read(text: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(Some(file.path()), std::iter::empty()).unwrap()
}

#[test]
fn the_configuration_of_the_readme_is_the_default_one() {
    let shown = read(block(&readme()));
    let mut least = read("upstream: http://127.0.0.1:9000");
    // What has no default, or one of the machine's.
    least.workers = shown.workers;
    least.node = shown.node.clone();
    least.admin.token = Some(Secret("change-me".into()));
    least.places = Places::default();
    let shown = Config { places: Places::default(), ..shown };
    assert_eq!(format!("{shown:#?}"), format!("{least:#?}"));
}

#[test]
fn the_readme_shows_every_key() {
    let text = readme();
    // Only what is not commented out, or stands in the example of an issuer.
    let keys: String = block(&text).lines().map(|line| line.replacen("# ", "", 1) + "\n").collect();
    let config = format!(
        "{:#?}",
        read(
            "upstream: http://x\nidentity: { jwt: [{ issuer: a, audience: b, algorithms: [RS256], jwks_file: c }] }"
        )
    );
    let names = config.lines().filter_map(|line| line.trim().split_once(": "));
    for (name, _) in names
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()))
    {
        if ["places", "file", "variables"].contains(&name) {
            continue;
        }
        assert!(keys.contains(&format!("{name}:")), "README.md does not show `{name}`");
    }
}

#[test]
fn the_issuer_of_the_readme_can_be_read() {
    let text = readme();
    let issuer: String = block(&text)
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("# - issuer"))
        .take_while(|line| line.trim_start().starts_with('#'))
        .map(|line| line.replacen("# ", "", 1) + "\n")
        .collect();
    let config = read(&format!("upstream: http://x\nidentity:\n  jwt:\n{issuer}"));
    assert_eq!(config.identity.jwt[0].cookie.as_deref(), Some("session"));
    assert_eq!(config.identity.jwt[0].leeway.0.as_secs(), 30);
}
