//! English.

use std::fmt::{self, Display as _};

use super::super::{
    problem::Kind,
    request::{ForwardError, HeadRefusal, Rejection},
    view::{Gauge, Message},
};
use crate::domain::{period::Window, transitions::State};

pub(super) const fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::CredentialMissing => "Credential missing",
        Kind::CredentialInvalid => "Credential invalid",
        Kind::CredentialExpired => "Credential expired",
        Kind::CredentialAmbiguous => "More than one credential",
        Kind::PathAmbiguous => "Ambiguous path",
        Kind::RequestMalformed => "Malformed request",
        Kind::HeadTooLarge => "Request head too large",
        Kind::MethodNotAllowed => "Method not allowed",
        Kind::TenantUnknown => "Unknown account",
        Kind::TenantSuspended => "Account suspended",
        Kind::SubscriptionInactive => "No active subscription",
        Kind::RouteNotCovered => "Not found",
        Kind::ConditionFailed => "Condition cannot be told",
        Kind::FeatureNotInPlan => "Not in the plan",
        Kind::RateLimited => "Too fast",
        Kind::QuotaExhausted => "Quota used up",
        Kind::LedgerUnavailable => "Usage cannot be recorded",
        Kind::RightsUnavailable => "Rights cannot be read",
        Kind::Overloaded => "Overloaded",
        Kind::UpstreamUnreachable => "Upstream unreachable",
        Kind::UpstreamTimeout => "Upstream timed out",
    }
}

/// Errors are written in English.
pub(super) fn detail(why: &Rejection, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match why {
        Rejection::Head(HeadRefusal::TooLarge) => {
            f.write_str("the request's head is larger than is accepted")
        }
        Rejection::Head(HeadRefusal::Malformed(fault)) => fault.fmt(f),
        Rejection::Head(HeadRefusal::AmbiguousPath(fault)) => fault.fmt(f),
        Rejection::Forward(ForwardError::Withdrawn(why)) => detail(why, f),
        other => other.fmt(f),
    }
}

const fn window(window: Window) -> &'static str {
    match window {
        Window::Hour => "hour",
        Window::Day => "day",
        Window::Week => "week",
        Window::Month => "month",
    }
}

/// `100000 of the month's API requests`
fn of_whole(gauge: &Gauge, units: u64) -> String {
    format!("{units} of the {}'s {}", window(gauge.window), gauge.name())
}

pub(super) fn message(message: &Message<'_>) -> String {
    match message {
        Message::Suspended => "This account is suspended.".to_owned(),
        Message::Inactive(state) => inactive(*state).to_owned(),
        Message::SpendCap { cap, currency, until } => format!(
            "This month's extra usage has reached the spending limit of {cap} {currency}; there is more from {until} on."
        ),
        Message::Stopped { gauge, limit } => {
            format!(
                "All {} are used up; there are more from {} on.",
                of_whole(gauge, *limit),
                gauge.resets_at
            )
        }
        Message::Beyond { gauge, included, beyond } => format!(
            "All {} that the plan includes are used, and {beyond} more beyond them until {}.",
            of_whole(gauge, *included),
            gauge.resets_at
        ),
        Message::Ending { gauge, limit, at } => format!(
            "{} % of {} are used, and at this pace the rest ends at {at}, before there are more at {}.",
            gauge.share.unwrap_or(0),
            of_whole(gauge, *limit),
            gauge.resets_at
        ),
        Message::Enough { gauge, limit } => format!(
            "{} % of {} are used; counting begins anew at {}.",
            gauge.share.unwrap_or(0),
            of_whole(gauge, *limit),
            gauge.resets_at
        ),
        Message::Unlimited => "Nothing that this plan counts is limited.".to_owned(),
    }
}

const fn inactive(state: State) -> &'static str {
    match state {
        State::Paused => "This subscription is paused until it is resumed.",
        State::Unpaid => "This subscription is not paid, and goes on once it is.",
        State::Expired => "The trial has ended, and a plan is to be chosen.",
        State::Canceled => "This subscription was canceled, and a plan is to be chosen.",
        State::None | State::Trialing | State::Active | State::PastDue => {
            "There is no subscription, and a plan is to be chosen."
        }
    }
}
