//! A bucket as this node knows it: what was used of it outside of its open slot, and whether there is anything left.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence},
};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::{shared::lock, slot::Slot};
use crate::{
    domain::{
        time::{Monotonic, Version},
        units::Units,
    },
    ports::{BucketKey, Remainder},
};

/// The terms under which units are asked for: the database's word holds for these alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub version: Version,
    pub limit: Units,
    pub ceiling: Option<Units>,
}

/// Counts how often a source of a meter came to have units again that somebody had passed over: then charges return to
/// it.
#[derive(Debug, Default)]
pub(super) struct Stir(AtomicU64);

impl Stir {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Why the database need not be asked again for units of a bucket. It holds until somebody says otherwise.
#[derive(Debug)]
struct Exhausted {
    terms: Terms,
    freed: u64,
    left: u64,
    /// Until then others may be giving back what they hold.
    recall_ends: Monotonic,
}

/// What is known of the database's answer before it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Nothing: it is to be asked.
    Unknown,
    /// It has too few, but others were asked to give back what they hold.
    Recalling,
    /// It has too few.
    Exhausted {
        /// What it has, where no live node holds any more; `None` where some may.
        left: Option<u64>,
    },
}

/// The sealed part of a bucket.
#[derive(Debug, Default)]
struct Tally {
    /// What was used elsewhere was told by the database at least once.
    known: bool,
    /// Sealed slots of this incarnation that are not settled yet.
    sealed: Vec<Arc<Slot>>,
}

/// What this node knows of one bucket, over all slots that it had of it.
#[derive(Debug)]
pub(super) struct Bucket {
    pub key: BucketKey,
    tally: Mutex<Tally>,
    /// Units used by other incarnations, and of slots of this one that are settled and forgotten. Written under the lock of
    /// the tally.
    elsewhere: AtomicU64,
    /// The tally has sealed slots. Without any the lock need not be taken to know what was used.
    has_sealed: AtomicBool,
    exhausted: ArcSwapOption<Exhausted>,
    freed: AtomicU64,
    /// Until then somebody wants what is given back.
    wanted_until: AtomicU64,
    /// Told when units may have come back, or it is clear that none will.
    pub woken: Notify,
    /// Requests that wait for that.
    pub waiting: AtomicU32,
    watched: AtomicBool,
    /// Somebody has passed it over for want of units since it last had any.
    passed: AtomicBool,
    stir: Arc<Stir>,
    begun: AtomicU32,
    ended: AtomicU32,
    /// It is looked at from time to time what others have used of it.
    followed: AtomicBool,
    /// When what others have used of it was last learnt for sure.
    learnt: AtomicU64,
}

/// Tells whether anything was recorded of a bucket between two looks: equal ones without anything under way say no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    begun: u32,
    ended: u32,
}

impl Mark {
    /// Nothing is under way.
    pub fn is_quiet(self) -> bool {
        self.begun == self.ended
    }

    /// Only one thing has begun since `before`, when nothing was under way.
    pub fn follows(self, before: Self) -> bool {
        before.is_quiet() && self.begun == before.begun.wrapping_add(1)
    }

    /// The mark after so many more things, and no others, have begun and ended.
    pub const fn after(self, more: u32) -> Self {
        Self { begun: self.begun.wrapping_add(more), ended: self.ended.wrapping_add(more) }
    }
}

impl Bucket {
    pub fn new(key: BucketKey, stir: &Arc<Stir>) -> Arc<Self> {
        Arc::new(Self {
            key,
            tally: Mutex::default(),
            elsewhere: AtomicU64::new(0),
            has_sealed: AtomicBool::new(false),
            exhausted: ArcSwapOption::empty(),
            freed: AtomicU64::new(0),
            wanted_until: AtomicU64::new(0),
            woken: Notify::new(),
            waiting: AtomicU32::new(0),
            watched: AtomicBool::new(false),
            passed: AtomicBool::new(false),
            stir: Arc::clone(stir),
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            followed: AtomicBool::new(false),
            learnt: AtomicU64::new(0),
        })
    }

    /// Has it looked at what others use of it. Whether it was not before.
    pub fn follow(&self) -> bool {
        !self.followed.load(Ordering::Relaxed) && !self.followed.swap(true, Ordering::SeqCst)
    }

