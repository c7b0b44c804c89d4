//! A plan with everything that it inherits, as the policy compiler leaves it.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{
    features::FeatureSet,
    id::{InvalidId, LimitId, PlanId},
    money::{Decimal, Price},
    period::Window,
    rate::Rate,
    spend::{SpendCap, SpendTerms},
    subscription::UsageRule,
    time::UnixMillis,
    units::{Allowance, Units},
    warning::WarnAt,
};

/// A meter's place in its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterIx(pub u16);

/// A plan's version: a tenant stays on the one it came to, unless the plan says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanVersion(pub u32);

impl PlanVersion {
    /// The version of a plan that names none.
    pub const FIRST: Self = Self(1);
}

/// `pro`, the first version, or `pro@3`.
impl std::str::FromStr for PlanRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let versioned = text.rsplit_once('@').and_then(|(id, version)| Some((id, version.parse().ok()?)));
        let (id, version) = versioned.unwrap_or((text, PlanVersion::FIRST.0));
        Ok(Self { id: PlanId::parse(id)?, version: PlanVersion(version) })
    }
}

impl std::fmt::Display for PlanVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A plan in one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanRef {
    /// The plan.
    pub id: PlanId,
    /// Which of its versions.
    pub version: PlanVersion,
}

/// What is sold by the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its id, the file's name.
    pub id: PlanId,
    /// Its version.
    pub version: PlanVersion,
    /// When tenants on older versions come to this one.
    pub existing: Existing,
    /// When the installation first knew of this version; `None`: not known (yet).
    pub introduced: Option<UnixMillis>,
    /// When tenants on this plan change to others, where the call does not say.
    pub changes: Changes,
    /// Days for which it still entitles after a payment failed; `None`: [`Plan::GRACE_DAYS`].
    pub grace_days: Option<u16>,
    /// At how much of what it includes, and of what may be spent, somebody is told; `None`: as [`WarnAt::default`] says.
    pub warn_at: Option<WarnAt>,
    /// Its name for people.
    pub title: Option<String>,
    /// The plan it extends.
    pub parent: Option<PlanId>,
    /// What it costs a month.
    pub price: Option<Price>,
    /// The most that billed overage may cost in a month, in the price's currency.
    pub spend_cap: SpendCap,
    /// How it may be tried.
    pub trial: Option<Trial>,
    /// Rights that are on.
    pub features: FeatureSet,
    /// Fixed numbers.
    pub limits: BTreeMap<LimitId, Allowance>,
    /// What may be used of each meter, by [`MeterIx`].
    pub meters: Box<[MeterTerms]>,
}

impl Plan {
    /// Days of grace after a failed payment, where neither the plan nor the call says.
    pub const GRACE_DAYS: u16 = 7;

    /// A plan that allows nothing.
    #[must_use]
    pub fn empty(id: PlanId) -> Self {
        Self {
            id,
            version: PlanVersion::FIRST,
            existing: Existing::default(),
            introduced: None,
            changes: Changes::default(),
            grace_days: None,
            warn_at: None,
            title: None,
            parent: None,
            price: None,
            spend_cap: SpendCap::Unlimited,
            trial: None,
            features: FeatureSet::default(),
            limits: BTreeMap::new(),
            meters: Box::default(),
        }
    }

    /// How billed overage is counted in money; `None`: the plan has no currency.
    #[must_use]
    pub fn spend(&self) -> Option<SpendTerms> {
        Some(SpendTerms { currency: self.price?.currency, cap: self.spend_cap.limit() })
    }

    /// Which plan in which version this is.
    #[must_use]
    pub fn reference(&self) -> PlanRef {
        PlanRef { id: self.id.clone(), version: self.version }
    }
}

/// When tenants on an older version of a plan come to the one that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Never by themselves.
    #[default]
    Stay,
    /// At the end of the billing month in which the version was introduced.
    NextPeriod,
    /// When this day begins in the tenant's zone.
    On(Date),
}

/// When a change to another plan comes into force, where the call does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// To a dearer plan.
    pub upgrade: ChangeAt,
    /// To a cheaper one.
    pub downgrade: ChangeAt,
}

/// When a change comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChangeAt {
    /// At once.
    #[default]
    Now,
    /// With the next billing month.
    PeriodEnd,
}

impl ChangeAt {
    /// The word used in policy files and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::PeriodEnd => "period_end",
        }
    }

    /// The one of that word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Now, Self::PeriodEnd].into_iter().find(|when| when.as_str() == word)
    }
}

/// A trial: for so many days, then another plan or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Its length.
    pub days: u16,
    /// The plan that follows; `None` blocks.
    pub then: Option<PlanId>,
    /// What becomes of the units used in it.
    pub usage: UsageRule,
}

/// What a plan says of one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterTerms {
    /// How much; `None`: the plan does not name the meter, and whatever is charged to it is refused.
    pub quota: Option<Quota>,
    /// How fast.
    pub rate: Option<Rate>,
}

/// How much of a meter may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Included in the billing month.
    pub month: Allowance,
    /// In a clock hour, if limited.
    pub hour: Option<Allowance>,
    /// In a day, if limited.
    pub day: Option<Allowance>,
    /// In a week, if limited.
    pub week: Option<Allowance>,
    /// What happens past the month's limit.
    pub overage: Overage,
    /// What of the unused units may be used in the next month, too.
    pub rollover: Option<Rollover>,
}

/// How many of a month's unused units may be used in the next month, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollover {
    /// At most so much of the month's limit: 0 to 100.
    Percent(u8),
    /// At most so many.
    Units(Units),
}

/// What happens past the month's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overage {
    /// Refused.
    #[default]
    Block,
    /// Let through, up to `cap` more units.
    Allow {
        /// Units beyond the limit; `None`: any number.
        cap: Option<Units>,
    },
    /// Let through and billed, up to `cap` more units.
    Bill {
        /// Units beyond the limit; `None`: any number.
        cap: Option<Units>,
        /// Price of each `per` units, in the plan's currency.
        price: Decimal,
        /// How many units the price is for; at least 1.
        per: Units,
    },
}

impl Overage {
    /// The word used in policy files and answers.
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow { .. } => "allow",
            Self::Bill { .. } => "bill",
        }
    }
}

impl Quota {
    /// A quota of the month alone, hard.
    #[must_use]
    pub const fn monthly(month: Allowance) -> Self {
        Self { month, hour: None, day: None, week: None, overage: Overage::Block, rollover: None }
    }

    /// The number of units in `window` after which a charge is refused: the month's includes the overage cap.
    /// `None`: nothing is refused for this window.
    #[must_use]
    pub fn hard_limit(&self, window: Window) -> Option<Units> {
        match window {
            Window::Hour => self.hour?.limit(),
            Window::Day => self.day?.limit(),
            Window::Week => self.week?.limit(),
            Window::Month => {
                let included = self.month.limit()?;
                match self.overage {
                    Overage::Block => Some(included),
                    Overage::Allow { cap } | Overage::Bill { cap, .. } => {
                        cap.map(|cap| included.saturating_add(cap))
                    }
                }
            }
        }
    }

    /// Whether the quota counts in `window` at all. The month always does: it is what usage is reported from.
    #[must_use]
    pub const fn counts(&self, window: Window) -> bool {
        match window {
            Window::Hour => self.hour.is_some(),
            Window::Day => self.day.is_some(),
            Window::Week => self.week.is_some(),
            Window::Month => true,
        }
    }
}
