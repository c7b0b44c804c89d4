//! Endpoints and deliveries, in memory.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Notify;

use super::{Memory, once::Outcome, state::State, take};
use crate::{
    domain::{
        id::WebhookId,
        time::UnixMillis,
        webhook::{DeliveryState, Disabled, Endpoint},
    },
    ports::{
        AttemptRow, AuditRow, Claim, DeliveryRow, Due, MOST_REPLAYED, NewEvent, Origin, Outlook, Replay,
        StoreError, TRIES_KEPT, Then, Tried, WebhookChange, WebhookCommand, WebhookDone, WebhookError,
        WebhookStore,
    },
    store::{
        altered::Altered,
        outbox,
        tidy_messages::DELIVERIES_KEPT,
        webhook_book::{DISABLED, altered, changed, detail, disabled_altered, disabled_detail},
    },
};

/// Endpoints, and what is and was delivered to them.
#[derive(Default)]
pub(super) struct Webhooks {
    endpoints: Vec<Endpoint>,
    deliveries: Vec<Delivery>,
    places: u64,
    pub(super) bell: Arc<Notify>,
}

struct Delivery {
    row: DeliveryRow,
    webhook: WebhookId,
    body: String,
    series: u32,
    since: UnixMillis,
    next: UnixMillis,
    claimed: bool,
}

impl Delivery {
    fn waits(&self) -> bool {
        self.row.state == DeliveryState::Pending
    }

    fn end(&mut self, state: DeliveryState, now: UnixMillis) {
        self.claimed = false;
        self.row.state = state;
        self.row.ended_at = Some(now);
    }

    fn again(&mut self, now: UnixMillis) {
        self.row.state = DeliveryState::Pending;
        self.row.ended_at = None;
        (self.since, self.next, self.series, self.claimed) = (now, now, 0, false);
    }

    fn row(&self) -> DeliveryRow {
        let next_at = self.waits().then_some(self.next);
        let tries = self.row.tries.iter().rev().cloned().collect();
        DeliveryRow { next_at, tries, ..self.row.clone() }
    }
}

