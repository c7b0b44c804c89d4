//! `after` in a step of a case: words that are carried out in the order in which they stand.

use std::time::Duration;

use super::{
    Fields,
    after_value::{grant, usage, when, window},
    case::{Setting, instant, is_meter},
    case_tenant, named, scalar,
};
use crate::domain::{command::When, id::MeterId, period::AnchorDay, time::UnixMillis};
use crate::policy::{
    case::{NewPlan, What, Word},
    diagnostic::Findings,
    schema, suggest,
    tree::{Node, Value},
};
use crate::wire::duration;

/// Those that may stand alone.
const ALONE: [&str; 7] = ["cancel", "undo", "pause", "resume", "past_due", "paid", "suspend"];
/// Those that say more about `plan`.
const OF_PLAN: [&str; 3] = ["usage", "trial_days", "anchor_day"];

const MOST_REQUESTS: u64 = 1_000_000_000_000;
/// Each is decided for itself.
const MOST_BURST: u64 = 10_000;
const MOST_DAYS: u64 = 3650;

/// Reads what comes before a step's request. `clock`: the case's clock before it and after it, as far as it is known.
pub(super) fn decode(
    node: &Node,
    setting: Setting<'_>,
    clock: &mut Option<UnixMillis>,
    findings: &mut Findings<'_>,
) -> Option<Vec<Word>> {
    let mut reading = Reading { setting, words: Vec::new(), good: true };
    match &node.value {
        Value::Seq(items) => items.iter().for_each(|item| reading.item(item, clock, findings)),
        _ => reading.item(node, clock, findings),
    }
    if reading.good && reading.words.is_empty() {
        let help = "name what comes in between, or remove `after`".to_owned();
        findings.error_help("empty-step", node.place, "`after` says nothing", help);
        return None;
    }
    reading.good.then_some(reading.words)
}

struct Reading<'a> {
    setting: Setting<'a>,
    words: Vec<Word>,
    good: bool,
}

impl Reading<'_> {
    /// One word alone, or a map of them.
    fn item(&mut self, node: &Node, clock: &mut Option<UnixMillis>, findings: &mut Findings<'_>) {
        let Value::Map(entries) = &node.value else {
            let what = alone(node, findings);
            return self.take(what.map(|what| vec![what]), node, clock, findings);
        };
        let Some(fields) = Fields::read(node, "what comes before a step", schema::After::KEYS, findings)
        else {
            self.good = false;
            return;
        };
        self.good &= fields.unknown == 0;
        let of_plan = fields.get("plan").is_some();
        for key in OF_PLAN {
            if let Some(place) = fields.key_place(key).filter(|_| !of_plan) {
                let message = format!("`{key}` goes with `plan`");
                findings.error("contradiction", place, message);
                self.good = false;
            }
        }
        for (key, value) in entries {
            let Value::Scalar { text: word, .. } = &key.value else { continue };
            if !schema::After::KEYS.contains(&word.as_str())
                || OF_PLAN.contains(&word.as_str())
                || (word == "at" && of_plan)
            {
                continue;
            }
            let what = self.word(word, value, &fields, findings);
            self.take(what, key, clock, findings);
        }
    }

    fn take(
        &mut self,
        what: Option<Vec<What>>,
        place: &Node,
        clock: &mut Option<UnixMillis>,
        findings: &mut Findings<'_>,
    ) {
        let Some(what) = what else {
            self.good = false;
            return;
        };
        let location = findings.locate(place.place);
        for what in what {
            if self.setting.anonymous && what.is_of_tenant() {
                let help = "name a `tenant`; `{}` is one that has nothing yet".to_owned();
                let message = "the case has no tenant that this could happen to";
                findings.error_help("step-without-tenant", place.place, message, help);
                self.good = false;
            }
            match (&what, &mut *clock) {
                (What::At(at), Some(now)) if *at < *now => {
                    let message = format!("the clock only goes forward: it is {now} already, or later");
                    findings.error("step-back-in-time", place.place, message);
                    self.good = false;
                }
                (What::At(at), clock) => *clock = Some(*at),
                (What::Span(span), Some(now)) => *now = *now + *span,
                // At least: a local day has 23 hours once a year.
                (What::Days(days), Some(now)) => {
                    *now = *now + Duration::from_secs(u64::from(*days) * 86_400).saturating_sub(DAY_SHIFT);
                }
                _ => {}
            }
            let line = location.span.map_or(1, |span| span.line);
            self.words.push(Word { line, what });
        }
    }

    /// A word with its value.
    fn word(
        &self,
        word: &str,
        node: &Node,
        fields: &Fields<'_>,
        findings: &mut Findings<'_>,
    ) -> Option<Vec<What>> {
        let catalog = self.setting.catalog;
        let number = |most: u64, findings: &mut Findings<'_>| {
            scalar::whole(node, &format!("`{word}`"), (1, most), findings)
        };
        Some(vec![match word {
            "requests" => What::Requests(number(MOST_REQUESTS, findings)?),
            "burst" => What::Burst(number(MOST_BURST, findings)?),
            "plan" => What::Plan(self.plan(node, fields, findings)?),
            "cancel" if !is_true(node) => What::Cancel(when(node, findings)?),
            "past_due" if !is_true(node) => {
                let fields = Fields::read(node, "`past_due`", schema::PastDue::KEYS, findings)?;
                let days = fields.need("grace_days", "a number of days", findings)?;
                let days = scalar::whole(days, "`grace_days`", (0, MOST_DAYS), findings)?;
                What::PastDue(u16::try_from(days).ok())
            }
            "grant" => return self.grants(node, findings),
            "addons" => {
                let all = case_tenant::quantities(node, 0, catalog, findings);
                let all = whole_map(node, all)?;
                return Some(all.into_iter().map(|(addon, quantity)| What::Addon(addon, quantity)).collect());
            }
            "overrides" => What::Overrides(Box::new(case_tenant::overrides(node, catalog, findings))),
            "timezone" => What::Zone(case_tenant::zone(node, findings)?),
            "next" => What::Next(window(node, "a window for `next`", findings)?),
            "days" => What::Days(u16::try_from(number(MOST_DAYS, findings)?).ok()?),
            "hours" => What::Span(Duration::from_secs(number(MOST_DAYS * 24, findings)? * 3600)),
            "minutes" => What::Span(Duration::from_secs(number(MOST_DAYS * 1440, findings)? * 60)),
            "at" => What::At(instant(node, findings)?),
            _ => {
                // The others say all by standing there.
                if !scalar::truth(node, &format!("`{word}`"), findings)? {
                    findings.error(
                        "invalid-step",
                        node.place,
                        format!("write `{word}: true`, or leave it out"),
                    );
                    return None;
                }
                of_one_word(word)?
            }
        }])
    }

    fn plan(&self, node: &Node, fields: &Fields<'_>, findings: &mut Findings<'_>) -> Option<NewPlan> {
        let plan = case_tenant::plan(node, self.setting.catalog, findings);
        let at = fields.get("at").map(|node| when(node, findings));
        let usage = fields.get("usage").map(|node| usage(node, findings));
        let whole = |key: &str, least, most, findings: &mut Findings<'_>| {
            fields.get(key).map(|node| scalar::whole(node, &format!("`{key}`"), (least, most), findings))
        };
        let trial_days = whole("trial_days", 0, MOST_DAYS, findings);
        let anchor = whole("anchor_day", 1, 31, findings);
        let later = at.flatten().is_some_and(|at| at != When::Now);
        if let Some(place) = fields.key_place("trial_days").filter(|_| later && trial_days != Some(Some(0))) {
            let help = "leave `at` out, or say `at: now`".to_owned();
            findings.error_help("contradiction", place, "a trial begins at once", help);
            return None;
        }
        let anchor = given(anchor)?.and_then(|day| AnchorDay::new(i64::try_from(day).ok()?).ok());
        let trial_days = given(trial_days)?.and_then(|days| u16::try_from(days).ok());
        Some(NewPlan { plan: plan?, at: given(at)?, usage: given(usage)?, trial_days, anchor })
    }

    fn grants(&self, node: &Node, findings: &mut Findings<'_>) -> Option<Vec<What>> {
        let mut out = Vec::new();
        for (name, node) in named(node, "`grant`", findings) {
            if is_meter(&name, self.setting.catalog, findings)
                && let Ok(meter) = MeterId::parse(&name.value)
                && let Some(new) = grant(meter, node, findings)
            {
                out.push(What::Grant(new));
            }
        }
        whole_map(node, out)
    }
}

