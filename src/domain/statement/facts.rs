//! What a tenant is billed by, and since when: the entries of its history.

use crate::domain::{
    lifecycle::Happened,
    subscription::{Standing, Subscription},
    tenant::{Overrides, Tenant},
    time::UnixMillis,
};

/// What a tenant is billed by from an instant on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingFacts {
    /// From then on.
    pub since: UnixMillis,
    /// The tenant as far as it matters here: its subscription, add-ons, zone and overrides, with nothing that is still to
    /// come, and the version of the change.
    pub tenant: Tenant,
}

impl BillingFacts {
    /// Those of a tenant in which nothing is due.
    #[must_use]
    pub fn of(tenant: &Tenant, since: UnixMillis) -> Self {
        let mut bare = Tenant::new(tenant.id.clone(), UnixMillis(0));
        bare.version = tenant.version;
        bare.zone = tenant.zone.clone();
        bare.subscription = tenant.subscription.clone().map(|subscription| settled(subscription, since));
        bare.overrides = Overrides { quotas: tenant.overrides.quotas.clone(), ..Overrides::EMPTY };
        bare.addons.clone_from(&tenant.addons);
        for addon in &mut bare.addons {
            addon.ends_at = None;
        }
        Self { since, tenant: bare }
    }

    /// Whether a bill is the same by both, whatever the versions.
    fn same(&self, other: &Self) -> bool {
        let plain = |facts: &Self| Tenant { version: other.tenant.version, ..facts.tenant.clone() };
        plain(self) == other.tenant
    }
}

/// A subscription without what is to come, and without what no bill depends on.
fn settled(mut subscription: Subscription, at: UnixMillis) -> Subscription {
    subscription.scheduled = None;
    subscription.rolls_at = subscription.since;
    subscription.odd_month.take_if(|month| month.end <= at);
    subscription.mixture.take_if(|mixture| mixture.month.end <= at);
    match &mut subscription.state {
        Standing::PastDue { grace_ends_at } => *grace_ends_at = UnixMillis::NEVER,
        Standing::Trialing(trial) => trial.ends_at = UnixMillis::NEVER,
        Standing::Canceled { undo, .. } => *undo = None,
        Standing::Active | Standing::Unpaid | Standing::Paused | Standing::Expired => {}
    }
    subscription
}

/// What becomes of the facts by a change that was made at `at`, and by all that had happened by itself until then: an
/// entry for each instant at which they changed.
#[must_use]
pub fn steps(before: &Tenant, after: &Tenant, happened: &[Happened], at: UnixMillis) -> Vec<BillingFacts> {
    let mut last = BillingFacts::of(before, at);
    let mut entries = Vec::new();
    let mut push = |next: BillingFacts| {
        if next.tenant.subscription.is_some() && !next.same(&last) {
            last = next.clone();
            entries.push(next);
        }
    };
    for (then, tenant) in before.on_the_way(after, happened, at) {
        push(BillingFacts::of(&tenant, then));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        command::{Change, Subscribe, TrialOffer, When},
        id::TenantId,
        subscription::UsageRule,
        time::Version,
        transitions::State,
    };

    fn changed(tenant: &Tenant, change: &Change, at: i64, version: u64) -> (Tenant, Vec<BillingFacts>) {
        let mut after = tenant.clone();
        let at = UnixMillis(at);
        let happened = after.apply(change, at, Version(version)).unwrap();
        let entries = steps(tenant, &after, &happened, at);
        (after, entries)
    }

    #[test]
    fn each_change_and_what_came_by_itself_is_an_entry() {
        const DAY: i64 = 86_400_000;
        let start = Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0));
        let (named, entries) = changed(
            &start,
            &Change::PutTenant { name: Some("Acme".into()), zone: None, attributes: None },
            1,
            1,
        );
        assert_eq!(entries, [], "no subscription, and a name is not billed");
        let trial = TrialOffer {
            days: 1,
            then: Some("free".parse().unwrap()),
            usage: UsageRule::Reset,
            asked: true,
            again: false,
        };
        let asked = Subscribe { trial: Some(trial), ..Subscribe::to("pro".parse().unwrap()) };
        let (tried, entries) = changed(&named, &Change::Subscribe(asked), 2, 2);
        let states = |entries: &[BillingFacts]| -> Vec<(i64, State)> {
            entries.iter().map(|entry| (entry.since.0, entry.tenant.state())).collect()
        };
        assert_eq!(states(&entries), [(2, State::Trialing)]);
        let (tried, entries) = changed(&tried, &Change::Suspend, 3, 3);
        assert_eq!(entries, [], "a suspension is billed as before");
        let (over, entries) = changed(&tried, &Change::Pause, 3 * DAY, 4);
        assert_eq!(states(&entries), [(DAY + 2, State::Active), (3 * DAY, State::Paused)]);
        let plan = |entry: &BillingFacts| entry.tenant.subscription.clone().unwrap().plan.id.to_string();
        assert_eq!(plan(&entries[0]), "free");
        let (_, entries) = changed(&over, &Change::Cancel(When::PeriodEnd), 4 * DAY, 5);
        assert_eq!(entries, [], "what is to come is not in force");
    }
}
