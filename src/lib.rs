//! Plangate: a multi-tenant plan entitlement gateway.
//!
//! The rooms, from the inside out: [`domain`] (the rules), [`ports`], [`clock`] and [`freshness`] (what the rules ask of
//! the world), the adapters ([`policy`], [`credentials`], [`store`], [`directory`], [`ledger`], [`sync`]), [`pipeline`]
//! (the stages of one request), and the surfaces around it ([`http`], [`admin`], [`app`], [`cli`]).
#![deny(missing_docs)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod credentials;
pub mod directory;
pub mod domain;
pub mod freshness;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod outgoing;
pub mod pipeline;
pub mod policy;
pub mod ports;
pub mod store;
pub mod sync;
mod tls;
pub mod wire;
