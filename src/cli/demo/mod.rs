//! `plangate demo`: the gateway, a sample product behind it, an embedded database and tenants to try it with.

mod scene;
mod tour;
mod upstream;

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::app::{
    serve::{self, Signals},
    telemetry,
};

/// Run the gateway in front of a sample product, with sample tenants, and print what to try
#[derive(Debug, Args)]
pub struct Demo {
    /// The policy folder
    #[arg(long, value_name = "DIR", default_value = "policies")]
    policies: PathBuf,
}

impl Demo {
    pub(super) fn run(&self) -> Result<(), Failure> {
        telemetry::start_quiet();
        let failed = |error: std::io::Error| Failure::Refused(format!("the system refused: {error}"));
        let runtime = serve::runtime().map_err(failed)?;
        let result = runtime.block_on(async {
            let mut signals = Signals::listen().map_err(failed)?;
            let scene = tokio::select! {
                scene = scene::Scene::set(&self.policies) => scene?,
                () = signals.next() => return Ok(()),
            };
            tour::print(&scene)?;
            tokio::select! {
                () = signals.next() => {}
                () = scene.node.stopped() => {}
            }
            scene.strike().await;
            super::output::write(b"\nStopped. Nothing is left behind.\n")
        });
        runtime.shutdown_timeout(std::time::Duration::from_millis(200));
        result
    }
}
