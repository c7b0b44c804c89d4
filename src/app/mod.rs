//! Configuration to adapters to pipeline to servers.

mod background;
mod bills;
mod bygone;
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
mod meter_events;
mod mistake;
mod obedience;
pub mod offline_token;
mod patience;
pub mod places;
mod plan_versions;
mod readiness;
#[cfg(test)]
mod reconciliation;
pub mod serve;
mod settings;
mod shadowing;
pub mod start;
mod start_error;
mod stripe;
mod switch;
pub mod telemetry;
mod tidying;
pub mod values;
mod words;
mod workers;
