//! What keeps the view cheap: how often each tenant may look, and what it saw a moment ago.
//!
//! A tenant that was not seen for as long as its bucket takes to fill is forgotten without a difference. Where more tenants
//! look at the same time than are remembered, some are forgotten too early: they may look a little more often, and nobody
//! less often for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::figures::Figures;
use crate::domain::{
    id::TenantId,
    rate::{Rate, RateStep},
    time::Monotonic,
    units::Units,
};

/// Looks at once, after a pause.
const AT_ONCE: u64 = 5;
/// Between two looks that go on.
const EVERY: Duration = Duration::from_secs(1);
/// What was seen is shown again for so long.
const SHOWN_FOR: Duration = Duration::from_secs(1);
/// From then on a bucket is full.
const FULL_AFTER: Duration = Duration::from_secs(AT_ONCE);
/// Tenants that are remembered at the most.
const MOST: usize = 4096;

/// How often a tenant may look, for people.
#[must_use]
pub fn guard() -> String {
    let every = EVERY.as_secs();
    format!(
        "each tenant may look {AT_ONCE} times at once and every {every} s after that, on each worker of each node"
    )
}

/// What is remembered of tenants that look.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<HashMap<TenantId, Place>>);

#[derive(Debug, Default)]
struct Place {
    /// The theoretical arrival time of the rate.
    next: Monotonic,
    last: Monotonic,
    seen: Option<(Monotonic, Arc<Figures>)>,
}

fn rate() -> Rate {
    Rate { limit: Units::ONE, per: EVERY, burst: Units::saturating(AT_ONCE) }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a tenant look, or says in how long it may.
    pub(super) fn admit(&self, tenant: &TenantId, now: Monotonic) -> Result<(), Duration> {
        let mut places = self.lock();
        if places.len() >= MOST && !places.contains_key(tenant) {
            clear_away(&mut places, now);
        }
        if !places.contains_key(tenant) {
            places.insert(tenant.clone(), Place::default());
        }
        let Some(place) = places.get_mut(tenant) else { return Ok(()) };
        place.last = place.last.max(now);
        match rate().step(place.next, now, Units::ONE) {
            RateStep::Allowed(next) => {
                place.next = next;
                Ok(())
            }
            RateStep::Refused(wait) => Err(wait.unwrap_or(EVERY)),
        }
    }

    /// What the tenant saw a moment ago.
    pub(super) fn seen(&self, tenant: &TenantId, now: Monotonic) -> Option<Arc<Figures>> {
        let places = self.lock();
        let (at, figures) = places.get(tenant)?.seen.as_ref()?;
        (now.since(*at) < SHOWN_FOR).then(|| Arc::clone(figures))
    }

    /// Keeps what the tenant sees: as it was when its request arrived.
    pub(super) fn keep(&self, tenant: &TenantId, at: Monotonic, figures: &Arc<Figures>) {
        if let Some(place) = self.lock().get_mut(tenant)
            && place.seen.as_ref().is_none_or(|(before, _)| *before <= at)
        {
            place.seen = Some((at, Arc::clone(figures)));
        }
    }
}

/// Makes room for at least half of what there may be, so that it is seldom done.
fn clear_away(places: &mut HashMap<TenantId, Place>, now: Monotonic) {
    places.retain(|_, place| now.since(place.last) < FULL_AFTER);
    if places.len() > MOST / 2 {
        places.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("t{number}")).unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic((1000 + seconds) * SECOND)
    }

    #[test]
    fn five_at_once_and_then_one_a_second() {
        let shelf = Shelf::default();
        let look = |seconds| shelf.admit(&tenant(1), at(seconds));
        for _ in 0..AT_ONCE {
            look(0).unwrap();
        }
        assert_eq!(look(0), Err(EVERY));
        look(1).unwrap();
        assert_eq!(look(1), Err(EVERY));
        shelf.admit(&tenant(2), at(1)).unwrap();
        for _ in 0..AT_ONCE {
            look(60).unwrap();
        }
        look(60).unwrap_err();
    }

    #[test]
    fn a_clock_that_starts_at_nothing_is_no_pause() {
        let shelf = Shelf::default();
        for _ in 0..AT_ONCE {
            shelf.admit(&tenant(1), Monotonic(0)).unwrap();
        }
        shelf.admit(&tenant(1), Monotonic(0)).unwrap_err();
    }

    #[test]
    fn memory_is_bounded_and_nobody_is_refused_for_others() {
        let shelf = Shelf::default();
        for number in 0..3 * MOST {
            shelf.admit(&tenant(number), at(0)).unwrap();
            assert!(shelf.lock().len() <= MOST);
        }
        // Those of a while ago go first.
        let shelf = Shelf::default();
        for number in 0..MOST {
            shelf.admit(&tenant(number), at(if number < 10 { 6 } else { 0 })).unwrap();
        }
        shelf.admit(&tenant(MOST), at(7)).unwrap();
        assert_eq!(shelf.lock().len(), 11);
    }

    #[test]
    fn what_was_seen_is_shown_again_for_a_second_to_its_tenant() {
        let (shelf, one, other) = (Shelf::default(), tenant(1), tenant(2));
        shelf.admit(&one, at(0)).unwrap();
        shelf.admit(&other, at(0)).unwrap();
        let figures = Arc::new(Figures::nothing_of(one.clone()));
        shelf.keep(&one, at(0), &figures);
        assert!(Arc::ptr_eq(&shelf.seen(&one, at(0)).unwrap(), &figures));
        assert!(shelf.seen(&other, at(0)).is_none());
        assert!(shelf.seen(&one, at(1)).is_none());
        // An older one that was slow takes the place of none that is newer.
        let older = Arc::new(Figures::nothing_of(one.clone()));
        shelf.keep(&one, Monotonic(0), &older);
        assert!(Arc::ptr_eq(&shelf.seen(&one, at(0)).unwrap(), &figures));
    }
}
