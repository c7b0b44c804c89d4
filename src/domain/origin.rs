//! Where the rules of a catalog were written: the file and line behind every route and every value of a plan. Read by people's
//! commands and by explanations, never by a request.

use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::Arc};

use super::{
    features::FeatureIx,
    id::{AddonId, LimitId, PlanId},
    plan::MeterIx,
    route::OperationIx,
};

/// A line of a policy file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file, relative to the policy folder with `/`.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u32,
}

/// `plans/basic.yaml:7`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Where everything in a catalog was written. Empty for one that was not compiled from files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    /// Those of the routes.
    pub routes: RouteOrigins,
    /// Those of the plans, each in the version of its file.
    pub plans: BTreeMap<PlanId, Lines>,
    /// Those of the add-ons.
    pub addons: BTreeMap<AddonId, Lines>,
    /// Those of what a Stripe account's names mean.
    pub stripe: StripeOrigins,
}

/// Where it is written what a Stripe account's names mean: the line of each name, by the key under which it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StripeOrigins {
    /// The file.
    pub file: Arc<str>,
    /// Under `prices`.
    pub prices: BTreeMap<String, u32>,
    /// Under `lookup_keys`.
    pub lookup_keys: BTreeMap<String, u32>,
    /// Under `features`.
    pub features: BTreeMap<String, u32>,
    /// Under `meters`.
    pub meters: BTreeMap<String, u32>,
}

impl StripeOrigins {
    /// The keys of the file.
    pub const KEYS: [&'static str; 4] = ["prices", "lookup_keys", "features", "meters"];

    /// Where a name stands under a key.
    #[must_use]
    pub fn of(&self, key: &str, name: &str) -> Option<Origin> {
        let lines = match key {
            "prices" => &self.prices,
            "lookup_keys" => &self.lookup_keys,
            "features" => &self.features,
            "meters" => &self.meters,
            _ => return None,
        };
        lines.get(name).map(|line| Origin { file: Arc::clone(&self.file), line: *line })
    }
}

/// Where the routes were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteOrigins {
    /// Their file.
    pub file: Arc<str>,
    /// The line of each route, by [`OperationIx`].
    pub lines: Box<[u32]>,
    /// The line that says what each route charges, by [`OperationIx`]; 0: the default charge does.
    pub charges: Box<[u32]>,
    /// The line of `defaults.charge`.
    pub default_charge: Option<u32>,
    /// The line of `unmatched`.
    pub unmatched: Option<u32>,
}

/// The lines of a plan's or an add-on's own file. What it inherits is not among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines {
    /// The file.
    pub file: Arc<str>,
    /// The line of its name.
    pub name: u32,
    /// The plan that it extends; never for an add-on.
    pub parent: Option<PlanId>,
    /// Keys with one value.
    pub keys: BTreeMap<TermKey, u32>,
    /// Features that it gives.
    pub features: BTreeMap<FeatureIx, u32>,
    /// Features that it takes away.
    pub without: BTreeMap<FeatureIx, u32>,
    /// Limits.
    pub limits: BTreeMap<LimitId, u32>,
    /// Quotas.
    pub quotas: BTreeMap<MeterIx, u32>,
    /// Rates.
    pub rates: BTreeMap<MeterIx, u32>,
}

/// A key of a plan that has one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermKey {
    /// `title`; never inherited.
    Title,
    /// `version`; never inherited.
    Version,
    /// `existing`; never inherited.
    Existing,
    /// `extends`; never inherited.
    Extends,
    /// `price`.
    Price,
    /// `spend_cap`.
    SpendCap,
    /// `trial`.
    Trial,
    /// `grace`.
    Grace,
    /// `changes`.
    Changes,
    /// `warn_at`.
    WarnAt,
}

impl TermKey {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Title,
        Self::Version,
        Self::Existing,
        Self::Extends,
        Self::Price,
        Self::SpendCap,
        Self::Trial,
        Self::Grace,
        Self::Changes,
        Self::WarnAt,
    ];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Version => "version",
            Self::Existing => "existing",
            Self::Extends => "extends",
            Self::Price => "price",
            Self::SpendCap => "spend_cap",
            Self::Trial => "trial",
            Self::Grace => "grace",
            Self::Changes => "changes",
            Self::WarnAt => "warn_at",
        }
    }

    const fn is_inherited(self) -> bool {
        matches!(
            self,
            Self::Price | Self::SpendCap | Self::Trial | Self::Grace | Self::Changes | Self::WarnAt
        )
    }
}

/// Where a plan's values were written: in its own file, or in that of a plan which it extends.
#[derive(Debug, Clone, Copy)]
pub struct PlanOrigins<'o> {
    /// The plan.
    pub plan: &'o PlanId,
    /// What its own file says.
    pub own: &'o Lines,
    all: &'o Origins,
}

/// Why a plan has a feature, or has it not although it inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureOrigin {
    /// This line gives it.
    Given(Origin),
    /// This line, of `without`, takes it away.
    TakenAway(Origin),
}

impl FeatureOrigin {
    /// The line, whatever it does.
    #[must_use]
    pub const fn at(&self) -> &Origin {
        match self {
            Self::Given(origin) | Self::TakenAway(origin) => origin,
        }
    }
}

impl Origins {
    /// Where a route is written.
    #[must_use]
    pub fn route(&self, ix: OperationIx) -> Option<Origin> {
        self.routes.at(*self.routes.lines.get(ix.0 as usize)?)
    }

