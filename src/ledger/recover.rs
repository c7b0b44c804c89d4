//! What the runs before this one left in the ledger file: reported to the database, which takes back what was not spent.

use std::collections::{BTreeSet, HashMap};

use super::file::{FileError, Found, LedgerFile, Leftover, SetAsideReason};
use crate::{
    domain::time::UnixMillis,
    ports::{Incarnation, LedgerStore, SlotKey, SlotTotals, StoreError},
};

/// Totals in one statement.
const BATCH: usize = 5_000;

/// What became of the words of earlier runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// All of them are recorded, and what they had not spent is returned.
    Returned {
        /// How many.
        slots: usize,
    },
    /// The database knows more than the file: it is an older state of itself, and none of it counts.
    SetAside(SetAsideReason),
}

/// Why the words could not be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The database failed: to be tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Records the words of earlier runs, sealed; done before this run opens any of its own. May be repeated after a failure,
/// or by the next run.
///
/// # Errors
/// [`RecoverError`]
pub async fn recover(
    store: &dyn LedgerStore,
    file: &LedgerFile,
    leftovers: &[Leftover],
    now: UnixMillis,
) -> Result<Recovered, RecoverError> {
    let runs: BTreeSet<Incarnation> = leftovers.iter().map(|leftover| leftover.slot.incarnation).collect();
    let runs: Vec<Incarnation> = runs.into_iter().collect();
    let known: HashMap<SlotKey, SlotTotals> =
        store.open_slots(&runs).await?.into_iter().map(|totals| (totals.slot.clone(), totals)).collect();
    // Looked at before any of them is recorded: one that is behind says that the file is not what it was.
    let behind = leftovers.iter().any(|leftover| {
        let Leftover { slot, totals, .. } = leftover;
        known.get(slot).is_some_and(|known| known.used > totals.used || known.refunded > totals.refunded)
    });
    if behind {
        return Ok(match file.distrust(SetAsideReason::BehindDatabase)? {
            Found::SetAside { reason, .. } => Recovered::SetAside(reason),
            Found::New | Found::Clean | Found::Leftovers(_) => {
                Recovered::SetAside(SetAsideReason::BehindDatabase)
            }
        });
    }
    for some in leftovers.chunks(BATCH) {
        let totals: Vec<SlotTotals> = some.iter().map(|leftover| sealed(leftover, now)).collect();
        store.flush(&totals).await?;
        file.forget(some);
    }
    Ok(Recovered::Returned { slots: leftovers.len() })
}

fn sealed(leftover: &Leftover, now: UnixMillis) -> SlotTotals {
    let Leftover { slot, end, booking, totals, .. } = leftover;
    SlotTotals {
        slot: slot.clone(),
        end: *end,
        granted: 0,
        used: totals.used,
        refunded: totals.refunded,
        // What is recorded after the period was still used in it.
        at: now.min(UnixMillis(end.0.saturating_sub(1))),
        sealed: true,
        counted: booking.counted,
        counting: booking.counting,
        marks: None,
    }
}
