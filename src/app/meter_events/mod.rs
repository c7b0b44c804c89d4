//! Tells a billing system what was used: meter events of Stripe, as `POST /v1/billing/meter_events` takes them.
//!
//! Every node does all of it: pieces are written down before they are sent, and each is claimed by one node at a time.

mod call;
#[cfg(test)]
mod package;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use self::call::Stripe;
use crate::{
    clock::Clock,
    domain::{billing::ToldMeter, id::MeterId, time::UnixMillis},
    freshness::{Freshness, Knowledge},
    ports::{
        Cut, ExportOutcome, MeterExport, MeterExportStore, Outgoing, OutgoingRequest, Policies, StoreError,
        TellMeter,
    },
};

/// How long a piece belongs to who has claimed it: longer than an attempt takes.
const LEASE_MILLIS: i64 = 120_000;
/// Pieces that are claimed together, and sent one after another.
const PAGE: u32 = 20;
/// The billing system takes nothing that was used longer ago.
const OLDEST_MILLIS: i64 = 35 * 86_400_000;
/// The pause after the first attempt that failed; it doubles with each.
const FIRST_PAUSE_MILLIS: i64 = 5_000;
const LONGEST_PAUSE_MILLIS: i64 = 3_600_000;
/// So long the billing system knows a piece again that it was sent before.
const KNOWN_MILLIS: i64 = 24 * 3_600_000;

/// Where and how usage is told.
pub(super) struct MeterEventSettings {
    /// Such as `https://api.stripe.com`, without a slash at the end.
    pub(super) base: String,
    /// The secret key, or a restricted one that may write meter events.
    pub(super) key: String,
    /// How long after a look what was seen then is told.
    pub(super) rest: Duration,
    /// Makes the requests.
    pub(super) outgoing: Arc<dyn Outgoing>,
}

/// What the job is made of.
pub(super) struct MeterEventParts {
    pub(super) store: Arc<dyn MeterExportStore>,
    /// The catalog in force: which meters are told.
    pub(super) policies: Arc<dyn Policies>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: MeterEventSettings,
}

/// The job of one node.
pub(super) struct MeterEvents {
    parts: MeterEventParts,
    stripe: Stripe,
}

impl MeterEvents {
    pub(super) fn new(parts: MeterEventParts) -> Self {
        let stripe = Stripe::new(&parts.settings.base, &parts.settings.key);
        Self { parts, stripe }
    }

    /// Turn after turn until `end`.
    pub(super) async fn run(self, end: CancellationToken) {
        let pause = (self.parts.settings.rest / 6).clamp(Duration::from_millis(200), Duration::from_secs(60));
        let mut well = true;
        while end.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let Some(answer) = end.run_until_cancelled(self.turn()).await else { return };
            if let (Err(error), true) = (&answer, well) {
                tracing::warn!("usage could not be told to the billing system, tried again: {error}");
            }
            well = answer.is_ok();
        }
    }

    /// Cuts what is settled into pieces, and sends what is due.
    pub(super) async fn turn(&self) -> Result<(), StoreError> {
        if !matches!(self.parts.freshness.knowledge(self.parts.clock.monotonic()), Knowledge::Fresh) {
            return Ok(());
        }
        let catalog = self.parts.policies.catalog();
        let told: Vec<TellMeter> = catalog.stripe.meters.iter().map(meter).collect();
        let now = self.parts.clock.now();
        let rest = i64::try_from(self.parts.settings.rest.as_millis()).unwrap_or(i64::MAX);
        let cut = Cut {
            now,
            rested: UnixMillis(now.0.saturating_sub(rest)),
            oldest: UnixMillis(now.0.saturating_sub(OLDEST_MILLIS)),
        };
        while self.parts.store.cut_exports(&told, cut).await? {}
        loop {
            let now = self.parts.clock.now();
            let until = UnixMillis(now.0.saturating_add(LEASE_MILLIS));
            let pieces = self.parts.store.claim_exports(now, until, PAGE).await?;
            let more = pieces.len() >= usize::try_from(PAGE).unwrap_or(usize::MAX);
            for piece in pieces {
                // A page of slow answers would outlast the lease: what is left is claimed again.
                if self.parts.clock.now().0 >= until.0 - LEASE_MILLIS / 2 {
                    break;
                }
                let outcome = self.tell(&piece).await;
                self.parts.store.end_export(&piece, &outcome).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn tell(&self, piece: &MeterExport) -> ExportOutcome {
        let OutgoingRequest { url, headers, body } = self.stripe.request(piece);
        let said = match self.parts.settings.outgoing.post(OutgoingRequest { url, headers, body }).await {
            Ok(answer) => match Stripe::read(&answer) {
                call::Said::Taken => return ExportOutcome::Done,
                call::Said::Refused(why) => {
                    tracing::warn!(piece = piece.id, tenant = %piece.tenant, "usage was refused: {why}");
                    return ExportOutcome::Refused(why);
                }
                call::Said::Later(why) => (why, answer.retry_after),
            },
            Err(error) => (error.to_string(), None),
        };
        self.later(piece, said)
    }

    /// Tried again, as long as the billing system would know it again if it has it already.
    fn later(&self, piece: &MeterExport, (why, asked): (String, Option<Duration>)) -> ExportOutcome {
        let now = self.parts.clock.now();
        let doubled = FIRST_PAUSE_MILLIS << piece.attempts.saturating_sub(1).min(20);
        let asked = asked.map_or(0, |asked| i64::try_from(asked.as_millis()).unwrap_or(i64::MAX));
        let next = now.0.saturating_add(doubled.max(asked).min(LONGEST_PAUSE_MILLIS));
        let first = piece.first_sent.unwrap_or(now);
        if next >= first.0.saturating_add(KNOWN_MILLIS) {
            let why = format!("no answer within 24 hours, so it is not known whether it was taken: {why}");
            return ExportOutcome::Refused(why);
        }
        tracing::debug!(piece = piece.id, "usage is told later: {why}");
        ExportOutcome::Again(UnixMillis(next), why)
    }
}

fn meter((meter, told): (&MeterId, &ToldMeter)) -> TellMeter {
    TellMeter { meter: meter.clone(), event_name: told.event_name.clone(), count: told.count }
}
