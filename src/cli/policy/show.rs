//! `plangate policy show`: a plan with all that it inherits, and where each value is written.

use std::{
    io::{IsTerminal, stdout},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    effective::{Entry, SECTIONS, entries},
    folder::{ReportFormat, must_be_there},
    mapping,
};
use crate::{
    cli::{
        Failure,
        output::{Rows, printable},
    },
    domain::{catalog::Catalog, id::PlanId, origin::Origin, plan::Plan},
    policy,
};

/// Show a plan with all that it inherits, and where each value is written
#[derive(Debug, Args)]
pub struct Show {
    /// The plan; without it, the plans are listed
    #[arg(value_name = "PLAN")]
    plan: Option<String>,
    /// The policy folder [default: policies]. To list the plans of another folder, name it alone
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Show what the names of the Stripe account mean, in the place of a plan
    #[arg(long)]
    stripe: bool,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: ReportFormat,
}

impl Show {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (plan, folder) = match (self.plan, self.folder) {
            (Some(plan), Some(_)) if self.stripe => {
                return Err(Failure::Usage(format!("--stripe is of no plan: leave `{plan}` out")));
            }
            (folder, None) if self.stripe => (None, PathBuf::from(folder.unwrap_or("policies".to_owned()))),
            (Some(alone), None) if Path::new(&alone).join("features.yaml").is_file() => (None, alone.into()),
            (plan, folder) => (plan, folder.unwrap_or_else(|| PathBuf::from("policies"))),
        };
        must_be_there(&folder)?;
        let catalog = match policy::load(&folder) {
            Ok((catalog, _)) => catalog,
            Err(report) => {
                self.output.print(|color| report.render(color), || report.to_json())?;
                return Err(Failure::Refused("the policies have errors".to_owned()));
            }
        };
        let Some(name) = plan else {
            let rows = if self.stripe { mapping::table(&catalog) } else { list(&catalog) };
            let table = |color| if stdout().is_terminal() { rows.table(color) } else { rows.plain() };
            let json = || if self.stripe { mapping::json(&catalog) } else { list_json(&catalog) };
            return self.output.print(table, json);
        };
        let Some(plan) = catalog.plan(&name) else {
            let known = catalog.plans.keys().map(PlanId::as_str);
            let help = policy::suggestion(&name, known).map(|help| format!(": {help}")).unwrap_or_default();
            let name: String = name.chars().take(80).collect();
            return Err(Failure::Refused(format!("unknown plan `{name}`{help}")));
        };
        let entries = entries(&catalog, plan);
        self.output
            .print(|color| text(&catalog, plan, &entries, color), || plan_json(&catalog, plan, &entries))
    }
}

/// The plans that a plan extends, the nearest first.
fn ancestors(catalog: &Catalog, plan: &Plan) -> Vec<String> {
    let chain = catalog.origins.plan(&plan.id).into_iter().flat_map(|origins| origins.chain().skip(1));
    chain.map(|origins| origins.plan.to_string()).collect()
}

