//! The dispatcher over a store in memory, on a clock that stands still, to endpoints that answer as they are told.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{Dispatcher, DispatcherParts};
use crate::{
    clock::{Clock, ManualClock},
    domain::{
        command::{Change, Command, Subscribe},
        id::{TenantId, WebhookId},
        time::UnixMillis,
        webhook::{DeliveryState, Endpoint},
    },
    metrics::Deliveries,
    ports::{
        Claim, DeliveryRow, Due, Incarnation, Origin, Outgoing, OutgoingAnswer, OutgoingError,
        OutgoingRequest, Outlook, StoreError, TenantStore, Tried, WebhookChange, WebhookCommand, WebhookDone,
        WebhookError, WebhookStore,
    },
    store::memory::Memory,
    wire::signed_message::{SigningKey, new_secret, verify},
};

/// Statuses, with the seconds of their `Retry-After`.
type Script = VecDeque<(u16, Option<u64>)>;
/// How many, by host.
type Counts = BTreeMap<String, usize>;

/// Endpoints by the host of their URL: each answers in turn, the last answer for ever; 200 where nothing was said.
#[derive(Default)]
struct Endpoints {
    answers: Mutex<HashMap<String, Script>>,
    seen: Mutex<Vec<OutgoingRequest>>,
    under_way: Mutex<(Counts, Counts, usize)>,
    /// Taken by each request for as long as it lasts.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

fn host(url: &str) -> String {
    url.trim_start_matches("https://").trim_end_matches(".example/").to_owned()
}

#[async_trait]
impl Outgoing for Endpoints {
    fn check(&self, _: &str) -> Result<(), OutgoingError> {
        Ok(())
    }

    async fn post(&self, request: OutgoingRequest) -> Result<OutgoingAnswer, OutgoingError> {
        let host = host(&request.url);
        self.seen.lock().unwrap().push(request);
        {
            let (now, most, all) = &mut *self.under_way.lock().unwrap();
            *now.entry(host.clone()).or_default() += 1;
            let peak = most.entry(host.clone()).or_default();
            *peak = (*peak).max(now[&host]);
            *all = (*all).max(now.values().sum());
        }
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        *self.under_way.lock().unwrap().0.get_mut(&host).unwrap() -= 1;
        let mut answers = self.answers.lock().unwrap();
        let (status, retry_after) = match answers.get_mut(&host) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers[0],
            None => (200, None),
        };
        if status == 0 {
            return Err(OutgoingError::Failed("connection refused".to_owned()));
        }
        let retry_after = retry_after.map(Duration::from_secs);
        Ok(OutgoingAnswer { status, body: vec![b'x'; 3_000].into(), retry_after })
    }
}

impl Endpoints {
    fn answer(&self, host: &str, answers: &[(u16, Option<u64>)]) {
        self.answers.lock().unwrap().insert(host.to_owned(), answers.iter().copied().collect());
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn header(&self, place: usize, name: &str) -> String {
        let seen = self.seen.lock().unwrap();
        seen[place].headers.iter().find(|(given, _)| *given == name).unwrap().1.clone()
    }
}

struct Scene {
    clock: Arc<ManualClock>,
    store: Arc<Memory>,
    endpoints: Arc<Endpoints>,
    metrics: Arc<Deliveries>,
    end: CancellationToken,
    secret: String,
}

fn id(name: &str) -> WebhookId {
    WebhookId::parse(name).unwrap()
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::at(UnixMillis(1_760_000_000_000));
        Self {
            store: Arc::new(Memory::with_clock(clock.clone()).unwrap()),
            clock,
            endpoints: Arc::default(),
            metrics: Arc::default(),
            end: CancellationToken::new(),
            secret: new_secret().unwrap(),
        }
    }

    fn origin(&self) -> Origin {
        Origin { at: self.clock.now(), actor: "a".into(), source: "s".into(), idempotency: None }
    }

    /// A node.
    fn run(&self, node: u128) -> JoinHandle<()> {
        self.run_on(self.store.clone(), node)
    }

    fn run_on(&self, store: Arc<dyn WebhookStore>, node: u128) -> JoinHandle<()> {
        let dispatcher = Dispatcher::new(DispatcherParts {
            store,
            outgoing: self.endpoints.clone(),
            clock: self.clock.clone(),
            run: Incarnation(uuid::Uuid::from_u128(node)),
            metrics: self.metrics.clone(),
        });
        TaskTracker::new().spawn(dispatcher.run(self.end.clone()))
    }

    async fn change(&self, name: &str, change: WebhookChange) {
        let command = WebhookCommand { id: id(name), change };
        self.store.change_webhook(&command, &self.origin()).await.unwrap();
    }

    async fn endpoint(&self, name: &str) {
        let create = WebhookChange::Create {
            url: format!("https://{name}.example/"),
            description: String::new(),
            events: vec![crate::domain::event::EventKind::PlanChanged],
            secret: self.secret.clone(),
        };
        self.change(name, create).await;
    }

