//! API keys: making them, taking over those of others, and looking up whose they are.

mod checksum;
mod flight;
mod gate;
mod hash;
mod imported;
mod lookup;
mod packed;
mod reviews;
mod secret;
mod shelf;
mod token;

pub use hash::KeyHasher;
pub use imported::{ImportedKey, WeakKey};
pub(super) use lookup::KeyLookup;
pub(super) use secret::PREFIX;
pub use secret::{ApiKeySecret, NoRandomness, new_key_id};
pub use token::AdminTokenSecret;
