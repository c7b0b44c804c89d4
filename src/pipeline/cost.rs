//! What a request turned out to cost, and the one moment at which its hold learns it.

use std::slice;

use http::HeaderMap;

use super::context::Context;
use crate::{
    domain::{
        route::Charge,
        settlement::{SettleFrom, Untold, told},
    },
    ports::Hold,
};

/// The true cost of what was reserved, as far as an answer told it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// What was taken.
    AsTaken,
    /// Of one meter; the usual case, which needs no memory of its own.
    Of(Charge),
    /// Of several.
    OfSeveral(Box<[Charge]>),
}

impl Cost {
    /// Reads what the head of an answer tells. What it does not tell is counted and logged: there the reserve stays.
    pub(super) fn told(context: &Context, headers: &HeaderMap) -> Self {
        let Some(operation) = context.operation() else { return Self::AsTaken };
        let read = |from: &SettleFrom| match told(
            headers.get_all(from.header.as_str()).iter().map(http::HeaderValue::as_bytes),
        ) {
            Ok(units) => Some(Charge { meter: from.meter, units }),
            Err(why) => {
                note(context, &operation.name, from, why);
                None
            }
        };
        if let Some(charges) = &context.charges {
            // What was not charged is not settled either.
            let charged = |from: &&SettleFrom| charges.iter().any(|charge| charge.meter == from.meter);
            return Self::OfSeveral(operation.settle.iter().filter(charged).filter_map(read).collect());
        }
        match &*operation.settle {
            [] => Self::AsTaken,
            [from] => read(from).map_or(Self::AsTaken, Self::Of),
            several => Self::OfSeveral(several.iter().filter_map(read).collect()),
        }
    }
}

fn note(context: &Context, route: &str, from: &SettleFrom, why: Untold) {
    context.parts.metrics.kept(why, 1);
    tracing::debug!(
        route,
        header = from.header.as_str(),
        reason = why.as_str(),
        request_id = context.request_id.to_str().unwrap_or_default(),
        "the answer does not tell its cost: the reserve is kept"
    );
}

/// A hold whose answer is under way. However that ends, the hold ends with it, once.
pub(super) struct Open {
    hold: Option<Hold>,
    cost: Cost,
}

impl Open {
    pub(super) const fn new(hold: Hold, cost: Cost) -> Self {
        Self { hold: Some(hold), cost }
    }

    /// The answer is over. Again, this does nothing.
    pub(super) fn end(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        match &self.cost {
            Cost::AsTaken => hold.keep(),
            Cost::Of(charge) => hold.settle(slice::from_ref(charge)),
            Cost::OfSeveral(charges) => hold.settle(charges),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.end();
    }
}
