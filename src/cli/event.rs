//! `plangate event`: what was told outside.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// `plangate event`.
#[derive(Debug, Args)]
pub struct Event {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the events of the last 40 days, the oldest first
    List {
        /// Only those of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only those of this type, such as `quota.threshold`
        #[arg(long, value_name = "TYPE")]
        kind: Option<String>,
        /// Continue after this place, as the page before names it
        #[arg(long, value_name = "PLACE")]
        cursor: Option<u64>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Event {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Action::List { tenant, kind, cursor, limit, connection } = self.action;
        let call = Call::new(Method::GET, &["v1", "events"])
            .query("tenant", tenant)
            .query("kind", kind)
            .query("cursor", cursor.map(|cursor| cursor.to_string()))
            .query("limit", Some(limit.to_string()));
        let answer = connection.call(call).await?;
        let mut rows = Rows::new(&["TIMESTAMP", "TENANT", "TYPE", "WHAT", "ID"]);
        for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
            let column = |path| field(item, path);
            let what = item.get("data").map_or_else(String::new, what);
            rows.add(vec![column("/timestamp"), column("/tenant"), column("/type"), what, column("/id")]);
        }
        show(connection.output, &answer, &rows)?;
        if let Some(next) = answer.get("next").and_then(Value::as_u64) {
            note(&format!("there are more: --cursor {next}"));
        }
        if rows.len() == 0 {
            note("nothing was told");
        }
        Ok(())
    }
}

/// An event in some words.
fn what(data: &Value) -> String {
    let has = |key: &str| data.get(key).is_some();
    let of = |path: &str| field(data, path);
    if has("spend_cap") {
        let (spent, cap, currency) = (of("/spent"), of("/spend_cap"), of("/currency"));
        format!("{}% of what may be spent: {spent} of {cap} {currency}", of("/threshold"))
    } else if has("threshold") {
        format!("{}% of {}: {} of {}", of("/threshold"), of("/meter"), of("/used"), of("/limit"))
    } else if has("meter") {
        format!("{}: {} of {}", of("/meter"), of("/used"), of("/limit"))
    } else if has("trial_ends_at") {
        format!("{} ends {}, then {}", of("/plan"), of("/trial_ends_at"), of("/then"))
    } else if has("previous_state") {
        format!("{} -> {}", of("/previous_state"), of("/state"))
    } else if has("previous_plan") {
        format!("{} -> {}", of("/previous_plan"), of("/plan"))
    } else {
        "-".to_owned()
    }
}
