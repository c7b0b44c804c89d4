//! The stages of one request, each a tower layer and service over the form the stage before it proves.

pub mod cors;
pub mod decide;
pub mod embed;
pub mod identify;
pub mod matching;
pub mod meter;
pub mod names;
pub mod observe;
pub mod problem;
pub mod ratelimit;
pub mod request;
pub mod resolve;
pub mod respond;
pub mod settle;
pub mod stack;
pub mod stage;
pub mod strip;

pub use stack::{Gateway, Stack};
