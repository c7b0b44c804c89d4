//! Charges a request: the rates first, then every window of every meter, all or nothing.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Sleep;

use super::{
    account::Desk,
    bucket::{Bucket, Outlook},
    cell::Wish,
    hold::{Entry, Line, Lines, TakenRate},
    refill::{self, Verdict},
    shared::{Shared, lock},
    slot::Slot,
    word::Spend,
};
use crate::{
    domain::{
        denial::Denial,
        period::{Window, Windows},
        rights::{Entitlement, Rights},
        route::Charge,
        time::UnixMillis,
        units::Units,
    },
    ports::{Answer, ChargeError, Hold},
};

/// Losing a word to a seal or to other requests so often in a row is no accident.
const ATTEMPTS: usize = 64;
/// A request does not wait for units for longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A request waits once for what others give back, and no longer.
pub(super) const RECALL: Duration = Duration::from_millis(100);
/// Requests that may wait for that, a bucket.
const RECALL_WAITERS: u64 = 256;
/// Before units are asked for again that are withheld at present.
const LATER: Duration = Duration::from_millis(50);
/// How long the news of a change that the database already knows may take to come here: a poll and some.
const NEWS: Duration = Duration::from_millis(300);

enum Attempt {
    Taken,
    Refused(ChargeError),
    Short(Vec<Want>),
}

/// What a word is short of.
struct Want {
    slot: Arc<Slot>,
    need: u64,
    /// The database has too few; others were asked to give theirs back.
    recalling: bool,
}

/// See [`crate::ports::Ledger::charge`].
pub(super) fn charge(
    shared: &Arc<Shared>,
    rights: &Arc<Rights>,
    charges: &[Charge],
    now: UnixMillis,
) -> Answer<Hold, ChargeError> {
    let mut taking = match Taking::begin(shared, rights, charges) {
        Ok(taking) => taking,
        Err(refused) => return Answer::Ready(Err(refused)),
    };
    match taking.attempt(shared, rights, now, false) {
        Attempt::Taken => Answer::Ready(Ok(taking.finish(shared))),
        Attempt::Refused(why) => Answer::Ready(Err(why)),
        Attempt::Short(short) => {
            Answer::Pending(Box::pin(wait(Arc::clone(shared), Arc::clone(rights), taking, now, short)))
        }
    }
}

/// A charge under way: its rates are taken, and given back if it does not come to an end.
struct Taking(Lines);

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.release_rates();
    }
}

fn entitlement(rights: &Rights) -> Result<&Entitlement, ChargeError> {
    rights.entitlement.as_ref().ok_or_else(|| Denial::SubscriptionInactive.into())
}

impl Taking {
    fn begin(shared: &Shared, rights: &Rights, charges: &[Charge]) -> Result<Self, ChargeError> {
        let entitlement = entitlement(rights)?;
        let desk = Desk::of(shared, rights).ok_or(ChargeError::Unavailable)?;
        let mut taking = Self(Lines::default());
        let mut monotonic = None;
        for charge in charges {
            let meter = desk.meter(shared, rights, charge.meter).ok_or(ChargeError::Outdated)?;
            let terms = entitlement.terms(charge.meter);
            if terms.quota.is_none() {
                return Err(Denial::MeterNotInPlan { meter: meter.meter.clone() }.into());
            }
            let rate = terms
                .rate
                .map(|plan| TakenRate { plan, share: plan.shared_by(shared.world.freshness.live_nodes()) });
            if let Some(rate) = &rate {
                let now = *monotonic.get_or_insert_with(|| shared.monotonic());
                meter.rate.take(&rate.share, charge.units, now).map_err(|retry_after| {
                    Denial::RateLimited { meter: meter.meter.clone(), rate: rate.plan, retry_after }
                })?;
            }
            taking.0.push(Line {
                ix: charge.meter,
                meter: Arc::clone(meter),
                units: charge.units,
                rate,
                slots: [const { None }; 4],
            });
        }
        Ok(taking)
    }

    fn finish(mut self, shared: &Arc<Shared>) -> Hold {
        Hold::new(Entry::new(shared, std::mem::take(&mut self.0)))
    }

