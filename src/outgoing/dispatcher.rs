//! Delivers what was told: on every node, each delivery by whoever claims it, at least once and with the same id.

use std::{
    collections::HashMap,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use super::delivery::deliver;
use crate::{
    clock::Clock,
    domain::id::WebhookId,
    metrics::Deliveries,
    ports::{Claim, Incarnation, Outgoing, Outlook, StoreError, Then, Tried, WebhookStore},
};

/// Deliveries under way at once.
const MOST: usize = 8;
/// Of them to one endpoint.
const MOST_EACH: usize = 2;
/// How long a claim lasts: longer than any try takes, with its writing down.
const LEASE: Duration = Duration::from_secs(40);
/// How soon a node looks for what others have left, where there is anybody to tell.
const LOOK: Duration = Duration::from_secs(2);
/// How soon it looks whether there is anybody to tell.
const LOOK_FOR_ENDPOINTS: Duration = Duration::from_secs(30);
/// The shortest pause between two looks.
const SOON: Duration = Duration::from_millis(50);
/// Where what is due could not be claimed, somebody else has it in hand.
const TAKEN: Duration = Duration::from_secs(1);
/// How long tries that are under way are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long after a failure to write down what a try has led to that is tried again, once.
const WRITE_AGAIN: Duration = Duration::from_millis(500);

/// What the job is made of.
pub struct DispatcherParts {
    /// Where deliveries are.
    pub store: Arc<dyn WebhookStore>,
    /// What makes requests.
    pub outgoing: Arc<dyn Outgoing>,
    /// The database's time, as far as this node knows it.
    pub clock: Arc<dyn Clock>,
    /// Tells nodes apart.
    pub run: Incarnation,
    /// What is measured.
    pub metrics: Arc<Deliveries>,
}

type Try = Pin<Box<dyn Future<Output = Tried> + Send>>;

/// The job of one node.
pub struct Dispatcher {
    parts: Arc<DispatcherParts>,
    running: FuturesUnordered<Try>,
    to: HashMap<WebhookId, usize>,
    well: bool,
}

impl Dispatcher {
    /// Nothing is under way.
    #[must_use]
    pub fn new(parts: DispatcherParts) -> Self {
        Self { parts: Arc::new(parts), running: FuturesUnordered::new(), to: HashMap::new(), well: true }
    }

    /// Delivers until `end`; then waits a little for what is under way.
    pub async fn run(mut self, end: CancellationToken) {
        let store = Arc::clone(&self.parts.store);
        // What was told before this node started is looked for at once.
        let mut look = true;
        loop {
            let turn = end.run_until_cancelled(self.turn(look)).await;
            let Some(answer) = turn else { break };
            let pause = self.judge(answer);
            look = tokio::select! {
                biased;
                () = end.cancelled() => break,
                Some(tried) = self.running.next() => {
                    self.ended(&tried);
                    false
                }
                () = store.told() => false,
                () = tokio::time::sleep(pause) => true,
            };
        }
        let rest = async { while self.running.next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, rest).await.is_err() {
            tracing::info!("webhook deliveries under way are left to others");
        }
    }

    /// Takes on what is due, and answers how long there is nothing to do. With `look` it first asks whether there is
    /// anything at all, which costs the database less.
    async fn turn(&mut self, look: bool) -> Result<Duration, StoreError> {
        if look {
            let outlook = self.outlook().await?;
            if outlook.next != Some(Duration::ZERO) {
                return Ok(idle(&outlook));
            }
        }
        let mut any = false;
        while self.claim().await? {
            any = true;
        }
        if any || !look {
            let outlook = self.outlook().await?;
            return Ok(if outlook.next == Some(Duration::ZERO) { TAKEN } else { idle(&outlook) });
        }
        Ok(TAKEN)
    }

    /// Waits for the database while what is under way goes on: a try may hold the very connection that is waited for.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(tried) = self.running.next() => self.ended(&tried),
            }
        }
    }

    async fn outlook(&mut self) -> Result<Outlook, StoreError> {
        let parts = Arc::clone(&self.parts);
        self.meanwhile(parts.outlook()).await
    }

    /// Claims once; `true`: there may be more that this node has room for.
    async fn claim(&mut self) -> Result<bool, StoreError> {
        let room = MOST.saturating_sub(self.running.len());
        if room == 0 {
            return Ok(false);
        }
        // An endpoint that has one under way gets one more; then none does get more, for this once.
        let each = if self.to.values().any(|count| *count > 0) { 1 } else { MOST_EACH };
        let full = self.to.iter().filter(|(_, count)| **count >= MOST_EACH).map(|(id, _)| id.clone());
        let claim = Claim {
            by: self.parts.run,
            lease: LEASE,
            most: u32::try_from(room).unwrap_or(1),
            each: u32::try_from(each).unwrap_or(1),
            but: full.collect(),
        };
        let store = Arc::clone(&self.parts.store);
        let due = self.meanwhile(store.claim_deliveries(&claim)).await?;
        let mut taken: HashMap<WebhookId, usize> = HashMap::new();
        for due in due {
            *taken.entry(due.webhook.clone()).or_default() += 1;
            *self.to.entry(due.webhook.clone()).or_default() += 1;
            let parts = Arc::clone(&self.parts);
            self.running.push(Box::pin(async move {
                let tried = deliver(due, &*parts.outgoing, &*parts.clock, spread()).await;
                parts.write_down(&tried).await;
                tried
            }));
        }
        // Where an endpoint got all that it could have got in this claim, it may have more.
        Ok(taken.keys().any(|id| self.to.get(id).is_some_and(|count| *count < MOST_EACH)))
    }

    fn ended(&mut self, tried: &Tried) {
        if let Some(count) = self.to.get_mut(&tried.webhook) {
            *count -= 1;
            if *count == 0 {
                self.to.remove(&tried.webhook);
            }
        }
    }

    /// How long to wait after a turn.
    fn judge(&mut self, answer: Result<Duration, StoreError>) -> Duration {
        match answer {
            Ok(pause) => {
                self.well = true;
                pause
            }
            Err(error) => {
                if self.well {
                    tracing::warn!("webhook deliveries could not be looked for, tried again: {error}");
                }
                self.well = false;
                LOOK
            }
        }
    }
}

