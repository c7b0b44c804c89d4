//! `plangate billing`: which customer of Stripe a tenant is, and what became of Stripe's events.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    exports::Exports,
    output::{Rows, field, note, show},
};

/// `plangate billing`.
#[derive(Debug, Args)]
pub struct Billing {
    #[command(subcommand)]
    action: Action,
}

/// States of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Its tenant is what it says, or was until a later event
    Applied,
    /// It waits for a tenant, or for another event
    Waiting,
    /// The policies do not have its price
    Unmapped,
    /// It changes nothing
    Ignored,
    /// It cannot be read
    Failed,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Waiting => "waiting",
            Self::Unmapped => "unmapped",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What is told to Stripe of tenants' usage
    Exports(Exports),
    /// Show which customer of Stripe a tenant is
    Show {
        /// The tenant's id
        tenant: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Say which customer of Stripe a tenant is; what Stripe has told of it is taken at once
    Link {
        /// The tenant's id
        tenant: String,
        /// Stripe's id of the customer, such as cus_NffrFeUfNV2Hib
        customer: String,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take a tenant's customer away from it; its plan stays as it is
    Unlink {
        /// The tenant's id
        tenant: String,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// List what Stripe has told, the newest first
    Events {
        /// Only events in this state
        #[arg(long, value_enum, value_name = "STATE")]
        state: Option<State>,
        /// Continue before this place, as the page before names it
        #[arg(long, value_name = "PLACE")]
        cursor: Option<u64>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show one event; with `--output json` all that was sent
    Event {
        /// Stripe's id of the event
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Look at events again: one, or all that are unmapped or wait
    Replay {
        /// Stripe's id of the event; by default all events in a state
        id: Option<String>,
        /// Which events: `unmapped` or `waiting`
        #[arg(long, value_enum, value_name = "STATE", conflicts_with = "id")]
        state: Option<State>,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Billing {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Exports(exports) => exports.run().await,
            Action::Show { tenant, connection } => {
                let path = ["v1", "tenants", &tenant, "billing"];
                let answer = connection.call(Call::new(Method::GET, &path)).await?;
                show(connection.output, &answer, &linked(&answer))
            }
            Action::Link { tenant, customer, write, connection } => {
                let path = ["v1", "tenants", &tenant, "billing"];
                let call =
                    Call::new(Method::PUT, &path).write(&write, json!({ "stripe_customer": customer }));
                let answer = connection.call(call).await?;
                show(connection.output, &answer, &linked(&answer))
            }
            Action::Unlink { tenant, write, connection } => {
                let path = ["v1", "tenants", &tenant, "billing"];
                let call = Call::new(Method::DELETE, &path).write(&write, json!({}));
                let answer = connection.call(call).await?;
                show(connection.output, &answer, &linked(&answer))
            }
            Action::Events { state, cursor, limit, connection } => {
                list(&connection, state, cursor, limit).await
            }
            Action::Event { id, connection } => {
                let path = ["v1", "billing", "events", &id];
                let answer = connection.call(Call::new(Method::GET, &path)).await?;
                show(connection.output, &answer, &events(std::slice::from_ref(&answer)))
            }
            Action::Replay { id: Some(id), write, connection, .. } => {
                let path = ["v1", "billing", "events", &id, "replay"];
                let answer = connection.call(Call::new(Method::POST, &path).write(&write, json!({}))).await?;
                show(connection.output, &answer, &events(std::slice::from_ref(&answer)))
            }
            Action::Replay { id: None, state, write, connection } => {
                let call = Call::new(Method::POST, &["v1", "billing", "events", "replay"])
                    .query("state", state.map(|state| state.as_str().to_owned()));
                let answer = connection.call(call.write(&write, json!({}))).await?;
                let mut rows = Rows::new(&["CUSTOMERS", "CHANGED"]);
                rows.add(vec![field(&answer, "/customers"), field(&answer, "/changed")]);
                show(connection.output, &answer, &rows)?;
                if answer.get("more").and_then(Value::as_bool) == Some(true) {
                    note("there are more: call it again");
                }
                Ok(())
            }
        }
    }
}

async fn list(
    connection: &Connection,
    state: Option<State>,
    cursor: Option<u64>,
    limit: u32,
) -> Result<(), Failure> {
    let call = Call::new(Method::GET, &["v1", "billing", "events"])
        .query("state", state.map(|state| state.as_str().to_owned()))
        .query("cursor", cursor.map(|place| place.to_string()))
        .query("limit", Some(limit.to_string()));
    let answer = connection.call(call).await?;
    let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    show(connection.output, &answer, &events(items))?;
    if let Some(next) = answer.get("next").and_then(Value::as_u64) {
        note(&format!("there are more: --cursor {next}"));
    }
    if let Some(dropped) =
        answer.pointer("/dropped/events").and_then(Value::as_u64).filter(|events| *events > 0)
    {
        let last = field(&answer, "/dropped/last");
        note(&format!("of customers that are no tenant's {dropped} events were dropped, the last at {last}"));
    }
    Ok(())
}

fn linked(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["TENANT", "STRIPE CUSTOMER", "SINCE", "LINKED BY"]);
    let columns = ["/tenant", "/stripe_customer", "/since", "/linked_by"];
    rows.add(columns.iter().map(|path| field(answer, path)).collect());
    rows
}

fn events(items: &[Value]) -> Rows {
    let mut rows = Rows::new(&["EVENT", "TYPE", "CREATED", "CUSTOMER", "TENANT", "STATE", "WHY"]);
    for item in items {
        let columns = ["/id", "/type", "/created", "/customer", "/tenant", "/state", "/why"];
        rows.add(columns.iter().map(|path| field(item, path)).collect());
    }
    rows
}