    /// `waited`: the request has waited for others to give back units, and does not again.
    fn attempt(&mut self, shared: &Arc<Shared>, rights: &Rights, now: UnixMillis, waited: bool) -> Attempt {
        for _ in 0..ATTEMPTS {
            match self.look(shared, rights, now, waited) {
                Ok(Look::Fits) => {}
                Ok(Look::Moved) => continue,
                Ok(Look::Short(short)) => return Attempt::Short(short),
                Err(why) => return Attempt::Refused(why),
            }
            if self.0.take(shared) {
                return Attempt::Taken;
            }
        }
        Attempt::Refused(ChargeError::Unavailable)
    }

    /// Finds every word and asks whether it would do, before any is charged.
    fn look(
        &mut self,
        shared: &Shared,
        rights: &Rights,
        now: UnixMillis,
        waited: bool,
    ) -> Result<Look, ChargeError> {
        let entitlement = entitlement(rights)?;
        let mut short = Vec::new();
        for window in Window::ALL {
            for line in self.0.iter_mut() {
                let place = &mut line.slots[window as usize];
                *place = None;
                let Some(quota) = entitlement.terms(line.ix).quota.filter(|quota| quota.counts(window))
                else {
                    continue;
                };
                let counted = match window {
                    Window::Month => Windows::of(|window| quota.counts(window)),
                    Window::Hour | Window::Day | Window::Week => Windows::default(),
                };
                let wish = Wish { rights, entitlement, limit: quota.hard_limit(window), counted, now };
                let owner = (&line.meter.tenant, &line.meter.meter);
                let slot = line.meter.cell(window).slot(shared, owner, wish)?;
                match slot.word.peek(line.units.get(), slot.is_bounded()) {
                    Spend::Taken { .. } => {}
                    Spend::Sealed => return Ok(Look::Moved),
                    Spend::Full => {
                        // It has counted as far as it can: the next one goes on. A new one that is full at once has been
                        // asked for more than any can count.
                        if slot.word.totals().used == 0 || !slot.word.seal() {
                            return Err(ChargeError::Unavailable);
                        }
                        return Ok(Look::Moved);
                    }
                    Spend::Short { need } => {
                        let recalling = ask_or_refuse(shared, &slot, line.units, need, waited)?;
                        short.push(Want { slot: Arc::clone(&slot), need, recalling });
                    }
                }
                *place = Some(slot);
            }
        }
        Ok(if short.is_empty() { Look::Fits } else { Look::Short(short) })
    }
}

enum Look {
    Fits,
    Moved,
    Short(Vec<Want>),
}

/// Refuses where it is of no use to ask the database for more units. Otherwise whether it was asked, and others are giving
/// theirs back.
fn ask_or_refuse(
    shared: &Shared,
    slot: &Slot,
    units: Units,
    need: u64,
    waited: bool,
) -> Result<bool, ChargeError> {
    let Some(limit) = slot.limit else { return Ok(false) };
    if units > limit {
        return Err(exhausted(slot, limit, None).into());
    }
    let now = shared.monotonic();
    let Some(terms) = slot.terms() else { return Ok(false) };
    match slot.bucket.outlook(terms, need, now) {
        Outlook::Recalling if !waited && slot.bucket.waiting.load(Ordering::Relaxed) < RECALL_WAITERS => {
            return Ok(true);
        }
        known @ (Outlook::Recalling | Outlook::Exhausted { .. }) => {
            if slot.bucket.watch() {
                lock(&shared.watched).push(Arc::clone(&slot.bucket));
            }
            let left = if let Outlook::Exhausted { left } = known { left } else { None };
            return Err(exhausted(slot, limit, left).into());
        }
        Outlook::Unknown => {}
    }
    if shared.outage.is_on(now) || shared.is_adrift(now) {
        return Err(ChargeError::Unavailable);
    }
    Ok(false)
}

