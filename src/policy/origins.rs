//! Where each rule was written, gathered while the catalog is put together.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    compile::Read,
    definition::{AddonFile, Declarations, Name, PlanFile, RoutesFile, StripeFile},
    inherit::{feature_ix, meter_ix},
    source::{FileIx, Kind, Place, Sources},
};
use crate::domain::{
    features::FeatureIx,
    id::{LimitId, PlanId},
    origin::{Lines, Origins, RouteOrigins, StripeOrigins, TermKey},
    plan::MeterIx,
};

/// The origins of a folder without errors.
pub(super) fn of(sources: &Sources, declarations: &Declarations, read: &Read) -> Origins {
    let files = Files { sources, declarations };
    let mut origins = Origins::default();
    let plans = read.plans.values().flatten();
    origins.plans = plans.map(|plan| (plan.id.clone(), files.plan(plan))).collect();
    origins.addons = read.addons.iter().map(|addon| (addon.id.clone(), files.addon(addon))).collect();
    if let Some(file) = &read.routes {
        origins.routes = files.routes(file);
    }
    if let Some(file) = &read.stripe {
        origins.stripe = files.stripe(file);
    }
    origins
}

struct Files<'c> {
    sources: &'c Sources,
    declarations: &'c Declarations,
}

impl Files<'_> {
    fn name(&self, file: FileIx) -> Arc<str> {
        self.sources.file(file).map_or("", |source| source.name.as_str()).into()
    }

    fn line(&self, place: Place) -> u32 {
        self.sources.line(place)
    }

    fn plan(&self, plan: &PlanFile) -> Lines {
        let name = plan.keys.get("plan").copied();
        Lines {
            file: name.map_or_else(|| Arc::from(""), |place| self.name(place.file)),
            name: name.map_or(1, |place| self.line(place)),
            parent: plan.extends.as_ref().and_then(|name| PlanId::parse(&name.value).ok()),
            keys: TermKey::ALL
                .into_iter()
                .filter_map(|key| Some((key, self.line(*plan.keys.get(key.as_str())?))))
                .collect(),
            features: self.features(&plan.features),
            without: self.features(&plan.without),
            limits: self.limits(plan.limits.iter().map(|(name, _)| name)),
            quotas: self.meters(plan.quotas.iter().map(|(name, _)| name)),
            rates: self.meters(plan.rates.iter().map(|(name, _)| name)),
        }
    }

    fn addon(&self, addon: &AddonFile) -> Lines {
        Lines {
            file: self.name(addon.place.file),
            name: self.line(addon.place),
            features: self.features(&addon.features),
            limits: self.limits(addon.limits.iter().map(|(name, _)| name)),
            quotas: self.meters(addon.quotas.iter().map(|(name, _)| name)),
            ..Lines::default()
        }
    }

    fn routes(&self, file: &RoutesFile) -> RouteOrigins {
        // `charge: {}` names no meter to point at: the route itself says so.
        let own = |charge: &Vec<(Name, _)>, route: Place| {
            self.line(charge.first().map_or(route, |(name, _)| name.place))
        };
        let charges = file.routes.iter().map(|route| {
            let public = route.public.then_some(&route.name.place);
            match (&route.charge, public) {
                (Some(charge), _) => own(charge, route.name.place),
                (None, Some(place)) => self.line(*place),
                (None, None) => 0,
            }
        });
        RouteOrigins {
            file: self.only(Kind::Routes),
            lines: file.routes.iter().map(|route| self.line(route.name.place)).collect(),
            charges: charges.collect(),
            default_charge: file.default_charge.first().map(|(name, _)| self.line(name.place)),
            unmatched: file.unmatched.map(|place| self.line(place)),
        }
    }

    /// The name of the one file of a kind.
    fn only(&self, kind: Kind) -> Arc<str> {
        self.sources.of_kind(kind).next().map_or_else(|| Arc::from(""), |(ix, _)| self.name(ix))
    }

    fn stripe(&self, file: &StripeFile) -> StripeOrigins {
        StripeOrigins {
            file: self.only(Kind::Stripe),
            prices: self.names(file.prices.iter().map(|(name, _)| name)),
            lookup_keys: self.names(file.lookup_keys.iter().map(|(name, _)| name)),
            features: self.names(file.features.iter().map(|(name, _)| name)),
            meters: self.names(file.meters.iter().map(|(name, _)| name)),
        }
    }

    fn names<'n>(&self, names: impl Iterator<Item = &'n Name>) -> BTreeMap<String, u32> {
        names.map(|name| (name.value.clone(), self.line(name.place))).collect()
    }

    fn features(&self, names: &[Name]) -> BTreeMap<FeatureIx, u32> {
        let entry = |name: &Name| Some((feature_ix(self.declarations, &name.value)?, self.line(name.place)));
        names.iter().filter_map(entry).collect()
    }

    fn meters<'n>(&self, names: impl Iterator<Item = &'n Name>) -> BTreeMap<MeterIx, u32> {
        names
            .filter_map(|name| Some((meter_ix(self.declarations, &name.value)?, self.line(name.place))))
            .collect()
    }

    fn limits<'n>(&self, names: impl Iterator<Item = &'n Name>) -> BTreeMap<LimitId, u32> {
        names.filter_map(|name| Some((LimitId::parse(&name.value).ok()?, self.line(name.place)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{
        catalog::Catalog,
        id::PlanId,
        origin::{FeatureOrigin, TermKey},
        plan::MeterIx,
        revision::PolicyFiles,
        route::OperationIx,
    };
    use crate::policy::Compiler;
    use crate::ports::PolicyCompiler;

    fn catalog(files: &[(&str, &str)]) -> Catalog {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Compiler.compile(&PolicyFiles(files.collect())).unwrap().0
    }

    fn example() -> Catalog {
        catalog(&[
            (
                "features.yaml",
                "features: { a: {}, b: {}, c: {} }\nlimits: { seats: {} }\nmeters: { m: {}, n: {} }\n",
            ),
            (
                "routes.yaml",
                "defaults:\n  charge: { m: 1 }\nunmatched: allow\nroutes:\n  - match: GET /a\n    features: [a]\n    \
                 charge:\n      n: 2\n  - { match: GET /b, features: [b] }\n  - { match: GET /c, public: true }\n  \
                 - match: GET /d\n    charge: {}\n",
            ),
            (
                "plans/base.yaml",
                "plan: base\ntitle: Base\nprice: { amount: \"1.00\", currency: USD }\nfeatures:\n  - a\n  - b\n\
                 limits:\n  seats: 1\nquotas:\n  m: 5\n  n: 5\nrates:\n  m: { limit: 1, per: 1s }\n",
            ),
            (
                "plans/mid.yaml",
                "plan: mid\nextends: base\nwithout:\n  - a\nfeatures: [c]\nquotas:\n\n  m: 9\nrates:\n  m: unlimited\n",
            ),
            ("plans/top.yaml", "plan: top\nextends: mid\ngrace: { days: 3 }\nfeatures:\n  - a\n"),
            ("addons/more.yaml", "addon: more\nfeatures: [b]\nlimits:\n  seats: 4\n"),
            (
                "stripe.yaml",
                "prices: { p_1: { plan: mid } }\nlookup_keys:\n  more_monthly: { addon: more }\n\
                 features: { key: a }\nmeters:\n  m: { event_name: ms }\n",
            ),
        ])
    }

    #[test]
    fn every_value_of_a_plan_knows_the_line_that_gives_it() {
        let catalog = example();
        let (a, b) = (catalog.feature_ix("a").unwrap(), catalog.feature_ix("b").unwrap());
        let (m, n) = (catalog.meter_ix("m").unwrap(), catalog.meter_ix("n").unwrap());
        let mid = catalog.origins.plan("mid").unwrap();
        let shown =
            |origin: Option<_>| origin.map(|origin: crate::domain::origin::Origin| origin.to_string());
        assert_eq!(shown(mid.quota(m)).as_deref(), Some("plans/mid.yaml:8"));
        assert_eq!(shown(mid.quota(n)).as_deref(), Some("plans/base.yaml:11"));
        assert_eq!(shown(mid.quota(MeterIx(9))), None);
        assert_eq!(shown(mid.rate(m)).as_deref(), Some("plans/mid.yaml:10"));
        assert_eq!(shown(mid.limit("seats")).as_deref(), Some("plans/base.yaml:8"));
        assert_eq!(shown(mid.key(TermKey::Price)).as_deref(), Some("plans/base.yaml:3"));
        assert_eq!(shown(mid.key(TermKey::Title)), None, "titles are not inherited");
        assert_eq!(shown(mid.key(TermKey::Extends)).as_deref(), Some("plans/mid.yaml:2"));
        assert_eq!(mid.name().to_string(), "plans/mid.yaml:1");

        let said = |plan: &str, ix| catalog.origins.feature(plan, ix);
        assert!(
            matches!(said("mid", a), Some(FeatureOrigin::TakenAway(at)) if at.to_string() == "plans/mid.yaml:4")
        );
        assert!(
            matches!(said("mid", b), Some(FeatureOrigin::Given(at)) if at.to_string() == "plans/base.yaml:6")
        );
        assert!(
            matches!(said("top", a), Some(FeatureOrigin::Given(at)) if at.to_string() == "plans/top.yaml:5")
        );
        assert_eq!(mid.taken_away().keys().collect::<Vec<_>>(), [&a]);

        let top = catalog.origins.plan(&PlanId::parse("top").unwrap()).unwrap();
        assert!(top.taken_away().is_empty(), "it is given again");
        let chain: Vec<_> = top.chain().map(|plan| plan.plan.as_str()).collect();
        assert_eq!(chain, ["top", "mid", "base"]);
        assert_eq!(top.ancestor(&top.quota(n).unwrap()).map(PlanId::as_str), Some("base"));
        assert_eq!(top.ancestor(&top.key(TermKey::Grace).unwrap()), None);
    }

    #[test]
    fn every_route_knows_its_line_and_where_its_charge_is_written() {
        let catalog = example();
        let line = |origin: Option<crate::domain::origin::Origin>| origin.map(|origin| origin.line);
        let routes: Vec<_> = (0..5).map(|ix| line(catalog.origins.route(OperationIx(ix)))).collect();
        assert_eq!(routes, [Some(5), Some(9), Some(10), Some(11), None]);
        let charges: Vec<_> = (0..4).map(|ix| line(catalog.origins.charge(OperationIx(ix)))).collect();
        assert_eq!(charges, [Some(8), Some(2), Some(10), Some(11)]);
        assert_eq!(line(catalog.origins.unmatched()), Some(3));
        assert_eq!(catalog.origins.default_charge().unwrap().to_string(), "routes.yaml:2");
        let more = catalog.origins.addon("more").unwrap();
        assert_eq!(more.name().to_string(), "addons/more.yaml:1");
        assert_eq!(more.limit("seats").unwrap().to_string(), "addons/more.yaml:4");
    }

    #[test]
    fn every_name_of_stripe_knows_its_line() {
        let catalog = example();
        let stripe = &catalog.origins.stripe;
        let shown = |key, name| stripe.of(key, name).map(|origin| origin.to_string());
        assert_eq!(shown("prices", "p_1").as_deref(), Some("stripe.yaml:1"));
        assert_eq!(shown("lookup_keys", "more_monthly").as_deref(), Some("stripe.yaml:3"));
        assert_eq!(shown("features", "key").as_deref(), Some("stripe.yaml:4"));
        assert_eq!(shown("meters", "m").as_deref(), Some("stripe.yaml:6"));
        assert_eq!((shown("prices", "p_2"), shown("plans", "p_1")), (None, None));
    }

    #[test]
    fn copies_share_what_no_request_reads() {
        let catalog = example();
        assert!(std::sync::Arc::ptr_eq(&catalog.origins, &catalog.own_copy().origins));
    }
}
