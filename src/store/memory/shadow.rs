//! What was counted of policies that are tried in the shadow, in memory.

use std::{cmp::Reverse, collections::BTreeMap};

use async_trait::async_trait;

use super::{Memory, state::State, take};
use crate::{
    domain::{time::Version, verdict::Verdict},
    ports::{
        Incarnation, Sender, ShadowBy, ShadowOf, ShadowReport, ShadowRow, ShadowStore, ShadowSum,
        ShadowTotals, StoreError,
    },
};

type Row = (Sender, String, Verdict, Verdict);

/// All that was counted, by trial and run.
#[derive(Default)]
pub(super) struct Counted {
    rows: BTreeMap<(Version, Incarnation), BTreeMap<Row, u64>>,
    totals: BTreeMap<(Version, Incarnation), ShadowTotals>,
}

impl Counted {
    /// Forgets the trials for which `over` holds. How many rows that were.
    pub(super) fn forget(&mut self, over: impl Fn(Version) -> bool) -> u64 {
        let count = |counted: &Self| -> usize {
            counted.rows.values().map(BTreeMap::len).sum::<usize>() + counted.totals.len()
        };
        let before = count(self);
        self.rows.retain(|(trial, _), _| !over(*trial));
        self.totals.retain(|(trial, _), _| !over(*trial));
        (before - count(self)) as u64
    }

    fn keep(&mut self, report: &ShadowReport) {
        self.forget(|trial| trial < report.trial);
        let key = (report.trial, report.incarnation);
        let rows = self.rows.entry(key).or_default();
        for ShadowRow { sender, route, enforced, candidate, count } in report.rows.iter().cloned() {
            let known = rows.entry((sender, route, enforced, candidate)).or_default();
            *known = count.max(*known);
        }
        let known = self.totals.entry(key).or_default();
        if known.compared + known.uncompared <= report.totals.compared + report.totals.uncompared {
            *known = report.totals;
        }
    }

    fn all(&self, trial: Version) -> Vec<ShadowRow> {
        let mut sums: BTreeMap<&Row, u64> = BTreeMap::new();
        let runs = self.rows.iter().filter(|((of, _), _)| *of == trial);
        for (row, count) in runs.flat_map(|(_, rows)| rows) {
            *sums.entry(row).or_default() += count;
        }
        let row = |((sender, route, enforced, candidate), count): (&Row, u64)| ShadowRow {
            sender: sender.clone(),
            route: route.clone(),
            enforced: enforced.clone(),
            candidate: candidate.clone(),
            count,
        };
        let mut rows: Vec<ShadowRow> = sums.into_iter().map(row).collect();
        rows.sort_by_key(|row| {
            let (enforced, candidate) = (row.enforced.to_string(), row.candidate.to_string());
            let sender = row.sender.as_str().to_owned();
            (Reverse(row.count), sender, row.route.clone(), enforced, candidate)
        });
        rows
    }
}

impl State {
    fn shadow_totals(&self, trial: Version) -> ShadowTotals {
        let runs = self.shadow.totals.iter().filter(|((of, _), _)| *of == trial);
        runs.fold(ShadowTotals::default(), |sum, (_, totals)| ShadowTotals {
            compared: sum.compared + totals.compared,
            differing: sum.differing + totals.differing,
            newly_refused: sum.newly_refused + totals.newly_refused,
            newly_allowed: sum.newly_allowed + totals.newly_allowed,
            uncompared: sum.uncompared + totals.uncompared,
        })
    }

    fn shadow_sums(&self, trial: Version, by: ShadowBy) -> Vec<ShadowSum> {
        let mut sums: BTreeMap<ShadowOf, ShadowSum> = BTreeMap::new();
        for row in self.shadow.all(trial) {
            let of = match by {
                ShadowBy::Tenant => ShadowOf::Sender(row.sender.clone()),
                ShadowBy::Route => ShadowOf::Route(row.route.clone()),
            };
            let zero = ShadowSum { of: of.clone(), differing: 0, newly_refused: 0, newly_allowed: 0 };
            let sum = sums.entry(of).or_insert(zero);
            sum.differing += row.count;
            sum.newly_refused += if row.newly_refused() { row.count } else { 0 };
            sum.newly_allowed += if row.newly_allowed() { row.count } else { 0 };
        }
        let mut sums: Vec<ShadowSum> = sums.into_values().collect();
        sums.sort_by_key(|sum| {
            let name = match &sum.of {
                ShadowOf::Sender(sender) => sender.as_str().to_owned(),
                ShadowOf::Route(route) => route.clone(),
            };
            (Reverse(sum.differing), name)
        });
        sums
    }
}

fn skipped<T>(rows: Vec<T>, skip: u64, limit: u32) -> Vec<T> {
    take(limit, rows.into_iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)))
}

#[async_trait]
impl ShadowStore for Memory {
    async fn keep_shadow(&self, report: &ShadowReport) -> Result<(), StoreError> {
        self.state()?.shadow.keep(report);
        Ok(())
    }

    async fn shadow_totals(&self, trial: Version) -> Result<ShadowTotals, StoreError> {
        Ok(self.state()?.shadow_totals(trial))
    }

    async fn shadow_rows(&self, trial: Version, skip: u64, limit: u32) -> Result<Vec<ShadowRow>, StoreError> {
        Ok(skipped(self.state()?.shadow.all(trial), skip, limit))
    }

    async fn shadow_sums(
        &self,
        trial: Version,
        by: ShadowBy,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<ShadowSum>, StoreError> {
        Ok(skipped(self.state()?.shadow_sums(trial, by), skip, limit))
    }
}
