//! Configuration to adapters to pipeline to servers.

mod background;
pub mod config;
mod deployment;
mod descriptors;
pub mod embed;
mod engine;
pub mod environment;
mod figures;
pub mod in_force;
mod issuer;
mod lifecycle;
mod mistake;
mod obedience;
mod patience;
pub mod places;
mod plan_versions;
mod readiness;
pub mod serve;
mod settings;
pub mod start;
mod start_error;
mod switch;
pub mod telemetry;
mod tidying;
pub mod values;
mod words;
mod workers;
