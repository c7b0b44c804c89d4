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
    let filter = EnvFilter::try_from_env("PLANGATE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second start (a test, an embedding program with its own) is not an error.
    let _ = if std::io::stderr().is_terminal() {
        registry.with(lines.with_target(false)).try_init()
    } else {
        registry.with(lines.json().flatten_event(true)).try_init()
    };
}
