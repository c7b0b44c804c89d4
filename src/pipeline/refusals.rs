//! What was refused in the last minutes, kept in memory: whoever has a refused request's id can ask why.
//!
//! Each worker writes into a ring of its own, so that an exhausted tenant that hammers at its limit writes no memory that
//! another core reads, and allocates nothing: texts are copied into their places. A ring holds no catalog and no rights.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Method, Uri};

use super::{
    context::Context,
    problem,
    request::{ForwardError, Rejection, Subject},
};
use crate::domain::{
    id::PlanId,
    time::{Monotonic, UnixMillis, Version},
};

/// How long a refusal is told of.
pub const KEPT_FOR: Duration = Duration::from_secs(600);

/// Refusals that one worker keeps at the most.
const MOST: usize = 4096;
/// And at the least, however many workers there are.
const LEAST: usize = 32;
/// What all workers' rings may take together.
const MEMORY: usize = 4 << 20;

/// Bytes that are kept of each text: the request's id, tenant, plan, method, path, route and the policies' digest.
const LENGTHS: [usize; 7] = [128, 63, 63, 16, 128, 96, 64];
const LONGEST: usize = {
    let (mut sum, mut at) = (0, 0);
    while at < LENGTHS.len() {
        sum += LENGTHS[at];
        at += 1;
    }
    sum
};
/// What is kept of the reason why the upstream could not be reached.
const LONGEST_REASON: usize = 200;

/// The refusals of all workers of a node: for those who ask.
#[derive(Debug)]
pub struct Refusals {
    each: usize,
    rings: Mutex<Vec<Arc<RefusalRing>>>,
}

/// A refusal that is remembered. Texts may be cut.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// When the request arrived.
    pub at: UnixMillis,
    /// The same instant on the clock that never goes back: the order of refusals by several workers.
    pub since: Monotonic,
    /// Its id, as the client was told.
    pub request_id: String,
    /// Whose it was, as far as that was known.
    pub tenant: Option<String>,
    /// The tenant's plan.
    pub plan: Option<String>,
    /// The method; `None`: the request was forwarded before it failed.
    pub method: Option<String>,
    /// The path without its query; `None` as for the method.
    pub path: Option<String>,
    /// The route.
    pub route: Option<String>,
    /// The digest of the policies that decided.
    pub digest: String,
    /// The version of the tenant's facts, where it was decided by them.
    pub version: Option<Version>,
    /// Why it was refused.
    pub why: Rejection,
}

/// Which refusals are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of this tenant alone.
    pub tenant: Option<String>,
    /// With this code alone.
    pub code: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Remembered {
    /// The problem's code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        problem::code(&self.why)
    }
}

impl Refusals {
    /// For a node of so many workers.
    #[must_use]
    pub fn of_workers(workers: usize) -> Self {
        let each = MEMORY / (workers.max(1) * (LONGEST + size_of::<Entry>()));
        Self { each: each.clamp(LEAST, MOST), rings: Mutex::default() }
    }

    /// A ring for one more worker.
    #[must_use]
    pub fn ring(&self) -> Arc<RefusalRing> {
        let ring = Arc::new(RefusalRing::of(self.each));
        self.rings().push(Arc::clone(&ring));
        ring
    }

    fn rings(&self) -> MutexGuard<'_, Vec<Arc<RefusalRing>>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal of this request, if it is still remembered.
    #[must_use]
    pub fn find(&self, request_id: &str, now: Monotonic) -> Option<Remembered> {
        let is_it = |ring: &Ring, place: usize| ring.text(place, 0) == request_id.as_bytes();
        let found = self.rings().iter().filter_map(|ring| ring.lock().newest(now, 1, is_it).pop()).collect();
        newest(found, 1).pop()
    }

    /// The last refusals, the newest first.
    #[must_use]
    pub fn recent(&self, wanted: &Wanted, now: Monotonic) -> Vec<Remembered> {
        let is_it = |ring: &Ring, place: usize| {
            let tenant = wanted.tenant.as_ref();
            tenant.is_none_or(|tenant| ring.text(place, 1) == tenant.as_bytes())
                && wanted.code.as_ref().is_none_or(|code| problem::code(&ring.entries[place].why) == code)
        };
        let rings = self.rings();
        let found = rings.iter().flat_map(|ring| ring.lock().newest(now, wanted.limit, is_it));
        newest(found.collect(), wanted.limit)
    }
}

#[cfg(test)]
impl Refusals {
    /// What the rings take at the most.
    pub(super) fn bytes(&self) -> usize {
        let each = |ring: &Arc<RefusalRing>| {
            let ring = ring.lock();
            ring.texts.len() + ring.entries.capacity() * size_of::<Entry>()
        };
        self.rings().iter().map(each).sum()
    }
}

