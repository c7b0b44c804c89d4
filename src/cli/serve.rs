//! `plangate serve`.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::app::{
    environment,
    serve::{Ending, serve},
    start::StartError,
    telemetry,
};

/// Run the gateway
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration file; without it `plangate.yaml`, if there is one, and the environment
    #[arg(long, value_name = "FILE", env = "PLANGATE_CONFIG")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(&self) -> Result<(), Failure> {
        telemetry::start();
        // A variable that is not Unicode cannot be one of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let config = environment::load(self.config.as_deref(), variables)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let places = config.places.clone();
        match serve(config) {
            Ok(Ending::Stopped) | Err(StartError::Stopped) => Ok(()),
            Ok(Ending::Crashed) => Err(Failure::Refused("the gateway did not stop cleanly".to_owned())),
            Err(error @ StartError::System(_)) => Err(Failure::Refused(error.to_string())),
            Err(error) => Err(Failure::Usage(match error.key() {
                Some(key) => format!("{}: {error}", places.of(key)),
                None => error.to_string(),
            })),
        }
    }
}
