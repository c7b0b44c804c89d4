//! A slot: this node's share of one bucket, a word under one version of the limit.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    bucket::{Bucket, Outlook, Terms},
    file::{Booking, Record},
    refill::Refill,
    shared::lock,
    word::Totals,
};
use crate::{
    domain::{
        catalog::Stamp,
        period::{BillingCalendar, Period, Windows},
        time::{Monotonic, UnixMillis, Version},
        units::Units,
        warning::Marks,
    },
    ports::{Incarnation, SlotKey, SlotTotals},
};

/// One word with its name, its limit, and what became of its totals.
#[derive(Debug)]
pub(super) struct Slot {
    /// The word's number on this incarnation.
    pub seq: u64,
    pub period: Period,
    /// Tells the period after it.
    pub calendar: BillingCalendar,
    /// [`UNLIMITED`]: only counted.
    limit: u64,
    /// [`UNLIMITED`]: none.
    ceiling: u64,
    /// Of a source: the windows in which the meter is counted.
    pub counted: Windows,
    /// The counting to which its charges belong.
    pub counting: Version,
    /// The version of the tenant's facts from which the limit was compiled.
    pub version: Version,
    /// The version of the newest policies by which the limit was found to be this.
    policies: AtomicU64,
    /// On record in the ledger file.
    pub word: Record,
    pub bucket: Arc<Bucket>,
    pub refill: Mutex<Refill>,
    /// With fewer granted units left, more are asked for in the background; 0: they are not.
    pub low_water: AtomicU64,
    asked: AtomicBool,
    /// Units may have been granted that nobody here has heard of.
    unheard: AtomicBool,
    dirty: AtomicBool,
    waiting: AtomicU64,
    acked: Acked,
    seen_used: AtomicU64,
    seen_at: AtomicU64,
    marked: Mutex<Marked>,
}

/// What is told of its bucket, by the rights with which it was last found.
#[derive(Debug)]
struct Marked {
    marks: Option<Arc<Marks>>,
    /// By another catalog they may be others,
    catalog: Option<Stamp>,
    /// and from then on, though the rights are of the same version.
    until: UnixMillis,
}

/// No number of units.
const UNLIMITED: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Acked {
    used: AtomicU64,
    refunded: AtomicU64,
    sealed: AtomicBool,
    /// The most that was reported without an answer.
    unanswered_used: AtomicU64,
    unanswered_refunded: AtomicU64,
}

/// What a new slot is for.
pub(super) struct SlotTerms {
    pub period: Period,
    pub calendar: BillingCalendar,
    pub limit: Option<Units>,
    pub ceiling: Option<Units>,
    pub counted: Windows,
    pub counting: Version,
    pub version: Version,
    pub policies: Version,
    pub opened: Monotonic,
}

impl SlotTerms {
    pub const fn booking(&self) -> Booking {
        Booking { counted: self.counted, counting: self.counting }
    }
}

impl Slot {
    pub fn new(seq: u64, word: Record, terms: SlotTerms, bucket: &Arc<Bucket>) -> Arc<Self> {
        Arc::new(Self {
            seq,
            period: terms.period,
            calendar: terms.calendar,
            limit: terms.limit.map_or(UNLIMITED, Units::get),
            ceiling: terms.ceiling.map_or(UNLIMITED, Units::get),
            counted: terms.counted,
            counting: terms.counting,
            version: terms.version,
            policies: AtomicU64::new(terms.policies.0),
            word,
            bucket: Arc::clone(bucket),
            refill: Mutex::new(Refill::since(terms.opened)),
            low_water: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            unheard: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            acked: Acked::default(),
            seen_used: AtomicU64::new(0),
            seen_at: AtomicU64::new(terms.opened.0),
            marked: Mutex::new(Marked { marks: None, catalog: None, until: UnixMillis(i64::MIN) }),
        })
    }

    /// The version of the newest policies by which the limit was found to be this.
    pub fn policies(&self) -> Version {
        Version(self.policies.load(Ordering::Relaxed))
    }

    /// The limit is the same by policies of this version.
    pub fn confirmed_by(&self, policies: Version) {
        self.policies.fetch_max(policies.0, Ordering::Relaxed);
    }

    /// Learns what is told of its bucket by this catalog, and until when that holds, where it may be something else by now.
    /// Whether it is.
    pub fn mark(
        &self,
        catalog: Stamp,
        now: UnixMillis,
        marks: impl FnOnce() -> (Option<Marks>, UnixMillis),
    ) -> bool {
        let mut marked = lock(&self.marked);
        if marked.catalog == Some(catalog) && now < marked.until {
            return false;
        }
        let (marks, until) = marks();
        (marked.catalog, marked.until) = (Some(catalog), until);
        if marked.marks.as_deref() == marks.as_ref() {
            return false;
        }
        marked.marks = marks.map(Arc::new);
        true
    }

    /// The hard limit; `None`: only counted.
    pub fn limit(&self) -> Option<Units> {
        self.is_bounded().then_some(Units::saturating(self.limit))
    }

    /// See [`crate::ports::GrantRequest::ceiling`].
    pub fn ceiling(&self) -> Option<Units> {
        (self.ceiling != UNLIMITED).then_some(Units::saturating(self.ceiling))
    }

    /// Whether charges to it need grants.
    pub fn is_bounded(&self) -> bool {
        self.limit != UNLIMITED
    }

