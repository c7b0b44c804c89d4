//! Calls of the contract that this version does not carry out: each says so instead of being a bare 404.

use axum::{
    Router,
    routing::{delete, post},
};

use super::{
    Shared,
    problem::{Code, Problem},
};

async fn cancel() -> Problem {
    Problem::new(
        Code::NotAvailable,
        "cancelling is not available yet: suspend the tenant, or put it on another plan",
    )
}

async fn undo() -> Problem {
    Problem::new(Code::NotAvailable, "there are no scheduled changes to undo: they are not available yet")
}

async fn grants() -> Problem {
    Problem::new(
        Code::NotAvailable,
        "grants of extra units are not available yet: set a higher quota with PUT .../overrides",
    )
}

/// Adds them beside the routes that work.
pub(super) fn add(router: Router<Shared>) -> Router<Shared> {
    router
        .route("/v1/tenants/{tenant}/subscription", delete(cancel))
        .route("/v1/tenants/{tenant}/subscription/undo", post(undo))
        .route("/v1/tenants/{tenant}/grants", post(grants).get(grants))
}
