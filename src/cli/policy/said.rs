//! What is said of a change of the policies: why, by whom, and for which revision it was made.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::cli::{
    Failure,
    client::{Call, Connection},
};

/// What is said of a change.
#[derive(Debug, Args)]
pub(super) struct Said {
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Who, for the history; by default this shell's user
    #[arg(long, value_name = "NAME", env = "PLANGATE_AUTHOR")]
    author: Option<String>,
    /// The revision that the change was made for, as `policy diff` shows it: refused where another is in force by now
    #[arg(long, value_name = "NUMBER")]
    base: Option<u64>,
    /// Also where tenants are on plans that would be missing: they are refused everything then
    #[arg(long)]
    force: bool,
}

impl Said {
    /// The policies in force, and the body of the call, less what the change itself is.
    pub(super) async fn body(&self, connection: &Connection) -> Result<(Value, Value), Failure> {
        let policy = connection.call(Call::new(Method::GET, &["v1", "policy"])).await?;
        // Whoever is faster from here on has the change refused.
        let base = self.base.or_else(|| policy.get("number")?.as_u64()).unwrap_or(0);
        let author =
            self.author.clone().or_else(|| std::env::var("USER").ok()).filter(|name| !name.is_empty());
        let mut body = json!({ "base": base, "force": self.force });
        for (name, said) in [("message", &self.message), ("author", &author)] {
            if let Some(said) = said {
                body[name] = json!(said);
            }
        }
        Ok((policy, body))
    }
}
