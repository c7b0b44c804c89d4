//! `plangate addon`: what is sold beside plans, and to whom.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Rows, field, show},
    plan::price,
    subscription::when,
};

/// `plangate addon`.
#[derive(Debug, Args)]
pub struct Addon {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Attach an add-on to a tenant, or change how many of it the tenant has
    Attach {
        /// The tenant's id
        tenant: String,
        /// The add-on
        addon: String,
        /// How many of it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        quantity: u32,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take an add-on away from a tenant
    Detach {
        /// The tenant's id
        tenant: String,
        /// The add-on
        addon: String,
        /// When: `now`, `period-end` or an instant (RFC 3339)
        #[arg(long, value_name = "WHEN", default_value = "now")]
        at: String,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// List a tenant's add-ons; without a tenant those that are sold
    List {
        /// The tenant's id
        tenant: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Addon {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Attach { tenant, addon, quantity, write, connection } => {
                let path = ["v1", "tenants", &tenant, "addons", &addon];
                let call = Call::new(Method::PUT, &path).write(&write, json!({ "quantity": quantity }));
                let answer = connection.call(call).await?;
                show(connection.output, &answer, &attached(std::slice::from_ref(&answer)))
            }
            Action::Detach { tenant, addon, at, write, connection } => {
                let path = ["v1", "tenants", &tenant, "addons", &addon];
                let call = Call::new(Method::DELETE, &path).query("at", Some(when(&at)));
                let answer = connection.call(call.write(&write, json!({}))).await?;
                let mut rows = Rows::new(&["ADDON", "STATE", "ENDS"]);
                rows.add(["/addon", "/state", "/ends_at"].iter().map(|path| field(&answer, path)).collect());
                show(connection.output, &answer, &rows)
            }
            Action::List { tenant, connection } => {
                let path: &[&str] = match &tenant {
                    Some(tenant) => &["v1", "tenants", tenant, "addons"],
                    None => &["v1", "addons"],
                };
                let answer = connection.call(Call::new(Method::GET, path)).await?;
                let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let rows = if tenant.is_some() { attached(items) } else { sold(items) };
                show(connection.output, &answer, &rows)
            }
        }
    }
}

/// A tenant's add-ons as rows.
pub(super) fn attached(items: &[Value]) -> Rows {
    let mut rows = Rows::new(&["ADDON", "TITLE", "QUANTITY", "IN FORCE", "SINCE", "ENDS"]);
    for item in items {
        let columns = ["/addon", "/title", "/quantity", "/in_force", "/since", "/ends_at"];
        rows.add(columns.iter().map(|path| field(item, path)).collect());
    }
    rows
}

fn sold(items: &[Value]) -> Rows {
    let mut rows = Rows::new(&["ADDON", "TITLE", "PRICE", "WITH PLANS"]);
    for item in items {
        let plans = item.get("plans").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let plans: Vec<&str> = plans.iter().filter_map(Value::as_str).collect();
        let plans = if plans.is_empty() { "any".to_owned() } else { plans.join(", ") };
        rows.add(vec![field(item, "/addon"), field(item, "/title"), price(item), plans]);
    }
    rows
}
