//! `plangate token`: make, list and revoke tokens of the admin API.

mod offline;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// `plangate token`.
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token; it is shown this once
    Create(Create),
    /// List the tokens
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Refuse a token from now on, on every node
    Revoke {
        /// The token's name or public id, as `token list` shows them
        token: String,
        /// Repeating the command with the same key has no second effect
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Its name, which the audit log has for whatever is done with it
    name: String,
    /// What it allows
    #[arg(long, value_enum)]
    role: RoleWord,
    /// When it ends (RFC 3339); by default never
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Make it straight in the database that the configuration names, without a running gateway
    #[arg(long)]
    offline: bool,
    /// The configuration file for --offline; without it `plangate.yaml`, if there is one, and the environment
    #[arg(long, value_name = "FILE", env = "PLANGATE_CONFIG", requires = "offline")]
    config: Option<PathBuf>,
    /// Repeating the command with the same key has no second effect
    #[arg(long, value_name = "KEY", conflicts_with = "offline")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleWord {
    /// Reads, and asks what would be
    Viewer,
    /// Also changes tenants and what belongs to them
    Operator,
    /// Also changes policies, nodes, webhooks and tokens
    Admin,
}

impl RoleWord {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl Token {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Create(create) => create.run().await,
            Action::List { connection } => {
                let answer = connection.call(Call::new(Method::GET, &["v1", "tokens"])).await?;
                let mut rows = Rows::new(&["ID", "NAME", "ROLE", "CREATED", "EXPIRES", "LAST USED"]);
                for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
                    let columns = ["/id", "/name", "/role", "/created_at", "/expires_at", "/last_used_at"];
                    rows.add(columns.iter().map(|path| field(item, path)).collect());
                }
                show(connection.output, &answer, &rows)
            }
            Action::Revoke { token, idempotency_key, connection } => {
                let id = id_of(&token, &connection).await?;
                let path = ["v1", "tokens", &id];
                let call = Call::new(Method::DELETE, &path).body(json!({})).idempotent(idempotency_key);
                let answer = connection.call(call).await?;
                let mut rows = Rows::new(&["ID", "STATE"]);
                rows.add(vec![field(&answer, "/id"), field(&answer, "/state")]);
                show(connection.output, &answer, &rows)
            }
        }
    }
}

/// The id of the token of this name; what is no name of one is taken for an id.
async fn id_of(token: &str, connection: &Connection) -> Result<String, Failure> {
    let answer = connection.call(Call::new(Method::GET, &["v1", "tokens"])).await?;
    let items = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named = items.iter().find(|item| item.get("name").and_then(Value::as_str) == Some(token));
    Ok(named.map_or_else(|| token.to_owned(), |item| field(item, "/id")))
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let Self { name, role, expires_at, offline, config, idempotency_key, connection } = self;
        let answer = if offline {
            offline::create(config.as_deref(), &name, role.as_str(), expires_at.as_deref()).await?
        } else {
            let mut body = json!({ "name": name, "role": role.as_str() });
            if let Some(at) = expires_at {
                body["expires_at"] = json!(at);
            }
            let call = Call::new(Method::POST, &["v1", "tokens"]).body(body).idempotent(idempotency_key);
            connection.call(call).await?
        };
        let mut rows = Rows::new(&["ID", "TOKEN", "NAME", "ROLE", "EXPIRES"]).unbroken();
        let columns = ["/id", "/token", "/name", "/role", "/expires_at"];
        rows.add(columns.iter().map(|path| field(&answer, path)).collect());
        show(connection.output, &answer, &rows)?;
        if answer.get("token").is_some() {
            note("the token is shown this once: keep it where secrets are kept");
        } else {
            note(
                "this repeats an earlier answer, so the token is not shown again: revoke it and make another if it is lost",
            );
        }
        Ok(())
    }
}
