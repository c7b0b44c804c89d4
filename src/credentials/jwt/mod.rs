//! JSON Web Tokens, verified as RFC 8725 asks: nothing that a token says about itself is believed before its signature
//! is, and then only what its issuer was configured to say.

mod algorithm;
mod claims;
mod fetch;
mod header;
mod issuer;
mod jwks;
mod published;
mod refresh;
mod source;
mod strict;
mod tokens;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub(super) use published::Timing;
pub(super) use tokens::Tokens;

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// It never will be.
    Invalid(&'static str),
    /// It was acceptable before.
    Expired,
    /// It will be.
    NotYet,
    /// No key that is known here verifies it; the issuer may have a newer one.
    UnknownKey,
}
