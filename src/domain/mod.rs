//! The words of the product and their rules: no IO, no clock, no wire format.

pub mod addon;
pub mod catalog;
pub mod command;
pub mod decision;
pub mod denial;
pub mod facts;
pub mod features;
pub mod grant;
pub mod id;
pub mod identity;
pub mod lifecycle;
pub mod mixture;
pub mod money;
pub mod path;
pub mod period;
pub mod plan;
pub mod rate;
pub mod revision;
pub mod rights;
pub mod route;
pub mod settlement;
pub mod subscription;
pub mod tenant;
pub mod time;
pub mod transitions;
mod trie;
pub mod units;
