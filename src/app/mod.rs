//! Configuration to adapters to pipeline to servers.

pub mod config;
pub mod environment;
pub mod values;
