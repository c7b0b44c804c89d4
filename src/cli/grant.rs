//! `plangate grant`: give, list and void units beside a plan's.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Rows, field, note, show},
};

/// `plangate grant`.
#[derive(Debug, Args)]
pub struct Grant {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give a tenant units beside its plan's
    Create(Create),
    /// List a tenant's grants, the newest first, and what is left of them
    List {
        /// The tenant's id
        tenant: String,
        /// Continue before this place, as the page before names it
        #[arg(long, value_name = "PLACE")]
        cursor: Option<u64>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take back what is left of a grant
    Void {
        /// The tenant's id
        tenant: String,
        /// The grant's id, as `grant list` shows it
        grant: String,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// The tenant's id
    tenant: String,
    /// Of which meter
    meter: String,
    /// How many units
    #[arg(value_parser = clap::value_parser!(u64).range(1..1 << 53))]
    units: u64,
    /// From then on nothing of it can be used (RFC 3339); by default until it is used up
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Lower ones are burnt first; the plan's own units have 100, which is the default
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=1000))]
    priority: Option<u16>,
    /// So many anew in each billing month
    #[arg(long)]
    recurring: bool,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Create {
    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("meter".to_owned(), self.meter.as_str().into());
        body.insert("units".to_owned(), self.units.into());
        body.extend(self.expires_at.as_deref().map(|at| ("expires_at".to_owned(), at.into())));
        body.extend(self.priority.map(|priority| ("priority".to_owned(), priority.into())));
        body.extend(self.recurring.then(|| ("recurring".to_owned(), true.into())));
        body.extend(self.reason.as_deref().map(|reason| ("reason".to_owned(), reason.into())));
        Value::Object(body)
    }
}

impl Grant {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Create(create) => {
                let path = ["v1", "tenants", &create.tenant, "grants"];
                let call = Call::new(Method::POST, &path).write(&create.write, create.body());
                let answer = create.connection.call(call).await?;
                show(create.connection.output, &answer, &grants(std::slice::from_ref(&answer)))
            }
            Action::List { tenant, cursor, limit, connection } => {
                let call = Call::new(Method::GET, &["v1", "tenants", &tenant, "grants"])
                    .query("cursor", cursor.map(|cursor| cursor.to_string()))
                    .query("limit", Some(limit.to_string()));
                let answer = connection.call(call).await?;
                let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                show(connection.output, &answer, &grants(items))?;
                if let Some(next) = answer.get("next").and_then(Value::as_u64) {
                    note(&format!("there are more: --cursor {next}"));
                }
                Ok(())
            }
            Action::Void { tenant, grant, write, connection } => {
                let path = ["v1", "tenants", &tenant, "grants", &grant];
                let answer =
                    connection.call(Call::new(Method::DELETE, &path).write(&write, json!({}))).await?;
                let mut rows = Rows::new(&["ID", "STATE"]);
                rows.add(vec![field(&answer, "/id"), field(&answer, "/state")]);
                show(connection.output, &answer, &rows)
            }
        }
    }
}

/// Grants as rows.
pub(super) fn grants(items: &[Value]) -> Rows {
    let mut rows = Rows::new(&[
        "ID",
        "METER",
        "UNITS",
        "USED",
        "LEFT",
        "PRIORITY",
        "RECURRING",
        "SOURCE",
        "EXPIRES",
        "ENDED",
        "REASON",
    ]);
    let columns = [
        "/id",
        "/meter",
        "/units",
        "/used",
        "/remaining",
        "/priority",
        "/recurring",
        "/source",
        "/expires_at",
        "/ended_at",
        "/reason",
    ];
    for item in items {
        rows.add(columns.iter().map(|path| field(item, path)).collect());
    }
    rows
}
