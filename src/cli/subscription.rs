//! `plangate subscription`: put a tenant on a plan.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Map, Value};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Rows, field, show},
    tenant::fetch,
};

/// `plangate subscription`.
#[derive(Debug, Args)]
pub struct Subscription {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put a tenant on a plan, now
    Put {
        /// The tenant's id
        tenant: String,
        /// The plan
        plan: String,
        /// The day on which its months begin; by default as before, at first today
        #[arg(long, value_name = "DAY", value_parser = clap::value_parser!(u8).range(1..=31))]
        anchor_day: Option<u8>,
        /// An instant (RFC 3339) whose day in the tenant's zone that is
        #[arg(long, value_name = "TIME", conflicts_with = "anchor_day")]
        anchor_at: Option<String>,
        /// What becomes of the units already used
        #[arg(long, value_enum, default_value_t = UsageRule::Keep)]
        usage: UsageRule,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a tenant's plan
    Get {
        /// The tenant's id
        tenant: String,
        #[command(flatten)]
        connection: Connection,
    },
}

/// What becomes of the units already used.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UsageRule {
    /// They count against the new plan
    Keep,
    /// Counting starts anew
    Reset,
}

impl Subscription {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Put { tenant, plan, anchor_day, anchor_at, usage, write, connection } => {
                let usage = match usage {
                    UsageRule::Keep => "keep",
                    UsageRule::Reset => "reset",
                };
                let mut body = Map::new();
                body.insert("plan".to_owned(), plan.into());
                body.insert("usage".to_owned(), usage.into());
                body.extend(anchor_day.map(|day| ("anchor_day".to_owned(), day.into())));
                body.extend(anchor_at.map(|at| ("anchor_at".to_owned(), at.into())));
                let path = ["v1", "tenants", &tenant, "subscription"];
                let call = Call::new(Method::PUT, &path).write(&write, Value::Object(body));
                let answer = connection.call(call).await?;
                show(connection.output, &answer, &plans(&answer))
            }
            Action::Get { tenant, connection } => {
                let answer = fetch(&connection, &tenant).await?;
                let rows = plans(&answer);
                let subscription = answer.get("subscription").cloned().unwrap_or(Value::Null);
                show(connection.output, &subscription, &rows)
            }
        }
    }
}

fn plans(tenant: &Value) -> Rows {
    let mut rows = Rows::new(&["TENANT", "PLAN", "STATE", "ANCHOR", "SINCE"]);
    let columns = ["/tenant", "/subscription/plan", "/subscription/state", "/subscription/anchor_day"];
    let mut row: Vec<String> = columns.iter().map(|path| field(tenant, path)).collect();
    row.push(field(tenant, "/subscription/since"));
    rows.add(row);
    rows
}