impl Webhooks {
    /// Writes the deliveries of a fact that was not told before.
    pub(super) fn fan_out(&mut self, event: &NewEvent, now: UnixMillis) {
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.takes(event.kind)) {
            self.places += 1;
            let row = DeliveryRow {
                place: self.places,
                event: outbox::id(event),
                kind: event.kind.as_str().to_owned(),
                tenant: event.tenant.clone(),
                state: DeliveryState::Pending,
                attempts: 0,
                created_at: now,
                next_at: None,
                ended_at: None,
                tries: Vec::new(),
            };
            self.deliveries.push(Delivery {
                row,
                webhook: endpoint.id.clone(),
                body: outbox::body(event),
                series: 0,
                since: now,
                next: now,
                claimed: false,
            });
            self.bell.notify_one();
        }
    }

    fn of<'a>(&'a mut self, id: &'a WebhookId) -> impl Iterator<Item = &'a mut Delivery> {
        self.deliveries.iter_mut().filter(move |delivery| delivery.webhook == *id)
    }

    fn discard(&mut self, id: &WebhookId, now: UnixMillis) -> u64 {
        let waiting = self.of(id).filter(|delivery| delivery.waits());
        waiting.map(|delivery| delivery.end(DeliveryState::Discarded, now)).count() as u64
    }

    fn replay(&mut self, id: &WebhookId, replay: &Replay, now: UnixMillis) -> Result<u64, WebhookError> {
        let mut again = 0;
        match replay {
            Replay::One(event) => {
                let found = self.of(id).find(|delivery| delivery.row.event == *event);
                let delivery = found.ok_or_else(|| WebhookError::NoDelivery(id.clone(), event.clone()))?;
                if !delivery.waits() || !delivery.claimed {
                    delivery.again(now);
                    again = 1;
                }
            }
            Replay::Since(since) => {
                let ended = [DeliveryState::Failed, DeliveryState::Discarded];
                let most = usize::try_from(MOST_REPLAYED).unwrap_or(usize::MAX);
                let fits = |delivery: &&mut Delivery| {
                    ended.contains(&delivery.row.state) && delivery.row.created_at >= *since
                };
                for delivery in self.of(id).filter(fits).take(most) {
                    delivery.again(now);
                    again += 1;
                }
            }
        }
        Ok(again)
    }

    fn claim(&mut self, claim: &Claim, now: UnixMillis) -> Vec<Due> {
        self.deliveries.sort_by_key(|delivery| (delivery.next, delivery.row.place));
        let (mut due, mut each): (Vec<Due>, std::collections::HashMap<WebhookId, u32>) = Default::default();
        let endpoints = self.endpoints.iter().filter(|endpoint| endpoint.disabled.is_none());
        let endpoints: Vec<&Endpoint> =
            endpoints.filter(|endpoint| !claim.but.contains(&endpoint.id)).collect();
        for delivery in self.deliveries.iter_mut().filter(|one| one.waits() && one.next <= now) {
            let Some(endpoint) = endpoints.iter().find(|one| one.id == delivery.webhook) else { continue };
            let count = each.entry(delivery.webhook.clone()).or_default();
            if *count >= claim.each || due.len() as u64 >= u64::from(claim.most) {
                continue;
            }
            *count += 1;
            delivery.row.attempts += 1;
            delivery.series += 1;
            delivery.next = now + claim.lease;
            delivery.claimed = true;
            due.push(Due {
                event: delivery.row.event.clone(),
                kind: delivery.row.kind.clone(),
                webhook: delivery.webhook.clone(),
                url: endpoint.url.clone(),
                secrets: endpoint.secrets.clone(),
                body: delivery.body.clone(),
                attempt: delivery.row.attempts,
                tries: delivery.series,
                since: delivery.since,
            });
        }
        due
    }

    fn settle(&mut self, tried: &Tried, now: UnixMillis) {
        let Some(delivery) = self.of(&tried.webhook).find(|one| one.row.event == tried.event) else { return };
        let kept = usize::try_from(TRIES_KEPT).unwrap_or(usize::MAX);
        let known = |row: &AttemptRow| row.attempt == tried.row.attempt;
        if !delivery.row.tries.iter().any(known) {
            delivery.row.tries.push(tried.row.clone());
            let more = delivery.row.tries.len().saturating_sub(kept);
            delivery.row.tries.drain(..more);
        }
        let own = delivery.row.attempts == tried.row.attempt;
        if !delivery.waits() || !(own || tried.then == Then::Delivered) {
            return;
        }
        match &tried.then {
            Then::Delivered => delivery.end(DeliveryState::Delivered, now),
            Then::Failed => delivery.end(DeliveryState::Failed, now),
            Then::Disable(_) => delivery.end(DeliveryState::Discarded, now),
            Then::Again(pause) => {
                delivery.claimed = false;
                delivery.next = now + *pause;
            }
        }
    }
}

impl State {
    /// Forgets deliveries that ended long ago, and facts that nobody waits for.
    pub(super) fn forget_messages(&mut self, now: UnixMillis) -> u64 {
        let had = self.webhooks.deliveries.len();
        let before = now.0.saturating_sub(DELIVERIES_KEPT);
        self.webhooks.deliveries.retain(|one| one.waits() || one.row.created_at.0 >= before);
        (had - self.webhooks.deliveries.len()) as u64
    }

    fn change_webhook(
        &mut self,
        command: &WebhookCommand,
        origin: &Origin,
        now: UnixMillis,
    ) -> Result<WebhookDone, WebhookError> {
        let earlier = self.before(origin, WebhookError::IdempotencyConflict, |outcome| match outcome {
            Outcome::Webhook(done) => Some(WebhookDone { replayed: true, ..done.clone() }),
            _ => None,
        });
        if let Some(done) = earlier? {
            return Ok(done);
        }
        let webhooks = &mut self.webhooks;
        let place = webhooks.endpoints.iter().position(|endpoint| endpoint.id == command.id);
        let before = place.map(|place| &webhooks.endpoints[place]);
        let after = changed(before, webhooks.endpoints.len(), command, origin.at)?;
        let altered = altered(before, after.as_ref());
        let mut deliveries = 0;
        if let WebhookChange::Replay(replay) = &command.change {
            deliveries = webhooks.replay(&command.id, replay, now)?;
        }
        match (after, place) {
            (Some(endpoint), Some(place)) => {
                let disabled = endpoint.disabled.is_some();
                webhooks.endpoints[place] = endpoint;
                if disabled {
                    deliveries = webhooks.discard(&command.id, now);
                }
            }
            (Some(endpoint), None) => webhooks.endpoints.push(endpoint),
            (None, place) => {
                place.map(|place| webhooks.endpoints.remove(place));
                deliveries = webhooks.of(&command.id).count() as u64;
                webhooks.deliveries.retain(|delivery| delivery.webhook != command.id);
            }
        }
        webhooks.bell.notify_one();
        let (kind, said) = (command.change.kind(), detail(command, deliveries));
        self.write_audit(kind, (&origin.actor, &origin.source), origin.at, (said, altered));
        let done = WebhookDone { id: command.id.clone(), deliveries, replayed: false };
        self.keep_outcome(origin, Outcome::Webhook(done.clone()));
        Ok(done)
    }

