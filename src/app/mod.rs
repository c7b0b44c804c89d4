//! Configuration to adapters to pipeline to servers.

mod background;
pub mod config;
pub mod environment;
mod figures;
mod in_force;
mod incarnation;
mod issuer;
mod mistake;
mod obedience;
mod patience;
mod readiness;
pub mod serve;
mod settings;
pub mod sources;
pub mod start;
mod start_error;
mod switch;
pub mod telemetry;
pub mod values;
mod workers;
