//! Changes that an administrator makes. Each is one transaction with one version.

use super::{
    id::{KeyId, PlanId, TenantId},
    identity::KeyHash,
    period::{AnchorDay, Zone},
    tenant::Overrides,
    time::UnixMillis,
};

/// A change, and to which tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The tenant that it changes.
    pub tenant: TenantId,
    /// What it changes.
    pub change: Change,
}

/// What a command changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Create the tenant, or change what is given; `None` leaves as it is (at creation: no name, UTC).
    PutTenant {
        /// Its name for people.
        name: Option<String>,
        /// Its time zone.
        zone: Option<Zone>,
    },
    /// Make the tenant, on a plan, unless it is there already: for tenants that first appear with a valid token.
    Enroll {
        /// The plan; the caller has checked that the catalog has it.
        plan: PlanId,
    },
    /// Remove the tenant, its subscription and keys. Recorded usage stays.
    DeleteTenant,
    /// Refuse its requests until resumed.
    Suspend,
    /// Take the suspension back.
    Resume,
    /// Put the tenant on a plan, now.
    Subscribe {
        /// The plan; the caller has checked that the catalog has it.
        plan: PlanId,
        /// The day on which months begin; `None`: as before, at first today's day in the tenant's zone.
        anchor: Option<AnchorDay>,
        /// What becomes of the units already used.
        usage: UsageRule,
    },
    /// Replace all overrides.
    SetOverrides(Overrides),
    /// Add an API key.
    CreateKey {
        /// Its public id.
        id: KeyId,
        /// The keyed hash of the key.
        hash: KeyHash,
        /// What people call it.
        name: Option<String>,
        /// Refused from this instant on.
        expires_at: Option<UnixMillis>,
        /// Brought by the customer.
        imported: bool,
    },
    /// Refuse an API key from now on.
    RevokeKey(KeyId),
}

impl Change {
    /// The word used in the change feed and the audit log.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PutTenant { .. } => "tenant.put",
            Self::Enroll { .. } => "tenant.enrolled",
            Self::DeleteTenant => "tenant.deleted",
            Self::Suspend => "tenant.suspended",
            Self::Resume => "tenant.resumed",
            Self::Subscribe { .. } => "subscription.put",
            Self::SetOverrides(_) => "overrides.put",
            Self::CreateKey { .. } => "key.created",
            Self::RevokeKey(_) => "key.revoked",
        }
    }
}

/// What becomes of the units already used when the plan changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UsageRule {
    /// They count against the new plan.
    #[default]
    Keep,
    /// Counting starts anew.
    Reset,
}
