//! Pieces of usage that are told to a billing system, in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;

use super::{Memory, once::Outcome, state::State, take};
use crate::{
    domain::{billing::Told, id::TenantId, time::UnixMillis},
    ports::{
        AuditRow, BucketKey, Cut, ExportOutcome, ExportState, MeterExport, MeterExportStore, Origin,
        RetryError, Span, StoreError, TellMeter,
    },
    store::{
        meter_exports::{RETRIED, retry_altered},
        pieces::{Looked, Told as Known},
    },
};

/// All pieces, and what is known of their buckets.
#[derive(Default)]
pub(super) struct Pieces {
    known: BTreeMap<BucketKey, (usize, Known)>,
    /// Each with its bucket and the instant before which it is not to be tried.
    all: Vec<(BucketKey, UnixMillis, MeterExport)>,
}

impl Pieces {
    fn withdraw(&mut self, bucket: &BucketKey, mut told: u64, settled: u64, now: UnixMillis) -> u64 {
        let counts = |state| matches!(state, ExportState::Waiting | ExportState::Sent | ExportState::Refused);
        for (of, next, piece) in self.all.iter_mut().rev() {
            if told <= settled {
                break;
            }
            if of == bucket && counts(piece.state) {
                piece.state = match piece.state {
                    ExportState::Waiting if piece.attempts == 0 => ExportState::Withdrawn,
                    ExportState::Waiting => ExportState::Doubtful,
                    _ => ExportState::Withdrawing,
                };
                *next = now;
                told = told.saturating_sub(piece.units);
            }
        }
        told
    }
}

impl State {
    fn cut(&mut self, meters: &[TellMeter], cut: Cut, installation: &str) {
        let counts = |key: &BucketKey, meter: &TellMeter| {
            key.meter == meter.meter
                && (key.span == Span::Overage
                    || (meter.count == Told::All && matches!(key.span, Span::MONTH | Span::Grant)))
        };
        let mut found: Vec<(BucketKey, &TellMeter, String, Looked)> = Vec::new();
        for (key, bucket) in &self.book.buckets {
            let Some(meter) = meters.iter().find(|meter| counts(key, meter)) else { continue };
            let Some(customer) = self.customer_of(&key.tenant) else { continue };
            let known = self.pieces.known.get(key).map(|(_, known)| *known);
            if bucket.end > cut.oldest && (known.is_some() || bucket.used > 0) {
                let looked = Looked { start: key.start, end: bucket.end, used: bucket.used, known };
                found.push((key.clone(), meter, customer.to_owned(), looked));
            }
        }
        for (key, meter, customer, looked) in found {
            let result = looked.found(cut);
            let fresh = self.pieces.known.len();
            let number = self.pieces.known.get(&key).map_or(fresh, |(number, _)| *number);
            let (mut told, mut pieces) = looked.known.map_or((0, 0), |known| (known.told, known.pieces));
            if let Some(settled) = result.settled {
                told = self.pieces.withdraw(&key, told, settled, cut.now);
                if told < settled {
                    let piece = MeterExport {
                        id: format!("{installation}-{number}-{pieces}"),
                        tenant: key.tenant.clone(),
                        customer,
                        meter: key.meter.clone(),
                        event_name: meter.event_name.clone(),
                        units: settled - told,
                        at: result.at,
                        state: ExportState::Waiting,
                        attempts: 0,
                        first_sent: None,
                        error: None,
                    };
                    self.pieces.all.push((key.clone(), cut.now, piece));
                    (told, pieces) = (settled, pieces + 1);
                }
            }
            let known = Known { told, pieces, seen: result.seen, seen_at: result.seen_at };
            self.pieces.known.insert(key, (number, known));
        }
    }

    /// The newest customer that a tenant is at the billing system.
    fn customer_of(&self, tenant: &TenantId) -> Option<&str> {
        let own = self.told.links.iter().filter(|(_, (of, ..))| of == tenant);
        own.max_by(|(a, (_, since, _)), (b, (_, until, _))| since.cmp(until).then_with(|| b.cmp(a)))
            .map(|(customer, _)| customer.as_str())
    }
}

