//! `plangate tenant`: make, change, read and remove tenants.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Rows, field, note, show},
    overrides::Overrides,
};

/// `plangate tenant`.
#[derive(Debug, Args)]
pub struct Tenant {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a tenant, or change its name, time zone or attributes
    Put {
        /// The tenant's id
        tenant: String,
        /// Its name for people
        #[arg(long)]
        name: Option<String>,
        /// Its time zone, an IANA name such as Europe/Berlin
        #[arg(long, value_name = "ZONE")]
        timezone: Option<String>,
        /// An attribute; all that are given take the place of those there were. A whole number, `true` or `false` is
        /// taken as such; write `code="5"` for the text
        #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
        attributes: Vec<(String, Value)>,
        /// Take all attributes away
        #[arg(long, conflicts_with = "attributes")]
        no_attributes: bool,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a tenant
    Get(One),
    /// List tenants, by id
    List {
        /// Continue after this tenant
        #[arg(long, value_name = "TENANT")]
        cursor: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// Remove a tenant with its subscription and keys
    Delete(OneWrite),
    /// Refuse a tenant's requests until it is resumed
    Suspend(OneWrite),
    /// Take a suspension back
    Resume(OneWrite),
    /// Show everything a tenant may do now, and what is left
    Rights(One),
    /// Show the rights that are set for one tenant alone, or replace them all
    Overrides(Overrides),
}

#[derive(Debug, Args)]
struct One {
    /// The tenant's id
    tenant: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct OneWrite {
    /// The tenant's id
    tenant: String,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl OneWrite {
    async fn run(self, method: Method, action: Option<&str>) -> Result<(), Failure> {
        let mut path = vec!["v1", "tenants", &self.tenant];
        path.extend(action);
        let call = Call::new(method, &path).write(&self.write, json!({}));
        let answer = self.connection.call(call).await?;
        show(self.connection.output, &answer, &tenants([&answer]))
    }
}

impl Tenant {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Put { tenant, name, timezone, attributes, no_attributes, write, connection } => {
                let mut body = Map::new();
                if no_attributes || !attributes.is_empty() {
                    body.insert("attributes".to_owned(), Value::Object(attributes.into_iter().collect()));
                }
                body.extend(name.map(|name| ("name".to_owned(), Value::String(name))));
                body.extend(timezone.map(|zone| ("timezone".to_owned(), Value::String(zone))));
                let path = ["v1", "tenants", &tenant];
                let answer =
                    connection.call(Call::new(Method::PUT, &path).write(&write, Value::Object(body))).await?;
                show(connection.output, &answer, &tenants([&answer]))
            }
            Action::Get(one) => {
                let answer = fetch(&one.connection, &one.tenant).await?;
                show(one.connection.output, &answer, &tenants([&answer]))
            }
            Action::List { cursor, limit, connection } => list(&connection, cursor, limit).await,
            Action::Delete(one) => one.run(Method::DELETE, None).await,
            Action::Suspend(one) => one.run(Method::POST, Some("suspend")).await,
            Action::Resume(one) => one.run(Method::POST, Some("resume")).await,
            Action::Rights(one) => {
                let call = Call::new(Method::GET, &["v1", "tenants", &one.tenant, "rights"]);
                let answer = one.connection.call(call).await?;
                show(one.connection.output, &answer, &rights(&answer))
            }
            Action::Overrides(overrides) => overrides.run().await,
        }
    }
}

/// `region=eu`.
fn attribute(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let known = serde_json::from_str(value)
        .ok()
        .filter(|value: &Value| value.is_boolean() || value.is_i64() || value.is_u64() || value.is_string());
    Ok((name.to_owned(), known.unwrap_or_else(|| Value::String(value.to_owned()))))
}

/// Reads a tenant.
pub(super) async fn fetch(connection: &Connection, tenant: &str) -> Result<Value, Failure> {
    connection.call(Call::new(Method::GET, &["v1", "tenants", tenant])).await
}

async fn list(connection: &Connection, cursor: Option<String>, limit: u32) -> Result<(), Failure> {
    let call = Call::new(Method::GET, &["v1", "tenants"])
        .query("cursor", cursor)
        .query("limit", Some(limit.to_string()));
    let answer = connection.call(call).await?;
    let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    show(connection.output, &answer, &tenants(items))?;
    if let Some(next) = answer.get("next").and_then(Value::as_str) {
        note(&format!("there are more: --cursor {next}"));
    }
    Ok(())
}

/// Tenants as rows.
pub(super) fn tenants<'a>(items: impl IntoIterator<Item = &'a Value>) -> Rows {
    let columns =
        ["/tenant", "/name", "/state", "/subscription/plan", "/subscription/anchor_day", "/timezone"];
    let mut rows = Rows::new(&["TENANT", "NAME", "STATE", "PLAN", "ANCHOR", "TIMEZONE"]);
    for item in items {
        rows.add(columns.iter().map(|path| field(item, path)).collect());
    }
    rows
}

fn object<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    answer.get(name).and_then(Value::as_object).into_iter().flatten()
}

/// Rights as rows: what a plan says, one right a line.
pub(super) fn rights(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["RIGHT", "NAME", "LIMIT", "USED", "REMAINING", "RESETS"]);
    let mut add = |kind: &str, name: &str, cells: [String; 4]| {
        rows.add([kind.to_owned(), name.to_owned()].into_iter().chain(cells).collect());
    };
    let none = || "-".to_owned();
    add("state", &field(answer, "/state"), [none(), none(), none(), field(answer, "/until")]);
    add("plan", &field(answer, "/plan"), [none(), none(), none(), field(answer, "/period/end")]);
    for addon in answer.get("addons").and_then(Value::as_array).into_iter().flatten() {
        let (quantity, ends) = (field(addon, "/quantity"), field(addon, "/ends_at"));
        add("addon", &field(addon, "/addon"), [quantity, none(), none(), ends]);
    }
    for feature in answer.get("features").and_then(Value::as_array).into_iter().flatten() {
        add("feature", feature.as_str().unwrap_or_default(), [none(), none(), none(), none()]);
    }
    for (name, limit) in object(answer, "limits") {
        add("limit", name, [field(limit, ""), none(), none(), none()]);
    }
    let count =
        |value: &Value| ["/limit", "/used", "/remaining", "/resets_at"].map(|path| field(value, path));
    for (name, quota) in object(answer, "quotas") {
        for window in quota.get("windows").and_then(Value::as_array).into_iter().flatten() {
            add(&format!("quota/{}", field(window, "/per")), name, count(window));
        }
        add("quota/month", name, count(quota));
        // Where the month's units come from, if not from the plan alone.
        let sources = quota.get("sources").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for source in sources.iter().filter(|_| sources.len() > 1) {
            let kind = ["/source", "/id"].iter().filter_map(|path| source.pointer(path)?.as_str());
            let cells = ["/limit", "/used", "/remaining", "/expires_at"].map(|path| field(source, path));
            add(&format!("source/{}", kind.collect::<Vec<_>>().join("/")), name, cells);
        }
    }
    for (name, rate) in object(answer, "rates") {
        let limit = format!("{} per {}", field(rate, "/limit"), field(rate, "/per"));
        add("rate", name, [limit, none(), none(), none()]);
    }
    rows
}
