//! What may come between two requests of a case, and how it is shown.

use std::{fmt, time::Duration};

use crate::domain::{
    command::{NewGrant, When},
    id::AddonId,
    period::{AnchorDay, Window, Zone},
    plan::PlanRef,
    subscription::UsageRule,
    tenant::Overrides,
    time::UnixMillis,
};
use crate::wire::duration;

/// A word of `after`, and where it stands.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Word {
    pub(in crate::policy) line: usize,
    pub(in crate::policy) what: What,
}

/// What comes.
#[derive(Debug, Clone)]
pub(in crate::policy) enum What {
    /// The request before so many times more, slowly.
    Requests(u64),
    /// The same in one instant.
    Burst(u64),
    Plan(NewPlan),
    Cancel(When),
    Undo,
    Pause,
    /// Of the tenant where it is suspended, else of the subscription.
    Resume,
    /// `None`: the days of grace that the plan gives.
    PastDue(Option<u16>),
    Paid,
    Suspend,
    Grant(NewGrant),
    /// 0: taken away.
    Addon(AddonId, u32),
    Overrides(Box<Overrides>),
    Zone(Zone),
    Next(Window),
    Days(u16),
    Span(Duration),
    At(UnixMillis),
}

/// A change of plan. What is `None` is left to the policies, as in the admin API.
#[derive(Debug, Clone)]
pub(in crate::policy) struct NewPlan {
    pub(in crate::policy) plan: PlanRef,
    pub(in crate::policy) at: Option<When>,
    pub(in crate::policy) usage: Option<UsageRule>,
    pub(in crate::policy) trial_days: Option<u16>,
    pub(in crate::policy) anchor: Option<AnchorDay>,
}

impl What {
    /// Whether it needs a tenant.
    pub(in crate::policy) const fn is_of_tenant(&self) -> bool {
        !matches!(
            self,
            Self::Requests(_) | Self::Burst(_) | Self::Next(_) | Self::Days(_) | Self::Span(_) | Self::At(_)
        )
    }
}

fn when(when: When) -> String {
    match when {
        When::Now => "now".to_owned(),
        When::PeriodEnd => "period_end".to_owned(),
        When::At(at) => at.to_string(),
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(number) => write!(f, "requests: {number}"),
            Self::Burst(number) => write!(f, "burst: {number}"),
            Self::Plan(new) => new.fmt(f),
            Self::Cancel(at) => write!(f, "cancel: {}", when(*at)),
            Self::Undo => f.write_str("undo"),
            Self::Pause => f.write_str("pause"),
            Self::Resume => f.write_str("resume"),
            Self::PastDue(None) => f.write_str("past_due"),
            Self::PastDue(Some(days)) => write!(f, "past_due: {{ grace_days: {days} }}"),
            Self::Paid => f.write_str("paid"),
            Self::Suspend => f.write_str("suspend"),
            Self::Grant(new) => write!(f, "grant: {{ {}: {} }}", new.meter, new.units),
            Self::Addon(addon, quantity) => write!(f, "addons: {{ {addon}: {quantity} }}"),
            Self::Overrides(_) => f.write_str("overrides"),
            Self::Zone(zone) => write!(f, "timezone: {}", zone.name()),
            Self::Next(window) => write!(f, "next: {window}"),
            Self::Days(1) => f.write_str("1 day"),
            Self::Days(days) => write!(f, "{days} days"),
            Self::Span(span) => f.write_str(&duration::format(*span)),
            Self::At(at) => write!(f, "at: {at}"),
        }
    }
}

impl fmt::Display for NewPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan: {}", self.plan.id)?;
        if let Some(at) = self.at {
            write!(f, ", at: {}", when(at))?;
        }
        if let Some(usage) = self.usage {
            write!(f, ", usage: {}", usage.as_str())?;
        }
        if let Some(days) = self.trial_days {
            write!(f, ", trial_days: {days}")?;
        }
        match self.anchor {
            Some(day) => write!(f, ", anchor_day: {}", day.get()),
            None => Ok(()),
        }
    }
}
