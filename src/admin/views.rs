//! Shapes that several answers share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    money::Price,
    period::Period,
    units::{Allowance, Units},
};

/// A limit: a number, or the word `unlimited`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = Allowance)]
#[serde(untagged)]
pub(super) enum AllowanceView {
    /// At most so many.
    Limited(u64),
    /// Counted, never refused.
    Unlimited(Word),
}

/// The word `unlimited`.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = UnlimitedWord)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    /// No limit.
    Unlimited,
}

impl From<Option<Units>> for AllowanceView {
    fn from(limit: Option<Units>) -> Self {
        limit.map_or(Self::Unlimited(Word::Unlimited), |units| Self::Limited(units.get()))
    }
}

impl From<Allowance> for AllowanceView {
    fn from(allowance: Allowance) -> Self {
        allowance.limit().into()
    }
}

/// A span of time: its start is in it, its end is not.
#[derive(Serialize, ToSchema)]
#[schema(as = Period)]
pub(super) struct PeriodView {
    /// RFC 3339, UTC.
    start: String,
    /// RFC 3339, UTC.
    end: String,
}

impl From<Period> for PeriodView {
    fn from(period: Period) -> Self {
        Self { start: period.start.to_string(), end: period.end.to_string() }
    }
}

/// What something costs a month.
#[derive(Serialize, ToSchema)]
#[schema(as = Price)]
pub(super) struct PriceView {
    /// A decimal, such as `19.00`.
    amount: String,
    /// ISO 4217, such as `USD`.
    currency: String,
}

impl From<Price> for PriceView {
    fn from(price: Price) -> Self {
        Self { amount: price.amount.to_string(), currency: price.currency.to_string() }
    }
}

/// A request's body without any field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T, C> {
    /// The items, in order.
    pub(super) items: Vec<T>,
    /// What to pass on to get the next page; `null` on the last.
    pub(super) next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// Cuts a list of which one more item than the page holds was read.
    pub(super) fn cut<R>(mut rows: Vec<R>, limit: u32, place: fn(&R) -> C, view: impl FnMut(R) -> T) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(place);
        Self { items: rows.into_iter().map(view).collect(), next }
    }
}

/// A whole list.
#[derive(Serialize, ToSchema)]
pub(super) struct List<T> {
    /// The items, in order.
    pub(super) items: Vec<T>,
}
