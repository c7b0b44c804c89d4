//! `plangate subscription upcoming`: what will happen by itself.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
    subscription::fetch,
};

/// `plangate subscription upcoming`.
#[derive(Debug, Args)]
pub(super) struct Upcoming {
    /// The tenant's id; by default all tenants, the one to whom something happens next first
    tenant: Option<String>,
    /// Continue after this place, as the page before names it
    #[arg(long, value_name = "PLACE", conflicts_with = "tenant")]
    cursor: Option<String>,
    /// At most so many tenants
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

impl Upcoming {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut rows = Rows::new(&["TENANT", "AT", "EVENT", "WHAT", "STATE"]);
        let answer = if let Some(tenant) = &self.tenant {
            let answer = fetch(&self.connection, tenant).await?;
            add(&mut rows, tenant, &answer);
            answer.get("upcoming").cloned().unwrap_or(Value::Null)
        } else {
            let call = Call::new(Method::GET, &["v1", "upcoming"])
                .query("cursor", self.cursor)
                .query("limit", Some(self.limit.to_string()));
            let answer = self.connection.call(call).await?;
            for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
                add(&mut rows, &field(item, "/tenant"), item);
            }
            answer
        };
        show(self.connection.output, &answer, &rows)?;
        if let Some(next) = answer.get("next").and_then(Value::as_str) {
            note(&format!("there are more: --cursor {next}"));
        }
        if rows.len() == 0 {
            note("nothing happens by itself");
        }
        Ok(())
    }
}

fn add(rows: &mut Rows, tenant: &str, answer: &Value) {
    for event in answer.get("upcoming").and_then(Value::as_array).into_iter().flatten() {
        let what = ["/plan", "/grant", "/addon"].iter().find_map(|path| event.pointer(path)?.as_str());
        let (at, name, state) = (field(event, "/at"), field(event, "/event"), field(event, "/state"));
        rows.add(vec![tenant.to_owned(), at, name, what.unwrap_or("-").to_owned(), state]);
    }
}
