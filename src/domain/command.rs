//! Changes that an administrator makes. Each is one transaction with one version.

use super::{
    attributes::Attributes,
    id::{AddonId, GrantId, KeyId, MeterId, TenantId},
    identity::KeyHash,
    mirror::Mirror,
    period::{AnchorDay, Zone},
    plan::{PlanRef, Rollover},
    subscription::UsageRule,
    tenant::Overrides,
    time::UnixMillis,
    units::Units,
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
        /// All its attributes.
        attributes: Option<Attributes>,
    },
    /// Make the tenant, on a plan, unless it is there already: for tenants that first appear with a valid token.
    Enroll {
        /// The plan; the caller has checked that the catalog has it.
        plan: PlanRef,
    },
    /// Remove the tenant, its subscription and keys. Recorded usage stays.
    DeleteTenant,
    /// Refuse its requests until resumed.
    Suspend,
    /// Take the suspension back.
    Resume,
    /// Put the tenant on a plan, now or later.
    Subscribe(Subscribe),
    /// End the subscription.
    Cancel(When),
    /// Take back what is scheduled, or a cancellation that was made at once.
    Undo,
    /// Refuse its requests, and keep everything, until it is continued.
    Pause,
    /// Take the pause back.
    Continue,
    /// A payment failed: for so many days it still entitles.
    PastDue {
        /// Days of grace.
        grace_days: u16,
    },
    /// It was paid.
    Paid,
    /// Replace all overrides.
    SetOverrides(Overrides),
    /// Give units beside the plan's.
    Grant(NewGrant),
    /// Take back what is left of a grant.
    VoidGrant(GrantId),
    /// Sell an add-on, or change how many of it.
    Attach {
        /// Which; the caller has checked that the catalog has it.
        addon: AddonId,
        /// How many of it; at least 1.
        quantity: u32,
    },
    /// Take an add-on away.
    Detach {
        /// Which.
        addon: AddonId,
        /// When.
        at: When,
    },
    /// Write down what has become of the tenant by itself: trials that ended, scheduled changes that were due, what has
    /// expired. It is in force without this.
    Advance,
    /// Come to another version of the tenant's plan.
    MoveVersion {
        /// The version. Without effect for a tenant on another plan.
        to: PlanRef,
    },
    /// Take what a billing system says of the tenant, from whatever state it is in.
    Mirror(Box<Mirror>),
    /// Roll over what is left of the month that has ended.
    RollOver {
        /// What is rolled over.
        rules: Vec<RolloverRule>,
    },
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

/// When something is to come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// At once.
    #[default]
    Now,
    /// With the end of the billing month, or of the trial.
    PeriodEnd,
    /// Then.
    At(UnixMillis),
}

/// Puts a tenant on a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The plan; the caller has checked that the catalog has it.
    pub plan: PlanRef,
    /// When.
    pub at: When,
    /// The day on which months begin; `None`: as before, at first today's day in the tenant's zone.
    pub anchor: Option<AnchorDay>,
    /// What becomes of the units already used; `None`: they are kept, or what the trial that this ends says.
    pub usage: Option<UsageRule>,
    /// The trial to begin with, if any.
    pub trial: Option<TrialOffer>,
}

impl Subscribe {
    /// The plan at once, without a trial, and everything else as it is.
    #[must_use]
    pub const fn to(plan: PlanRef) -> Self {
        Self { plan, at: When::Now, anchor: None, usage: None, trial: None }
    }
}

/// A trial that a tenant may begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialOffer {
    /// Its length.
    pub days: u16,
    /// The plan that follows; `None`: nothing does.
    pub then: Option<PlanRef>,
    /// What becomes of the units used in it.
    pub usage: UsageRule,
    /// Whether the call asked for it. The plan's own trial is for tenants that come to their first plan.
    pub asked: bool,
    /// Also if the tenant has tried the plan before.
    pub again: bool,
}

/// Units to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// Of what; the caller has checked that the catalog has it.
    pub meter: MeterId,
    /// How many.
    pub units: Units,
    /// Lower ones are burnt first.
    pub priority: u16,
    /// From then on nothing of it can be used.
    pub expires_at: Option<UnixMillis>,
    /// Anew in each billing month.
    pub recurring: bool,
    /// Why, for people.
    pub reason: Option<String>,
}

/// What of a meter is rolled over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloverRule {
    /// The meter.
    pub meter: MeterId,
    /// The month's limit, where nothing was used of it.
    pub limit: Units,
    /// How much.
    pub rule: Rollover,
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
            Self::Subscribe(Subscribe { at: When::Now, .. }) => "subscription.put",
            Self::Subscribe(_) | Self::Cancel(When::PeriodEnd | When::At(_)) => "subscription.scheduled",
            Self::Cancel(When::Now) => "subscription.canceled",
            Self::Undo => "subscription.undone",
            Self::Pause => "subscription.paused",
            Self::Continue => "subscription.resumed",
            Self::PastDue { .. } => "subscription.past_due",
            Self::Paid => "subscription.paid",
            Self::SetOverrides(_) => "overrides.put",
            Self::Grant(_) => "grant.created",
            Self::VoidGrant(_) => "grant.voided",
            Self::Attach { .. } => "addon.attached",
            Self::Detach { .. } => "addon.detached",
            Self::Advance => "subscription.advanced",
            Self::MoveVersion { .. } => "plan.moved",
            Self::Mirror(_) => "subscription.mirrored",
            Self::RollOver { .. } => "quota.rolled_over",
            Self::CreateKey { .. } => "key.created",
            Self::RevokeKey(_) => "key.revoked",
        }
    }

    /// Whether it is about the subscription, so that everything due is written down before.
    #[must_use]
    pub const fn is_of_tenant(&self) -> bool {
        !matches!(self, Self::DeleteTenant | Self::CreateKey { .. } | Self::RevokeKey(_))
    }
}
