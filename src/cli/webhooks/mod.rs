//! `plangate webhooks`: who is told of facts; and for developers a receiver, samples and replays.

mod listen;
mod trigger;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};
use crate::domain::event::EventKind;

/// `plangate webhooks`.
#[derive(Debug, Args)]
pub struct Webhooks {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a webhook; its secret is shown this once
    Create(Create),
    /// List the webhooks
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a webhook
    Show {
        /// Its id, as `webhooks list` shows it
        webhook: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Change a webhook: what is not given stays
    Update(Update),
    /// Delete a webhook, with its deliveries
    Delete {
        /// Its id
        webhook: String,
        #[command(flatten)]
        write: Once,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take another secret into use; messages are signed with both until the old one expires
    Rotate {
        /// Its id
        webhook: String,
        /// How long the old secrets stay valid, such as 24h (the default); 0s: not at all
        #[arg(long, value_name = "SPAN")]
        expire_after: Option<String>,
        #[command(flatten)]
        write: Once,
        #[command(flatten)]
        connection: Connection,
    },
    /// List what was told to a webhook, the newest first, and what became of it
    Deliveries {
        /// Its id
        webhook: String,
        /// Only those in this state
        #[arg(long, value_parser = ["pending", "delivered", "failed", "discarded"])]
        state: Option<String>,
        /// Continue before this place, as the page before names it
        #[arg(long, value_name = "PLACE")]
        cursor: Option<u64>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// Tell a webhook again: of one event, or of all that has failed
    Replay {
        /// Its id
        webhook: String,
        /// This event, whatever has become of it
        #[arg(long, value_name = "EVENT", conflicts_with = "since")]
        event: Option<String>,
        /// Only what was told since then (RFC 3339); by default all that is kept
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        #[command(flatten)]
        write: Once,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have the gateway send a webhook a sample now, and show what came back
    Test {
        /// Its id
        webhook: String,
        /// Of which kind
        #[arg(long, value_parser = kinds(), default_value = "plan.changed")]
        kind: String,
        #[command(flatten)]
        write: Once,
        #[command(flatten)]
        connection: Connection,
    },
    /// Receive webhooks on this machine: verify each and print it
    Listen(listen::Listen),
    /// Sign a sample and send it from this machine
    Trigger(trigger::Trigger),
}

#[derive(Debug, Args)]
struct Create {
    /// Where messages are sent
    url: String,
    /// A kind of facts that it takes; may be given several times; by default all
    #[arg(long = "event", value_name = "KIND", value_parser = kinds())]
    events: Vec<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A secret of its own, as `webhooks listen` prints one; by default the gateway makes one
    #[arg(long, value_name = "WHSEC")]
    secret: Option<String>,
    #[command(flatten)]
    write: Once,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct Update {
    /// Its id
    webhook: String,
    /// Where messages are sent
    #[arg(long)]
    url: Option<String>,
    /// A kind of facts that it takes, instead of those that it took; may be given several times
    #[arg(long = "event", value_name = "KIND", value_parser = kinds(), conflicts_with = "all_events")]
    events: Vec<String>,
    /// It takes all kinds
    #[arg(long)]
    all_events: bool,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// It is told again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// It is not told any more; what waits for it is discarded
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    write: Once,
    #[command(flatten)]
    connection: Connection,
}

/// What these writes take.
#[derive(Debug, Args)]
struct Once {
    /// Makes a repetition of this very command harmless
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// The kinds of facts.
fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str))
}

fn write<'a>(method: Method, path: &[&str], once: Once, body: Value) -> Call<'a> {
    let path: Vec<&str> = ["v1", "webhooks"].iter().chain(path).copied().collect();
    Call::new(method, &path).body(body).idempotent(once.idempotency_key)
}

impl Create {
    fn call(self) -> (Connection, Call<'static>) {
        let mut body = Map::new();
        body.insert("url".to_owned(), self.url.into());
        body.insert("events".to_owned(), self.events.into());
        body.extend(self.description.map(|text| ("description".to_owned(), text.into())));
        body.extend(self.secret.map(|secret| ("secret".to_owned(), secret.into())));
        (self.connection, write(Method::POST, &[], self.write, body.into()))
    }
}

impl Update {
    fn call(self) -> (Connection, Call<'static>) {
        let mut body = Map::new();
        body.extend(self.url.map(|url| ("url".to_owned(), url.into())));
        body.extend(self.description.map(|text| ("description".to_owned(), text.into())));
        if self.all_events || !self.events.is_empty() {
            body.insert("events".to_owned(), self.events.into());
        }
        if self.enable || self.disable {
            body.insert("enabled".to_owned(), self.enable.into());
        }
        (self.connection, write(Method::PUT, &[&self.webhook], self.write, body.into()))
    }
}

impl Webhooks {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Create(create) => with_secret(create.call()).await,
            Action::Rotate { webhook, expire_after, write: once, connection } => {
                let body = expire_after.map_or(json!({}), |span| json!({ "expire_after": span }));
                with_secret((connection, write(Method::POST, &[&webhook, "secret"], once, body))).await
            }
            Action::List { connection } => {
                let answer = connection.call(Call::new(Method::GET, &["v1", "webhooks"])).await?;
                show(connection.output, &answer, &webhooks(items(&answer)))
            }
            Action::Show { webhook, connection } => {
                let answer = connection.call(Call::new(Method::GET, &["v1", "webhooks", &webhook])).await?;
                show(connection.output, &answer, &webhooks(std::slice::from_ref(&answer)))
            }
            Action::Update(update) => {
                let (connection, call) = update.call();
                let answer = connection.call(call).await?;
                show(connection.output, &answer, &webhooks(std::slice::from_ref(&answer)))
            }
            Action::Delete { webhook, write: once, connection } => {
                let answer = connection.call(write(Method::DELETE, &[&webhook], once, json!({}))).await?;
                show(connection.output, &answer, &one(&answer, &["ID", "STATE"], &["/id", "/state"]))
            }
            Action::Deliveries { webhook, state, cursor, limit, connection } => {
                let call = Call::new(Method::GET, &["v1", "webhooks", &webhook, "deliveries"])
                    .query("state", state)
                    .query("cursor", cursor.map(|cursor| cursor.to_string()))
                    .query("limit", Some(limit.to_string()));
                let answer = connection.call(call).await?;
                show(connection.output, &answer, &deliveries(items(&answer)))?;
                if let Some(next) = answer.get("next").and_then(Value::as_u64) {
                    note(&format!("there are more: --cursor {next}"));
                }
                Ok(())
            }
            Action::Replay { webhook, event, since, write: once, connection } => {
                let call = match (&event, since) {
                    (Some(event), _) => {
                        write(Method::POST, &[&webhook, "deliveries", event, "replay"], once, json!({}))
                    }
                    (None, Some(since)) => {
                        write(Method::POST, &[&webhook, "replay"], once, json!({ "since": since }))
                    }
                    (None, None) => write(Method::POST, &[&webhook, "replay"], once, json!({})),
                };
                let answer = connection.call(call).await?;
                let columns = ["/id", "/deliveries", "/more"];
                show(connection.output, &answer, &one(&answer, &["ID", "DELIVERIES", "MORE"], &columns))
            }
            Action::Test { webhook, kind, write: once, connection } => {
                let call = write(Method::POST, &[&webhook, "test"], once, json!({ "kind": kind }));
                let answer = connection.call(call).await?;
                let headings = ["EVENT", "KIND", "DELIVERED", "STATUS", "MS", "ERROR"];
                let columns = ["/event", "/kind", "/delivered", "/status", "/duration_ms", "/error"];
                show(connection.output, &answer, &one(&answer, &headings, &columns))?;
                match answer.get("delivered").and_then(Value::as_bool) {
                    Some(true) => Ok(()),
                    _ => Err(Failure::Refused("the webhook has not taken it".to_owned())),
                }
            }
            Action::Listen(listen) => listen.run().await,
            Action::Trigger(trigger) => trigger.run().await,
        }
    }
}

/// A call whose answer shows a secret, once.
async fn with_secret((connection, call): (Connection, Call<'_>)) -> Result<(), Failure> {
    let answer = connection.call(call).await?;
    let rows = one(&answer, &["ID", "URL", "SECRET"], &["/id", "/url", "/secret"]).unbroken();
    show(connection.output, &answer, &rows)?;
    match answer.get("secret") {
        Some(_) => note("the secret is shown this once: whoever receives the messages verifies them with it"),
        None => note("this was done before; the secret was shown then"),
    }
    Ok(())
}

fn items(answer: &Value) -> &[Value] {
    answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

fn one(answer: &Value, headings: &[&'static str], columns: &[&str]) -> Rows {
    let mut rows = Rows::new(headings);
    rows.add(columns.iter().map(|path| field(answer, path)).collect());
    rows
}

fn webhooks(items: &[Value]) -> Rows {
    let mut rows = Rows::new(&["ID", "URL", "EVENTS", "ENABLED", "REASON", "SECRETS", "DESCRIPTION"]);
    for item in items {
        let words = |path: &str| item.pointer(path).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let events: Vec<&str> = words("/events").iter().filter_map(Value::as_str).collect();
        rows.add(vec![
            field(item, "/id"),
            field(item, "/url"),
            if events.is_empty() { "all".to_owned() } else { events.join(" ") },
            field(item, "/enabled"),
            field(item, "/disabled_reason"),
            words("/secrets").len().to_string(),
            field(item, "/description"),
        ]);
    }
    rows
}

fn deliveries(items: &[Value]) -> Rows {
    let mut rows =
        Rows::new(&["EVENT", "KIND", "TENANT", "STATE", "ATTEMPTS", "TOLD", "NEXT", "LAST STATUS", "ERROR"]);
    let columns = [
        "/event",
        "/kind",
        "/tenant",
        "/state",
        "/attempts",
        "/created_at",
        "/next_at",
        "/log/0/status",
        "/log/0/error",
    ];
    for item in items {
        rows.add(columns.iter().map(|path| field(item, path)).collect());
    }
    rows
}
