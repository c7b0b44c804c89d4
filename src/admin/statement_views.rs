//! The shapes of statements, for the document that describes the API: they are written by [`crate::wire::statement`].

#![allow(dead_code, reason = "they describe, and tests read what is answered through them")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::views::PeriodView;
use crate::ports::StatementHead;

/// What a billing period comes to, and what that is made of.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Statement)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementView {
    /// The tenant's id.
    tenant: String,
    /// The period's first day in the tenant's zone.
    statement: String,
    /// The period.
    period: StatementPeriod,
    /// The tenant's zone when the period began.
    zone: String,
    /// `open`: plans and add-ons are those of the whole period as far as is known, usage is as recorded so far; or
    /// `closed`: it never changes.
    status: String,
    /// When it was reckoned.
    as_of: String,
    /// Of `total`; `null`: nothing has a price.
    currency: Option<String>,
    /// What is billed and why.
    lines: Vec<StatementLine>,
    /// The sum of the lines in `currency`.
    total: String,
    /// The sums of the lines by currency.
    totals: BTreeMap<String, String>,
    /// What was used, by meter and counting.
    usage: Vec<StatementUsage>,
    /// What was used of grants.
    grants: Vec<StatementGrant>,
    /// What was sold and cannot be priced, as nobody knows what it cost: no amount has it.
    unpriced: Vec<StatementUnpriced>,
}

/// Something that was sold and that nobody can price.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementUnpriced {
    /// `plan`, `addon` or `overage`.
    kind: String,
    /// Why it has no price.
    reason: String,
    /// The plan.
    plan: Option<String>,
    /// The plan's version.
    plan_version: Option<u32>,
    /// The add-on.
    addon: Option<String>,
    /// How many of the add-on.
    quantity: Option<u32>,
    /// From when.
    from: Option<String>,
    /// Until when.
    to: Option<String>,
    /// The meter.
    meter: Option<String>,
    /// The version at which the counting began.
    counting: Option<u64>,
    /// Units beyond what was included and granted.
    units: Option<u64>,
}

/// A span of time: its start is in it, its end is not.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementPeriod {
    /// RFC 3339, UTC.
    start: String,
    /// RFC 3339, UTC.
    end: String,
}

/// A line of a statement.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementLine {
    /// `plan`, `addon`, `overage`, or `spend_cap`, which is taken off.
    kind: String,
    /// The plan; of overage the one whose price it is.
    plan: Option<String>,
    /// The plan's version.
    plan_version: Option<u32>,
    /// The add-on.
    addon: Option<String>,
    /// The name of plan or add-on for people.
    title: Option<String>,
    /// The subscription's state: only time in `active` and `past_due` is billed.
    state: Option<String>,
    /// How many of the add-on.
    quantity: Option<u32>,
    /// From when.
    from: Option<String>,
    /// Until when.
    to: Option<String>,
    /// The meter.
    meter: Option<String>,
    /// The version at which the counting began.
    counting: Option<u64>,
    /// Units beyond what was included and granted.
    units: Option<u64>,
    /// Of a whole period, or of `per` units; `null`: none.
    price: Option<String>,
    /// How many units the price is for.
    per: Option<u64>,
    /// The spend cap.
    cap: Option<String>,
    /// Of the amount; `null`: no price.
    currency: Option<String>,
    /// In the currency's own digits.
    amount: String,
}

/// What was used of a meter in one counting.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementUsage {
    /// The meter.
    meter: String,
    /// The version at which the counting began.
    counting: u64,
    /// Units that were last included, or `unlimited`; `null`: the meter was not part of the plan.
    #[schema(value_type = Object)]
    included: serde_json::Value,
    /// What became of units beyond that: `block`, `allow` or `bill`.
    mode: Option<String>,
    /// Units used of what was included.
    used: u64,
    /// Units used beyond what was included and granted.
    overage: u64,
    /// Units that nodes which are gone were granted and may have used: never billed.
    uncertain: u64,
    /// When `used` were used: pairs of an hour and its units.
    #[schema(value_type = Vec<Object>)]
    hours: Vec<(String, u64)>,
    /// When `overage` were used.
    #[schema(value_type = Vec<Object>)]
    overage_hours: Vec<(String, u64)>,
}

/// What was used of a grant in the period.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatementGrant {
    /// The grant's id.
    grant: String,
    /// The meter.
    meter: String,
    /// Units used of it in the period.
    used: u64,
    /// Units of it that nodes which are gone may have used.
    uncertain: u64,
    /// When they were used: pairs of an hour and its units.
    #[schema(value_type = Vec<Object>)]
    hours: Vec<(String, u64)>,
}

/// A closed statement in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = StatementHead)]
pub(super) struct StatementHeadView {
    /// The period's first day in the tenant's zone of that time: the statement's name.
    statement: String,
    /// The period.
    period: PeriodView,
    /// `null`: nothing had a price.
    currency: Option<String>,
    /// What it comes to.
    total: String,
    /// When it was closed.
    closed_at: String,
    /// SHA-256 of the statement's JSON, byte for byte.
    digest: String,
}

impl From<StatementHead> for StatementHeadView {
    fn from(head: StatementHead) -> Self {
        Self {
            statement: head.name,
            period: head.period.into(),
            currency: head.currency,
            total: head.total,
            closed_at: head.closed_at.to_string(),
            digest: head.digest,
        }
    }
}