#[async_trait]
impl MeterExportStore for Memory {
    async fn cut_exports(&self, meters: &[TellMeter], cut: Cut) -> Result<bool, StoreError> {
        let installation = self.installation.simple().to_string();
        self.state()?.cut(meters, cut, &installation);
        Ok(false)
    }

    async fn claim_exports(
        &self,
        now: UnixMillis,
        until: UnixMillis,
        limit: u32,
    ) -> Result<Vec<MeterExport>, StoreError> {
        let mut state = self.state()?;
        let open =
            |state| matches!(state, ExportState::Waiting | ExportState::Doubtful | ExportState::Withdrawing);
        let due = state.pieces.all.iter_mut().filter(|(_, next, piece)| *next <= now && open(piece.state));
        let claimed = due.map(|(_, next, piece)| {
            *next = until;
            piece.attempts += 1;
            piece.first_sent.get_or_insert(now);
            piece.clone()
        });
        Ok(take(limit, claimed))
    }

    async fn end_export(&self, tried: &MeterExport, outcome: &ExportOutcome) -> Result<(), StoreError> {
        let mut state = self.state()?;
        let same = |piece: &MeterExport| piece.id == tried.id && piece.state == tried.state;
        let Some((_, next, piece)) = state.pieces.all.iter_mut().find(|(_, _, piece)| same(piece)) else {
            return Ok(());
        };
        match outcome {
            ExportOutcome::Done => {
                piece.state = match piece.state {
                    ExportState::Waiting => ExportState::Sent,
                    ExportState::Doubtful => ExportState::Withdrawing,
                    _ => ExportState::Withdrawn,
                };
                if piece.state == ExportState::Withdrawing {
                    *next = UnixMillis(0);
                }
                piece.error = None;
            }
            ExportOutcome::Again(at, why) => {
                *next = *at;
                piece.error = Some(why.clone());
            }
            ExportOutcome::Refused(why) | ExportOutcome::Unknown(why) => {
                let never = matches!(outcome, ExportOutcome::Refused(_));
                piece.state = match piece.state {
                    ExportState::Waiting => ExportState::Refused,
                    ExportState::Doubtful if never => ExportState::Withdrawn,
                    _ => ExportState::Stuck,
                };
                piece.error = Some(why.clone());
            }
        }
        Ok(())
    }

    async fn exports(
        &self,
        state: Option<ExportState>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, MeterExport)>, StoreError> {
        let all = self.state()?;
        let rows = all.pieces.all.iter().zip(1_u64..).filter(|((_, _, piece), place)| {
            *place > after && state.is_none_or(|state| piece.state == state)
        });
        Ok(take(limit, rows.map(|((_, _, piece), place)| (place, piece.clone()))))
    }

    async fn retry_export(&self, id: &str, origin: &Origin) -> Result<bool, RetryError> {
        let mut state = self.state()?;
        if state.before(origin, RetryError::IdempotencyConflict, |_| Some(()))?.is_some() {
            return Ok(true);
        }
        let unknown = || RetryError::Unknown(id.to_owned());
        let (_, next, piece) =
            state.pieces.all.iter_mut().find(|(_, _, piece)| piece.id == id).ok_or_else(unknown)?;
        if piece.state != ExportState::Refused {
            return Err(RetryError::NotRefused(id.to_owned(), piece.state));
        }
        (piece.state, piece.attempts, piece.first_sent) = (ExportState::Waiting, 0, None);
        *next = origin.at;
        let tenant = piece.tenant.clone();
        let row = AuditRow {
            cursor: state.next_cursor(),
            version: state.version,
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant: Some(tenant),
            kind: RETRIED.to_owned(),
            detail: json!({ "id": id }),
        };
        state.audit.push_altered(row, retry_altered());
        state.keep_outcome(origin, Outcome::Retried);
        Ok(false)
    }
}
