//! `plangate statement`: what a tenant's billing periods come to.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Failure,
    client::{Call, Connection},
    output::{Format, Rows, field, note, show, write},
};
use crate::wire::statement_csv;

/// `plangate statement`.
#[derive(Debug, Args)]
pub struct Statement {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the statement of a billing period
    Show(Show),
    /// List the statements that are closed, the newest first
    List(List),
}

#[derive(Debug, Args)]
struct Show {
    /// The tenant's id
    tenant: String,
    /// The period's first day (2026-11-15), the month in which it begins (2026-11), or `current`
    #[arg(default_value = "current")]
    period: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
struct List {
    /// The tenant's id
    tenant: String,
    /// Continue after this place, as the page before names it
    #[arg(long, value_name = "PLACE")]
    cursor: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

impl Statement {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Show(show) => show.run().await,
            Action::List(list) => list.run().await,
        }
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let call = Call::new(Method::GET, &["v1", "tenants", &self.tenant, "statements", &self.period]);
        let answer = self.connection.call(call).await?;
        if self.connection.output == Some(Format::Csv) {
            return write(statement_csv::encode(&answer).as_bytes());
        }
        show(self.connection.output, &answer, &lines(&answer))?;
        if matches!(Format::or_fitting(self.connection.output), Format::Table) {
            write(usage(&answer).table(false).as_bytes())?;
        }
        let [name, status, start, end] =
            ["/statement", "/status", "/period/start", "/period/end"].map(|path| field(&answer, path));
        note(&format!("statement {name} ({status}), {start} to {end}"));
        for count in list(&answer, "/usage").iter().filter(|count| field(count, "/uncertain") != "0") {
            note(&format!(
                "{} `{}` may have been used on a node that is gone; they are not billed",
                field(count, "/uncertain"),
                field(count, "/meter")
            ));
        }
        for lost in list(&answer, "/unpriced") {
            let of = ["/plan", "/addon", "/meter"].map(|path| field(lost, path));
            let of = of.into_iter().find(|text| text != "-").unwrap_or_default();
            note(&format!("not billed: {} `{of}`: {}", field(lost, "/kind"), field(lost, "/reason")));
        }
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let call = Call::new(Method::GET, &["v1", "tenants", &self.tenant, "statements"])
            .query("cursor", self.cursor)
            .query("limit", Some(self.limit.to_string()));
        let answer = self.connection.call(call).await?;
        let mut rows = Rows::new(&["STATEMENT", "START", "END", "TOTAL", "CURRENCY", "CLOSED"]);
        for item in list(&answer, "/items") {
            let paths = ["/statement", "/period/start", "/period/end", "/total", "/currency", "/closed_at"];
            rows.add(paths.iter().map(|path| field(item, path)).collect());
        }
        show(self.connection.output, &answer, &rows)?;
        if let Some(next) = answer.get("next").filter(|next| !next.is_null()) {
            note(&format!("there are more: --cursor {next}"));
        }
        if rows.len() == 0 {
            note("no period is closed yet: `plangate statement show` has the one that runs");
        }
        Ok(())
    }
}

fn list<'a>(answer: &'a Value, path: &str) -> &'a [Value] {
    answer.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn lines(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["LINE", "ITEM", "FROM", "TO", "QUANTITY", "PRICE", "AMOUNT"]);
    for line in list(answer, "/lines") {
        let (kind, amount) = (field(line, "/kind"), field(line, "/amount"));
        let [from, to, price] = ["/from", "/to", "/price"].map(|path| field(line, path));
        let currency = line.get("currency").and_then(Value::as_str).unwrap_or_default();
        let amount = format!("{amount} {currency}").trim_end().to_owned();
        let (item, quantity, price) = match kind.as_str() {
            "plan" => {
                let item = format!("{}@{}", field(line, "/plan"), field(line, "/plan_version"));
                match field(line, "/state").as_str() {
                    "active" => (item, "1".to_owned(), price),
                    state => (format!("{item} ({state})"), "1".to_owned(), price),
                }
            }
            "addon" => (field(line, "/addon"), field(line, "/quantity"), price),
            "overage" => {
                let price = format!("{price} per {}", field(line, "/per"));
                (format!("{} beyond", field(line, "/meter")), field(line, "/units"), price)
            }
            _ => (format!("cap {}", field(line, "/cap")), "-".to_owned(), "-".to_owned()),
        };
        rows.add(vec![kind, item, from, to, quantity, price, amount]);
    }
    let total = format!("{} {}", field(answer, "/total"), field(answer, "/currency"));
    let empty = || "-".to_owned();
    rows.add(vec!["total".to_owned(), empty(), empty(), empty(), empty(), empty(), total]);
    rows
}

fn usage(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["METER", "INCLUDED", "USED", "BEYOND", "GRANTS", "UNCERTAIN"]);
    for count in list(answer, "/usage") {
        let of = list(answer, "/grants").iter().filter(|grant| grant["meter"] == count["meter"]);
        let grants: u64 = of.filter_map(|grant| grant["used"].as_u64()).sum();
        let [meter, included, used, beyond, uncertain] =
            ["/meter", "/included", "/used", "/overage", "/uncertain"].map(|path| field(count, path));
        rows.add(vec![meter, included, used, beyond, grants.to_string(), uncertain]);
    }
    rows
}
