//! A subscription as the database keeps it: what is searched for has columns of its own, the rest is one JSON document.

use serde_json::{Map, Value, json};

use super::{
    FieldError,
    fields::{Field, Object},
};
use crate::domain::{
    mixture::Mixture,
    period::{AnchorDay, Period, Zone},
    plan::{PlanRef, PlanVersion},
    subscription::{Scheduled, Standing, Subscription, TrialTerms, Upcoming, UsageRule},
    time::{UnixMillis, Version},
    transitions::State,
};

/// What has columns of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The plan.
    pub plan: PlanRef,
    /// The state's word.
    pub state: String,
    /// The day on which months begin.
    pub anchor: AnchorDay,
    /// When counting began anew.
    pub epoch: Version,
    /// When the tenant came to the plan.
    pub since: UnixMillis,
}

/// The rest of a subscription, in the form that [`decode`] reads.
#[must_use]
pub fn encode(subscription: &Subscription) -> Value {
    let mut life = standing(&subscription.state);
    life.insert("rolls_at".into(), json!(subscription.rolls_at.0));
    if let Some(month) = subscription.odd_month {
        life.insert("odd_month".into(), period(month));
    }
    if let Some(change) = &subscription.scheduled {
        life.insert("scheduled".into(), scheduled(change));
    }
    if let Some(Mixture { month, parts }) = &subscription.mixture {
        let parts: Vec<Value> = parts.iter().map(|(plan, until)| json!([plan_text(plan), until.0])).collect();
        life.insert("mixture".into(), json!({ "month": period(*month), "parts": parts }));
    }
    Value::Object(life)
}

/// Reads a subscription of a tenant in this zone. What an older version wrote has no document: it was simply active.
///
/// # Errors
/// The first field that is not as [`encode`] writes it.
pub fn decode(columns: Columns, zone: &Zone, life: &Value) -> Result<Subscription, FieldError> {
    let fields = Field::root(life).object(&[
        "rolls_at",
        "odd_month",
        "scheduled",
        "mixture",
        "trial",
        "grace_ends_at",
        "canceled",
    ])?;
    let Columns { plan, state, anchor, epoch, since } = columns;
    let mut subscription = Subscription::active(plan, anchor, epoch, since);
    subscription.state = read_standing(&state, &fields)?;
    subscription.odd_month = fields.maybe("odd_month").map(|month| month.period()).transpose()?;
    subscription.scheduled = fields.maybe("scheduled").map(|change| read_scheduled(&change)).transpose()?;
    subscription.mixture = fields.maybe("mixture").map(|mixture| read_mixture(&mixture)).transpose()?;
    subscription.rolls_at = match fields.maybe("rolls_at") {
        Some(at) => at.instant()?,
        None => subscription.calendar(zone).month(since).end,
    };
    Ok(subscription)
}

/// A plan and its version in one text, as [`PlanRef`] is parsed.
#[must_use]
pub fn plan_text(plan: &PlanRef) -> String {
    format!("{}@{}", plan.id, plan.version)
}

/// A plan of two columns.
///
/// # Errors
/// What is not a plan's id, or not a version.
pub fn plan_of(id: &str, version: i64) -> Result<PlanRef, String> {
    let id = crate::domain::id::PlanId::parse(id).map_err(|error| error.to_string())?;
    let version = u32::try_from(version).map_err(|_| format!("`{version}` is not a plan's version"))?;
    Ok(PlanRef { id, version: PlanVersion(version) })
}

fn period(period: Period) -> Value {
    json!([period.start.0, period.end.0])
}

/// What belongs to a state.
fn standing(state: &Standing) -> Map<String, Value> {
    let fields = match state {
        Standing::Trialing(TrialTerms { ends_at, then, usage, version }) => json!({ "trial": {
            "ends_at": ends_at.0,
            "then": then.as_ref().map(plan_text),
            "usage": usage.as_str(),
            "version": version.0,
        }}),
        Standing::PastDue { grace_ends_at } => json!({ "grace_ends_at": grace_ends_at.0 }),
        Standing::Canceled { at, undo } => {
            let undo = undo.as_ref().map(|(before, until)| {
                let mut undo = standing(before);
                undo.insert("state".into(), json!(before.state().as_str()));
                undo.insert("until".into(), json!(until.0));
                Value::Object(undo)
            });
            json!({ "canceled": { "at": at.0, "undo": undo } })
        }
        Standing::Active | Standing::Unpaid | Standing::Paused | Standing::Expired => json!({}),
    };
    if let Value::Object(fields) = fields { fields } else { Map::new() }
}

