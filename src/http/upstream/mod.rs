//! Towards the upstream: one HTTP/1.1 exchange after the other over kept connections of this thread.
//!
//! Plangate speaks HTTP/1.1 to the upstream itself, as it passes messages on and need not understand them: a request's
//! head is written from the client's headers straight into the bytes that are sent, an answer whose body came with its
//! head gives its connection back at once, and all of it happens in the task of the client's connection. A general client
//! with a task for each connection, channels between the two and a copy of the headers to change costs several times the
//! processor time of all checks together (see `benches/README.md`).
//!
//! - `connect`, `stream`: new connections, plain or with TLS.
//! - `link`, `pool`: a connection with what was read from it, and those that wait for their next request.
//! - `request_head`, `upload`: what is sent.
//! - `answer_head`, `answer_body`: what comes back.
//! - `exchange`: one request and its answer; `proxy`: the service that makes them.

mod answer_body;
mod answer_head;
mod connect;
mod exchange;
mod link;
mod pool;
mod proxy;
mod request_head;
mod stream;
mod upload;

pub use self::{answer_body::ProxyBody, connect::InvalidUpstream, proxy::Proxy};