fn text(catalog: &Catalog, plan: &Plan, entries: &[Entry], color: bool) -> String {
    let bold = |text: &str| if color { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
    let dim = |text: &str| if color { format!("\x1b[2m{text}\x1b[0m") } else { text.to_owned() };
    let title = plan.title.as_deref().map(|title| format!("  {}", printable(title))).unwrap_or_default();
    let mut out = format!("{}{title}\n", bold(plan.id.as_str()));
    let ancestors = ancestors(catalog, plan);
    if !ancestors.is_empty() {
        out += &format!("extends {}\n", ancestors.join(", which extends "));
    }
    let widest = |of: fn(&Entry) -> &str| entries.iter().map(|e| of(e).chars().count()).max().unwrap_or(0);
    let (keys, values) = (widest(|entry| &entry.key), widest(|entry| &entry.text).min(MOST_VALUE));
    for section in SECTIONS {
        let mut of_section = entries.iter().filter(|entry| entry.section == section).peekable();
        if of_section.peek().is_some() && !section.is_empty() {
            out += &format!("\n{}\n", bold(section));
        } else if of_section.peek().is_some() {
            out.push('\n');
        }
        for entry in of_section {
            let wide = |width: usize, text: &str| width.saturating_sub(text.chars().count());
            let place = match (&entry.origin, &entry.from) {
                (None, _) => "default".to_owned(),
                (Some(origin), None) => origin.to_string(),
                (Some(origin), Some(from)) => format!("{origin}  from {from}"),
            };
            let text = printable(&entry.text);
            let (after_key, after_value) = (wide(keys, &entry.key), wide(values, &text));
            let line = format!("  {}{:after_key$}  {text}{:after_value$}  ", entry.key, "", "");
            out += &format!("{line}{}\n", dim(&place));
        }
    }
    out
}

/// Longer values push their place to the right, and only their own.
const MOST_VALUE: usize = 72;

fn origin_json(origin: Option<&Origin>) -> (Value, Value) {
    (json!(origin.map(|origin| &*origin.file)), json!(origin.map(|origin| origin.line)))
}

fn plan_json(catalog: &Catalog, plan: &Plan, entries: &[Entry]) -> Value {
    let mut out = json!({ "plan": plan.id.as_str(), "extends": ancestors(catalog, plan) });
    for section in SECTIONS.into_iter().filter(|section| !section.is_empty()) {
        out[section] = json!({});
    }
    for entry in entries {
        let (file, line) = origin_json(entry.origin.as_ref());
        let from = entry.from.as_ref().map(PlanId::as_str);
        let value = json!({ "value": entry.json, "file": file, "line": line, "from": from });
        match entry.section {
            "" => out[&entry.key] = value,
            section => out[section][&entry.key] = value,
        }
    }
    out
}

fn price(plan: &Plan) -> Option<String> {
    plan.price.map(|price| format!("{} {}", price.amount, price.currency))
}

fn list(catalog: &Catalog) -> Rows {
    let mut rows = Rows::new(&["PLAN", "VERSION", "TITLE", "EXTENDS", "PRICE", "FILE"]);
    for plan in catalog.plans.values() {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.add(vec![
            plan.id.to_string(),
            plan.version.to_string(),
            or_none(plan.title.clone()),
            or_none(plan.parent.as_ref().map(PlanId::to_string)),
            or_none(price(plan)),
            or_none(catalog.origins.plan(&plan.id).map(|origins| origins.name().to_string())),
        ]);
    }
    rows
}

fn list_json(catalog: &Catalog) -> Value {
    let plans = catalog.plans.values().map(|plan| {
        let (file, line) = origin_json(catalog.origins.plan(&plan.id).map(|o| o.name()).as_ref());
        json!({
            "plan": plan.id.as_str(),
            "version": plan.version.0,
            "title": plan.title,
            "extends": plan.parent.as_ref().map(PlanId::as_str),
            "price": plan.price.map(|price| json!({
                "amount": price.amount.to_string(),
                "currency": price.currency.to_string(),
            })),
            "file": file,
            "line": line,
        })
    });
    json!({ "plans": plans.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Catalog {
        policy::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap().0
    }

    fn shown(name: &str) -> String {
        let catalog = example();
        let plan = catalog.plan(name).unwrap();
        text(&catalog, plan, &entries(&catalog, plan), false)
    }

    /// Runs of spaces count as one: columns move with the example.
    fn words(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn each_value_has_the_place_that_gives_it() {
        let lines = words(&shown("pro-health"));
        let has = |start: &str, end: &str| {
            assert!(
                lines.iter().any(|line| line.starts_with(start) && line.ends_with(end)),
                "{start} ... {end}:\n{}",
                lines.join("\n")
            );
        };
        assert_eq!(
            lines[..2],
            ["pro-health Pro for health care", "extends pro, which extends basic, which extends free"]
        );
        has("price 99.00 USD a month plans/pro-health.yaml:", "");
        has("trial 14 days, then free plans/basic.yaml:", "from basic");
        has("changes upgrade now, downgrade now", "default");
        has("warn_at 50, 80, 100 percent", "default");
        has("chat Messaging plans/free.yaml:", "from free");
        has("export taken away plans/pro-health.yaml:", "");
        has("seats 25 plans/pro.yaml:", "from pro");
        has("ai_tokens 200,000 / month, 40,000 / day, 10,000 / hour plans/pro-health.yaml:", "");
        has("requests 200 / 1s, 400 at once plans/pro.yaml:", "from pro");
        has("pro_health_monthly sells it, by its lookup key stripe.yaml:", "");
    }

    #[test]
    fn overage_and_roll_over_are_in_words() {
        let pro = shown("pro");
        assert!(
            pro.contains("500,000 / month, 100,000 / day; up to 2,000,000 beyond it at 0.002 USD per 1,000"),
            "{pro}"
        );
        let basic = shown("basic");
        assert!(
            basic.contains("100,000 / month, 20,000 / day; unused: at most 20% into the next month"),
            "{basic}"
        );
        assert!(basic.contains("no quota: what is charged to it is refused"), "{basic}");
        let enterprise = shown("enterprise");
        assert!(enterprise.contains("10,000,000 / month; beyond it let through"), "{enterprise}");
        assert!(
            words(&enterprise).iter().any(|line| line.starts_with("ai_tokens unlimited plans/enterprise"))
        );
    }

    #[test]
    fn programs_get_values_in_the_shape_of_the_files() {
        let catalog = example();
        let plan = catalog.plan("pro-health").unwrap();
        let shown = plan_json(&catalog, plan, &entries(&catalog, plan));
        assert_eq!(shown["extends"], json!(["pro", "basic", "free"]));
        assert_eq!(
            shown["quotas"]["ai_tokens"]["value"],
            json!({ "limit": 200_000, "hour": 10_000, "day": 40_000 })
        );
        assert_eq!(shown["quotas"]["ai_tokens"]["from"], Value::Null);
        assert_eq!(shown["quotas"]["requests"]["from"], "pro");
        assert_eq!(shown["features"]["export"]["value"], false);
        assert_eq!(shown["features"]["chat"]["value"], true);
        assert_eq!(shown["features"]["chat"]["file"], "plans/free.yaml");
        assert_eq!(shown["changes"]["file"], Value::Null);
        assert_eq!(shown["stripe"]["pro_health_monthly"]["value"], "lookup_keys");
        assert_eq!(shown["stripe"]["pro_health_monthly"]["file"], "stripe.yaml");
        assert_eq!(list_json(&catalog)["plans"][3]["plan"], "pro");
        assert!(
            list(&catalog)
                .plain()
                .contains("pro-health\t1\tPro for health care\tpro\t99.00 USD\tplans/pro-health.yaml:")
        );
    }

    fn exit(arguments: &[&str]) -> Option<u8> {
        use clap::Parser;
        let cli = crate::cli::Cli::try_parse_from([&["plangate", "policy"], arguments].concat()).unwrap();
        crate::cli::execute(cli.command).err().map(|failure| failure.exit_code())
    }

    #[test]
    fn a_plan_that_is_not_there_is_one_thing_and_a_folder_another() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
        assert_eq!(exit(&["show", "pro", folder]), None);
        assert_eq!(exit(&["show", "prro", folder]), Some(1));
        assert_eq!(exit(&["show", "pro", "/nowhere"]), Some(2));
        assert_eq!(exit(&["show", folder, "--output", "json"]), None, "lists the plans of that folder");
        assert_eq!(exit(&["show", "--stripe", folder]), None);
        assert_eq!(exit(&["show", "--stripe", "pro", folder]), Some(2));
        let broken = tempfile::tempdir().unwrap();
        assert_eq!(exit(&["show", "pro", broken.path().to_str().unwrap()]), Some(1));
    }

    #[test]
    fn schemas_are_written_where_they_are_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        assert_eq!(exit(&["schema", "--output-dir", inner.to_str().unwrap()]), None);
        for kind in policy::schema::Kind::ALL {
            let path = inner.join(format!("{}.json", kind.as_str()));
            assert_eq!(std::fs::read_to_string(path).unwrap(), policy::schema::text(kind));
        }
        assert_eq!(exit(&["schema", "--output-dir", "/dev/null/x"]), Some(2));
    }
}
