//! The stages around ports that do as they are told.

mod deciding;
mod endings;
mod matching;
mod observing;
mod refusing;
mod remembering;
mod reserving;
mod reviewing;
pub(crate) mod scene;
mod shadowing;
mod waiting;
