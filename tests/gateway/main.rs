//! The gateway as its users meet it: the real binary, real sockets, a real upstream that counts, real databases.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod administration;
mod codes;
mod figures;
mod first_steps;
mod hostile;
mod lifecycle;
mod nodes;
mod outages;
mod policies;
mod proxying;
mod quotas;
mod shell;
