//! A subscription as answers show it.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::{NoParams, TenantPath},
    present::Present,
    problem::{Code, Problem},
    upcoming::{UpcomingView, forecast},
    views::PeriodView,
};
use crate::domain::subscription::{Scheduled, Standing, Subscription, TrialTerms, Upcoming};

/// A tenant's plan, where it is in its life, and what is to become of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(super) struct SubscriptionView {
    /// The plan; after the subscription has ended: the last one.
    plan: String,
    /// Its version.
    plan_version: u32,
    /// `trialing`, `active`, `past_due`, `unpaid`, `paused`, `expired` or `canceled`.
    state: &'static str,
    /// The day on which its months begin.
    anchor_day: i64,
    /// When the tenant came to this plan.
    since: String,
    /// The current billing month.
    period: PeriodView,
    /// The running trial.
    trial: Option<TrialView>,
    /// Until when it still entitles after a payment failed.
    grace_ends_at: Option<String>,
    /// When it was canceled.
    canceled_at: Option<String>,
    /// Until when a cancellation that was made at once can be undone.
    undo_until: Option<String>,
    /// The change that was asked for and is not due yet; undo takes it back.
    scheduled: Option<ScheduledView>,
    /// All that will happen by itself, by instant.
    upcoming: Vec<UpcomingView>,
}

/// A running trial.
#[derive(Serialize, ToSchema)]
#[schema(as = Trial)]
pub(super) struct TrialView {
    /// The first instant after it.
    ends_at: String,
    /// The plan that follows, or `block`.
    then: String,
    /// What becomes of the units used in it: `keep`, `reset` or `prorate`.
    usage: &'static str,
}

/// A change that is to come.
#[derive(Serialize, ToSchema)]
#[schema(as = Scheduled)]
pub(super) struct ScheduledView {
    /// When.
    at: String,
    /// `plan` or `cancel`.
    change: &'static str,
    /// The plan that begins.
    plan: Option<String>,
    /// Its version.
    plan_version: Option<u32>,
    /// The day on which months begin from then on, where that changes.
    anchor_day: Option<i64>,
    /// What becomes of the units used until then.
    usage: Option<&'static str>,
}

/// A tenant's subscription, with the version of the last change to the tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct SubscriptionOfTenant {
    /// The tenant's id.
    tenant: String,
    /// The version of the last change to it.
    version: u64,
    #[serde(flatten)]
    subscription: SubscriptionView,
}

impl From<&TrialTerms> for TrialView {
    fn from(trial: &TrialTerms) -> Self {
        Self {
            ends_at: trial.ends_at.to_string(),
            then: trial.then.as_ref().map_or_else(|| "block".to_owned(), |plan| plan.id.to_string()),
            usage: trial.usage.as_str(),
        }
    }
}

impl From<&Scheduled> for ScheduledView {
    fn from(scheduled: &Scheduled) -> Self {
        let at = scheduled.at.to_string();
        match &scheduled.what {
            Upcoming::Cancel => {
                Self { at, change: "cancel", plan: None, plan_version: None, anchor_day: None, usage: None }
            }
            Upcoming::Plan { plan, anchor, usage } => Self {
                at,
                change: "plan",
                plan: Some(plan.id.to_string()),
                plan_version: Some(plan.version.0),
                anchor_day: anchor.map(|anchor| anchor.get()),
                usage: Some(usage.as_str()),
            },
        }
    }
}

impl SubscriptionView {
    /// The subscription of a tenant, if there ever was one.
    pub(super) fn of(present: &Present) -> Option<Self> {
        present.subscription().map(|subscription| Self::new(subscription, present))
    }

    fn new(subscription: &Subscription, present: &Present) -> Self {
        let now = present.now;
        let mut view = Self {
            plan: subscription.plan.id.to_string(),
            plan_version: subscription.plan.version.0,
            state: subscription.state.state().as_str(),
            anchor_day: subscription.anchor.get(),
            since: subscription.since.to_string(),
            period: subscription.calendar(&present.tenant.zone).month(now).into(),
            trial: None,
            grace_ends_at: None,
            canceled_at: None,
            undo_until: None,
            scheduled: subscription.scheduled.as_ref().map(Into::into),
            upcoming: forecast(present),
        };
        match &subscription.state {
            Standing::Trialing(trial) => view.trial = Some(trial.into()),
            Standing::PastDue { grace_ends_at } => view.grace_ends_at = Some(grace_ends_at.to_string()),
            Standing::Canceled { at, undo } => {
                view.canceled_at = Some(at.to_string());
                let until = undo.as_ref().map(|(_, until)| *until).filter(|until| now < *until);
                view.undo_until = until.map(|until| until.to_string());
            }
            Standing::Active | Standing::Unpaid | Standing::Paused | Standing::Expired => {}
        }
        view
    }
}

/// Read a tenant's subscription, and what is to become of it.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/subscription", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "The subscription", body = SubscriptionOfTenant), ReadErrors))]
pub(super) async fn get_subscription(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    _: NoParams,
) -> Result<Json<SubscriptionOfTenant>, Problem> {
    let present = shared.find(&id).await?;
    let Some(subscription) = SubscriptionView::of(&present) else {
        let detail = format!("tenant `{id}` was never put on a plan: `PUT .../subscription` does it");
        return Err(Problem::new(Code::SubscriptionNotFound, detail));
    };
    let version = present.tenant.version.0;
    Ok(Json(SubscriptionOfTenant { tenant: id.to_string(), version, subscription }))
}
