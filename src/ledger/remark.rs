//! Has told what is true of a tenant's quotas by its rights of now, though nobody charges anything: a limit that was lowered
//! may have thresholds that were reached long ago.
//!
//! What is told goes with the reports of words. So words are opened, with nothing charged to them, of those buckets of
//! which something is to be told, and reported with the next flush: the store finds out whether it was told before.

use std::sync::Arc;

use super::{
    account::MeterAccount,
    desk::Desk,
    flush::PATIENCE,
    purse,
    shared::Shared,
    wish::{Place, Wish},
};
use crate::{
    domain::{
        period::Windows,
        plan::MeterIx,
        rights::{Entitlement, Rights, Source},
        spend::MoneyUnits,
        time::{Monotonic, UnixMillis},
        warning::{MarkKind, Marks},
    },
    ports::{BucketKey, ChargeError, StoreError},
};

/// A bucket of which something may be to be told.
struct Watched<'a> {
    wish: Wish<'a>,
    meter: Arc<MeterAccount>,
    key: BucketKey,
    marks: Option<Marks>,
    /// The buckets before it, which are to be used up before its end is the end: so many of those before this in the list.
    before: usize,
}

/// See [`crate::ports::Ledger::remark`].
pub(super) async fn remark(
    shared: Arc<Shared>,
    rights: Arc<Rights>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let (Some(entitlement), Some(desk)) = (&rights.entitlement, Desk::of(&shared, &rights)) else {
        return Ok(());
    };
    let watched = watched(&shared, desk, &rights, entitlement, now);
    let keys: Vec<BucketKey> = watched.iter().map(|watched| watched.key.clone()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let answer = tokio::time::timeout(PATIENCE, shared.world.store.recorded(&keys)).await;
    let late = || StoreError::Unavailable(format!("no answer within {PATIENCE:?}"));
    let used = answer.map_err(|_| late())??;
    for (place, one) in watched.iter().enumerate() {
        let Some(marks) = &one.marks else { continue };
        let reached = |units: u64, place: usize| used.get(place).is_some_and(|used| units <= *used);
        let ended = |place: usize| {
            watched[place].wish.limit.is_some_and(|limit| limit.get() == 0 || reached(limit.get(), place))
        };
        let is_told = marks.each().any(|mark| match mark.kind {
            MarkKind::Threshold(_) => reached(mark.units, place),
            MarkKind::Exhausted => (place - one.before..=place).all(ended),
        });
        if is_told && let Err(error) = report(&shared, desk, one) {
            // Whoever has newer rights tells by those.
            tracing::debug!(%error, tenant = rights.tenant.as_str(), "what is told is looked at with the next charge");
        }
    }
    Ok(())
}

/// The sources of each meter that has a quota, in burn order, and the money.
fn watched<'a>(
    shared: &Shared,
    desk: &Desk,
    rights: &'a Rights,
    entitlement: &'a Entitlement,
    now: UnixMillis,
) -> Vec<Watched<'a>> {
    let mut all = Vec::new();
    let mut add = |wish: Wish<'a>, meter: Arc<MeterAccount>, marks, before| {
        let (key, _) = wish.slot(&rights.tenant, &meter.meter, Monotonic::default());
        all.push(Watched { wish, meter, key, marks, before });
    };
    let wish = |place, limit| Wish {
        rights,
        entitlement,
        place,
        limit,
        ceiling: None,
        counted: Windows::default(),
        now,
    };
    for (ix, meter) in (0..).map(MeterIx).zip(&rights.catalog.meters) {
        let Some(quota) = entitlement.terms(ix).quota.filter(|quota| quota.month.limit().is_some()) else {
            continue;
        };
        let mut sources = entitlement.sources(ix, now);
        sources.retain(|terms| terms.period.end > now);
        for (before, terms) in sources.iter().enumerate() {
            let is_grant = matches!(terms.source, Source::Grant(_));
            let wish = Wish {
                ceiling: if is_grant { None } else { purse::ceiling(&quota) },
                counted: purse::counted(&quota),
                ..wish(Place::of(terms), terms.limit)
            };
            let meter = desk.account.meter(&meter.id, &shared.metrics);
            add(wish, meter, entitlement.marks(ix, terms.source, now), before);
        }
    }
    if let Some(terms) = entitlement.offer.spend()
        && let (Some(cap), Ok(name)) = (terms.cap, terms.meter())
    {
        let wish = wish(Place::Spend, Some(MoneyUnits::units(cap)));
        let marks = entitlement.marks_of_money(wish.period());
        add(wish, desk.account.money(&name), marks, 0);
    }
    all
}

/// Opens a word of the bucket, if there is none, and has it reported.
fn report(shared: &Shared, desk: &Desk, one: &Watched<'_>) -> Result<(), ChargeError> {
    let owner = (&desk.account.tenant, &*one.meter);
    let slot = one.meter.ask(one.wish.place, |cell| cell.slot(shared, owner, one.wish))?;
    // Its seal is to be recorded, too.
    if slot.ask() {
        shared.soil(&slot);
    }
    Ok(())
}
