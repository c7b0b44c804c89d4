//! `plangate subscription`: a tenant's plan and its whole life.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    client::{Call, Connection, WriteOptions},
    output::{Rows, field, note, show},
    upcoming::Upcoming,
};

/// `plangate subscription`.
#[derive(Debug, Args)]
pub struct Subscription {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a tenant's plan, where it is in its life, and what is scheduled
    #[command(visible_alias = "get")]
    Show {
        /// The tenant's id
        tenant: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Put a tenant on a plan, now or later
    Put(Put),
    /// End a subscription; `undo` takes that back
    Cancel {
        /// The tenant's id
        tenant: String,
        /// When: `period-end`, `now` or an instant (RFC 3339)
        #[arg(long, value_name = "WHEN", default_value = "period-end")]
        at: String,
        #[command(flatten)]
        write: WriteOptions,
        #[command(flatten)]
        connection: Connection,
    },
    /// Take back what is scheduled, or in the same month a cancellation that was made at once
    Undo(One),
    /// Refuse the tenant's requests, and keep everything, until `resume`
    Pause(One),
    /// Take a pause back
    Resume(One),
    /// A payment failed: it still entitles for some days of grace
    PastDue {
        /// Days of grace; by default the plan's
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(0..=365))]
        grace_days: Option<u16>,
        #[command(flatten)]
        one: One,
    },
    /// What was due is paid
    Paid(One),
    /// Show what will happen by itself, to one tenant or to all
    Upcoming(Upcoming),
}

#[derive(Debug, Args)]
struct Put {
    /// The tenant's id
    tenant: String,
    /// The plan
    plan: String,
    /// When: `now`, `period-end` or an instant (RFC 3339); by default as the plan that is left says, which is mostly now
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// The day on which its months begin; by default as before, at first today
    #[arg(long, value_name = "DAY", value_parser = clap::value_parser!(u8).range(1..=31))]
    anchor_day: Option<u8>,
    /// An instant (RFC 3339) whose day in the tenant's zone that is
    #[arg(long, value_name = "TIME", conflicts_with = "anchor_day")]
    anchor_at: Option<String>,
    /// Begin with a trial of so many days; 0: without the plan's own
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(0..=3650))]
    trial_days: Option<u16>,
    /// What follows the trial: a plan, or `block`; by default as the plan says
    #[arg(long, value_name = "PLAN")]
    then: Option<String>,
    /// Let the tenant try a plan that it has tried before
    #[arg(long)]
    trial_again: bool,
    /// What becomes of the units already used; by default they are kept
    #[arg(long, value_enum)]
    usage: Option<UsageRule>,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct One {
    /// The tenant's id
    tenant: String,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

/// What becomes of the units already used.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UsageRule {
    /// They count against the new plan
    Keep,
    /// Counting starts anew
    Reset,
    /// They count, and the month's limits are those of both plans, each for its part of the month
    Prorate,
}

/// When, as the API has it; the shell's words have hyphens.
pub(super) fn when(text: &str) -> String {
    if text == "period-end" { "period_end" } else { text }.to_owned()
}

impl Put {
    fn body(&self) -> Value {
        let mut body = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            body.extend(value.map(|value| (name.to_owned(), value)));
        };
        set("plan", Some(self.plan.as_str().into()));
        set("at", self.at.as_deref().map(|at| when(at).into()));
        set("anchor_day", self.anchor_day.map(Into::into));
        set("anchor_at", self.anchor_at.as_deref().map(Into::into));
        set("trial_days", self.trial_days.map(Into::into));
        set("then", self.then.as_deref().map(Into::into));
        set("trial_again", self.trial_again.then_some(Value::Bool(true)));
        let usage = self.usage.map(|usage| match usage {
            UsageRule::Keep => "keep",
            UsageRule::Reset => "reset",
            UsageRule::Prorate => "prorate",
        });
        set("usage", usage.map(Into::into));
        Value::Object(body)
    }

    async fn run(self) -> Result<(), Failure> {
        let path = ["v1", "tenants", &self.tenant, "subscription"];
        let call = Call::new(Method::PUT, &path).write(&self.write, self.body());
        answer(&self.connection, call).await
    }
}

impl One {
    async fn run(self, action: &str, body: Value) -> Result<(), Failure> {
        let path = ["v1", "tenants", &self.tenant, "subscription", action];
        answer(&self.connection, Call::new(Method::POST, &path).write(&self.write, body)).await
    }
}

impl Subscription {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Put(put) => put.run().await,
            Action::Show { tenant, connection } => {
                let answer = fetch(&connection, &tenant).await?;
                show(connection.output, &answer, &subscriptions(&tenant, &answer))
            }
            Action::Cancel { tenant, at, write, connection } => {
                let path = ["v1", "tenants", &tenant, "subscription"];
                let call = Call::new(Method::DELETE, &path).query("at", Some(when(&at)));
                answer(&connection, call.write(&write, json!({}))).await
            }
            Action::Undo(one) => one.run("undo", json!({})).await,
            Action::Pause(one) => one.run("pause", json!({})).await,
            Action::Resume(one) => one.run("resume", json!({})).await,
            Action::PastDue { grace_days, one } => {
                let body = grace_days.map_or_else(|| json!({}), |days| json!({ "grace_days": days }));
                one.run("past_due", body).await
            }
            Action::Paid(one) => one.run("paid", json!({})).await,
            Action::Upcoming(upcoming) => upcoming.run().await,
        }
    }
}

/// Reads a tenant's subscription.
pub(super) async fn fetch(connection: &Connection, tenant: &str) -> Result<Value, Failure> {
    connection.call(Call::new(Method::GET, &["v1", "tenants", tenant, "subscription"])).await
}

/// Carries a write out, and shows the subscription as it then is.
async fn answer(connection: &Connection, call: Call<'_>) -> Result<(), Failure> {
    let answer = connection.call(call).await?;
    let subscription = answer.get("subscription").unwrap_or(&Value::Null);
    show(connection.output, &answer, &subscriptions(&field(&answer, "/tenant"), subscription))?;
    if subscription.get("scheduled").is_some_and(|scheduled| !scheduled.is_null()) {
        note(&format!("scheduled: {}; `plangate subscription undo` takes it back", scheduled(subscription)));
    }
    Ok(())
}

/// What is scheduled, in words.
fn scheduled(subscription: &Value) -> String {
    let at = field(subscription, "/scheduled/at");
    match subscription.pointer("/scheduled/change").and_then(Value::as_str) {
        Some("plan") => format!("{} at {at}", field(subscription, "/scheduled/plan")),
        Some(change) => format!("{change} at {at}"),
        None => "-".to_owned(),
    }
}

/// A subscription as a row.
pub(super) fn subscriptions(tenant: &str, subscription: &Value) -> Rows {
    let headings =
        ["TENANT", "PLAN", "STATE", "ANCHOR", "SINCE", "VERSION", "PERIOD ENDS", "TRIAL ENDS", "SCHEDULED"];
    let mut rows = Rows::new(&headings);
    let columns =
        ["/plan", "/state", "/anchor_day", "/since", "/plan_version", "/period/end", "/trial/ends_at"];
    let mut row = vec![tenant.to_owned()];
    row.extend(columns.iter().map(|path| field(subscription, path)));
    row.push(scheduled(subscription));
    rows.add(row);
    rows
}
