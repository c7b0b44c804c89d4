//! `plangate explain`: why a request is let through or refused, step by step, for a person who is woken up by it.

mod asked;
mod decision;
mod refusal;
mod words;

use std::io::{IsTerminal, stdout};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use self::{asked::Asked, words::Style};
use super::{
    Failure,
    client::{Call, Connection},
    output::{self, Format, show},
};

/// Explain why a request is let through or refused, step by step
///
/// `plangate explain --tenant acme "GET /v1/x"` asks what would become of a request, and charges nothing. A path alone
/// means GET; of a URL only the path counts. `--request ID` asks why a request was refused in the last ten minutes, by the
/// `request_id` that its answer had; each node remembers its own.
#[derive(Debug, Args)]
pub struct Explain {
    /// The request: `"GET /v1/x"`, `/v1/x` or a URL
    #[arg(value_name = "REQUEST", num_args = 1..=2, required_unless_present_any = ["id", "recent"])]
    request: Vec<String>,
    /// Whose request it is
    #[arg(long, value_name = "TENANT", required_unless_present_any = ["id", "recent"])]
    tenant: Option<String>,
    /// Why the request of this id was refused in the last minutes
    #[arg(long = "request", value_name = "ID", id = "id", conflicts_with_all = ["request", "tenant", "recent"])]
    request_id: Option<String>,
    /// List what the node refused in the last minutes, the newest first
    #[arg(long, conflicts_with = "request")]
    recent: bool,
    /// List refusals with this code alone, such as quota-exhausted
    #[arg(long, value_name = "CODE", requires = "recent")]
    code: Option<String>,
    /// List at most so many
    #[arg(long, default_value_t = 20, requires = "recent", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

impl Explain {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if let Some(id) = &self.request_id {
            let answer = self.connection.call(Call::new(Method::GET, &["v1", "refusals", id])).await?;
            return self.print(&answer, |style| refusal::text(&answer, style));
        }
        if self.recent {
            return self.list().await;
        }
        let asked = Asked::parse(&self.request.join(" ")).map_err(Failure::Usage)?;
        let tenant = self.tenant.as_deref().unwrap_or_default();
        let body = json!({ "tenant": tenant, "method": asked.method, "path": asked.path });
        let answer = self.connection.call(Call::new(Method::POST, &["v1", "check"]).body(body)).await?;
        self.print(&answer, |style| decision::text(&answer, style))
    }

    async fn list(&self) -> Result<(), Failure> {
        let call = Call::new(Method::GET, &["v1", "refusals"])
            .query("tenant", self.tenant.clone())
            .query("code", self.code.clone())
            .query("limit", Some(self.limit.to_string()));
        let answer = self.connection.call(call).await?;
        show(self.connection.output, &answer, &refusal::rows(&answer))
    }

    /// Prints an answer: as it is, or in words, with signs and colours where a person looks.
    fn print(&self, answer: &Value, words: impl FnOnce(Style) -> String) -> Result<(), Failure> {
        let text = match Format::or_fitting(self.connection.output) {
            Format::Json => {
                let text = serde_json::to_string_pretty(answer)
                    .map_err(|error| Failure::Refused(format!("the answer cannot be printed: {error}")))?;
                text + "\n"
            }
            Format::Plain | Format::Csv => words(Style::PLAIN),
            Format::Table => {
                let terminal = stdout().is_terminal();
                words(Style { signs: terminal, colour: output::coloured(terminal) })
            }
        };
        output::write(text.as_bytes())
    }
}
