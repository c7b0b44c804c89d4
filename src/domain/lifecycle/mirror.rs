//! A tenant becomes what a billing system says that it is. What it used, and where its counting began, it keeps.

use crate::domain::{
    command::When,
    mirror::{Mirror, MirroredStanding, MirroredSubscription},
    period::{AnchorDay, BillingCalendar, Period, Window, Zone},
    plan::PlanRef,
    subscription::{Scheduled, Standing, Subscription, TrialTerms, Upcoming, UsageRule},
    tenant::Tenant,
    time::{UnixMillis, Version},
};

impl Tenant {
    /// Whether it is already what a billing system says.
    #[must_use]
    pub fn mirrors(&self, mirror: &Mirror, at: UnixMillis) -> bool {
        let before = self.at(at);
        let mut after = before.clone();
        after.reflect(mirror, at, before.version);
        after.advance(at);
        after == before
    }

    /// Takes what a billing system says, as the change of this version.
    pub(super) fn reflect(&mut self, mirror: &Mirror, at: UnixMillis, version: Version) {
        if let Some(asked) = &mirror.subscription {
            let zone = self.zone.clone();
            match &mut self.subscription {
                Some(subscription) => subscription.reflect(asked, &zone, at, version),
                None => self.subscription = Some(begun(asked, &zone, at, version)),
            }
        }
        for (addon, quantity) in &mirror.addons {
            let had = self.addons.iter().find(|attached| attached.addon == *addon);
            match (had.map(|attached| (attached.quantity, attached.ends_at)), *quantity) {
                (None, 0) => {}
                // It is there: nothing forbids taking it away.
                (Some(_), 0) => drop(self.detach(addon, When::Now, at)),
                (Some((had, None)), quantity) if had == quantity => {}
                (_, quantity) => self.attach(addon, quantity, at),
            }
        }
        self.overrides.features.extend(mirror.features.iter().map(|(feature, on)| (feature.clone(), *on)));
    }
}

/// The first subscription of a tenant. Its first month begins no sooner than the billing system's own, to the day.
fn begun(asked: &MirroredSubscription, zone: &Zone, at: UnixMillis, version: Version) -> Subscription {
    let anchor = AnchorDay::of(asked.anchor, zone);
    let mut made = Subscription::active(asked.plan.clone(), anchor, version, at);
    let calendar = BillingCalendar::new(zone.clone(), anchor);
    let (month, day) = (calendar.month(at), calendar.period(Window::Day, asked.begun).start);
    if month.start < day && day <= at {
        made.odd_month = Some(Period { start: day, end: month.end });
    }
    made.rolls_at = month.end;
    made.stand(asked, zone, at, version);
    made
}

impl Subscription {
    fn reflect(&mut self, asked: &MirroredSubscription, zone: &Zone, at: UnixMillis, version: Version) {
        let anchor = AnchorDay::of(asked.anchor, zone);
        if anchor != self.anchor {
            let after = self.calendar(zone).changed_at(zone.clone(), anchor, at);
            self.follow(&after, at);
        }
        if self.plan.id != asked.plan.id || !self.state.state().goes_on() && self.plan != asked.plan {
            self.change_plan((asked.plan.clone(), None, UsageRule::Keep), zone, at, version);
        }
        self.stand(asked, zone, at, version);
    }

    /// Stands as is said; what has passed by now has happened.
    fn stand(&mut self, asked: &MirroredSubscription, zone: &Zone, at: UnixMillis, version: Version) {
        let state = match asked.standing {
            MirroredStanding::Trialing { ends_at } if at < ends_at => {
                Standing::Trialing(self.trial(ends_at, version))
            }
            MirroredStanding::Trialing { .. } | MirroredStanding::Active => Standing::Active,
            MirroredStanding::PastDue { since, grace_days } => {
                let grace_ends_at = zone.plus_days(since, grace_days);
                if at < grace_ends_at { Standing::PastDue { grace_ends_at } } else { Standing::Unpaid }
            }
            MirroredStanding::Unpaid => Standing::Unpaid,
            MirroredStanding::Paused => Standing::Paused,
            MirroredStanding::Expired => Standing::Expired,
            MirroredStanding::Canceled { at } => Standing::Canceled { at, undo: None },
        };
        self.state = match asked.cancel_at {
            Some(then) if then <= at && state.state().goes_on() => {
                Standing::Canceled { at: then, undo: None }
            }
            _ => state,
        };
        let ends = asked.cancel_at.filter(|_| self.state.state().goes_on());
        let same = |scheduled: &Scheduled| {
            scheduled.what == Upcoming::Cancel && Some(scheduled.at) == ends && !scheduled.at_period_end
        };
        if !self.scheduled.as_ref().is_some_and(same) {
            self.scheduled =
                ends.map(|at| Scheduled { at, at_period_end: false, version, what: Upcoming::Cancel });
        }
    }

    /// A trial of the plan, which then follows; the same where it is the one that runs.
    fn trial(&self, ends_at: UnixMillis, version: Version) -> TrialTerms {
        let then: Option<PlanRef> = Some(self.plan.clone());
        match &self.state {
            Standing::Trialing(runs)
                if runs.ends_at == ends_at && runs.then == then && runs.usage == UsageRule::Keep =>
            {
                runs.clone()
            }
            _ => TrialTerms { ends_at, then, usage: UsageRule::Keep, version },
        }
    }
}
