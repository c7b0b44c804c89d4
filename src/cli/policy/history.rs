//! `plangate policy history`: which policies decided when, by whom and why.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::apply::short;
use crate::cli::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// List which policies decided, the newest first
#[derive(Debug, Args)]
pub struct History {
    /// Continue with those before this revision
    #[arg(long, value_name = "NUMBER")]
    cursor: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

impl History {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let call = Call::new(Method::GET, &["v1", "policy", "revisions"])
            .query("cursor", self.cursor.map(|cursor| cursor.to_string()))
            .query("limit", Some(self.limit.to_string()));
        let answer = self.connection.call(call).await?;
        let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut rows = Rows::new(&["REVISION", "AT", "BY", "WHAT", "IN FORCE", "ON TRIAL", "MESSAGE"]);
        for item in items {
            let trial = match item.get("candidate") {
                None | Some(Value::Null) => "-".to_owned(),
                Some(trial) => {
                    format!("{} {}", short(&field(trial, "/digest")), rollout(trial.get("rollout")))
                }
            };
            rows.add(vec![
                field(item, "/number"),
                field(item, "/at"),
                field(item, "/author"),
                field(item, "/kind"),
                short(&field(item, "/digest")),
                trial,
                field(item, "/message"),
            ]);
        }
        show(self.connection.output, &answer, &rows)?;
        if items.is_empty() {
            note("no policies were ever applied: each node goes by its own folder");
        }
        Ok(())
    }
}

/// How policies are tried, in words.
fn rollout(rollout: Option<&Value>) -> String {
    match rollout.and_then(|rollout| rollout.get("tenants")) {
        None => "shadow".to_owned(),
        Some(Value::String(share)) => format!("for {share}"),
        Some(tenants) => match tenants.as_array().map_or(0, Vec::len) {
            1 => "for 1 tenant".to_owned(),
            count => format!("for {count} tenants"),
        },
    }
}
