//! `plangate audit`: read the audit log, export it and its head, and verify that nobody changed it.

mod export;
mod head;
mod pages;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// `plangate audit`.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show who changed what, when and from where, the oldest first
    List(List),
    /// Show the log's last line and its hash: keep it elsewhere, `audit verify --head` asks for it
    Head {
        #[command(flatten)]
        connection: Connection,
    },
    /// Write all lines to a file, one JSON object a line
    Export {
        /// The file; `-` is standard output
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
    /// Find every line that was edited, deleted, inserted or moved
    ///
    /// Reads the whole log from the server, or a file that `audit export` wrote. Ends with 1 and names the first wrong
    /// line if there is one.
    Verify {
        /// What `audit head --output json` printed earlier, as a file, or CURSOR:HASH; may be given several times
        #[arg(long, value_name = "FILE|CURSOR:HASH")]
        head: Vec<String>,
        /// Verify this export instead of the server's log
        #[arg(long, value_name = "EXPORT")]
        file: Option<PathBuf>,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Args)]
struct List {
    /// Only lines that concern this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only what was done with the token of this name; `admin` is the configured one
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only lines of this kind, such as `subscription.put`
    #[arg(long)]
    kind: Option<String>,
    /// Only lines from this instant on (RFC 3339)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Continue after this line
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

impl Audit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::List(list) => list.run().await,
            Action::Head { connection } => {
                let answer = pages::head(&connection).await?;
                let mut rows = Rows::new(&["CURSOR", "HASH", "AT"]).unbroken();
                rows.add(["/cursor", "/hash", "/at"].iter().map(|path| field(&answer, path)).collect());
                show(connection.output, &answer, &rows)
            }
            Action::Export { file, connection } => export::run(&file, &connection).await,
            Action::Verify { head, file, connection } => {
                let heads = head.iter().map(|text| head::Given::read(text)).collect::<Result<Vec<_>, _>>()?;
                verify::run(file.as_deref(), &heads, &connection).await
            }
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let Self { tenant, actor, kind, since, cursor, limit, connection } = self;
        let call = Call::new(Method::GET, &["v1", "audit"])
            .query("tenant", tenant)
            .query("actor", actor)
            .query("kind", kind)
            .query("since", since)
            .query("cursor", cursor.map(|cursor| cursor.to_string()))
            .query("limit", Some(limit.to_string()));
        let answer = connection.call(call).await?;
        let mut rows = Rows::new(&["CURSOR", "AT", "ACTOR", "FROM", "TENANT", "KIND", "BEFORE", "AFTER"]);
        for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
            let columns = ["/cursor", "/at", "/actor", "/source", "/tenant", "/kind", "/before", "/after"];
            rows.add(columns.iter().map(|path| field(item, path)).collect());
        }
        show(connection.output, &answer, &rows)?;
        if let Some(next) = answer.get("next").and_then(Value::as_u64) {
            note(&format!("there are more: --cursor {next}"));
        }
        Ok(())
    }
}
