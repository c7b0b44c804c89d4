//! The data listener and the proxy: HTTP in, HTTP out.
//!
//! [`serve`] runs one worker: it accepts connections and puts every request into a stack of services. At the stack's
//! bottom stands [`Proxy`], which sends it on to the upstream. What lies between is the business of
//! [`pipeline`](crate::pipeline).
//!
//! - `guard`, `head`, `chunked`, `host`: every HTTP/1 head and body framing is judged before hyper sees it.
//! - `conversation`: what the parts of one connection know of each other, and when it is to be closed.
//! - `listener`, `connection`, `service`: from the socket to the stack and back.
//! - `upstream`, `headers`, `forwarded`, `tunnel`: from the stack to the upstream and back.

mod answer;
mod buffer;
mod chunked;
mod connection;
mod conversation;
mod forwarded;
mod gauge;
mod guard;
mod head;
mod headers;
mod host;
mod http2;
mod listener;
mod overload;
mod probe;
mod server_body;
mod service;
mod settings;
mod tasks;
#[cfg(test)]
mod tests;
mod tunnel;
mod upstream;

pub use self::{
    answer::Answer,
    listener::{bind, serve},
    server_body::ServerBody,
    settings::{Caps, ReadinessHook, Settings, Timeouts},
    tasks::Tasks,
    upstream::{InvalidUpstream, Proxy, ProxyBody},
};

/// Any error of a body.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
