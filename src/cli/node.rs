//! `plangate node`: list the nodes, and write off one that does not come back.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// `plangate node`.
#[derive(Debug, Args)]
pub struct Node {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the nodes
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Declare a node lost: what it holds counts as spent for good, also if it comes back
    ///
    /// For a node whose data folder is gone or that will not be started again. One that is only stopped needs
    /// nothing: when it starts on its folder, it returns what it had.
    Lost {
        /// The node's name, as `node list` shows it
        name: String,
        /// Repeating the command with the same key has no second effect
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Node {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List { connection } => {
                let answer = connection.call(Call::new(Method::GET, &["v1", "nodes"])).await?;
                let mut rows = Rows::new(&["NAME", "LIVE", "APPLIED", "AGE MS", "POLICIES"]);
                for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
                    let columns = ["/name", "/live", "/applied", "/age_ms", "/digest"];
                    rows.add(columns.iter().map(|path| field(item, path)).collect());
                }
                show(connection.output, &answer, &rows)?;
                for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
                    note(warning.as_str().unwrap_or_default());
                }
                Ok(())
            }
            Action::Lost { name, idempotency_key, connection } => {
                let path = ["v1", "nodes", &name, "lost"];
                let call = Call::new(Method::POST, &path).body(json!({})).idempotent(idempotency_key);
                let answer = connection.call(call).await?;
                let mut rows = Rows::new(&["NAME", "STATE", "LEASES", "UNITS"]);
                rows.add(
                    ["/name", "/state", "/leases", "/units"]
                        .iter()
                        .map(|path| field(&answer, path))
                        .collect(),
                );
                show(connection.output, &answer, &rows)?;
                if answer.get("units").and_then(Value::as_u64).is_some_and(|units| units > 0) {
                    note("these units count as used from now on; rights and usage show them as uncertain");
                }
                Ok(())
            }
        }
    }
}
