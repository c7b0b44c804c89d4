//! Stripe's events: listed with what became of them, shown, and looked at again once the policies can map them.

use axum::{Json, extract::State, response::Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    billing::answered,
    openapi::{ReadErrors, WriteErrors},
    params::{EventPath, NoParams, Params},
    problem::{Code, Problem},
    views::Page,
    write::{Write, WriteState},
};
use crate::{
    domain::time::Version,
    ports::{StripeEventRow, StripeEventState},
};

/// How many customers are looked at by one call.
const MOST_CUSTOMERS: usize = 1_000;
/// And how many are asked for at once.
const PAGE: u32 = 100;

/// An event of Stripe, and what became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = BillingEvent)]
pub(super) struct EventView {
    /// Stripe's id of it.
    id: String,
    /// What happened, in Stripe's words.
    #[serde(rename = "type")]
    kind: String,
    /// When Stripe made it.
    created: String,
    /// When it was received.
    received: String,
    /// Stripe's id of the customer that it is about.
    customer: Option<String>,
    /// Stripe's id of the subscription that it is about.
    subscription: Option<String>,
    /// `applied`, `waiting` (for a tenant, or another event), `unmapped` (the policies do not have the price), `ignored`
    /// or `failed` (it cannot be read).
    state: &'static str,
    /// Why, where that is to be said.
    why: Option<String>,
    /// The tenant that it is about, or that it waits for.
    tenant: Option<String>,
}

/// An event of Stripe with all that was sent.
#[derive(Serialize, ToSchema)]
#[schema(as = WholeBillingEvent)]
pub(super) struct WholeView {
    #[serde(flatten)]
    event: EventView,
    /// What Stripe sent.
    body: Value,
}

/// One page of events, and what is not kept any more.
#[derive(Serialize, ToSchema)]
#[schema(as = BillingEvents)]
pub(super) struct EventsView {
    #[serde(flatten)]
    page: Page<EventView, u64>,
    /// What was dropped although it waited: of customers that are no tenant's the events of 400 days are kept, and 100,000.
    dropped: DroppedView,
}

/// What was dropped.
#[derive(Serialize, ToSchema)]
#[schema(as = DroppedBillingEvents)]
pub(super) struct DroppedView {
    /// How many events, ever.
    events: u64,
    /// When the last of them were.
    last: Option<String>,
}

/// What came of looking at events again.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayedBillingEvents)]
pub(super) struct ReplayedView {
    /// Customers whose events were looked at.
    customers: u64,
    /// Of these: whose tenants were changed by it.
    changed: u64,
    /// Whether there are more customers: call again.
    more: bool,
}

impl From<StripeEventRow> for EventView {
    fn from(row: StripeEventRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            created: row.created.to_string(),
            received: row.received.to_string(),
            customer: Some(row.customer).filter(|customer| !customer.is_empty()),
            subscription: row.subscription,
            state: row.state.as_str(),
            why: row.why,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
        }
    }
}

/// A state of a parameter.
fn state(text: &str) -> Result<StripeEventState, Problem> {
    StripeEventState::parse(text)
        .ok_or_else(|| Problem::parameter("state", "expected applied, waiting, unmapped, ignored or failed"))
}

async fn find(shared: &Shared, id: &str) -> Result<StripeEventRow, Problem> {
    let found = shared.stripe.stripe_event(id).await?;
    found.ok_or_else(|| Problem::new(Code::EventNotFound, format!("there is no event `{id}`")))
}

