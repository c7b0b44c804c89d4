//! `plangate policy rollback`: the way back.

use clap::Args;
use http::Method;
use serde_json::json;

use super::{apply::short, said::Said};
use crate::cli::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Format, Rows, field, note, show},
};

/// Return to the policies before those in force, or to those of a revision
#[derive(Debug, Args)]
pub struct Rollback {
    /// The revision to return to; by default the last one with other policies than those of now
    #[arg(long, value_name = "NUMBER")]
    to: Option<u64>,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Rollback {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (_, mut body) = self.said.body(&self.connection).await?;
        if let Some(to) = self.to {
            body["to"] = json!(to);
        }
        let call = Call::new(Method::POST, &["v1", "policy", "rollback"]).write(&self.write, body);
        let answer = self.connection.call(call).await?;
        let mut rows = Rows::new(&["REVISION", "VERSION", "IN FORCE", "NODES"]);
        rows.add(vec![
            field(&answer, "/number"),
            field(&answer, "/version"),
            short(&field(&answer, "/digest")),
            field(&answer, "/applied/nodes"),
        ]);
        show(self.connection.output, &answer, &rows)?;
        if Format::or_fitting(self.connection.output) != Format::Json {
            note("back in force; `plangate policy history` shows what was when");
        }
        Ok(())
    }
}
