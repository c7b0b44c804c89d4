//! Which customer of Stripe a tenant is: shown, said and taken back.

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::{Written, mark},
    openapi::{ReadErrors, WriteErrors},
    params::{NoParams, TenantPath},
    problem::{Code, OTHER_REQUEST, Problem},
    views::Nothing,
    write::Write,
};
use crate::{
    domain::id::TenantId,
    ports::{BillingLink, LinkError},
    wire::stripe::is_id,
};

/// Which customer the tenant is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBilling {
    /// Stripe's id of the customer, such as `cus_NffrFeUfNV2Hib`.
    stripe_customer: String,
}

/// A tenant in the billing system.
#[derive(Serialize, ToSchema)]
#[schema(as = Billing)]
pub(super) struct BillingView {
    /// The tenant's id.
    tenant: String,
    /// Stripe's id of its customer; `null`: it has none.
    stripe_customer: Option<String>,
    /// Since when.
    since: Option<String>,
    /// Who said so: `call`, or `event` for one of Stripe's.
    linked_by: Option<&'static str>,
}

impl BillingView {
    fn of(tenant: &TenantId, link: Option<BillingLink>) -> Self {
        let linked_by = link.as_ref().map(|link| if link.by_call { "call" } else { "event" });
        Self {
            tenant: tenant.to_string(),
            since: link.as_ref().map(|link| link.since.to_string()),
            stripe_customer: link.map(|link| link.customer),
            linked_by,
        }
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        let detail = error.to_string();
        match error {
            LinkError::NoTenant(_) => Self::new(Code::TenantNotFound, detail),
            LinkError::NotLinked(_) => Self::new(Code::BillingNotFound, detail),
            LinkError::Taken { .. } => {
                Self::new(Code::CustomerTaken, format!("{detail}: one customer is one tenant"))
            }
            LinkError::IdempotencyConflict => Self::new(Code::IdempotencyConflict, OTHER_REQUEST),
            LinkError::Store(error) => error.into(),
        }
    }
}

/// Show which customer of the billing system a tenant is.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/billing", tag = "billing",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "The customer", body = BillingView), ReadErrors))]
pub(super) async fn get_billing(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    _: NoParams,
) -> Result<Json<BillingView>, Problem> {
    shared.find(&id).await?;
    match shared.stripe.customer_of(&id).await? {
        Some(link) => Ok(Json(BillingView::of(&id, Some(link)))),
        None => Err(LinkError::NotLinked(id).into()),
    }
}

/// Say which customer of Stripe a tenant is, in the place of the one that it was. What Stripe has told of the customer is
/// taken at once.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/billing", tag = "billing",
    params(("tenant" = String, Path, description = "The tenant's id")),
    request_body = PutBilling,
    responses((status = 200, description = "Linked", body = Written<BillingView>), WriteErrors))]
pub(super) async fn put_billing(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    Write { asked, ticket }: Write<PutBilling>,
) -> Result<Response, Problem> {
    let customer = asked.stripe_customer;
    if !is_id(&customer) {
        let detail =
            "expected a customer's id of 1 to 255 letters, digits and `_`, such as `cus_NffrFeUfNV2Hib`";
        return Err(Problem::field(Code::ValueImpossible, "/stripe_customer", detail));
    }
    let linked = shared.stripe.link_customer(&id, &customer, &ticket.origin).await?;
    let catalog = shared.policies.catalog();
    let folded = shared.stripe.fold_customer(&customer, &catalog, &ticket.origin.plain()).await;
    let done = folded.map_err(|error| Problem::from(error).after_commit(linked.version))?;
    let version = done.version.map_or(linked.version, |version| version.max(linked.version));
    let link =
        shared.stripe.customer_of(&id).await.map_err(|error| Problem::from(error).after_commit(version))?;
    let written = Written::after(&shared, ticket.wait, version, BillingView::of(&id, link)).await;
    Ok(answered(written, linked.replayed))
}

/// Take a tenant's customer away from it. Its plan stays as it is.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/billing", tag = "billing",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Taken away", body = Written<BillingView>), WriteErrors))]
pub(super) async fn delete_billing(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    let done = shared.stripe.unlink_customer(&id, &write.ticket.origin).await?;
    let written = Written::after(&shared, write.ticket.wait, done.version, BillingView::of(&id, None)).await;
    Ok(answered(written, done.replayed))
}

/// The answer to a write that made no version of its own.
pub(super) fn answered<T: Serialize>(written: Written<T>, replayed: bool) -> Response {
    use axum::response::IntoResponse;
    let mut response = (StatusCode::OK, Json(written)).into_response();
    mark(&mut response, replayed);
    response
}
