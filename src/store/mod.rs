//! The database: SQLite, PostgreSQL and, for tests, memory.
//!
//! [`connect`] opens a store by its address; [`memory::Memory`] is one that ends with its process. All implement the same
//! ports, and one suite of tests runs over all three. What a transaction means is written once: [`execute`](self) and the
//! ledger speak to a small session that spells a statement for either database; the rules of buckets and of changes know
//! no database at all, and the memory store is little more than those rules.

mod altered;
mod audit;
mod billing;
mod book;
mod change;
mod classify;
mod connect;
mod deliveries;
mod engine;
mod epoch;
mod events;
mod execute;
mod fact_order;
mod feed;
mod home;
mod journal;
mod keep;
mod ledger;
mod lifecycle;
mod linking;
mod listen;
mod locked;
mod lost;
pub mod memory;
mod meter_exports;
mod migrations;
mod nodes;
mod once;
mod outbox;
mod pieces;
mod poll;
mod postgres;
mod revisions;
mod rollover;
mod rows;
mod session;
mod settled;
mod shadow;
#[cfg(test)]
pub(crate) mod simulated;
mod sql;
mod sqlite;
mod statements;
mod stripe;
mod survey;
mod tenant_row;
mod tenants;
mod tidy;
mod tidy_messages;
mod tokens;
mod told;
mod unclaimed;
mod usage_events;
mod warned;
mod webhook_book;
mod webhooks;

pub use connect::{ConnectError, Options, Store, connect};
pub use tidy::{Retention, Tidied};
