//! Between two requests of a case: words are carried out, the clock goes forward, months are rolled over.

use super::{
    life::{Haste, Life},
    request::Request,
    word::{NewPlan, What},
};
use crate::domain::{
    command::{Change, Subscribe, TrialOffer, When},
    plan::{ChangeAt, Plan},
    subscription::UsageRule,
    tenant::Tenant,
    time::{UnixMillis, Version},
};

/// A case's clock goes no further than so many days from its start: each month on the way costs time.
const MOST_DAYS: i64 = 3660;
/// More than there are in so many days, also where anchor and zone are changed.
const MOST_MONTHS: usize = 200;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Life<'_> {
    /// Carries a word out. Says how many requests were let through, where it is about requests.
    pub(super) fn carry_out(&mut self, what: &What, before: &Request) -> Result<Option<u64>, String> {
        match what {
            What::Requests(times) => return self.repeat(before, *times, Haste::Slow).map(Some),
            What::Burst(times) => return self.repeat(before, *times, Haste::Now).map(Some),
            What::Next(window) => self.go_to(self.calendar().period(*window, self.now).end)?,
            What::Days(days) => self.go_to(self.calendar().zone.plus_days(self.now, *days))?,
            What::Span(span) => self.go_to(self.now + *span)?,
            What::At(at) => self.go_to(*at)?,
            _ => {
                let change = self.change(what)?;
                self.apply(&change)?;
            }
        }
        Ok(None)
    }

    fn apply(&mut self, change: &Change) -> Result<(), String> {
        let tenant = self.tenant.as_mut().ok_or("the case has no tenant")?;
        self.last = Version(self.last.0 + 1);
        tenant.apply(change, self.now, self.last).map_err(text)?;
        Ok(())
    }

    /// The change that a word asks for, with what it leaves to the policies.
    fn change(&self, what: &What) -> Result<Change, String> {
        let present = self.present().ok_or("the case has no tenant")?;
        Ok(match what {
            What::Plan(new) => Change::Subscribe(self.subscribe(new, &present)?),
            What::Cancel(when) => Change::Cancel(*when),
            What::Undo => Change::Undo,
            What::Pause => Change::Pause,
            What::Resume if present.suspended => Change::Resume,
            What::Resume => Change::Continue,
            What::PastDue(days) => {
                Change::PastDue { grace_days: days.unwrap_or_else(|| self.grace(&present)) }
            }
            What::Paid => Change::Paid,
            What::Suspend => Change::Suspend,
            What::Grant(new) => Change::Grant(new.clone()),
            What::Addon(addon, 0) => Change::Detach { addon: addon.clone(), at: When::Now },
            What::Addon(addon, quantity) => Change::Attach { addon: addon.clone(), quantity: *quantity },
            What::Overrides(overrides) => Change::SetOverrides((**overrides).clone()),
            What::Zone(zone) => Change::PutTenant { name: None, zone: Some(zone.clone()), attributes: None },
            What::Requests(_) | What::Burst(_) => return Err("a request is no change".into()),
            What::Next(_) | What::Days(_) | What::Span(_) | What::At(_) => Change::Advance,
        })
    }

    fn subscribe(&self, new: &NewPlan, present: &Tenant) -> Result<Subscribe, String> {
        let to = self.catalog.plan(new.plan.id.as_str());
        let to = to.ok_or_else(|| format!("the policies have no plan `{}`", new.plan.id))?;
        let tries = new.trial_days.filter(|days| *days > 0);
        let left = present.subscription.as_ref().filter(|left| left.state.state().entitles());
        let by_itself = || match left.map_or(ChangeAt::Now, |left| self.catalog.change_at(&left.plan, to)) {
            ChangeAt::PeriodEnd if tries.is_none() => When::PeriodEnd,
            _ => When::Now,
        };
        let at = new.at.unwrap_or_else(by_itself);
        let own = self.catalog.own_trial(to).filter(|_| at == When::Now);
        let trial = match (new.trial_days, tries) {
            (None, _) => own,
            (Some(_), None) => None,
            (Some(_), Some(days)) => {
                let usage = own.as_ref().map_or(UsageRule::Keep, |own| own.usage);
                let then = own.and_then(|own| own.then);
                // Whoever writes the case knows whether the plan was tried before.
                Some(TrialOffer { days, then, usage, asked: true, again: true })
            }
        };
        Ok(Subscribe { plan: to.reference(), at, anchor: new.anchor, usage: new.usage, trial })
    }

    /// The days of grace that the tenant's plan gives.
    fn grace(&self, present: &Tenant) -> u16 {
        let plan = present.subscription.as_ref().and_then(|left| self.catalog.plan_in(&left.plan));
        plan.and_then(|plan| plan.grace_days).unwrap_or(Plan::GRACE_DAYS)
    }

    /// Sets the clock forward. Each month that ends on the way is rolled over.
    fn go_to(&mut self, at: UnixMillis) -> Result<(), String> {
        if at < self.now {
            return Err(format!("the clock only goes forward: it is {} already", self.now));
        }
        if at.0.saturating_sub(self.start.0) > MOST_DAYS * 86_400_000 {
            return Err("a case's clock goes at most ten years from its start".into());
        }
        // Bounded, as the last month that the calendar knows never ends.
        for _ in 0..MOST_MONTHS {
            let Some(end) = self.month_ends(at) else { break };
            self.now = self.now.max(end);
            self.roll_over()?;
        }
        self.now = at;
        if self.tenant.is_some() { self.apply(&Change::Advance) } else { Ok(()) }
    }

    /// The end of the month that is to be rolled over next, where that is at `at` or before.
    fn month_ends(&self, at: UnixMillis) -> Option<UnixMillis> {
        let rolls_at = self.tenant.as_ref()?.subscription.as_ref()?.rolls_at;
        (rolls_at <= at).then_some(rolls_at)
    }

    fn roll_over(&mut self) -> Result<(), String> {
        let Some(tenant) = &self.tenant else { return Ok(()) };
        let due = tenant.at(self.now).rollover_due(self.now);
        let rules = tenant.rollover_rules(self.catalog, self.now);
        let unused: Vec<_> = due
            .iter()
            .flat_map(|(month, epoch)| rules.iter().map(move |rule| (month, epoch, rule)))
            .filter_map(|(month, epoch, rule)| {
                let meter = self.catalog.meter_ix(rule.meter.as_str())?;
                Some((rule.meter.clone(), rule.left(*epoch, &self.book.taken(meter, *month))))
            })
            .collect();
        self.apply(&Change::RollOver { rules })?;
        if let Some(tenant) = &mut self.tenant {
            tenant.roll_over(&unused, self.now, self.last);
        }
        Ok(())
    }
}
