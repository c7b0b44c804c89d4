//! What becomes of a tenant: by a change that somebody asks for, and by itself at instants that are known beforehand.
//!
//! Both are pure. Every node knows the instants, so that they are in force on each of them without any message; that
//! somebody later writes down what has happened ([`Tenant::advance`] in a transaction) changes nothing but the record.

mod mirror;
mod subscription;
#[cfg(test)]
mod tests;
mod way;

use super::{
    addon::Attached,
    command::{Change, NewGrant, Subscribe, TrialOffer, When},
    grant::{Grant, GrantSource, MOST_GRANTS, ROLLOVER_PRIORITY},
    id::{AddonId, GrantId, MeterId, PlanId},
    period::{AnchorDay, Period},
    plan::PlanRef,
    subscription::{Standing, Subscription, TrialTerms},
    tenant::Tenant,
    time::{UnixMillis, Version},
    transitions::{Action, State, TRANSITIONS, transition},
    units::Units,
};

/// Something that happened by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When it came into force.
    pub at: UnixMillis,
    /// What.
    pub what: Event,
}

/// What can happen by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A trial ended, and this plan followed; `None`: nothing did.
    TrialEnded(Option<PlanRef>),
    /// The grace after a failed payment ended.
    GraceEnded,
    /// A scheduled plan came into force.
    PlanChanged(PlanRef),
    /// A scheduled cancellation came into force.
    Canceled,
    /// A grant expired.
    GrantExpired(GrantId),
    /// An add-on ended.
    AddonEnded(AddonId),
}

impl Event {
    /// The word used in the audit log.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TrialEnded(_) => "trial.ended",
            Self::GraceEnded => "grace.ended",
            Self::PlanChanged(_) => "subscription.changed",
            Self::Canceled => "subscription.canceled",
            Self::GrantExpired(_) => "grant.expired",
            Self::AddonEnded(_) => "addon.ended",
        }
    }
}

/// Why a change cannot be made. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No transition of [`TRANSITIONS`] does it.
    #[error("the subscription is `{}`: it cannot {}; {}", from.as_str(), action.as_str(), possible(*from))]
    State {
        /// The state that it is in.
        from: State,
        /// What was asked.
        action: Action,
    },
    /// Nothing is scheduled, and no cancellation can be taken back.
    #[error(
        "there is nothing to undo: no change is scheduled, and no cancellation of this month can be taken back"
    )]
    NothingToUndo,
    /// The plan was tried before.
    #[error(
        "plan `{0}` was tried before: a tenant may try a plan once, unless the call says `\"trial_again\": true`"
    )]
    TriedBefore(PlanId),
    /// The instant has passed.
    #[error("{0} has passed: expected an instant that is still to come")]
    Passed(UnixMillis),
    /// The tenant has no such grant in force.
    #[error("there is no grant `{0}` in force")]
    NoGrant(GrantId),
    /// The tenant does not have the add-on.
    #[error("the tenant does not have the add-on `{0}`")]
    NoAddon(AddonId),
    /// One more grant than a tenant may have.
    #[error("{MOST_GRANTS} grants are in force, and a tenant may have no more: void one that is used up")]
    TooManyGrants,
}

/// What is possible in a state by a call, in words.
fn possible(state: State) -> String {
    use Action as A;
    let by_itself = [
        A::TrialEnds,
        A::TrialExpires,
        A::GraceEnds,
        A::ScheduledPlan,
        A::ScheduledCancel,
        A::Undo,
        A::Restore,
    ];
    let words: Vec<&str> = TRANSITIONS
        .iter()
        .filter(|(from, by, _)| *from == state && !by_itself.contains(by))
        .map(|(_, by, _)| by.as_str())
        .collect();
    format!("possible is: {}", words.join(", "))
}

impl Tenant {
    /// The tenant as it is at `now`: with everything that has happened by itself until then.
    #[must_use]
    pub fn at(&self, now: UnixMillis) -> Self {
        let mut then = self.clone();
        then.advance(now);
        then
    }

    /// The next instant at which something happens by itself.
    #[must_use]
    pub fn next_instant(&self) -> Option<UnixMillis> {
        let subscription = self.subscription.iter().filter_map(Subscription::next_instant);
        let grants = self.grants.iter().filter_map(|grant| grant.expires_at);
        let addons = self.addons.iter().filter_map(|addon| addon.ends_at);
        subscription.chain(grants).chain(addons).min()
    }

    /// Lets everything happen that is due at `now`, in its order. Repeated, it does nothing.
    pub fn advance(&mut self, now: UnixMillis) -> Vec<Happened> {
        let mut happened = Vec::new();
        while let Some(at) = self.next_instant().filter(|at| *at <= now) {
            let events = self.happen(at);
            happened.extend(events.into_iter().map(|what| Happened { at, what }));
        }
        if let Some(subscription) = &mut self.subscription {
            subscription.odd_month.take_if(|month| month.end <= now);
            subscription.mixture.take_if(|mixture| mixture.month.end <= now);
        }
        happened
    }