/// List the events that Stripe sent, the newest first.
#[utoipa::path(get, path = "/v1/billing/events", tag = "billing",
    params(("state" = Option<String>, Query, description = "Only those that are `applied`, `waiting`, `unmapped`, `ignored` or `failed`"),
           ("cursor" = Option<u64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page", body = EventsView), ReadErrors))]
pub(super) async fn list_events(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<EventsView>, Problem> {
    let (before, limit) = (params.place_from_the_end("cursor")?, params.limit()?);
    let wanted = params.take("state").as_deref().map(state).transpose()?;
    params.finish()?;
    let before = before.map(|Version(place)| place);
    let rows = shared.stripe.stripe_events(wanted, before, limit.saturating_add(1)).await?;
    let dropped = shared.stripe.dropped_events().await?;
    let dropped = DroppedView { events: dropped.events, last: dropped.last.map(|last| last.to_string()) };
    Ok(Json(EventsView { page: Page::cut(rows, limit, |row| row.place, EventView::from), dropped }))
}

/// Show an event that Stripe sent.
#[utoipa::path(get, path = "/v1/billing/events/{id}", tag = "billing",
    params(("id" = String, Path, description = "Stripe's id of the event")),
    responses((status = 200, description = "The event", body = WholeView), ReadErrors))]
pub(super) async fn get_event(
    State(shared): State<Shared>,
    EventPath(id): EventPath,
    _: NoParams,
) -> Result<Json<WholeView>, Problem> {
    let row = find(&shared, &id).await?;
    let body = serde_json::from_str(&row.body).unwrap_or(Value::Null);
    Ok(Json(WholeView { event: row.into(), body }))
}

/// Look at an event again: once the policies have its price, or its tenant is there.
#[utoipa::path(post, path = "/v1/billing/events/{id}/replay", tag = "billing",
    params(("id" = String, Path, description = "Stripe's id of the event")),
    responses((status = 200, description = "The event, and what became of it", body = Written<EventView>), WriteErrors))]
pub(super) async fn replay_event(
    State(shared): State<Shared>,
    EventPath(id): EventPath,
    write: Write<super::views::Nothing>,
) -> Result<Response, Problem> {
    let row = find(&shared, &id).await?;
    let settled = matches!(row.state, StripeEventState::Failed)
        || (row.state == StripeEventState::Ignored && row.tenant.is_none());
    if settled {
        let why = row.why.unwrap_or_default();
        let detail = format!("event `{id}` is {}, and stays so: {why}", row.state.as_str());
        return Err(Problem::new(Code::StateForbids, detail));
    }
    let ticket = write.ticket;
    let noted = shared.stripe.note_replay(&id, &ticket.origin).await?;
    let catalog = shared.policies.catalog();
    let done = shared.stripe.fold_customer(&row.customer, &catalog, &ticket.origin.plain()).await?;
    let version = done.version.map_or(noted.version, |version| version.max(noted.version));
    let shown = find(&shared, &id).await.map_err(|problem| problem.after_commit(version))?;
    let written = Written::after(&shared, ticket.wait, version, EventView::from(shown)).await;
    Ok(answered(written, noted.replayed))
}

/// Look at all events in a state again.
#[utoipa::path(post, path = "/v1/billing/events/replay", tag = "billing",
    params(("state" = Option<String>, Query, description = "`unmapped` (the default) or `waiting`")),
    responses((status = 200, description = "What came of it", body = Written<ReplayedView>), WriteErrors))]
pub(super) async fn replay_events(
    State(shared): State<Shared>,
    WriteState { state: asked, ticket }: WriteState,
) -> Result<Response, Problem> {
    let state = asked.as_deref().map(state).transpose()?.unwrap_or(StripeEventState::Unmapped);
    if !matches!(state, StripeEventState::Unmapped | StripeEventState::Waiting) {
        return Err(Problem::parameter(
            "state",
            "only `unmapped` and `waiting` events can be looked at again",
        ));
    }
    let noted = shared.stripe.note_replay(state.as_str(), &ticket.origin).await?;
    let catalog = shared.policies.catalog();
    let (mut after, mut looked, mut changed, mut version) = (String::new(), 0, 0, noted.version);
    let mut more = true;
    while more && looked < MOST_CUSTOMERS {
        let page = shared.stripe.customers_with(state, &after, PAGE).await?;
        more = page.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
        for customer in page {
            let done = shared.stripe.fold_customer(&customer, &catalog, &ticket.origin.plain()).await?;
            looked += 1;
            changed += u64::from(done.changed);
            version = done.version.map_or(version, |of_tenant| of_tenant.max(version));
            after = customer;
        }
    }
    let view = ReplayedView { customers: looked as u64, changed, more };
    Ok(answered(Written::after(&shared, ticket.wait, version, view).await, noted.replayed))
}
