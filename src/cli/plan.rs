//! `plangate plan`: the plans in force, their versions, and how many tenants are on each.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, show},
};

/// `plangate plan`.
#[derive(Debug, Args)]
pub struct Plan {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the plans in each of their versions, and how many tenants are on each
    List {
        #[command(flatten)]
        connection: Connection,
    },
}

impl Plan {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Action::List { connection } = self.action;
        let answer = connection.call(Call::new(Method::GET, &["v1", "plans"])).await?;
        let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        show(connection.output, &answer, &plans(items))
    }
}

/// What something costs a month, in words.
pub(super) fn price(item: &Value) -> String {
    match item.get("price") {
        None | Some(Value::Null) => "-".to_owned(),
        Some(price) => format!("{} {}", field(price, "/amount"), field(price, "/currency")),
    }
}

/// Plans as rows.
pub(super) fn plans(items: &[Value]) -> Rows {
    let mut rows = Rows::new(&[
        "PLAN",
        "VERSION",
        "CURRENT",
        "TENANTS",
        "TITLE",
        "PRICE",
        "TRIAL",
        "UPGRADE",
        "DOWNGRADE",
        "EXISTING",
    ]);
    for item in items {
        let mut row: Vec<String> = ["/plan", "/version", "/current", "/tenants", "/title"]
            .iter()
            .map(|path| field(item, path))
            .collect();
        row.push(price(item));
        row.push(match item.get("trial") {
            None | Some(Value::Null) => "-".to_owned(),
            Some(trial) => format!("{} days, then {}", field(trial, "/days"), field(trial, "/then")),
        });
        row.extend(
            ["/changes/upgrade", "/changes/downgrade", "/existing"].iter().map(|path| field(item, path)),
        );
        rows.add(row);
    }
    rows
}