    /// What happens at one instant, which is the next.
    fn happen(&mut self, at: UnixMillis) -> Vec<Event> {
        let mut events = Vec::new();
        let zone = self.zone.clone();
        if let Some(subscription) = &mut self.subscription {
            events.extend(subscription.happen(&zone, at));
        }
        self.grants.retain(|grant| {
            let over = grant.expires_at.is_some_and(|end| end <= at);
            if over {
                events.push(Event::GrantExpired(grant.id.clone()));
            }
            !over
        });
        self.addons.retain(|addon| {
            let over = addon.ends_at.is_some_and(|end| end <= at);
            if over {
                events.push(Event::AddonEnded(addon.addon.clone()));
            }
            !over
        });
        events
    }

    /// Makes a change at an instant, as the change of this version. Everything that is due by then happens before; what
    /// that was is the answer. Keys and the tenant's own end are not its facts; what is rolled over is told by
    /// [`Tenant::roll_over`].
    ///
    /// # Errors
    /// [`Refused`]; the tenant is then to be thrown away.
    pub fn apply(
        &mut self,
        change: &Change,
        at: UnixMillis,
        version: Version,
    ) -> Result<Vec<Happened>, Refused> {
        let mut happened = self.advance(at);
        match change {
            Change::PutTenant { name, zone, attributes } => {
                if name.is_some() {
                    self.name.clone_from(name);
                }
                if let Some(attributes) = attributes {
                    self.attributes = attributes.shared();
                }
                if let Some(zone) = zone {
                    if let Some(subscription) = &mut self.subscription {
                        let after = subscription.calendar(&self.zone).changed_at(
                            zone.clone(),
                            subscription.anchor,
                            at,
                        );
                        subscription.follow(&after, at);
                    }
                    self.zone = zone.clone();
                }
            }
            Change::Enroll { plan } => {
                self.subscribe(&Subscribe::to(plan.clone()), at, version)?;
            }
            Change::Suspend => self.suspended = true,
            Change::Resume => self.suspended = false,
            Change::Subscribe(asked) => self.subscribe(asked, at, version)?,
            Change::Cancel(when) => {
                let zone = self.zone.clone();
                let action = if *when == When::Now { Action::Cancel } else { Action::CancelLater };
                self.living(action)?.cancel(*when, &zone, at, version)?;
            }
            Change::Undo => self.subscription.as_mut().ok_or(Refused::NothingToUndo)?.undo(at)?,
            Change::Pause => self.living(Action::Pause)?.enter(Action::Pause, Standing::Paused)?,
            Change::Continue => self.living(Action::Resume)?.enter(Action::Resume, Standing::Active)?,
            Change::Paid => self.living(Action::Paid)?.enter(Action::Paid, Standing::Active)?,
            Change::PastDue { grace_days } => {
                let grace_ends_at = self.zone.plus_days(at, *grace_days);
                self.living(Action::PastDue)?.enter(Action::PastDue, Standing::PastDue { grace_ends_at })?;
            }
            Change::SetOverrides(overrides) => self.overrides = overrides.clone(),
            Change::Grant(new) => self.grant(new, at, version)?,
            Change::VoidGrant(id) => {
                let place = self.grants.iter().position(|grant| grant.id == *id);
                self.grants.remove(place.ok_or_else(|| Refused::NoGrant(id.clone()))?);
            }
            Change::Attach { addon, quantity } => self.attach(addon, *quantity, at),
            Change::Detach { addon, at: when } => self.detach(addon, *when, at)?,
            Change::MoveVersion { to } => {
                if let Some(subscription) = self.subscription.as_mut().filter(|s| s.plan.id == to.id) {
                    subscription.plan.version = to.version;
                }
            }
            Change::Mirror(mirror) => self.reflect(mirror, at, version),
            Change::Advance
            | Change::RollOver { .. }
            | Change::DeleteTenant
            | Change::CreateKey { .. }
            | Change::RevokeKey(_) => {}
        }
        // A grace of no days is over at once.
        happened.extend(self.advance(at));
        self.version = version;
        Ok(happened)
    }

    /// The month whose unused units are to be rolled over at `now`, and its counting; `None`: it has not ended.
    #[must_use]
    pub fn rollover_due(&self, now: UnixMillis) -> Option<(Period, Version)> {
        let subscription = self.subscription.as_ref().filter(|subscription| subscription.rolls_at <= now)?;
        let calendar = subscription.calendar(&self.zone);
        Some((calendar.month(UnixMillis(subscription.rolls_at.0 - 1)), subscription.epoch))
    }

