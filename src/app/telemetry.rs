//! Logs: readable on a terminal, JSON elsewhere. Never a key, token or body.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts logging to standard error. `PLANGATE_LOG` filters, as in `info,plangate::sync=debug`; the default is `info`.
pub fn start() {
    start_at("info");
}

/// Starts logging warnings only, unless `PLANGATE_LOG` says otherwise: for commands whose output is for reading.
pub fn start_quiet() {
    start_at("warn");
}

fn start_at(level: &str) {
    let asked = std::env::var("PLANGATE_LOG").ok().filter(|filter| !filter.is_empty());
    let given = asked.as_deref().map(EnvFilter::try_new);
    let unusable = matches!(given, Some(Err(_)));
    let filter = given.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second start (a test, an embedding program with its own) is not an error.
    let _ = if std::io::stderr().is_terminal() {
        registry.with(lines.with_target(false)).try_init()
    } else {
        registry.with(lines.json().flatten_event(true)).try_init()
    };
    if unusable {
        tracing::warn!(
            "PLANGATE_LOG: expected levels such as `info` or `info,plangate::sync=debug`; `{level}` is used"
        );
    }
}