    /// The terms under which it asks for units; `None`: it needs none.
    pub fn terms(&self) -> Option<Terms> {
        self.limit().map(|limit| Terms { version: self.version, limit, ceiling: self.ceiling() })
    }

    /// Notes that a request for units has ended without an answer, or that an answer says what was granted in all.
    pub fn unheard(&self, unheard: bool) {
        self.unheard.store(unheard, Ordering::SeqCst);
    }

    /// Whether returning it gives something back to the database, as far as can be told here: a grant whose answer was lost
    /// is held by the slot all the same.
    pub fn has_rest(&self) -> bool {
        let more = || lock(&self.refill).believed.max(self.word.granted()) > self.word.totals().net();
        self.is_bounded() && (self.unheard.load(Ordering::SeqCst) || more())
    }

    /// Units used of the bucket, this slot to the unit.
    pub fn used(&self) -> u64 {
        self.bucket.used(self)
    }

    /// Units of the bucket that are used by what the database has left, where nobody holds any: then all others count as
    /// used, recorded or not. 0: that is not known.
    pub fn counted_out(&self, now: Monotonic) -> u64 {
        let Some(terms) = self.terms() else { return 0 };
        match self.bucket.outlook(terms, u64::MAX, now) {
            Outlook::Exhausted { left: Some(left) } => terms.limit.get().saturating_sub(left),
            Outlook::Exhausted { left: None } | Outlook::Recalling | Outlook::Unknown => 0,
        }
    }

    /// Notes that units will be asked for. Whether they may be: not for a sealed slot.
    pub fn ask(&self) -> bool {
        // Before the look at the seal: whoever seals the word and then finds nothing asked need not return anything.
        self.asked.store(true, Ordering::SeqCst);
        !self.word.is_sealed()
    }

    /// Whether the database may know of this slot, or has to.
    pub fn concerns_database(&self) -> bool {
        self.asked.load(Ordering::SeqCst) || self.word.totals().used > 0
    }

    /// Marks the totals as not recorded. Whether they were recorded before.
    pub fn soil(&self) -> bool {
        !self.dirty.load(Ordering::SeqCst) && !self.dirty.swap(true, Ordering::SeqCst)
    }

    /// Since when totals wait to be recorded; `now` begins it.
    pub fn waiting(&self, now: Monotonic) -> Monotonic {
        let begun = self.waiting.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
        Monotonic(begun.err().unwrap_or(now.0))
    }

    /// Takes the mark off, before the totals are read. Whether it was on.
    pub fn clean(&self) -> bool {
        self.dirty.swap(false, Ordering::SeqCst)
    }

    /// The totals to be recorded now. Each call is answered by one of [`Slot::acknowledge`].
    pub fn report(&self, incarnation: Incarnation, at: UnixMillis) -> SlotTotals {
        self.bucket.begin();
        let totals = self.word.totals();
        SlotTotals {
            slot: SlotKey { bucket: self.bucket.key.clone(), incarnation, seq: self.seq },
            end: self.period.end,
            granted: self.word.granted(),
            used: totals.used,
            refunded: totals.refunded,
            counted: self.counted,
            counting: self.counting,
            // What is recorded after the period was still used in it.
            at: at.min(UnixMillis(self.period.end.0.saturating_sub(1))),
            sealed: totals.sealed,
            marks: lock(&self.marked).marks.clone(),
        }
    }

    /// The database has recorded a report, or may have.
    pub fn acknowledge(&self, report: &SlotTotals, recorded: bool) {
        if recorded {
            self.acked.used.fetch_max(report.used, Ordering::SeqCst);
            self.acked.refunded.fetch_max(report.refunded, Ordering::SeqCst);
            let returned = report.sealed && !self.acked.sealed.swap(true, Ordering::SeqCst);
            if returned && self.has_rest() {
                self.bucket.free();
                self.bucket.forget_exhaustion();
            }
            self.waiting.store(0, Ordering::Relaxed);
        } else {
            self.acked.unanswered_used.fetch_max(report.used, Ordering::SeqCst);
            self.acked.unanswered_refunded.fetch_max(report.refunded, Ordering::SeqCst);
        }
        self.bucket.end();
    }

    /// Whether the database may have recorded more than it has acknowledged.
    pub fn is_unsure(&self) -> bool {
        let recorded = self.recorded();
        self.acked.unanswered_used.load(Ordering::SeqCst) > recorded.used
            || self.acked.unanswered_refunded.load(Ordering::SeqCst) > recorded.refunded
    }

    /// What the database has recorded.
    pub fn recorded(&self) -> Totals {
        let refunded = self.acked.refunded.load(Ordering::SeqCst);
        let used = self.acked.used.load(Ordering::SeqCst);
        Totals { used, refunded, sealed: self.acked.sealed.load(Ordering::SeqCst) }
    }

    /// Whether the database has recorded everything of this sealed slot, or need not.
    pub fn is_settled(&self) -> bool {
        !self.concerns_database() || self.recorded() == self.word.totals()
    }

    /// How long nothing has been charged, as far as the last calls of this have seen.
    pub fn idle(&self, now: Monotonic) -> std::time::Duration {
        let used = self.word.totals().used;
        if self.seen_used.swap(used, Ordering::Relaxed) != used {
            self.seen_at.store(now.0, Ordering::Relaxed);
        }
        now.since(Monotonic(self.seen_at.load(Ordering::Relaxed)))
    }
}