/// `left`: what the database has left, where nobody holds any: then all others count as used, recorded or not.
fn exhausted(slot: &Slot, limit: Units, left: Option<u64>) -> Denial {
    let counted = left.map_or(0, |left| limit.get().saturating_sub(left));

    Denial::QuotaExhausted {
        meter: slot.key.bucket.meter.clone(),
        window: slot.key.bucket.window,
        limit,
        used: Units::saturating(slot.used().max(counted)),
        period: slot.period,
    }
}

async fn wait(
    shared: Arc<Shared>,
    rights: Arc<Rights>,
    mut taking: Taking,
    now: UnixMillis,
    mut short: Vec<Want>,
) -> Result<Hold, ChargeError> {
    let charge = async {
        let mut recall = None;
        loop {
            let waited = gather(&shared, &rights, short, &mut recall).await?;
            match taking.attempt(&shared, &rights, now, waited) {
                Attempt::Taken => return Ok(()),
                Attempt::Refused(why) => return Err(why),
                Attempt::Short(still) => short = still,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, charge).await {
        Ok(Ok(())) => Ok(taking.finish(&shared)),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(ChargeError::Unavailable),
    }
}

/// The end of the one wait for others.
type RecallEnds = Pin<Box<Sleep>>;

/// Asks for what each slot is short of, and waits for all answers. Whether the wait for others is over.
async fn gather(
    shared: &Arc<Shared>,
    rights: &Rights,
    short: Vec<Want>,
    recall: &mut Option<RecallEnds>,
) -> Result<bool, ChargeError> {
    let mut answers = Vec::with_capacity(short.len());
    let mut recalling = Vec::new();
    for Want { slot, need, recalling: others } in short {
        if others {
            recalling.push(slot);
            continue;
        }
        let hear = refill::join(shared, &slot, need).ok_or(ChargeError::Unavailable)?;
        answers.push((slot, hear));
    }
    for (slot, hear) in answers {
        match hear.await {
            Ok(Verdict::Again) => {}
            Ok(Verdict::Later) => {
                // It may be this node's own report that is missing.
                shared.world.freshness.poll_soon();
                tokio::time::sleep(LATER).await;
            }
            Ok(Verdict::Unavailable) | Err(_) => return Err(ChargeError::Unavailable),
            Ok(Verdict::Stale) => {
                news(shared, rights, &slot).await;
                return Err(ChargeError::Outdated);
            }
        }
    }
    if let Some(slot) = recalling.first() {
        let ends = recall.get_or_insert_with(|| Box::pin(tokio::time::sleep(RECALL)));
        recalled(shared, slot, ends).await;
    }
    Ok(recall.as_ref().is_some_and(|ends| ends.is_elapsed()))
}

/// One who waits for units of a bucket that others hold.
struct Waiter<'a>(&'a Bucket);

impl<'a> Waiter<'a> {
    fn of(bucket: &'a Bucket) -> Self {
        bucket.waiting.fetch_add(1, Ordering::Relaxed);
        Self(bucket)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until others have given back what they held, or hold nothing, or the time is up.
async fn recalled(shared: &Shared, slot: &Slot, ends: &mut RecallEnds) {
    let _waiter = Waiter::of(&slot.bucket);
    let mut woken = std::pin::pin!(slot.bucket.woken.notified());
    // Registered before the look: the news can come in between.
    woken.as_mut().enable();
    let Some(terms) = slot.terms() else { return };
    if slot.word.is_sealed() || slot.bucket.outlook(terms, u64::MAX, shared.monotonic()) != Outlook::Recalling
    {
        return;
    }
    tokio::select! {
        biased;
        () = woken => {}
        () = ends => {}
    }
}

/// Waits for the change that outdated the slot to be applied here (which seals it), so that resolving the rights again
/// finds the new ones.
async fn news(shared: &Shared, rights: &Rights, slot: &Slot) {
    let Some(desk) = Desk::of(shared, rights) else { return };
    let mut changed = std::pin::pin!(desk.account.changed.notified());
    // Registered before the look at the seal: the change can come in between.
    changed.as_mut().enable();
    if !slot.word.is_sealed() {
        // Whether it came or not, the caller resolves again.
        let _ = tokio::time::timeout(NEWS, changed).await;
    }
}