    /// Gives these unused units of [`Tenant::rollover_due`]'s month for the month after it. Where that has passed, too,
    /// nothing is given.
    pub fn roll_over(&mut self, unused: &[(MeterId, Units)], at: UnixMillis, version: Version) {
        let Some(subscription) = self.subscription.as_mut().filter(|s| s.rolls_at <= at) else { return };
        let calendar = subscription.calendar(&self.zone);
        let next = calendar.month(subscription.rolls_at);
        subscription.rolls_at = calendar.month(at).end;
        self.version = version;
        if !next.contains(at) {
            return;
        }
        for (number, (meter, units)) in unused.iter().filter(|(_, units)| *units > Units::ZERO).enumerate() {
            let Ok(id) = GrantId::parse(&format!("r{version}.{number}")) else { continue };
            self.grants.push(Grant {
                id,
                number: version,
                meter: meter.clone(),
                units: *units,
                priority: ROLLOVER_PRIORITY,
                since: next.start,
                expires_at: Some(next.end),
                recurring: false,
                reason: None,
                source: GrantSource::Rollover,
            });
        }
    }

    fn living(&mut self, action: Action) -> Result<&mut Subscription, Refused> {
        self.subscription.as_mut().ok_or(Refused::State { from: State::None, action })
    }

    fn subscribe(&mut self, asked: &Subscribe, at: UnixMillis, version: Version) -> Result<(), Refused> {
        if asked.at != When::Now {
            let zone = self.zone.clone();
            return self.living(Action::Schedule)?.schedule(asked, &zone, at, version);
        }
        let trial = self.trial(asked, at, version)?;
        let action = if trial.is_some() { Action::Try } else { Action::Subscribe };
        let from = self.state();
        if transition(from, action).is_none() {
            return Err(Refused::State { from, action });
        }
        match &mut self.subscription {
            None => {
                let anchor = asked.anchor.unwrap_or_else(|| AnchorDay::of(at, &self.zone));
                let mut made = Subscription::active(asked.plan.clone(), anchor, version, at);
                made.rolls_at = made.calendar(&self.zone).month(at).end;
                self.subscription = Some(made);
            }
            Some(subscription) => {
                let change = (asked.plan.clone(), asked.anchor, subscription.usage_rule(asked.usage));
                subscription.change_plan(change, &self.zone, at, version);
                subscription.scheduled = None;
            }
        }
        if let (Some(trial), Some(subscription)) = (trial, &mut self.subscription) {
            self.tried.insert(asked.plan.id.clone());
            subscription.state = Standing::Trialing(trial);
        }
        Ok(())
    }

    /// The trial to begin with. The plan's own comes by itself to a tenant's first plan.
    fn trial(
        &self,
        asked: &Subscribe,
        at: UnixMillis,
        version: Version,
    ) -> Result<Option<TrialTerms>, Refused> {
        let Some(TrialOffer { days, then, usage, asked: by_call, again }) = &asked.trial else {
            return Ok(None);
        };
        let tried = self.tried.contains(&asked.plan.id) && !again;
        if tried && *by_call {
            return Err(Refused::TriedBefore(asked.plan.id.clone()));
        }
        if tried || (!by_call && self.subscription.is_some()) {
            return Ok(None);
        }
        let ends_at = self.zone.plus_days(at, *days);
        Ok(Some(TrialTerms { ends_at, then: then.clone(), usage: *usage, version }))
    }

    fn grant(&mut self, new: &NewGrant, at: UnixMillis, version: Version) -> Result<(), Refused> {
        if let Some(passed) = new.expires_at.filter(|expires| *expires <= at) {
            return Err(Refused::Passed(passed));
        }
        if self.grants.len() >= MOST_GRANTS {
            return Err(Refused::TooManyGrants);
        }
        let Ok(id) = GrantId::parse(&format!("g{version}")) else { return Ok(()) };
        self.grants.push(Grant {
            id,
            number: version,
            meter: new.meter.clone(),
            units: new.units,
            priority: new.priority,
            since: at,
            expires_at: new.expires_at,
            recurring: new.recurring,
            reason: new.reason.clone(),
            source: GrantSource::Given,
        });
        Ok(())
    }

    fn attach(&mut self, addon: &AddonId, quantity: u32, at: UnixMillis) {
        match self.addons.iter_mut().find(|attached| attached.addon == *addon) {
            Some(attached) => {
                attached.quantity = quantity;
                attached.ends_at = None;
            }
            None => {
                self.addons.push(Attached { addon: addon.clone(), quantity, since: at, ends_at: None });
                self.addons.sort_by(|a, b| a.addon.cmp(&b.addon));
            }
        }
    }

    fn detach(&mut self, addon: &AddonId, when: When, at: UnixMillis) -> Result<(), Refused> {
        let missing = || Refused::NoAddon(addon.clone());
        let ends = match (when, &self.subscription) {
            (When::Now, _) | (When::PeriodEnd, None) => at,
            (When::PeriodEnd, Some(subscription)) => subscription.period_end(&self.zone, at),
            (When::At(then), _) if then <= at => return Err(Refused::Passed(then)),
            (When::At(then), _) => then,
        };
        self.addons.iter_mut().find(|attached| attached.addon == *addon).ok_or_else(missing)?.ends_at =
            Some(ends);
        Ok(())
    }
}