/// What was made of each entry of a map; nothing where one of them was reported instead.
fn whole_map<T>(node: &Node, made: Vec<T>) -> Option<Vec<T>> {
    let entries = if let Value::Map(entries) = &node.value { entries.len() } else { return None };
    (entries == made.len()).then_some(made)
}

/// What was given must be good.
fn given<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
        None => Some(None),
    }
}

/// By how much days may be shorter than their number says, altogether.
const DAY_SHIFT: Duration = Duration::from_secs(26 * 3600);

fn is_true(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, plain: true } if text == "true")
}

/// A word that needs no value.
fn of_one_word(word: &str) -> Option<What> {
    Some(match word {
        "cancel" => What::Cancel(When::Now),
        "undo" => What::Undo,
        "pause" => What::Pause,
        "resume" => What::Resume,
        "past_due" => What::PastDue(None),
        "paid" => What::Paid,
        "suspend" => What::Suspend,
        _ => return None,
    })
}

/// A word that stands alone, or a span of time.
fn alone(node: &Node, findings: &mut Findings<'_>) -> Option<What> {
    let expected =
        "a word such as `cancel`, a span such as `2d` or `90m`, or a map such as `{ requests: 100 }`";
    let text = scalar::text(node, expected, findings)?;
    if let Some(what) = of_one_word(text) {
        return Some(what);
    }
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()) {
        // A span in days keeps the local time.
        if (1..=MOST_DAYS).contains(&days) {
            return u16::try_from(days).ok().map(What::Days);
        }
    } else if let Ok(span) = duration::parse(text)
        && !span.is_zero()
    {
        return Some(What::Span(span));
    }
    let help = match suggest::nearest(text, ALONE) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if schema::After::KEYS.contains(&text) => Some(format!("it needs a value: `{{ {text}: .. }}`")),
        None => suggest::help(text, schema::After::KEYS.iter().copied())
            .filter(|_| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')),
    };
    findings.error_help(
        "invalid-step",
        node.place,
        format!("expected {expected}, found {}", node.describe()),
        help,
    );
    None
}
