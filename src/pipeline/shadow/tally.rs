//! What a node has counted in a trial: bounded, and only ever growing.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    domain::verdict::Verdict,
    ports::{Sender, ShadowRow, ShadowTotals},
};

/// Rows of single tenants.
pub(super) const ROWS: usize = 4_096;
/// Rows of all others together, by route.
pub(super) const ROWS_OF_OTHERS: usize = 1_024;
/// Of a route's name so much is shown.
const LONGEST_ROUTE: usize = 300;
/// Several routes that there was no room to count by themselves.
const ANY_ROUTE: &str = "*";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tally {
    compared: AtomicU64,
    differing: AtomicU64,
    newly_refused: AtomicU64,
    newly_allowed: AtomicU64,
    uncompared: AtomicU64,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    counts: HashMap<Key, Count>,
    /// How many of them are tenants', or nobody's.
    single: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    sender: Sender,
    route: String,
    enforced: Verdict,
    candidate: Verdict,
}

#[derive(Debug, Default)]
struct Count {
    all: u64,
    /// Of these are recorded.
    recorded: u64,
}

impl Tally {
    /// A request was decided alike.
    pub(super) fn same(&self) {
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    /// A request could not be decided by the tried policies.
    pub(super) fn uncompared(&self) {
        self.uncompared.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was decided otherwise.
    pub(super) fn differs(&self, sender: Sender, route: &str, enforced: Verdict, candidate: Verdict) {
        let route = route.chars().take(LONGEST_ROUTE).collect();
        let row = ShadowRow { sender, route, enforced, candidate, count: 1 };
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // With the rows, so that a report has both or neither.
        self.compared.fetch_add(1, Ordering::Relaxed);
        self.differing.fetch_add(1, Ordering::Relaxed);
        self.newly_refused.fetch_add(u64::from(row.newly_refused()), Ordering::Relaxed);
        self.newly_allowed.fetch_add(u64::from(row.newly_allowed()), Ordering::Relaxed);
        let ShadowRow { sender, route, enforced, candidate, .. } = row;
        rows.add(Key { sender, route, enforced, candidate });
    }

    /// The totals, and the rows that have grown since they were last recorded.
    pub(super) fn report(&self) -> (ShadowTotals, Vec<ShadowRow>) {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = rows.counts.iter().filter(|(_, count)| count.all > count.recorded);
        let grown = grown.map(|(key, count)| {
            let Key { sender, route, enforced, candidate } = key.clone();
            ShadowRow { sender, route, enforced, candidate, count: count.all }
        });
        let rows = grown.collect();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let totals = ShadowTotals {
            compared: read(&self.compared),
            differing: read(&self.differing),
            newly_refused: read(&self.newly_refused),
            newly_allowed: read(&self.newly_allowed),
            uncompared: read(&self.uncompared),
        };
        (totals, rows)
    }

    /// These rows are recorded.
    pub(super) fn recorded(&self, recorded: &[ShadowRow]) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for row in recorded {
            let ShadowRow { sender, route, enforced, candidate, count } = row.clone();
            if let Some(known) = rows.counts.get_mut(&Key { sender, route, enforced, candidate }) {
                known.recorded = known.recorded.max(count);
            }
        }
    }
}

impl Rows {
    fn add(&mut self, mut key: Key) {
        if !self.counts.contains_key(&key) {
            if self.single < ROWS {
                self.single += 1;
            } else {
                key.sender = Sender::Others;
                if !self.counts.contains_key(&key) && self.counts.len() >= ROWS + ROWS_OF_OTHERS {
                    // There are few codes: these are all the rows that can still come.
                    let (enforced, candidate) = (key.enforced.in_short(), key.candidate.in_short());
                    key = Key { sender: Sender::Others, route: ANY_ROUTE.to_owned(), enforced, candidate };
                }
            }
        }
        let count = self.counts.entry(key).or_default();
        count.all = count.all.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TenantId;

    fn tenant(number: usize) -> Sender {
        Sender::Tenant(TenantId::parse(&format!("t{number}")).unwrap())
    }

    fn refused(text: &str) -> Verdict {
        Verdict::parse(text).unwrap()
    }

    #[test]
    fn totals_tell_who_loses_and_who_gains() {
        let tally = Tally::default();
        tally.same();
        tally.uncompared();
        tally.differs(tenant(1), "GET /a", Verdict::ALLOW, refused("rate-limited meter:requests"));
        tally.differs(tenant(1), "GET /a", Verdict::ALLOW, refused("rate-limited meter:requests"));
        tally.differs(tenant(1), "GET /a", refused("route-not-covered"), Verdict::ALLOW);
        tally.differs(tenant(2), "GET /a", refused("route-not-covered"), refused("tenant-suspended"));
        tally.differs(Sender::Anonymous, "GET /b", Verdict::ALLOW, Verdict::IDENTITY_NEEDED);
        let (totals, rows) = tally.report();
        let expected =
            ShadowTotals { compared: 6, differing: 5, newly_refused: 2, newly_allowed: 1, uncompared: 1 };
        assert_eq!((totals, rows.len()), (expected, 4));
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 5);
    }

    #[test]
    fn only_rows_that_have_grown_are_reported_again_with_all_that_they_count() {
        let tally = Tally::default();
        let count = |n| tally.differs(tenant(n), "GET /a", Verdict::ALLOW, refused("tenant-suspended"));
        (1..=3).for_each(count);
        let (_, first) = tally.report();
        count(2);
        assert_eq!(tally.report().1.len(), 3, "nothing of it is recorded");
        tally.recorded(&first);
        let (_, grown) = tally.report();
        assert_eq!(
            grown.iter().map(|row| (row.sender.clone(), row.count)).collect::<Vec<_>>(),
            [(tenant(2), 2)]
        );
        tally.recorded(&grown);
        tally.recorded(&first);
        assert!(tally.report().1.is_empty(), "an older report that comes late changes nothing");
    }

    #[test]
    fn the_table_is_bounded_and_counts_all() {
        let tally = Tally::default();
        let lacks = |n: usize| refused(&format!("feature-not-in-plan feature:f{n}"));
        let many = ROWS + 100;
        for n in 0..many {
            tally.differs(tenant(n), "GET /a", Verdict::ALLOW, lacks(0));
        }
        assert_eq!(tally.report().1.len(), ROWS + 1);
        for n in 0..3 * ROWS_OF_OTHERS {
            tally.differs(tenant(many + n), &format!("GET /{n}"), Verdict::ALLOW, lacks(n));
        }
        // Who has a row goes on to be counted in it.
        tally.differs(tenant(0), "GET /a", Verdict::ALLOW, lacks(0));
        let (totals, rows) = tally.report();
        assert_eq!(rows.len(), ROWS + ROWS_OF_OTHERS + 1);
        let sum: u64 = rows.iter().map(|row| row.count).sum();
        assert_eq!((sum, totals.differing), (totals.compared, sum));
        let rest = rows.iter().find(|row| row.route == "*").unwrap();
        assert_eq!((&rest.sender, &rest.candidate), (&Sender::Others, &refused("feature-not-in-plan")));
        assert!(rows.iter().any(|row| row.sender == tenant(0) && row.count == 2));
    }
}
