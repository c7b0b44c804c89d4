//! `plangate key`: make, list and revoke API keys.

use std::io::Read;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Rows, field, note, show},
};

/// `plangate key`.
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; it is shown this once
    Create {
        /// The tenant's id
        tenant: String,
        /// What people call it
        #[arg(long)]
        name: Option<String>,
        /// When it ends (RFC 3339); by default never
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Take a key that the customer has, from a file or `-` (standard input): never an argument, which the shell
        /// would keep
        #[arg(long, value_name = "FILE")]
        import: Option<String>,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// List a tenant's keys
    List {
        /// The tenant's id
        tenant: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Refuse a key from now on
    Revoke {
        /// The tenant's id
        tenant: String,
        /// The key's public id, as `key list` shows it
        key: String,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
}

impl Key {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Create { tenant, name, expires_at, import, write, connection } => {
                let mut body = Map::new();
                body.extend(name.map(|name| ("name".to_owned(), Value::String(name))));
                body.extend(expires_at.map(|at| ("expires_at".to_owned(), Value::String(at))));
                if let Some(place) = import {
                    body.insert("import".to_owned(), Value::String(read_key(&place)?));
                }
                create(&tenant, Value::Object(body), &write, &connection).await
            }
            Action::List { tenant, connection } => {
                let answer =
                    connection.call(Call::new(Method::GET, &["v1", "tenants", &tenant, "keys"])).await?;
                let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                show(connection.output, &answer, &keys(items))
            }
            Action::Revoke { tenant, key, write, connection } => {
                let path = ["v1", "tenants", &tenant, "keys", &key];
                let answer =
                    connection.call(Call::new(Method::DELETE, &path).write(&write, json!({}))).await?;
                let mut rows = Rows::new(&["ID", "STATE"]);
                rows.add(vec![field(&answer, "/id"), field(&answer, "/state")]);
                show(connection.output, &answer, &rows)
            }
        }
    }
}

async fn create(
    tenant: &str,
    body: Value,
    write: &WriteOptions,
    connection: &Connection,
) -> Result<(), Failure> {
    let path = ["v1", "tenants", tenant, "keys"];
    let answer = connection.call(Call::new(Method::POST, &path).write(write, body)).await?;
    let mut rows = Rows::new(&["ID", "KEY", "NAME", "EXPIRES"]).unbroken();
    rows.add(["/id", "/key", "/name", "/expires_at"].iter().map(|path| field(&answer, path)).collect());
    show(connection.output, &answer, &rows)?;
    if answer.get("key").is_some() {
        note("the key is shown this once: keep it where secrets are kept");
    } else if answer.get("imported") != Some(&Value::Bool(true)) {
        note(
            "this repeats an earlier answer, so the key is not shown again: revoke it and make another if it is lost",
        );
    }
    Ok(())
}

/// A key from a file or standard input, without the final newline.
fn read_key(place: &str) -> Result<String, Failure> {
    const LONGEST: u64 = 64 * 1024;
    let mut text = String::new();
    let read = if place == "-" {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(place).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::Usage(format!("the key cannot be read from `{place}`: {error}")))?;
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        return Err(Failure::Usage(format!("there is no key in `{place}`")));
    }
    Ok(key.to_owned())
}

pub(super) fn keys(items: &[Value]) -> Rows {
    let mut rows = Rows::new(&["ID", "NAME", "IMPORTED", "CREATED", "EXPIRES"]);
    for item in items {
        let columns = ["/id", "/name", "/imported", "/created_at", "/expires_at"];
        rows.add(columns.iter().map(|path| field(item, path)).collect());
    }
    rows
}