fn read_standing(word: &str, fields: &Object<'_>) -> Result<Standing, FieldError> {
    let state = State::ALL.into_iter().find(|state| state.as_str() == word);
    let of_state = match state {
        Some(State::Trialing) => Some("trial"),
        Some(State::PastDue) => Some("grace_ends_at"),
        Some(State::Canceled) => Some("canceled"),
        _ => None,
    };
    let strays = ["trial", "grace_ends_at", "canceled"].into_iter().filter(|name| Some(*name) != of_state);
    if let Some(stray) = strays.filter_map(|name| fields.maybe(name)).next() {
        return Err(stray.wrong(format_args!("nothing in the state `{}`", shown(word))));
    }
    Ok(match state {
        Some(State::Trialing) => Standing::Trialing(read_trial(&fields.field("trial")?)?),
        Some(State::Active) => Standing::Active,
        Some(State::PastDue) => {
            Standing::PastDue { grace_ends_at: fields.field("grace_ends_at")?.instant()? }
        }
        Some(State::Unpaid) => Standing::Unpaid,
        Some(State::Paused) => Standing::Paused,
        Some(State::Expired) => Standing::Expired,
        Some(State::Canceled) => {
            let canceled = fields.field("canceled")?.object(&["at", "undo"])?;
            let undo = canceled.maybe("undo").map(|undo| read_undo(&undo)).transpose()?;
            Standing::Canceled { at: canceled.field("at")?.instant()?, undo }
        }
        Some(State::None) | None => {
            return Err(FieldError::new("", format!("`{}` is not a subscription's state", shown(word))));
        }
    })
}

fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}

fn read_undo(field: &Field<'_>) -> Result<(Box<Standing>, UnixMillis), FieldError> {
    let undo = field.object(&["state", "until", "trial", "grace_ends_at", "canceled"])?;
    let before = read_standing(undo.field("state")?.text()?, &undo)?;
    Ok((Box::new(before), undo.field("until")?.instant()?))
}

fn read_trial(field: &Field<'_>) -> Result<TrialTerms, FieldError> {
    let trial = field.object(&["ends_at", "then", "usage", "version"])?;
    Ok(TrialTerms {
        ends_at: trial.field("ends_at")?.instant()?,
        then: trial.maybe("then").map(|plan| plan.parsed()).transpose()?,
        usage: read_usage(&trial.field("usage")?)?,
        version: trial.field("version")?.version()?,
    })
}

fn read_usage(field: &Field<'_>) -> Result<UsageRule, FieldError> {
    let word = field.text()?;
    let rules = [UsageRule::Keep, UsageRule::Reset, UsageRule::Prorate];
    let rule = rules.into_iter().find(|rule| rule.as_str() == word);
    rule.ok_or_else(|| field.wrong("keep, reset or prorate"))
}

fn scheduled(change: &Scheduled) -> Value {
    let Scheduled { at, at_period_end, version, what } = change;
    let what = match what {
        Upcoming::Cancel => json!("cancel"),
        Upcoming::Plan { plan, anchor, usage } => json!({
            "plan": plan_text(plan),
            "anchor": anchor.map(AnchorDay::get),
            "usage": usage.as_str(),
        }),
    };
    json!({ "at": at.0, "at_period_end": at_period_end, "version": version.0, "what": what })
}

fn read_scheduled(field: &Field<'_>) -> Result<Scheduled, FieldError> {
    let change = field.object(&["at", "at_period_end", "version", "what"])?;
    let what = change.field("what")?;
    let what = if what.text().is_ok_and(|word| word == "cancel") {
        Upcoming::Cancel
    } else {
        let to = what.object(&["plan", "anchor", "usage"])?;
        let anchor =
            |day: Field<'_>| AnchorDay::new(day.number()?).map_err(|_| day.wrong("a day of 1 to 31"));
        Upcoming::Plan {
            plan: to.field("plan")?.parsed()?,
            anchor: to.maybe("anchor").map(anchor).transpose()?,
            usage: read_usage(&to.field("usage")?)?,
        }
    };
    Ok(Scheduled {
        at: change.field("at")?.instant()?,
        at_period_end: change.field("at_period_end")?.flag()?,
        version: change.field("version")?.version()?,
        what,
    })
}

fn read_mixture(field: &Field<'_>) -> Result<Mixture, FieldError> {
    let mixture = field.object(&["month", "parts"])?;
    let part = |part: &Field<'_>| {
        let [plan, until] = part.tuple()?;
        Ok((plan.parsed()?, until.instant()?))
    };
    Ok(Mixture {
        month: mixture.field("month")?.period()?,
        parts: mixture.field("parts")?.list()?.iter().map(part).collect::<Result<_, FieldError>>()?,
    })
}

#[cfg(test)]
mod tests;
