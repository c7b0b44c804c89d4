//! Charges a request: by the tab of its desk, which is made where there is none, and waits for units where they are short.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Sleep;

use super::{
    bucket::{Bucket, Outlook},
    desk::Desk,
    refill::{self, Verdict},
    shared::Shared,
    slot::Slot,
    tab::Tab,
    take::{Take, Want},
};
use crate::{
    domain::{
        rights::Rights,
        route::Charge,
        time::{Monotonic, UnixMillis},
    },
    ports::{Answer, ChargeError, Hold},
};

/// Losing a word to a seal or to other requests so often in a row is no accident.
const ATTEMPTS: usize = 64;
/// A request does not wait for units for longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A request waits once for what others give back, and no longer.
pub(super) const RECALL: Duration = Duration::from_millis(100);
/// Where nothing is refused for want of units, a request does not wait longer for what is asked of the database.
const SOFT: Duration = Duration::from_millis(250);
/// Before units are asked for again that are withheld at present.
const LATER: Duration = Duration::from_millis(50);
/// How long the news of a change that the database already knows may take to come here: a poll and some.
const NEWS: Duration = Duration::from_millis(300);

/// See [`crate::ports::Ledger::charge`]. `at`: the monotonic clock, where it was read already.
#[inline]
pub(super) fn charge(
    shared: &Arc<Shared>,
    rights: &Arc<Rights>,
    charges: &[Charge],
    now: UnixMillis,
    at: Option<Monotonic>,
) -> Answer<Hold, ChargeError> {
    let Some(desk) = Desk::of(shared, rights) else { return Answer::Ready(Err(ChargeError::Unavailable)) };
    let first = desk.first();
    match first.as_ref().filter(|tab| tab.is_for(charges) && tab.serves(shared, now)) {
        Some(tab) => charge_by(shared, rights, tab, now, at),
        None => charge_otherwise(shared, rights, desk, charges, now, at),
    }
}

/// By another tab than the first, or a new one.
#[cold]
fn charge_otherwise(
    shared: &Arc<Shared>,
    rights: &Arc<Rights>,
    desk: &Desk,
    charges: &[Charge],
    now: UnixMillis,
    at: Option<Monotonic>,
) -> Answer<Hold, ChargeError> {
    let tab = match desk.other(charges).filter(|tab| tab.serves(shared, now)) {
        Some(tab) => tab,
        None => match opened(shared, rights, desk, charges, now) {
            Err(why) => return Answer::Ready(Err(why)),
            Ok(None) => return Answer::Ready(Ok(Hold::empty())),
            Ok(Some(tab)) => tab,
        },
    };
    charge_by(shared, rights, &tab, now, at)
}

/// A new tab, remembered for the next charges; `None`: these charge nothing.
fn opened(
    shared: &Arc<Shared>,
    rights: &Arc<Rights>,
    desk: &Desk,
    charges: &[Charge],
    now: UnixMillis,
) -> Result<Option<Arc<Tab>>, ChargeError> {
    let tab = Tab::open(shared, desk, rights, charges, now)?;
    tab.iter().for_each(|tab| desk.keep(tab));
    Ok(tab)
}

/// The same for charges that are hardly ever made again just so: by a tab that is made for them of another on the same words,
/// and not remembered, so that those which are stay.
pub(super) fn charge_once(
    shared: &Arc<Shared>,
    rights: &Arc<Rights>,
    charges: &[Charge],
    now: UnixMillis,
) -> Answer<Hold, ChargeError> {
    let Some(desk) = Desk::of(shared, rights) else { return Answer::Ready(Err(ChargeError::Unavailable)) };
    let known = desk.fitting(charges, |tab| tab.serves(shared, now));
    let tab = match known {
        Some(tab) if tab.is_for(charges) => tab,
        Some(tab) => tab.with(charges),
        // The next ones are made of it.
        None => match opened(shared, rights, desk, charges, now) {
            Err(why) => return Answer::Ready(Err(why)),
            Ok(None) => return Answer::Ready(Ok(Hold::empty())),
            Ok(Some(tab)) => tab,
        },
    };
    charge_by(shared, rights, &tab, now, None)
}

#[inline]
fn charge_by(
    shared: &Arc<Shared>,
    rights: &Arc<Rights>,
    tab: &Arc<Tab>,
    now: UnixMillis,
    at: Option<Monotonic>,
) -> Answer<Hold, ChargeError> {
    if let Err(refused) = tab.take_rates(|| at.unwrap_or_else(|| shared.monotonic())) {
        return Answer::Ready(Err(refused));
    }
    match tab.take(shared, false) {
        Take::Taken => Answer::Ready(Ok(Hold::new(Arc::clone(tab) as _))),
        unusual => go_on(shared, rights, tab, now, unusual),
    }
}

