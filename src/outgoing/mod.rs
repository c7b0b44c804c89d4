//! Requests that this node makes of others: to addresses that anybody may reach, and no others; and webhooks, which are
//! such requests.
//!
//! A URL is read strictly ([`target`](self)), its host is resolved once, each address must be public or allowed
//! ([`Rule`]), and the connection goes to one of exactly these addresses. No redirect is followed and no proxy is asked.

mod address;
mod client;
mod connector;
mod delivery;
mod dispatcher;
mod target;
#[cfg(test)]
mod tests;

pub use address::Rule;
pub use client::{HttpOutgoing, TlsError};
pub use connector::{Resolver, SystemResolver};
pub use dispatcher::{Dispatcher, DispatcherParts};
