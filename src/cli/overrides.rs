//! `plangate tenant overrides`: rights set for one tenant, shown or replaced from a file.

use std::io::Read;

use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Rows, field, show},
    tenant::fetch,
};

/// `plangate tenant overrides`.
#[derive(Debug, Args)]
pub(super) struct Overrides {
    /// The tenant's id
    tenant: String,
    /// Replace all overrides by this JSON, from a file or `-` (standard input), such as
    /// {"features":{"export":true},"quotas":{"requests":{"limit":5}}}; `{}` takes all back
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Overrides {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Some(file) = &self.file else {
            let answer = fetch(&self.connection, &self.tenant).await?;
            let overrides = answer.get("overrides").cloned().unwrap_or(Value::Null);
            return show(self.connection.output, &overrides, &rows(&overrides));
        };
        let body = Value::Object(read(file)?);
        let path = ["v1", "tenants", &self.tenant, "overrides"];
        let answer = self.connection.call(Call::new(Method::PUT, &path).write(&self.write, body)).await?;
        show(self.connection.output, &answer, &rows(answer.get("overrides").unwrap_or(&Value::Null)))
    }
}

/// Overrides from a file or standard input.
fn read(place: &str) -> Result<Map<String, Value>, Failure> {
    // More than the API takes, so that it is the API that says what is too much.
    const LONGEST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    let read = if place == "-" {
        std::io::stdin().lock().take(LONGEST).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(place).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::Usage(format!("the overrides cannot be read from `{place}`: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failure::Usage(format!(
            "`{place}` holds no JSON object: {error}\nexpected such as {{\"features\":{{\"export\":true}}}}; `{{}}` takes all overrides back"
        ))
    })
}

/// Overrides as rows, one right a line.
fn rows(overrides: &Value) -> Rows {
    let mut rows = Rows::new(&["OVERRIDE", "NAME", "VALUE"]);
    for (kind, part) in
        [("feature", "/features"), ("limit", "/limits"), ("quota", "/quotas"), ("rate", "/rates")]
    {
        for (name, value) in overrides.pointer(part).and_then(Value::as_object).into_iter().flatten() {
            let shown = match value {
                Value::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
                value => field(value, ""),
            };
            rows.add(vec![kind.to_owned(), name.clone(), shown]);
        }
    }
    rows
}
