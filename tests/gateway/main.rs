//! The gateway as its users meet it: the real binary, real sockets, a real upstream that counts, real databases.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

/// The unit tests' token maker: it also makes what no library would.
#[path = "../../src/credentials/tests/signer.rs"]
mod signer;
#[path = "../support/mod.rs"]
mod support;

mod adoption;
mod configuration;
mod first_steps;
mod identity;
mod token_keys;
mod tokens;
