//! `plangate usage`: show what a tenant has used, also as it sees that itself, and send usage that did not come through the
//! gateway.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::Value;

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
    send_usage,
};

/// `plangate usage`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Usage {
    #[command(subcommand)]
    action: Option<Action>,
    /// The tenant's id (of one named as a command after `--`)
    #[arg(required = true)]
    tenant: Option<String>,
    /// From this instant or date on; by default the current billing month
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this instant or date, not included
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Sum up by
    #[arg(long, value_enum, default_value_t = Bucket::Day)]
    bucket: Bucket,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what a tenant sees of itself at `/.plangate/usage` of the data listener
    Show(Seen),
    /// Send usage events; to send the same again counts nothing twice
    Send(send_usage::SendUsage),
}

#[derive(Debug, Args)]
struct Seen {
    /// The tenant's id
    tenant: String,
    /// The language of the message
    #[arg(long, value_enum, default_value_t = Language::En)]
    language: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// English
    En,
    /// Chinese
    Zh,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bucket {
    /// Hours (UTC)
    Hour,
    /// Days in the tenant's zone
    Day,
    /// Billing months
    Month,
}

impl Usage {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Some(Action::Show(seen)) => return seen.run().await,
            Some(Action::Send(send)) => return send.run().await,
            None => {}
        }
        let tenant = self.tenant.unwrap_or_default();
        let bucket = match self.bucket {
            Bucket::Hour => "hour",
            Bucket::Day => "day",
            Bucket::Month => "month",
        };
        let call = Call::new(Method::GET, &["v1", "tenants", &tenant, "usage"])
            .query("from", self.from)
            .query("to", self.to)
            .query("bucket", Some(bucket.to_owned()));
        let answer = self.connection.call(call).await?;
        let rows = rows(&answer);
        show(self.connection.output, &answer, &rows)?;
        for (meter, units) in answer.get("uncertain").and_then(Value::as_object).into_iter().flatten() {
            note(&format!(
                "{units} `{meter}` of this month may have been used by a node that is gone; the quota counts them"
            ));
        }
        if rows.len() == 0 {
            note(&format!("nothing was used from {} to {}", field(&answer, "/from"), field(&answer, "/to")));
        }
        Ok(())
    }
}

impl Seen {
    async fn run(self) -> Result<(), Failure> {
        let language = match self.language {
            Language::En => "en",
            Language::Zh => "zh",
        };
        let call = Call::new(Method::GET, &["v1", "tenants", &self.tenant, "view"])
            .query("language", Some(language.to_owned()));
        let answer = self.connection.call(call).await?;
        let mut rows = Rows::new(&["METER", "WINDOW", "USED", "LIMIT", "REMAINING", "SHARE", "RESETS"]);
        for quota in answer.get("quotas").and_then(Value::as_array).into_iter().flatten() {
            let paths = ["/meter", "/window", "/used", "/limit", "/remaining", "/share", "/resets_at"];
            rows.add(paths.iter().map(|path| field(quota, path)).collect());
        }
        show(self.connection.output, &answer, &rows)?;
        let [plan, state, message] = ["/plan", "/state", "/message"].map(|path| field(&answer, path));
        note(&format!("plan {plan} ({state}): {message}"));
        if answer.get("cost").is_some_and(Value::is_object) {
            let [total, forecast, currency] =
                ["/cost/total", "/cost/forecast", "/cost/currency"].map(|path| field(&answer, path));
            note(&format!("{total} {currency} so far, likely {forecast} {currency} at the month's end"));
        }
        Ok(())
    }
}

fn rows(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["METER", "START", "END", "UNITS"]);
    for row in answer.get("rows").and_then(Value::as_array).into_iter().flatten() {
        rows.add(["/meter", "/start", "/end", "/units"].iter().map(|path| field(row, path)).collect());
    }
    rows
}
