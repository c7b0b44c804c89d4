//! What a tenant has used: this node to the unit, the others as they last recorded it.

use std::{sync::Arc, time::Duration};

use super::{cell::Unrecorded, flush, shared::Shared};
use crate::{
    domain::{
        period::{Period, Window},
        plan::MeterIx,
        rights::{Rights, Source, SourceTerms},
        spend::MoneyUnits,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{
        BucketKey, Incarnation, MeterUsage, OthersUsage, SourceUsage, Span, SpendUsage, StoreError,
        WindowUsage,
    },
};

/// The pauses before looking again when something was being recorded between the database's answer and this node's own:
/// then neither with nor without it is the sum right.
const PAUSES: [u64; 10] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256];

/// No incarnation has this name: all of them are others.
pub(super) const NOBODY: Incarnation = Incarnation(uuid::Uuid::nil());

/// Where the numbers of a bucket go.
struct Row {
    meter: usize,
    /// `None`: it is a source alone.
    window: Option<Window>,
    /// `None`: it is a limit beside the sources.
    source: Option<Source>,
    period: Period,
    limit: Option<Units>,
}

/// See [`crate::ports::Ledger::usage`].
pub(super) async fn usage(
    shared: Arc<Shared>,
    rights: Arc<Rights>,
    now: UnixMillis,
) -> Result<Vec<MeterUsage>, StoreError> {
    let (mut answer, rows, keys) = frame(&rights, now);
    if keys.is_empty() {
        return Ok(answer);
    }
    for (Row { meter, window, source, period, limit }, (used, uncertain)) in
        rows.into_iter().zip(totals(&shared, &keys).await?)
    {
        let MeterUsage { windows, sources, .. } = &mut answer[meter];
        windows.extend(window.map(|window| WindowUsage { window, period, limit, used, uncertain }));
        sources.extend(source.map(|source| SourceUsage { source, period, limit, used, uncertain }));
    }
    Ok(answer)
}

/// See [`crate::ports::Ledger::spend`].
pub(super) async fn spend(
    shared: Arc<Shared>,
    rights: Arc<Rights>,
    now: UnixMillis,
) -> Result<Option<SpendUsage>, StoreError> {
    let Some(given) = &rights.entitlement else { return Ok(None) };
    let Some(terms) = given.offer.spend() else { return Ok(None) };
    let (Some(cap), Ok(meter)) = (terms.cap, terms.meter()) else { return Ok(None) };
    let period = given.calendar.month(now);
    let (tenant, span) = (rights.tenant.clone(), Span::Spend);
    let key = BucketKey { tenant, meter, span, start: period.start, epoch: Version(0) };
    let totals = totals(&shared, &[key]).await?;
    let (spent, uncertain) = totals.first().copied().unwrap_or_default();
    let (spent, uncertain) = (MoneyUnits::of(spent), MoneyUnits::of(uncertain));
    Ok(Some(SpendUsage { currency: terms.currency, cap, spent, uncertain, period }))
}

/// What was used of each bucket, and what may have been besides.
async fn totals(shared: &Shared, keys: &[BucketKey]) -> Result<Vec<(Units, Units)>, StoreError> {
    let mut used: Vec<(i128, Units)> = Vec::new();
    for pause in PAUSES {
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        settle_unsure(shared, keys).await?;
        let before = own(shared, keys);
        // Slots of this run that are settled and forgotten are not in memory any more: so the database is asked for
        // everybody, and what it does not have yet of this run is added.
        let all = shared.world.store.others(NOBODY, keys).await?;
        let after = own(shared, keys);
        // Uncertain is also what this run itself was granted before it was declared lost.
        let sum =
            |(all, own): (&OthersUsage, &Unrecorded)| (i128::from(all.used.get()) + own.net, all.uncertain);
        used = all.iter().zip(&after).map(sum).collect();
        let quiet = |(a, b): (&Unrecorded, &Unrecorded)| a.mark == b.mark && a.mark.is_quiet();
        if before.iter().zip(&after).all(quiet) {
            break;
        }
    }
    let units = |used: i128| Units::saturating(u64::try_from(used).unwrap_or(0));
    Ok(used.into_iter().map(|(used, uncertain)| (units(used), uncertain)).collect())
}

/// See [`crate::ports::Ledger::known_used`].
pub(super) fn known(shared: &Shared, key: &BucketKey) -> Option<Units> {
    let meter = shared.accounts.get(&key.tenant)?.known(key)?;
    meter.ask_known(key, |cell| cell.used(key))?.map(Units::saturating)
}

/// Each meter that the plan has, and the buckets of its windows and sources.
fn frame(rights: &Rights, now: UnixMillis) -> (Vec<MeterUsage>, Vec<Row>, Vec<BucketKey>) {
    let (mut answer, mut rows, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    let Some(entitlement) = &rights.entitlement else { return (answer, rows, keys) };
    for (ix, meter) in (0..).map(MeterIx).zip(&rights.catalog.meters) {
        let Some(quota) = entitlement.terms(ix).quota else { continue };
        let mut add = |span, epoch, row: Row| {
            let (tenant, meter) = (rights.tenant.clone(), meter.id.clone());
            keys.push(BucketKey { tenant, meter, span, start: row.period.start, epoch });
            rows.push(row);
        };
        let place = answer.len();
        let shorter = |window: &Window| *window != Window::Month && quota.counts(*window);
        for window in Window::ALL.into_iter().filter(shorter) {
            let (period, limit) = (entitlement.calendar.period(window, now), quota.hard_limit(window));
            let row = Row { meter: place, window: Some(window), source: None, period, limit };
            add(window.into(), entitlement.epoch, row);
        }
        for SourceTerms { source, period, limit } in entitlement.sources(ix, now) {
            let (span, epoch) = Span::of_source(source, entitlement.epoch);
            let window = (source == Source::Plan).then_some(Window::Month);
            if source == Source::Plan || period.end > now {
                add(span, epoch, Row { meter: place, window, source: Some(source), period, limit });
            }
        }
        answer.push(MeterUsage { meter: meter.id.clone(), windows: Vec::new(), sources: Vec::new() });
    }
    (answer, rows, keys)
}

fn own(shared: &Shared, keys: &[BucketKey]) -> Vec<Unrecorded> {
    let account = keys.first().and_then(|key| shared.accounts.get(&key.tenant));
    keys.iter()
        .map(|key| {
            let meter = account.as_ref().and_then(|account| account.known(key));
            let cell = meter.and_then(|meter| meter.ask_known(key, |cell| cell.unrecorded(key)));
            cell.unwrap_or_default()
        })
        .collect()
}

/// Where a report failed, the database may have it all the same: recording it again makes that sure.
async fn settle_unsure(shared: &Shared, keys: &[BucketKey]) -> Result<(), StoreError> {
    let unsure = own(shared, keys).into_iter().flat_map(|own| own.unsure).collect();
    flush::ship(shared, unsure).await
}