    /// Tells of one fact.
    async fn tell(&self, tenant: &str) {
        for change in [
            Change::PutTenant { name: None, zone: None, attributes: None },
            Change::Subscribe(Subscribe::to("pro".parse().unwrap())),
        ] {
            let command = Command { tenant: TenantId::parse(tenant).unwrap(), change };
            self.store.execute(&command, &self.origin()).await.unwrap();
        }
    }

    async fn rows(&self, name: &str) -> Vec<DeliveryRow> {
        self.store.deliveries(&id(name), None, None, 500).await.unwrap()
    }

    /// Lets what is under way come to rest, in the runtime's own time, which does not pass.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass on all clocks, second by second.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::advance(Duration::from_secs(1)).await;
            self.settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_delivered_at_once_and_signed() {
    let scene = Scene::new();
    let running = scene.run(1);
    scene.settle().await;
    scene.endpoint("a").await;
    scene.tell("acme").await;
    scene.settle().await;
    assert_eq!(scene.endpoints.count(), 1, "it is woken");
    let header = |name| scene.endpoints.header(0, name);
    let body = scene.endpoints.seen.lock().unwrap()[0].body.clone();
    let key = SigningKey::parse(&scene.secret).unwrap();
    let (id, at, signature) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    verify(&key, (&id, &at, &signature), &body, 1_760_000_000).unwrap();
    let rows = scene.rows("a").await;
    assert_eq!((rows[0].state, rows[0].event.as_str()), (DeliveryState::Delivered, id.as_str()));
    assert_eq!(rows[0].tries[0].answer.len(), 1_024, "the beginning of the answer is kept");
    assert_eq!(scene.metrics.tries(), 1);
    scene.pass(30).await;
    assert_eq!(scene.endpoints.count(), 1, "once");
    scene.end.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_with_the_same_id_until_it_is_given_up() {
    let scene = Scene::new();
    scene.endpoint("a").await;
    scene.endpoints.answer("a", &[(500, None), (0, None), (302, None), (200, None)]);
    let _running = scene.run(1);
    scene.tell("acme").await;
    scene.pass(4).await;
    assert_eq!(scene.endpoints.count(), 1);
    scene.pass(5).await;
    assert_eq!(scene.endpoints.count(), 2, "after 5 s");
    scene.pass(40).await;
    assert_eq!(scene.endpoints.count(), 3, "after 30 s more");
    scene.pass(150).await;
    assert_eq!(scene.endpoints.count(), 4);
    let ids: Vec<String> = (0..4).map(|place| scene.endpoints.header(place, "webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(
        scene.endpoints.header(0, "webhook-signature"),
        scene.endpoints.header(3, "webhook-signature")
    );
    let row = scene.rows("a").await.remove(0);
    assert_eq!((row.state, row.attempts), (DeliveryState::Delivered, 4));
    let said: Vec<(Option<u16>, Option<&str>)> =
        row.tries.iter().map(|row| (row.status, row.error.as_deref())).collect();
    let redirect = (Some(302), Some("redirects are not followed"));
    assert_eq!(said, [(Some(200), None), redirect, (None, Some("connection refused")), (Some(500), None)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_day_it_is_given_up_and_may_be_told_again() {
    let scene = Scene::new();
    scene.endpoint("a").await;
    scene.endpoints.answer("a", &[(500, None)]);
    let _running = scene.run(1);
    scene.tell("acme").await;
    scene.settle().await;
    // In large steps: each wakes whatever was to wake meanwhile.
    for _ in 0..24 * 12 + 1 {
        scene.clock.advance(Duration::from_secs(300));
        tokio::time::advance(Duration::from_secs(300)).await;
        scene.settle().await;
    }
    let row = scene.rows("a").await.remove(0);
    assert_eq!(row.state, DeliveryState::Failed);
    assert!((8..=12).contains(&row.attempts), "{}", row.attempts);
    let count = scene.endpoints.count();
    scene.endpoints.answer("a", &[(200, None)]);
    scene.change("a", WebhookChange::Replay(crate::ports::Replay::One(row.event.clone()))).await;
    scene.settle().await;
    assert_eq!(scene.endpoints.count(), count + 1, "at once");
    assert_eq!(scene.endpoints.header(count, "webhook-id"), row.event);
    assert_eq!(scene.rows("a").await[0].state, DeliveryState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_may_ask_for_time_or_for_no_more() {
    let scene = Scene::new();
    scene.endpoint("slow").await;
    scene.endpoint("gone").await;
    scene.endpoints.answer("slow", &[(503, Some(60)), (200, None)]);
    scene.endpoints.answer("gone", &[(410, None)]);
    let _running = scene.run(1);
    scene.tell("acme").await;
    scene.pass(58).await;
    let tries = async |name: &str| scene.rows(name).await[0].attempts;
    assert_eq!(tries("slow").await, 1);
    scene.pass(5).await;
    assert_eq!(tries("slow").await, 2);
    let gone = scene.store.webhook(&id("gone")).await.unwrap().unwrap();
    assert!(gone.disabled.unwrap().why.contains("410"));
    scene.tell("other").await;
    scene.settle().await;
    assert_eq!(scene.rows("gone").await.len(), 1);
    assert_eq!(scene.rows("gone").await[0].state, DeliveryState::Discarded);
    assert_eq!(scene.rows("slow").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn so_many_at_once_and_so_many_to_each() {
    let scene = Scene::new();
    let gate = Arc::new(Semaphore::new(0));
    *scene.endpoints.gate.lock().unwrap() = Some(Arc::clone(&gate));
    for n in 0..6 {
        scene.endpoint(&format!("e{n}")).await;
    }
    for n in 0..5 {
        scene.tell(&format!("t{n}")).await;
    }
    let _running = scene.run(1);
    scene.pass(3).await;
    assert_eq!(scene.endpoints.count(), 8);
    gate.add_permits(1_000);
    scene.pass(3).await;
    assert_eq!(scene.endpoints.count(), 30);
    let (_, each, all) = &*scene.endpoints.under_way.lock().unwrap();
    assert_eq!(*all, 8);
    assert!(each.values().all(|most| *most <= 2), "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_node_had_in_hand_is_delivered_by_another() {
    let scene = Scene::new();
    scene.endpoint("a").await;
    let gate = Arc::new(Semaphore::new(0));
    *scene.endpoints.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let first = scene.run(1);
    scene.settle().await;
    scene.tell("acme").await;
    scene.settle().await;
    assert_eq!(scene.endpoints.count(), 1);
    first.abort();
    let _ = first.await;
    *scene.endpoints.gate.lock().unwrap() = None;
    let _second = scene.run(2);
    scene.pass(30).await;
    assert_eq!(scene.endpoints.count(), 1, "the claim of the dead one holds for a while");
    scene.pass(15).await;
    assert_eq!(scene.endpoints.count(), 2);
    assert_eq!(scene.endpoints.header(0, "webhook-id"), scene.endpoints.header(1, "webhook-id"));
    let row = scene.rows("a").await.remove(0);
    assert_eq!((row.state, row.attempts), (DeliveryState::Delivered, 2));
}

#[tokio::test(start_paused = true)]
async fn both_secrets_sign_while_they_rotate() {
    let scene = Scene::new();
    scene.endpoint("a").await;
    let (new, until) = (new_secret().unwrap(), scene.clock.now() + Duration::from_secs(60));
    scene.change("a", WebhookChange::Rotate { secret: new.clone(), old_until: until }).await;
    let _running = scene.run(1);
    scene.tell("acme").await;
    scene.settle().await;
    scene.pass(61).await;
    scene.tell("later").await;
    scene.settle().await;
    let holds = |place: usize, secret: &str| {
        let header = |name| scene.endpoints.header(place, name);
        let (id, at, signature) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        let body = scene.endpoints.seen.lock().unwrap()[place].body.clone();
        let key = SigningKey::parse(secret).unwrap();
        verify(&key, (&id, &at, &signature), &body, at.parse().unwrap()).is_ok()
    };
    assert!(holds(0, &scene.secret) && holds(0, &new));
    assert!(!holds(1, &scene.secret) && holds(1, &new), "the old one has expired");
}

/// A store with one connection, as SQLite has one that writes: who has it keeps it over several turns of the runtime.
struct OneConnection {
    store: Arc<Memory>,
    connection: tokio::sync::Mutex<()>,
}

#[async_trait]
impl WebhookStore for OneConnection {
    async fn webhooks(&self) -> Result<Vec<Endpoint>, StoreError> {
        self.store.webhooks().await
    }

    async fn webhook(&self, id: &WebhookId) -> Result<Option<Endpoint>, StoreError> {
        self.store.webhook(id).await
    }

    async fn change_webhook(
        &self,
        command: &WebhookCommand,
        origin: &Origin,
    ) -> Result<WebhookDone, WebhookError> {
        self.store.change_webhook(command, origin).await
    }

    async fn deliveries(
        &self,
        id: &WebhookId,
        state: Option<DeliveryState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        self.store.deliveries(id, state, before, limit).await
    }

    async fn outlook(&self) -> Result<Outlook, StoreError> {
        let _held = self.connection.lock().await;
        self.store.outlook().await
    }

    async fn claim_deliveries(&self, claim: &Claim) -> Result<Vec<Due>, StoreError> {
        let _held = self.connection.lock().await;
        self.store.claim_deliveries(claim).await
    }

    async fn settle_delivery(&self, tried: &Tried) -> Result<(), StoreError> {
        let _held = self.connection.lock().await;
        tokio::task::yield_now().await;
        self.store.settle_delivery(tried).await
    }

    async fn told(&self) {
        WebhookStore::told(&*self.store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_being_written_down_is_not_kept_waiting_by_a_look_for_more() {
    let scene = Scene::new();
    for name in ["a", "b", "c"] {
        scene.endpoint(name).await;
    }
    let store = OneConnection { store: Arc::clone(&scene.store), connection: tokio::sync::Mutex::new(()) };
    let _running = scene.run_on(Arc::new(store), 1);
    scene.settle().await;
    scene.tell("acme").await;
    scene.settle().await;
    for name in ["a", "b", "c"] {
        assert_eq!(scene.rows(name).await[0].state, DeliveryState::Delivered, "{name}, without any time");
    }
    assert_eq!(scene.endpoints.count(), 3, "each once");
}