    /// Where that is written which a route charges: at the route, or as the default. `None`: nowhere, it costs nothing.
    #[must_use]
    pub fn charge(&self, ix: OperationIx) -> Option<Origin> {
        match self.routes.charges.get(ix.0 as usize) {
            Some(0) => self.default_charge(),
            Some(line) => self.routes.at(*line),
            None => None,
        }
    }

    /// Where the charge of routes without one of their own is written.
    #[must_use]
    pub fn default_charge(&self) -> Option<Origin> {
        self.routes.at(self.routes.default_charge?)
    }

    /// Where it is written what becomes of a request that no route covers. `None`: nowhere, it is refused.
    #[must_use]
    pub fn unmatched(&self) -> Option<Origin> {
        self.routes.at(self.routes.unmatched?)
    }

    /// Where a plan's values are written, in the version of its file.
    #[must_use]
    pub fn plan<I: Borrow<str> + ?Sized>(&self, id: &I) -> Option<PlanOrigins<'_>> {
        let (plan, own) = self.plans.get_key_value(id.borrow())?;
        Some(PlanOrigins { plan, own, all: self })
    }

    /// Where an add-on is written.
    #[must_use]
    pub fn addon<I: Borrow<str> + ?Sized>(&self, id: &I) -> Option<&Lines> {
        self.addons.get(id.borrow())
    }

    /// Why a plan has a feature, or has it not although it inherits. `None`: no file says anything of both.
    #[must_use]
    pub fn feature<I: Borrow<str> + ?Sized>(&self, plan: &I, ix: FeatureIx) -> Option<FeatureOrigin> {
        self.plan(plan)?.feature(ix)
    }
}

impl RouteOrigins {
    fn at(&self, line: u32) -> Option<Origin> {
        Some(Origin { file: Arc::clone(&self.file), line })
    }
}

impl Lines {
    /// A line of this file.
    #[must_use]
    pub fn at(&self, line: u32) -> Origin {
        Origin { file: Arc::clone(&self.file), line }
    }

    /// Where its name is written.
    #[must_use]
    pub fn name(&self) -> Origin {
        self.at(self.name)
    }

    /// What this file says of a feature.
    #[must_use]
    pub fn feature(&self, ix: FeatureIx) -> Option<FeatureOrigin> {
        let given = self.features.get(&ix).map(|line| FeatureOrigin::Given(self.at(*line)));
        given.or_else(|| self.without.get(&ix).map(|line| FeatureOrigin::TakenAway(self.at(*line))))
    }

    /// Where this file gives a limit.
    #[must_use]
    pub fn limit<I: Borrow<str> + ?Sized>(&self, id: &I) -> Option<Origin> {
        self.limits.get(id.borrow()).map(|line| self.at(*line))
    }

    /// Where this file gives a quota.
    #[must_use]
    pub fn quota(&self, ix: MeterIx) -> Option<Origin> {
        self.quotas.get(&ix).map(|line| self.at(*line))
    }
}

impl<'o> PlanOrigins<'o> {
    /// The plan itself, then the one that it extends, and so on.
    pub fn chain(self) -> impl Iterator<Item = PlanOrigins<'o>> {
        let parent = |plan: &Self| plan.all.plan(plan.own.parent.as_ref()?);
        // Compiled plans have no circles; bounded all the same.
        std::iter::successors(Some(self), parent).take(self.all.plans.len())
    }

    /// Where its name is written.
    #[must_use]
    pub fn name(&self) -> Origin {
        self.own.name()
    }

    /// The plan in whose file an origin lies, if it is another one than this.
    #[must_use]
    pub fn ancestor(&self, origin: &Origin) -> Option<&'o PlanId> {
        let writer = self.chain().find(|plan| plan.own.file == origin.file)?;
        (writer.plan != self.plan).then_some(writer.plan)
    }

    /// Where the value of a key is written; `None`: nowhere, the default holds.
    #[must_use]
    pub fn key(&self, key: TermKey) -> Option<Origin> {
        let most = if key.is_inherited() { usize::MAX } else { 1 };
        self.chain().take(most).find_map(|plan| plan.own.keys.get(&key).map(|line| plan.own.at(*line)))
    }

    /// Why it has a feature, or has it not although it inherits. `None`: no file says anything of both.
    #[must_use]
    pub fn feature(&self, ix: FeatureIx) -> Option<FeatureOrigin> {
        self.chain().find_map(|plan| plan.own.feature(ix))
    }

    /// Where a limit is written.
    #[must_use]
    pub fn limit<I: Borrow<str> + ?Sized>(&self, id: &I) -> Option<Origin> {
        self.chain().find_map(|plan| plan.own.limit(id))
    }

    /// Where a quota is written.
    #[must_use]
    pub fn quota(&self, ix: MeterIx) -> Option<Origin> {
        self.chain().find_map(|plan| plan.own.quota(ix))
    }

    /// Where a rate is written; one that is `unlimited` has a line, too.
    #[must_use]
    pub fn rate(&self, ix: MeterIx) -> Option<Origin> {
        self.chain().find_map(|plan| plan.own.rates.get(&ix).map(|line| plan.own.at(*line)))
    }

    /// Features that were taken away on the way down to this plan, and are not given again: each with its line.
    #[must_use]
    pub fn taken_away(&self) -> BTreeMap<FeatureIx, Origin> {
        let named = self.chain().flat_map(|plan| plan.own.without.keys());
        let taken = named.filter_map(|ix| match self.feature(*ix) {
            Some(FeatureOrigin::TakenAway(origin)) => Some((*ix, origin)),
            _ => None,
        });
        taken.collect()
    }
}
