//! The gateway as its users meet it: the real binary, real sockets, a real upstream that counts, real databases.

#[path = "../support/mod.rs"]
mod support;

mod first_steps;
