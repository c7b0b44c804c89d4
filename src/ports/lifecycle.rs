//! What is known of tenants beside what their rights depend on: what is to become of them, and what plans once said.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{
    grant::Grant,
    id::{AddonId, MeterId, PlanId, TenantId},
    plan::PlanRef,
    tenant::Tenant,
    time::{UnixMillis, Version},
};

/// What tenants had, and what is to become of them.
#[async_trait]
pub trait LifecycleStore: Send + Sync + 'static {
    /// Every grant that a tenant ever had, the newest first, `limit` of those before the number `before`. Those that were
    /// given by one change have one number and are on one page: so there may be a few more.
    async fn grants(
        &self,
        tenant: &TenantId,
        before: Option<Version>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError>;

    /// Tenants with something that has happened by itself by `now` and is not written down, the longest due first, at most
    /// `limit`.
    async fn due(&self, now: UnixMillis, limit: u32) -> Result<Vec<TenantId>, StoreError>;

    /// Tenants with something that is to happen by itself, the next first, at most `limit` of those after a place: an
    /// instant and a tenant.
    async fn upcoming(
        &self,
        after: Option<&(UnixMillis, TenantId)>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError>;

    /// Tenants that are on an older version of a plan than this, by id after `after`, at most `limit`; those whose
    /// subscription is over left out. Also left out, and logged, is a tenant that cannot be read. Empty: there are no more.
    async fn on_older_version(
        &self,
        plan: &PlanRef,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError>;

    /// Tenants on one of these plans with a month to be rolled over that ended before `ended`, the longest due first, at
    /// most `limit`. Those whose subscription entitles to nothing are left out until it does again.
    async fn to_roll_over(
        &self,
        plans: &[PlanId],
        ended: UnixMillis,
        limit: u32,
    ) -> Result<Vec<TenantId>, StoreError>;

    /// How many tenants are on each version of each plan, as written down; those whose subscription is over not counted.
    async fn tenants_by_plan(&self) -> Result<Vec<(PlanRef, u64)>, StoreError>;
}

/// What plans said in each of their versions.
#[async_trait]
pub trait PlanStore: Send + Sync + 'static {
    /// Keeps what these versions say, in the place of what was kept of them before. When a version was first kept is
    /// remembered. Without effect on what a tenant may do: no version of the change feed.
    async fn keep_plans(&self, plans: &[PlanTerms], at: UnixMillis) -> Result<(), StoreError>;

    /// Every version that was ever kept, by id and version.
    async fn kept_plans(&self) -> Result<Vec<KeptPlan>, StoreError>;

    /// Keeps what was sold, in the place of what was kept of the same before: of each the last word that is said.
    async fn keep_sold(&self, sold: &[SoldTerms]) -> Result<(), StoreError>;

    /// Everything that was ever sold, as it was kept last, in its order.
    async fn kept_sold(&self) -> Result<Vec<SoldTerms>, StoreError>;
}

/// Something that policies have, and that a bill may need after they have it no more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sold {
    /// An add-on.
    Addon(AddonId),
    /// A meter.
    Meter(MeterId),
    /// A version of a plan: what it says beside its [`PlanTerms`].
    Plan(PlanRef),
}

/// What a bill needs of it, as text for the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoldTerms {
    /// Of what.
    pub what: Sold,
    /// See `wire::sold`.
    pub terms: serde_json::Value,
}

/// What a plan says in one version, as text for the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanTerms {
    /// Which.
    pub plan: PlanRef,
    /// See `wire::plan`.
    pub terms: serde_json::Value,
}

/// A version of a plan as the database keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPlan {
    /// What it says.
    pub plan: PlanTerms,
    /// When the installation first knew of it.
    pub introduced: UnixMillis,
}

/// A grant as it was given, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    /// The grant.
    pub grant: Grant,
    /// When it was written down that it expired, or was voided; `None`: it is in force.
    pub ended_at: Option<UnixMillis>,
}
