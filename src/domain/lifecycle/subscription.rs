//! What becomes of a subscription: its part of the tenant's life.

use super::{Event, Refused};
use crate::domain::{
    command::{Subscribe, When},
    mixture::Mixture,
    period::{AnchorDay, BillingCalendar, Zone},
    plan::PlanRef,
    subscription::{Scheduled, Standing, Subscription, TrialTerms, Upcoming, UsageRule},
    time::{UnixMillis, Version},
    transitions::{Action, transition},
};

impl Subscription {
    /// The end of what is running: of the trial, or of the billing month.
    #[must_use]
    pub fn period_end(&self, zone: &Zone, now: UnixMillis) -> UnixMillis {
        match &self.state {
            Standing::Trialing(trial) => trial.ends_at,
            _ => self.calendar(zone).month(now).end,
        }
    }

    pub(super) fn next_instant(&self) -> Option<UnixMillis> {
        let own = match &self.state {
            Standing::Trialing(trial) => Some(trial.ends_at),
            Standing::PastDue { grace_ends_at } => Some(*grace_ends_at),
            _ => None,
        };
        own.into_iter().chain(self.scheduled.as_ref().map(|scheduled| scheduled.at)).min()
    }

    /// What is due at an instant: first what was asked for, which may make an end of what would come by itself.
    pub(super) fn happen(&mut self, zone: &Zone, at: UnixMillis) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(scheduled) = self.scheduled.take_if(|scheduled| scheduled.at <= at) {
            events.extend(self.come_due(scheduled, zone));
        }
        match self.state.clone() {
            Standing::Trialing(trial) if trial.ends_at <= at => {
                events.push(Event::TrialEnded(trial.then.clone()));
                self.end_trial(trial, zone);
            }
            Standing::PastDue { grace_ends_at } if grace_ends_at <= at => {
                events.push(Event::GraceEnded);
                self.become_by_itself(Action::GraceEnds, Standing::Unpaid);
            }
            _ => {}
        }
        events
    }

    fn end_trial(&mut self, trial: TrialTerms, zone: &Zone) {
        let epoch = trial.epoch_after();
        match trial.then {
            None => self.become_by_itself(Action::TrialExpires, Standing::Expired),
            Some(plan) => self.change_plan((plan, None, trial.usage), zone, trial.ends_at, epoch),
        }
    }

    /// What happens by itself is in the table, too; a test holds it to that.
    fn become_by_itself(&mut self, action: Action, to: Standing) {
        debug_assert_eq!(transition(self.state.state(), action), Some(Some(to.state())));
        self.state = to;
    }

    fn come_due(&mut self, scheduled: Scheduled, zone: &Zone) -> Option<Event> {
        let Scheduled { at, version, what, .. } = scheduled;
        let from = self.state.state();
        match what {
            Upcoming::Plan { plan, anchor, usage } => {
                transition(from, Action::ScheduledPlan)?;
                self.change_plan((plan.clone(), anchor, usage), zone, at, version);
                Some(Event::PlanChanged(plan))
            }
            Upcoming::Cancel => {
                transition(from, Action::ScheduledCancel)?;
                self.state = Standing::Canceled { at, undo: None };
                Some(Event::Canceled)
            }
        }
    }

    /// Enters a state by an action of the table.
    pub(super) fn enter(&mut self, action: Action, to: Standing) -> Result<(), Refused> {
        let from = self.state.state();
        match transition(from, action) {
            Some(target) if target == Some(to.state()) => {
                self.state = to;
                Ok(())
            }
            _ => Err(Refused::State { from, action }),
        }
    }

    /// Comes to another plan. Who is behind with paying, or has paused, stays so; everybody else is active then.
    pub(super) fn change_plan(
        &mut self,
        (plan, anchor, usage): (PlanRef, Option<AnchorDay>, UsageRule),
        zone: &Zone,
        at: UnixMillis,
        version: Version,
    ) {
        let entitled = self.state.state().entitles();
        if let Some(anchor) = anchor.filter(|anchor| *anchor != self.anchor) {
            let after = self.calendar(zone).changed_at(zone.clone(), anchor, at);
            self.follow(&after, at);
        }
        let month = self.calendar(zone).month(at);
        let mixture = self.mixture.take();
        match usage {
            UsageRule::Keep => {}
            UsageRule::Reset => self.epoch = version,
            UsageRule::Prorate if entitled && plan != self.plan => {
                let parts = mixture.filter(|mixture| mixture.month == month).map(|mixture| mixture.parts);
                let mut parts = parts.unwrap_or_default();
                parts.push((self.plan.clone(), at));
                self.mixture = Some(Mixture { month, parts });
            }
            UsageRule::Prorate => {}
        }
        if plan.id != self.plan.id {
            self.since = at;
        }
        self.plan = plan;
        if !matches!(self.state, Standing::PastDue { .. } | Standing::Unpaid | Standing::Paused) {
            self.state = Standing::Active;
        }
    }

    /// Follows a calendar from `at` on: what was meant for the end of the month moves with it.
    pub(super) fn follow(&mut self, after: &BillingCalendar, at: UnixMillis) {
        let month = after.month(at);
        self.anchor = after.anchor;
        self.odd_month = after.odd_month;
        if self.rolls_at > at {
            self.rolls_at = month.end;
        }
        if let Some(mixture) = self.mixture.as_mut().filter(|mixture| mixture.month.start == month.start) {
            mixture.month = month;
        }
        let trial = matches!(self.state, Standing::Trialing(_));
        if let Some(scheduled) = self.scheduled.as_mut().filter(|change| change.at_period_end && !trial) {
            scheduled.at = month.end;
        }
    }

    fn instant(&self, when: When, zone: &Zone, at: UnixMillis) -> Result<UnixMillis, Refused> {
        match when {
            When::Now => Ok(at),
            When::PeriodEnd => Ok(self.period_end(zone, at)),
            When::At(then) if then <= at => Err(Refused::Passed(then)),
            When::At(then) => Ok(then),
        }
    }

    /// What becomes of the units used so far at a change: as was asked, else as the trial says that it ends.
    pub(super) fn usage_rule(&self, asked: Option<UsageRule>) -> UsageRule {
        asked.unwrap_or(match &self.state {
            Standing::Trialing(trial) => trial.usage,
            _ => UsageRule::Keep,
        })
    }

    pub(super) fn schedule(
        &mut self,
        asked: &Subscribe,
        zone: &Zone,
        at: UnixMillis,
        version: Version,
    ) -> Result<(), Refused> {
        let (from, action) = (self.state.state(), Action::Schedule);
        transition(from, action).ok_or(Refused::State { from, action })?;
        let usage = self.usage_rule(asked.usage);
        self.scheduled = Some(Scheduled {
            at: self.instant(asked.at, zone, at)?,
            at_period_end: asked.at == When::PeriodEnd,
            version,
            what: Upcoming::Plan { plan: asked.plan.clone(), anchor: asked.anchor, usage },
        });
        Ok(())
    }

    pub(super) fn cancel(
        &mut self,
        when: When,
        zone: &Zone,
        at: UnixMillis,
        version: Version,
    ) -> Result<(), Refused> {
        let action = if when == When::Now { Action::Cancel } else { Action::CancelLater };
        let from = self.state.state();
        transition(from, action).ok_or(Refused::State { from, action })?;
        if when == When::Now {
            let until = self.calendar(zone).month(at).end;
            let before = std::mem::replace(&mut self.state, Standing::Canceled { at, undo: None });
            self.state = Standing::Canceled { at, undo: Some((Box::new(before), until)) };
            self.scheduled = None;
            return Ok(());
        }
        self.scheduled = Some(Scheduled {
            at: self.instant(when, zone, at)?,
            at_period_end: when == When::PeriodEnd,
            version,
            what: Upcoming::Cancel,
        });
        Ok(())
    }

    pub(super) fn undo(&mut self, at: UnixMillis) -> Result<(), Refused> {
        if transition(self.state.state(), Action::Undo).is_some() && self.scheduled.take().is_some() {
            return Ok(());
        }
        match &mut self.state {
            Standing::Canceled { undo, .. } => {
                let (before, _) = undo.take_if(|(_, until)| at < *until).ok_or(Refused::NothingToUndo)?;
                self.state = *before;
                Ok(())
            }
            _ => Err(Refused::NothingToUndo),
        }
    }
}
