//! Quotas, rates, prices and limits in words, and which of two is better to have.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use super::{Bearing, Found, pairs};
use crate::domain::{
    id::LimitId,
    money::Price,
    period::Window,
    plan::{Overage, Quota, Rollover},
    rate::Rate,
    units::{Allowance, Units},
};

/// How much an allowance lets through, to be compared; of nothing at all, `none`.
fn amount(allowance: Option<Allowance>, none: u64) -> u64 {
    allowance.map_or(none, |allowance| allowance.limit().map_or(u64::MAX, Units::get))
}

fn text<T: ToString>(one: Option<T>) -> Option<String> {
    one.map(|one| one.to_string())
}

/// A price, as people write it.
pub(super) fn price(price: Price) -> String {
    format!("{} {}", price.amount, price.currency)
}

/// A quota in one line.
pub(super) fn quota(quota: &Quota) -> String {
    let mut text = format!("{} a month", quota.month);
    for (window, allowance) in
        [(Window::Hour, quota.hour), (Window::Day, quota.day), (Window::Week, quota.week)]
    {
        if let Some(allowance) = allowance {
            text.push_str(&format!(", {allowance} a {window}"));
        }
    }
    if quota.overage != Overage::Block {
        text.push_str(&format!(", overage: {}", overage(&quota.overage)));
    }
    if let Some(rollover) = quota.rollover {
        text.push_str(&format!(", rollover: {}", rolled(rollover)));
    }
    text
}

fn overage(overage: &Overage) -> String {
    let most = |cap: &Option<Units>| {
        cap.map_or_else(|| "without a cap".to_owned(), |cap| format!("up to {cap} more"))
    };
    match overage {
        Overage::Block => "block".to_owned(),
        Overage::Allow { cap } => format!("allow, {}", most(cap)),
        Overage::Bill { cap, price, per } => format!("bill {price} per {per}, {}", most(cap)),
    }
}

fn rolled(rollover: Rollover) -> String {
    match rollover {
        Rollover::Percent(percent) => format!("{percent}%"),
        Rollover::Units(units) => units.to_string(),
    }
}

fn rate(rate: &Rate) -> String {
    format!("{} per {:?}, burst {}", rate.limit, rate.per, rate.burst)
}

/// Better in one and not worse in the other is better; what is mixed is neither.
fn both(one: Ordering, other: Ordering) -> Bearing {
    match (one, other) {
        (Ordering::Equal, only) | (only, Ordering::Equal) => Bearing::of(only),
        (one, other) if one == other => Bearing::of(one),
        _ => Bearing::Neither,
    }
}

fn of_rates(before: Option<&Rate>, after: Option<&Rate>) -> Bearing {
    match (before, after) {
        (None, None) => Bearing::Neither,
        (None, Some(_)) => Bearing::Loss,
        (Some(_), None) => Bearing::Gain,
        (Some(before), Some(after)) => {
            let cross = |a: &Rate, b: &Rate| u128::from(a.limit.get()).saturating_mul(b.per.as_nanos());
            both(cross(after, before).cmp(&cross(before, after)), after.burst.cmp(&before.burst))
        }
    }
}

fn of_overages(before: &Overage, after: &Overage) -> Bearing {
    let beyond = |overage: &Overage| match overage {
        Overage::Block => 0,
        Overage::Allow { cap } | Overage::Bill { cap, .. } => cap.map_or(u64::MAX, Units::get),
    };
    // Free of charge is the best price.
    let cheaper = match (before, after) {
        (Overage::Bill { price: was, per: was_per, .. }, Overage::Bill { price: is, per: is_per, .. }) => {
            was.times(*is_per).cmp(&is.times(*was_per))
        }
        (Overage::Allow { .. }, Overage::Bill { .. }) => Ordering::Less,
        (Overage::Bill { .. }, Overage::Allow { .. }) => Ordering::Greater,
        // To be let through at a price is not to be refused: whether that is better is for the customer to say.
        (Overage::Block, Overage::Bill { .. }) | (Overage::Bill { .. }, Overage::Block) => {
            return Bearing::Neither;
        }
        _ => Ordering::Equal,
    };
    both(beyond(after).cmp(&beyond(before)), cheaper)
}

