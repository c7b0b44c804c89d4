//! The data listener and the proxy: HTTP in, HTTP out.
//!
//! [`serve`] runs one worker: it accepts connections and puts every request into a stack of services. At the stack's
//! bottom stands [`Proxy`], which sends it on to the upstream. What lies between is the business of
//! [`pipeline`](crate::pipeline).
//!
//! - `listener`, `connection`: from the socket to the version of HTTP that it speaks.
//! - `http1`, `http2`: from its bytes to the stack, and the stack's answers back.
//! - `head`, `chunked`, `host`: every head and body framing is judged before the stack sees it.
//! - `conversation`, `watch`: what the parts of one connection know of each other, and when it is to be closed.
//! - `upstream`, `headers`, `forwarded`, `tunnel`: from the stack to the upstream and back.
//! - `dechunk`, `fields`, `outbox`, `preread`: what both sides share.
//! - `worker`, `tasks`, `memory`, `date`: what all connections of one thread share.

mod chunked;
mod connection;
mod conversation;
mod date;
mod dechunk;
mod fields;
mod forwarded;
mod gauge;
mod head;
mod headers;
mod host;
mod http1;
mod http2;
mod listener;
mod memory;
mod outbox;
mod overload;
mod preread;
mod probe;
mod server_body;
mod settings;
mod tasks;
#[cfg(test)]
mod tests;
mod tunnel;
mod upstream;
mod watch;
mod worker;

pub use self::{
    listener::{bind, serve},
    server_body::ServerBody,
    settings::{Caps, ReadinessHook, Settings, Timeouts},
    tasks::Tasks,
    upstream::{InvalidUpstream, Proxy, ProxyBody},
};

/// Any error of a body.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
