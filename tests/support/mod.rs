//! What several integration tests share.
#![allow(dead_code, reason = "each test binary compiles this for itself and uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

pub mod postgres;

pub mod admin;
pub mod amount;
pub mod client;
pub mod cluster;
pub mod drain;
pub mod forwarder;
pub mod load;
pub mod origin;
pub mod process;
pub mod provider;
pub mod python;
pub mod refusal;
pub mod slow;
pub mod stripe;
pub mod tls;
pub mod upstream;
