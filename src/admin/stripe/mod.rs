//! The listener for Stripe's webhooks: one path, and nothing that any other listener has.
//!
//! A request is believed by its signature alone. What it tells is kept before it is answered, so that Stripe need not tell
//! it again, and it is in force when it was answered, unless that takes long.

mod signature;
#[cfg(test)]
mod tests;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::FutureExt;
use serde::Serialize;

use super::{
    BODY_TIME, body, guard,
    problem::{Code, Problem},
};
use crate::{
    clock::Clock,
    domain::time::UnixMillis,
    ports::{Barrier, NewStripeEvent, Origin, Policies, StoreError, StripeEventState, StripeStore},
    wire::stripe::{Meaning, Told, read},
};

/// Who changes what Stripe changes, in the audit log.
pub(super) const ACTOR: &str = "stripe";
/// How long an answer waits until what was told is in force. Stripe waits longer.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(8);
/// An event that Stripe made so much later than now was never made.
const AHEAD_MILLIS: i64 = 86_400_000;

/// What the listener works on.
pub struct StripeInbox {
    /// Keeps what is told, and makes tenants of it.
    pub store: Arc<dyn StripeStore>,
    /// The catalog in force.
    pub policies: Arc<dyn Policies>,
    /// Waits until a change is in force.
    pub barrier: Arc<dyn Barrier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The secrets with one of which a request must be signed.
    pub secrets: Arc<dyn Fn() -> Arc<[String]> + Send + Sync>,
}

/// The listener's router, ready for [`super::serve`].
pub fn stripe_router(inbox: StripeInbox) -> Router {
    let inbox = Arc::new(inbox);
    Router::new()
        .route("/v1/webhooks/stripe", post(receive))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .layer(middleware::from_fn_with_state(Arc::clone(&inbox), around))
        .with_state(inbox)
}

async fn around(State(inbox): State<Arc<StripeInbox>>, request: Request, next: Next) -> Response {
    let now = inbox.clock.now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    guard::finish(now, (&method, &path), outcome.ok())
}

async fn nothing() -> Problem {
    Problem::new(Code::PathNotFound, "there is nothing here but `POST /v1/webhooks/stripe`")
}

/// What Stripe is answered.
#[derive(Serialize)]
struct Received {
    received: bool,
    id: String,
}

async fn receive(State(inbox): State<Arc<StripeInbox>>, request: Request) -> Result<Response, Problem> {
    let (parts, stream) = request.into_parts();
    let bytes = body::read(&parts.headers, stream, BODY_TIME).await?;
    let now = inbox.clock.now();
    signature::verify(&parts.headers, &bytes, &(inbox.secrets)(), now)
        .map_err(|unsigned| Problem::new(Code::SignatureInvalid, unsigned.to_string()))?;
    let told = read(&bytes).map_err(|why| Problem::new(Code::BodyMalformed, why))?;
    let event = event(told, &bytes, now)?;
    let new = inbox.store.keep_stripe_event(&event).await?;
    tracing::info!(id = event.id, kind = event.kind, new, "an event of Stripe was received");
    if event.settled.is_none() {
        apply(&inbox, &event, now).await;
    }
    Ok(Json(Received { received: true, id: event.id }).into_response())
}

/// The event as it is kept.
fn event(told: Told, bytes: &[u8], now: UnixMillis) -> Result<NewStripeEvent, Problem> {
    use StripeEventState as S;
    let body = std::str::from_utf8(bytes)
        .map_err(|_| Problem::new(Code::BodyMalformed, "the body is not UTF-8"))?
        .to_owned();
    let settled = match told.meaning {
        _ if told.created.0 > now.0.saturating_add(AHEAD_MILLIS) => {
            Some((S::Failed, format!("it was made in the future, at {}", told.created)))
        }
        Meaning::Event(_) => None,
        Meaning::Other(why) => Some((S::Ignored, why)),
        Meaning::Unreadable(why) => Some((S::Failed, why)),
    };
    Ok(NewStripeEvent {
        id: told.id,
        kind: told.kind,
        created: told.created,
        customer: told.customer.unwrap_or_default(),
        subscription: told.subscription,
        body,
        settled,
        received: now,
    })
}

/// Makes of all that is known of the customer what its tenant is, and waits until that is in force. Where it fails, the job
/// does it later: the event is kept.
async fn apply(inbox: &StripeInbox, event: &NewStripeEvent, now: UnixMillis) {
    let origin = Origin { at: now, actor: ACTOR.to_owned(), source: event.id.clone(), idempotency: None };
    let catalog = inbox.policies.catalog();
    let work = async {
        let done = inbox.store.fold_customer(&event.customer, &catalog, &origin).await?;
        if let Some(version) = done.version {
            inbox.barrier.applied(version).await;
        }
        Ok::<_, StoreError>(())
    };
    match tokio::time::timeout(IN_FORCE_WITHIN, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(id = event.id, "an event of Stripe is kept and not applied yet: {error}")
        }
        Err(_) => tracing::warn!(id = event.id, "an event of Stripe is kept and may not be in force yet"),
    }
}
