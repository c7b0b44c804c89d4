//! `plangate billing exports`: what is told to the billing system of what was used.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// `plangate billing exports`.
#[derive(Debug, Args)]
pub struct Exports {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what is told of tenants' usage, the oldest first
    List {
        /// Only pieces in this state: waiting, sent, refused, doubtful, withdrawing, withdrawn or stuck
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Continue after this place, as the page before names it
        #[arg(long, value_name = "PLACE")]
        cursor: Option<u64>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// Send a piece again that the billing system refused, once the cause was mended
    Retry {
        /// The piece's id, as `exports list` shows it
        id: String,
        /// Repeating the command with the same key has no second effect
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Exports {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List { state, cursor, limit, connection } => {
                let call = Call::new(Method::GET, &["v1", "billing", "exports"])
                    .query("state", state)
                    .query("cursor", cursor.map(|cursor| cursor.to_string()))
                    .query("limit", Some(limit.to_string()));
                let answer = connection.call(call).await?;
                let mut rows = Rows::new(&["ID", "TENANT", "METER", "UNITS", "AT", "STATE", "ERROR"]);
                let columns = ["/id", "/tenant", "/meter", "/units", "/at", "/state", "/error"];
                for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
                    rows.add(columns.iter().map(|path| field(item, path)).collect());
                }
                show(connection.output, &answer, &rows)?;
                if let Some(next) = answer.get("next").and_then(Value::as_u64) {
                    note(&format!("there are more: --cursor {next}"));
                }
                if rows.len() == 0 {
                    note(
                        "nothing was told: tenants must be linked to customers, and stripe.yaml must name the meters",
                    );
                }
                Ok(())
            }
            Action::Retry { id, idempotency_key, connection } => {
                let path = ["v1", "billing", "exports", &id, "retry"];
                let call = Call::new(Method::POST, &path).body(json!({})).idempotent(idempotency_key);
                let answer = connection.call(call).await?;
                let mut rows = Rows::new(&["ID", "STATE"]);
                rows.add(["/id", "/state"].iter().map(|path| field(&answer, path)).collect());
                show(connection.output, &answer, &rows)
            }
        }
    }
}