    fn write_audit(
        &mut self,
        kind: &str,
        (actor, source): (&str, &str),
        at: UnixMillis,
        (detail, altered): (Value, Altered),
    ) {
        let row = AuditRow {
            cursor: self.next_cursor(),
            version: self.version,
            at,
            actor: actor.to_owned(),
            source: source.to_owned(),
            tenant: None,
            kind: kind.to_owned(),
            detail,
        };
        self.audit.push_altered(row, altered);
    }

    fn settle_delivery(&mut self, tried: &Tried, now: UnixMillis) {
        if let Then::Disable(why) = &tried.then {
            let told = |endpoint: &&mut Endpoint| {
                endpoint.id == tried.webhook && endpoint.url == tried.url && endpoint.disabled.is_none()
            };
            if let Some(endpoint) = self.webhooks.endpoints.iter_mut().find(told) {
                endpoint.disabled = Some(Disabled { at: now, why: why.clone() });
                let discarded = self.webhooks.discard(&tried.webhook, now);
                let (kind, actor, source) = DISABLED;
                let said = disabled_detail(tried.webhook.as_str(), why, discarded);
                self.write_audit(kind, (actor, source), tried.row.at, (said, disabled_altered(why)));
            }
        }
        self.webhooks.settle(tried, now);
    }
}

#[async_trait]
impl WebhookStore for Memory {
    async fn webhooks(&self) -> Result<Vec<Endpoint>, StoreError> {
        Ok(self.state()?.webhooks.endpoints.clone())
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Endpoint>, StoreError> {
        Ok(self.state()?.webhooks.endpoints.iter().find(|endpoint| endpoint.id == *id).cloned())
    }

    async fn change_webhook(
        &self,
        command: &WebhookCommand,
        origin: &Origin,
    ) -> Result<WebhookDone, WebhookError> {
        let now = self.clock.now();
        self.state()?.change_webhook(command, origin, now)
    }

    async fn deliveries(
        &self,
        id: &WebhookId,
        state: Option<DeliveryState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let held = self.state()?;
        let fits = |one: &&Delivery| {
            one.webhook == *id
                && state.is_none_or(|state| one.row.state == state)
                && before.is_none_or(|before| one.row.place < before)
        };
        let mut rows: Vec<DeliveryRow> =
            held.webhooks.deliveries.iter().filter(fits).map(Delivery::row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.place));
        Ok(take(limit, rows.into_iter()))
    }

    async fn outlook(&self) -> Result<Outlook, StoreError> {
        let (now, state) = (self.clock.now(), self.state()?);
        let between = |from: UnixMillis, to: UnixMillis| {
            Duration::from_millis(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
        };
        let told = |id: &WebhookId| {
            state.webhooks.endpoints.iter().any(|one| one.id == *id && one.disabled.is_none())
        };
        let waiting: Vec<&Delivery> =
            state.webhooks.deliveries.iter().filter(|one| one.waits() && told(&one.webhook)).collect();
        Ok(Outlook {
            endpoints: state.webhooks.endpoints.iter().filter(|one| one.disabled.is_none()).count() as u64,
            waiting: waiting.len() as u64,
            oldest: waiting.iter().map(|one| between(one.row.created_at, now)).max().unwrap_or_default(),
            next: waiting.iter().map(|one| between(now, one.next)).min(),
        })
    }

    async fn claim_deliveries(&self, claim: &Claim) -> Result<Vec<Due>, StoreError> {
        let now = self.clock.now();
        Ok(self.state()?.webhooks.claim(claim, now))
    }

    async fn settle_delivery(&self, tried: &Tried) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.state()?.settle_delivery(tried, now);
        Ok(())
    }

    async fn told(&self) {
        let bell = self.state().map(|state| Arc::clone(&state.webhooks.bell));
        match bell {
            Ok(bell) => bell.notified().await,
            Err(_) => std::future::pending().await,
        }
    }
}