    /// Ends that.
    pub fn unfollow(&self) {
        self.followed.store(false, Ordering::SeqCst);
    }

    /// When what others have used of it was last learnt for sure; the beginning of time: never.
    pub fn learnt(&self) -> Monotonic {
        Monotonic(self.learnt.load(Ordering::Relaxed))
    }

    pub fn mark(&self) -> Mark {
        let ended = self.ended.load(Ordering::SeqCst);
        Mark { begun: self.begun.load(Ordering::SeqCst), ended }
    }

    /// Something of the bucket is on its way to the database.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// It has arrived, or not.
    pub fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Units came back to the database that it did not have when it last said that there are none.
    pub fn free(&self) {
        self.freed.fetch_add(1, Ordering::SeqCst);
        self.rouse();
    }

    /// Who asks for its meter's stir before this, and then finds nothing, hears of what comes after.
    pub fn pass(&self) {
        self.passed.store(true, Ordering::SeqCst);
    }

    /// There may be units again, here or at the database.
    pub fn rouse(&self) {
        if self.passed.load(Ordering::SeqCst) && self.passed.swap(false, Ordering::SeqCst) {
            self.stir.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// What counts the times at which it, or another source of its meter, came to have units again.
    pub const fn stir(&self) -> &Arc<Stir> {
        &self.stir
    }

    /// How often units came back; see [`Bucket::exhaust`].
    pub fn freed(&self) -> u64 {
        self.freed.load(Ordering::SeqCst)
    }

    /// The database had only `left` units when `freed` was noted. Until `recall_ends` others may give some back.
    pub fn exhaust(&self, terms: Terms, freed: u64, left: u64, recall_ends: Monotonic) {
        self.exhausted.store(Some(Arc::new(Exhausted { terms, freed, left, recall_ends })));
        if recall_ends == Monotonic(0) {
            self.woken.notify_waiters();
        }
    }

    /// What the database would say to another `need` units.
    pub fn outlook(&self, terms: Terms, need: u64, now: Monotonic) -> Outlook {
        match self.exhausted.load().as_deref() {
            Some(known) if known.terms == terms && known.freed == self.freed() && need > known.left => {
                match known.recall_ends {
                    Monotonic(0) => Outlook::Exhausted { left: Some(known.left) },
                    ends if now < ends => Outlook::Recalling,
                    _ => Outlook::Exhausted { left: None },
                }
            }
            _ => Outlook::Unknown,
        }
    }

    /// What the database had left when it last said that there is too little; 0: it has not said so.
    pub fn last_left(&self, terms: Terms) -> u64 {
        let known = self.exhausted.load();
        known.as_deref().filter(|known| known.terms == terms).map_or(0, |known| known.left)
    }

    /// The database's news: forgets that the bucket was exhausted where that may have ended, and ends the wait where
    /// nobody holds anything any more.
    pub fn hear(&self, news: Remainder) {
        let Some(known) = self.exhausted.load_full() else { return };
        if news.left > known.left {
            self.exhausted.store(None);
        } else if news.held == 0 && known.recall_ends > Monotonic(0) {
            let Exhausted { terms, freed, left, .. } = *known;
            self.exhausted.store(Some(Arc::new(Exhausted { terms, freed, left, recall_ends: Monotonic(0) })));
        } else {
            return;
        }
        self.rouse();
        self.woken.notify_waiters();
    }

    /// Asks anew, as units are held that can be recalled.
    pub fn forget_exhaustion(&self) {
        self.exhausted.store(None);
        self.rouse();
        self.woken.notify_waiters();
    }

    /// Somebody is refused for want of units of this bucket: until then, what comes free is returned at once.
    pub fn want(&self, until: Monotonic) {
        self.wanted_until.fetch_max(until.0, Ordering::SeqCst);
    }

    /// Whether somebody waits for what comes free.
    pub fn is_wanted(&self, now: Monotonic) -> bool {
        now.0 < self.wanted_until.load(Ordering::SeqCst)
    }

    /// Marks that a request was refused by what is remembered. Whether none was since the last look.
    pub fn watch(&self) -> bool {
        !self.watched.load(Ordering::Relaxed) && !self.watched.swap(true, Ordering::SeqCst)
    }

    /// Takes the mark off.
    pub fn unwatch(&self) {
        self.watched.store(false, Ordering::SeqCst);
    }

    /// Sealed slots of this incarnation that are not settled yet.
    pub fn sealed(&self) -> Vec<Arc<Slot>> {
        if self.has_sealed.load(Ordering::SeqCst) { lock(&self.tally).sealed.clone() } else { Vec::new() }
    }

    /// Lets go of its slots.
    pub fn forget(&self) {
        let forgotten = std::mem::take(&mut *lock(&self.tally));
        // They hold the bucket, and the records of the file.
        drop(forgotten);
    }

    /// Keeps a sealed slot until it is settled.
    pub fn keep_sealed(&self, slot: &Arc<Slot>) {
        let mut tally = lock(&self.tally);
        tally.sealed.push(Arc::clone(slot));
        self.has_sealed.store(true, Ordering::SeqCst);
    }

    /// Learns what the database knows as used elsewhere, unless `sure` says that something else was recorded meanwhile: then
    /// the difference is not that of one instant. It is asked with the tally locked, so that whatever is folded, or learnt
    /// by somebody else, comes wholly before that or wholly after this. Whether it was sure.
    pub fn learn_elsewhere(&self, elsewhere: u64, now: Monotonic, sure: impl FnOnce() -> bool) -> bool {
        let mut tally = lock(&self.tally);
        if !sure() {
            return false;
        }
        self.elsewhere.store(elsewhere, Ordering::SeqCst);
        self.learnt.store(now.0, Ordering::Relaxed);
        tally.known = true;
        true
    }

    /// The same, where nothing at all is known of it: what may not be quite right is better than nothing.
    pub fn guess_elsewhere(&self, elsewhere: u64) {
        let mut tally = lock(&self.tally);
        if !std::mem::replace(&mut tally.known, true) {
            self.elsewhere.store(elsewhere, Ordering::SeqCst);
        }
    }

    /// Forgets sealed slots to which nothing can happen any more. Whether there are none left.
    pub fn fold(&self) -> bool {
        let mut tally = lock(&self.tally);
        // With no other owner nobody holds a charge on the slot, and nobody can come to hold one: it is sealed, its cell has
        // another, and no tab refers to it.
        let done = |slot: &mut Arc<Slot>| {
            let alone = Arc::strong_count(slot) == 1;
            // Whoever let go of it last has given back before.
            fence(Ordering::Acquire);
            alone && slot.is_settled()
        };
        let gone: Vec<Arc<Slot>> = tally.sealed.extract_if(.., done).collect();
        let empty = tally.sealed.is_empty();
        if gone.is_empty() {
            return empty;
        }
        self.begin();
        // The database has it all: the records may be used again.
        gone.iter().for_each(|slot| slot.word.release());
        let net = gone.iter().fold(0, |sum: u64, slot| sum.saturating_add(slot.word.totals().net()));
        let elsewhere = self.elsewhere.load(Ordering::SeqCst);
        // In this order: who sees no sealed slots sees what became of them.
        self.elsewhere.store(elsewhere.saturating_add(net), Ordering::SeqCst);
        self.has_sealed.store(!empty, Ordering::SeqCst);
        drop(tally);
        self.end();
        empty
    }

    /// Units used of it, as far as known here, where `slot` is one of its slots.
    pub fn used(&self, slot: &Slot) -> u64 {
        let own = slot.word.totals().net();
        if !self.has_sealed.load(Ordering::SeqCst) {
            return self.elsewhere.load(Ordering::SeqCst).saturating_add(own);
        }
        let tally = lock(&self.tally);
        let elsewhere = self.elsewhere.load(Ordering::SeqCst);
        // That one may be sealed itself by now.
        let others = tally.sealed.iter().filter(|sealed| sealed.seq != slot.seq);
        others.fold(elsewhere.saturating_add(own), |sum, slot| sum.saturating_add(slot.word.totals().net()))
    }

    /// The same, where none of its slots is open.
    pub fn used_when_sealed(&self) -> u64 {
        let tally = lock(&self.tally);
        let elsewhere = self.elsewhere.load(Ordering::SeqCst);
        tally.sealed.iter().fold(elsewhere, |sum, slot| sum.saturating_add(slot.word.totals().net()))
    }
}