fn of_rollovers(before: Option<Rollover>, after: Option<Rollover>) -> Bearing {
    match (before, after) {
        (Some(Rollover::Percent(was)), Some(Rollover::Percent(is))) => Bearing::of(is.cmp(&was)),
        (Some(Rollover::Units(was)), Some(Rollover::Units(is))) => Bearing::of(is.cmp(&was)),
        (None, Some(_)) => Bearing::Gain,
        (Some(_), None) => Bearing::Loss,
        _ => Bearing::Neither,
    }
}

impl Found<'_> {
    /// What is paid a month: less is better, in the same currency.
    pub(super) fn price(&mut self, before: Option<Price>, after: Option<Price>) {
        let bearing = match (before, after) {
            (Some(was), Some(is)) if was.currency != is.currency => Bearing::Neither,
            (Some(was), Some(is)) => Bearing::of(was.amount.compare(is.amount)),
            (None, Some(is)) if !is.amount.is_zero() => Bearing::Loss,
            (Some(was), None) if !was.amount.is_zero() => Bearing::Gain,
            _ => Bearing::Neither,
        };
        self.note("price", before.map(price), after.map(price), bearing);
    }

    pub(super) fn limits(
        &mut self,
        before: &BTreeMap<LimitId, Allowance>,
        after: &BTreeMap<LimitId, Allowance>,
    ) {
        for (id, before, after) in pairs(before, after) {
            let (was, is) = (before.copied(), after.copied());
            // One that is not named says nothing: to be given a number is something.
            let order = (is.is_some(), amount(is, 0)).cmp(&(was.is_some(), amount(was, 0)));
            self.note(format!("limits.{id}"), text(was), text(is), Bearing::of(order));
        }
    }

    pub(super) fn quotas<'a>(
        &mut self,
        before: &BTreeMap<&'a str, &'a Quota>,
        after: &BTreeMap<&'a str, &'a Quota>,
    ) {
        for (meter, before, after) in pairs(before, after) {
            let at = format!("quotas.{meter}");
            let (Some(was), Some(is)) = (before, after) else {
                let bearing = if after.is_some() { Bearing::Gain } else { Bearing::Loss };
                self.note(at, before.map(|q| quota(q)), after.map(|q| quota(q)), bearing);
                continue;
            };
            let month = is.month.limit().map_or(u64::MAX, |n| n.get());
            let order = month.cmp(&was.month.limit().map_or(u64::MAX, |n| n.get()));
            self.note(
                format!("{at}.limit"),
                Some(was.month.to_string()),
                Some(is.month.to_string()),
                Bearing::of(order),
            );
            for (window, was, is) in [
                (Window::Hour, was.hour, is.hour),
                (Window::Day, was.day, is.day),
                (Window::Week, was.week, is.week),
            ] {
                let order = amount(is, u64::MAX).cmp(&amount(was, u64::MAX));
                self.note(format!("{at}.{window}"), text(was), text(is), Bearing::of(order));
            }
            self.note(
                format!("{at}.overage"),
                Some(overage(&was.overage)),
                Some(overage(&is.overage)),
                of_overages(&was.overage, &is.overage),
            );
            self.note(
                format!("{at}.rollover"),
                was.rollover.map(rolled),
                is.rollover.map(rolled),
                of_rollovers(was.rollover, is.rollover),
            );
        }
    }

    pub(super) fn rates<'a>(
        &mut self,
        before: &BTreeMap<&'a str, &'a Rate>,
        after: &BTreeMap<&'a str, &'a Rate>,
    ) {
        for (meter, before, after) in pairs(before, after) {
            let (was, is) = (before.copied(), after.copied());
            self.note(format!("rates.{meter}"), was.map(rate), is.map(rate), of_rates(was, is));
        }
    }

    /// A list of those that it goes with, where none named is all.
    pub(super) fn goes_with(&mut self, before: &BTreeSet<&str>, after: &BTreeSet<&str>) {
        let words = |names: &BTreeSet<&str>| {
            let names: Vec<&str> = names.iter().copied().collect();
            if names.is_empty() { "any".to_owned() } else { names.join(", ") }
        };
        let bearing = match (before.is_empty(), after.is_empty()) {
            (true, false) => Bearing::Loss,
            (false, true) => Bearing::Gain,
            _ if after.is_subset(before) => Bearing::Loss,
            _ if before.is_subset(after) => Bearing::Gain,
            _ => Bearing::Neither,
        };
        self.note("plans", Some(words(before)), Some(words(after)), bearing);
    }
}
