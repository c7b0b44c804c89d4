//! `plangate usage`: show what a tenant has used, and send usage that did not come through the gateway.

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
    /// Send usage events; to send the same again counts nothing twice
    Send(send_usage::SendUsage),
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
        if let Some(Action::Send(send)) = self.action {
            return send.run().await;
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

fn rows(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["METER", "START", "END", "UNITS"]);
    for row in answer.get("rows").and_then(Value::as_array).into_iter().flatten() {
        rows.add(["/meter", "/start", "/end", "/units"].iter().map(|path| field(row, path)).collect());
    }
    rows
}
