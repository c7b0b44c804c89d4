//! The authenticator as a whole: every rule from a request's headers to its tenant.

mod api_keys;
mod front;
mod front_model;
mod fuzz;
mod key_sets;
pub(super) mod server;
mod setup;
mod signer;
mod store;
mod tokens;