/// Those that came last, the newest first.
fn newest(mut found: Vec<Remembered>, most: usize) -> Vec<Remembered> {
    found.sort_by_key(|refusal| std::cmp::Reverse(refusal.since));
    found.truncate(most);
    found
}

/// The last refusals of one worker. A line of its own: its neighbours in memory are other cores' business.
#[derive(Debug)]
#[repr(align(128))]
pub struct RefusalRing(Mutex<Ring>);

impl Default for RefusalRing {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl RefusalRing {
    fn of(most: usize) -> Self {
        Self(Mutex::new(Ring { most, entries: Vec::new(), texts: Box::default(), next: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a refusal in the place of the oldest one.
    pub(super) fn keep(&self, why: Rejection, context: &Context, asked: Option<&(Method, Uri)>) {
        let (version, digest) = context.decided_by();
        let texts = [
            context.request_id.to_str().unwrap_or_default(),
            context.subject.as_ref().map_or("", Subject::tenant),
            context.plan().map_or("", PlanId::as_str),
            asked.map_or("", |(method, _)| method.as_str()),
            asked.map_or("", |(_, uri)| uri.path()),
            context.operation().map_or("", |operation| &operation.name),
            &digest.0,
        ];
        let entry = Entry {
            at: context.arrived,
            since: context.started,
            why: bounded(why),
            version,
            ends: [0; LENGTHS.len()],
        };
        self.lock().put(entry, &texts);
    }
}

/// A rejection without a text of any length.
fn bounded(mut why: Rejection) -> Rejection {
    while let Rejection::Forward(ForwardError::Withdrawn(inner)) = why {
        why = *inner;
    }
    if let Rejection::Forward(ForwardError::Unreachable { reason, .. }) = &mut why
        && reason.len() > LONGEST_REASON
    {
        *reason = reason.chars().take(LONGEST_REASON).collect();
    }
    why
}

#[derive(Debug)]
struct Entry {
    at: UnixMillis,
    since: Monotonic,
    why: Rejection,
    version: Option<Version>,
    /// Where each text ends in the entry's part of `Ring::texts`.
    ends: [u16; LENGTHS.len()],
}

#[derive(Debug)]
struct Ring {
    most: usize,
    entries: Vec<Entry>,
    /// So many bytes for each entry. Asked for with the first refusal; the system gives only what is written to.
    texts: Box<[u8]>,
    /// The place of the oldest one, once all are taken.
    next: usize,
}

impl Ring {
    fn put(&mut self, mut entry: Entry, texts: &[&str; LENGTHS.len()]) {
        if self.texts.is_empty() {
            self.texts = vec![0; self.most * LONGEST].into();
            self.entries.reserve_exact(self.most);
        }
        let place = self.next;
        let room = &mut self.texts[place * LONGEST..][..LONGEST];
        let mut end = 0;
        for ((text, most), ends) in texts.iter().zip(LENGTHS).zip(&mut entry.ends) {
            let bytes = &text.as_bytes()[..text.len().min(most)];
            room[end..end + bytes.len()].copy_from_slice(bytes);
            end += bytes.len();
            *ends = u16::try_from(end).unwrap_or(u16::MAX);
        }
        match self.entries.get_mut(place) {
            Some(oldest) => *oldest = entry,
            None => self.entries.push(entry),
        }
        self.next = if place + 1 == self.most { 0 } else { place + 1 };
    }

    fn text(&self, place: usize, which: usize) -> &[u8] {
        let ends = &self.entries[place].ends;
        let start = if which == 0 { 0 } else { usize::from(ends[which - 1]) };
        &self.texts[place * LONGEST..][start..usize::from(ends[which])]
    }

    /// Those that are wanted and not too old, the newest first.
    fn newest(&self, now: Monotonic, most: usize, is_it: impl Fn(&Self, usize) -> bool) -> Vec<Remembered> {
        let places = (0..self.next).rev().chain((self.next..self.entries.len()).rev());
        let young = places.filter(|place| now.since(self.entries[*place].since) < KEPT_FOR);
        young.filter(|place| is_it(self, *place)).take(most).map(|place| self.remembered(place)).collect()
    }

    fn remembered(&self, place: usize) -> Remembered {
        let entry = &self.entries[place];
        // A text may have been cut within a character.
        let text = |which: usize| String::from_utf8_lossy(self.text(place, which)).into_owned();
        let known = |which: usize| Some(text(which)).filter(|text| !text.is_empty());
        Remembered {
            at: entry.at,
            since: entry.since,
            request_id: text(0),
            tenant: known(1),
            plan: known(2),
            method: known(3),
            path: known(4),
            route: known(5),
            digest: text(6),
            version: entry.version,
            why: entry.why.clone(),
        }
    }
}
