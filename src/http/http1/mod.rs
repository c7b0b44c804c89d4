//! HTTP/1 with the client: one request after the other over one connection.
//!
//! Every head is judged ([`head`](super::head)) and becomes a request for the stack; the answer is written as its body comes.
//! What comes behind a request waits until its answer has ended. All of it happens in one task and shares one buffer: of
//! the requests that Plangate serves nearly all pass here.
//!
//! - `wire`: the socket, and where in the client's bytes the reader stands.
//! - `request_body`: a request's body, as the stack reads it.
//! - `answer_head`: how an answer is framed, and its head in bytes.
//! - `connection`: from request to request. `answering`: one answer. `switch`: another protocol follows.

mod answer_head;
mod answering;
mod connection;
mod request_body;
mod switch;
mod wire;

pub(super) use self::{
    connection::{Client1, serve},
    request_body::RequestBody,
    switch::Switch,
};
