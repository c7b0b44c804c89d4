//! The gateway as its users meet it: the real binary, real sockets, a real upstream that counts, real databases.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

/// The unit tests' token maker: it also makes what no library would.
#[path = "../../src/credentials/tests/signer.rs"]
mod signer;
#[path = "../support/mod.rs"]
mod support;

mod administration;
mod adoption;
mod audit;
mod between;
mod billing;
mod codes;
mod conditions;
mod configuration;
mod crash_files;
mod customer_view;
mod database_faults;
mod exact_tail;
mod exhausted;
mod explain;
mod figures;
mod first_steps;
mod fresh_figures;
mod hostile;
mod identity;
mod in_force;
mod kill_storm;
mod lifecycle;
mod meter_events;
mod node_lost;
mod nodes;
mod outages;
mod pauses;
mod plan_life;
mod plan_versions;
mod policies;
mod policy_cases;
mod policy_diff;
mod proxying;
mod quotas;
mod reserve;
mod revisions;
mod schedules;
mod shadow;
mod shell;
mod spend;
mod standby;
mod statements;
mod streams_again;
mod token_keys;
mod tokens;
mod usage_events;
mod warnings;
mod webhooks;