/// How long there is nothing to do.
fn idle(outlook: &Outlook) -> Duration {
    if outlook.endpoints == 0 {
        return LOOK_FOR_ENDPOINTS;
    }
    outlook.next.map_or(LOOK, |next| next.clamp(SOON, LOOK))
}

/// In thousandths, at random.
fn spread() -> u32 {
    let mut bytes = [0; 2];
    // Without randomness, all come back at once.
    SystemRandom::new().fill(&mut bytes).map_or(0, |()| u32::from(u16::from_le_bytes(bytes)) % 1_000)
}

impl DispatcherParts {
    async fn outlook(&self) -> Result<Outlook, StoreError> {
        let outlook = self.store.outlook().await?;
        self.metrics.wait(outlook.waiting, outlook.oldest);
        Ok(outlook)
    }

    async fn write_down(&self, tried: &Tried) {
        let outcome = match &tried.then {
            Then::Delivered => "delivered",
            Then::Again(_) => "retried",
            Then::Failed => "failed",
            Then::Disable(_) => "disabled",
        };
        self.metrics.tried(outcome);
        let (webhook, event, status) = (&tried.webhook, &tried.event, tried.row.status);
        match &tried.then {
            Then::Failed => tracing::warn!(%webhook, event, status, "a webhook message is given up"),
            Then::Disable(why) => tracing::warn!(%webhook, event, why, "a webhook is disabled"),
            _ => tracing::debug!(%webhook, event, status, outcome, "a webhook message was tried"),
        }
        if self.store.settle_delivery(tried).await.is_err() {
            tokio::time::sleep(WRITE_AGAIN).await;
            if let Err(error) = self.store.settle_delivery(tried).await {
                // Its claim ends, and it is delivered again, with the same id.
                tracing::warn!(%webhook, event, "what a webhook message led to is not written down: {error}");
            }
        }
    }
}