/// With the rates taken, and the words not.
#[cold]
fn go_on(
    shared: &Arc<Shared>,
    rights: &Arc<Rights>,
    tab: &Arc<Tab>,
    now: UnixMillis,
    first: Take,
) -> Answer<Hold, ChargeError> {
    let mut taking = Taking { tab: Arc::clone(tab), done: false };
    let attempt = match first {
        Take::Refused(why) => Attempt::Refused(why),
        Take::Short(short) => Attempt::Short(short),
        Take::Taken | Take::Again | Take::Moved => taking.attempt(shared, rights, now, false),
    };
    match taking.or_beyond(attempt, shared, rights, now) {
        Attempt::Taken => Answer::Ready(Ok(taking.finish())),
        Attempt::Refused(why) => Answer::Ready(Err(why)),
        Attempt::Short(short) => {
            Answer::Pending(Box::pin(wait(Arc::clone(shared), Arc::clone(rights), taking, now, short)))
        }
    }
}

enum Attempt {
    Taken,
    Refused(ChargeError),
    Short(Vec<Want>),
}

/// A charge under way: its rates are taken, and given back if it does not come to an end.
struct Taking {
    tab: Arc<Tab>,
    done: bool,
}

impl Drop for Taking {
    fn drop(&mut self) {
        if !self.done {
            self.tab.give_rates_back(usize::MAX);
        }
    }
}

impl Taking {
    fn finish(mut self) -> Hold {
        self.done = true;
        Hold::new(Arc::clone(&self.tab) as _)
    }

    /// `waited`: the request has waited for others to give back units, and does not again.
    fn attempt(&mut self, shared: &Arc<Shared>, rights: &Rights, now: UnixMillis, waited: bool) -> Attempt {
        for _ in 0..ATTEMPTS {
            match self.tab.take(shared, waited) {
                Take::Taken => return Attempt::Taken,
                Take::Again => {}
                Take::Refused(why) => return Attempt::Refused(why),
                Take::Short(short) => return Attempt::Short(short),
                Take::Moved => {
                    let Some(desk) = Desk::of(shared, rights) else { break };
                    match self.tab.again(shared, desk, rights, now) {
                        Ok(tab) => {
                            desk.keep(&tab);
                            self.tab = tab;
                        }
                        Err(why) => return Attempt::Refused(why),
                    }
                }
            }
        }
        Attempt::Refused(ChargeError::Unavailable)
    }

    /// Where the database cannot be asked, other sources may have what the first has not; and what has no limit is charged
    /// all the same.
    fn or_beyond(
        &mut self,
        attempt: Attempt,
        shared: &Arc<Shared>,
        rights: &Rights,
        now: UnixMillis,
    ) -> Attempt {
        if !matches!(attempt, Attempt::Refused(ChargeError::Unavailable)) || self.tab.purses.is_empty() {
            return attempt;
        }
        for _ in 0..ATTEMPTS {
            let Some(desk) = Desk::of(shared, rights) else { break };
            match self.tab.beyond(shared, desk, rights, now) {
                Ok(tab) => self.tab = tab,
                Err(why) => return Attempt::Refused(why),
            }
            match self.tab.take(shared, true) {
                Take::Taken => return Attempt::Taken,
                Take::Again | Take::Moved => {}
                Take::Refused(why) => return Attempt::Refused(why),
                Take::Short(_) => break,
            }
        }
        attempt
    }
}

async fn wait(
    shared: Arc<Shared>,
    rights: Arc<Rights>,
    mut taking: Taking,
    now: UnixMillis,
    mut short: Vec<Want>,
) -> Result<Hold, ChargeError> {
    let patience = if taking.tab.is_soft() { SOFT } else { PATIENCE };
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
    let attempt = match tokio::time::timeout(patience, charge).await {
        Ok(Ok(())) => Attempt::Taken,
        Ok(Err(why)) => Attempt::Refused(why),
        Err(_) => Attempt::Refused(ChargeError::Unavailable),
    };
    match taking.or_beyond(attempt, &shared, &rights, now) {
        Attempt::Taken => Ok(taking.finish()),
        Attempt::Refused(why) => Err(why),
        Attempt::Short(_) => Err(ChargeError::Unavailable),
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
    let freshness = &shared.world.freshness;
    // A slot that was opened under the older rights after the change had been applied is sealed by nobody.
    let heard = freshness.min_version(&rights.tenant) > slot.version;
    if !heard && !slot.word.is_sealed() {
        freshness.poll_soon();
        // Whether it came or not, the caller resolves again.
        let _ = tokio::time::timeout(NEWS, changed).await;
    }
}
