//! The stages of one request.
//!
//! Each stage is a tower layer. It takes the request in the form that only the stage before it can make, adds what it has
//! found out, and hands the next form on:
//!
//! ```text
//!               Inbound                 a request, and who is at the other end
//!   Respond  ------|------------------- names it; turns every refusal into an answer
//!   Match          |                    canonical path, route
//!     | \       Matched
//!     |  Observe --|------------------- in `mode: observe`, lets the refused pass
//!     |  Identify  |                    credential -> tenant
//!     |         Identified
//!     |  Resolve   |                    tenant -> rights
//!     |         Entitled
//!     |  Decide    |                    rights x operation -> yes or no
//!     |         Granted
//!     |  Meter     |                    takes the units
//!     |         Metered
//!     |  Settle ---|------------------- ends the charge once, whichever way the answer's body ends
//!     |  /
//!   public, preflight
//!              Forwardable
//!   Strip          |                    takes the tenant's key off
//!   Forward                             an upstream, or a service of this process (`embed`)
//! ```
//!
//! A form has no public constructor, so nothing can be metered that was not granted, or granted without rights. What a
//! stage asks of the world is a port ([`crate::ports`]); it answers at once from memory, or with a future that the request
//! waits for. A refusal is a [`Rejection`](request::Rejection) until [`respond`] makes an answer of it.
//!
//! [`Gateway`] is the whole stack as one layer. The checking stages alone, by hand:
//!
//! ```
//! # use std::sync::Arc;
//! # use plangate::pipeline::{decide, identify, meter, resolve};
//! # use plangate::pipeline::request::{ForwardError, Forwardable, Matched};
//! # use plangate::pipeline::settle::SettleLayer;
//! # use plangate::ports::{Authenticator, Directory, Ledger};
//! # use tower::{Service, ServiceBuilder};
//! fn checks<A: Authenticator, D: Directory, L: Ledger, F, B, R>(
//!     (keys, tenants, units): (Arc<A>, Arc<D>, Arc<L>),
//!     upstream: F,
//! ) -> impl Service<Matched<B>>
//! where
//!     F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError> + Clone,
//!     R: http_body::Body,
//! {
//!     ServiceBuilder::new()
//!         .layer(identify::layer(keys, tenants.clone()))
//!         .layer(resolve::layer(tenants.clone()))
//!         .layer(decide::layer())
//!         .layer(meter::layer(units, tenants))
//!         .layer(SettleLayer)
//!         .service(upstream)
//! }
//! ```
//!
//! The order is not a matter of care. With two lines swapped there is no such service (`Decide` takes what is `Entitled`,
//! and gets what is `Identified`):
//!
//! ```compile_fail,E0277
//! # use std::sync::Arc;
//! # use plangate::pipeline::{decide, identify, meter, resolve};
//! # use plangate::pipeline::request::{ForwardError, Forwardable, Matched};
//! # use plangate::pipeline::settle::SettleLayer;
//! # use plangate::ports::{Authenticator, Directory, Ledger};
//! # use tower::{Service, ServiceBuilder};
//! fn checks<A: Authenticator, D: Directory, L: Ledger, F, B, R>(
//!     (keys, tenants, units): (Arc<A>, Arc<D>, Arc<L>),
//!     upstream: F,
//! ) -> impl Service<Matched<B>>
//! where
//!     F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError> + Clone,
//!     R: http_body::Body,
//! {
//!     ServiceBuilder::new()
//!         .layer(identify::layer(keys, tenants.clone()))
//!         .layer(decide::layer())
//!         .layer(resolve::layer(tenants.clone()))
//!         .layer(meter::layer(units, tenants))
//!         .layer(SettleLayer)
//!         .service(upstream)
//! }
//! ```

pub mod admission;
mod context;
pub mod cors;
mod cost;
pub mod decide;
pub mod embed;
mod facts;
pub mod faults;
pub(crate) mod header_text;
pub mod identify;
pub mod language;
mod looking;
pub mod matching;
pub mod meter;
pub mod names;
pub mod observe;
mod parts;
pub mod problem;
pub mod ratelimit;
pub mod refusals;
pub mod request;
mod request_id;
pub mod resolve;
pub mod respond;
mod review;
pub mod settle;
pub mod shadow;
pub mod stack;
pub mod stage;
pub mod strip;
pub mod view;

#[cfg(test)]
pub(crate) mod tests;

pub use stack::{Gateway, Stack};
