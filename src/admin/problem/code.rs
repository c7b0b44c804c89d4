//! The kinds of errors of the admin API: status, code and title of each.

use http::StatusCode;

/// The kinds of errors of this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum Code {
    BodyMalformed,
    FieldInvalid,
    ParameterInvalid,
    PathInvalid,
    HeaderInvalid,
    CredentialMissing,
    CredentialInvalid,
    CredentialExpired,
    TokenUnset,
    RoleForbids,
    TokenNotFound,
    NameTaken,
    TokensFull,
    PathNotFound,
    TenantNotFound,
    SubscriptionNotFound,
    GrantNotFound,
    AddonNotFound,
    BillingNotFound,
    EventNotFound,
    SignatureInvalid,
    CustomerTaken,
    KeyNotFound,
    NodeNotFound,
    ExportNotFound,
    WebhookNotFound,
    DeliveryNotFound,
    MethodNotAllowed,
    BodyTimeout,
    IdempotencyConflict,
    KeyTaken,
    PlanMissing,
    StateForbids,
    NothingToUndo,
    TrialUsed,
    GrantsFull,
    WebhooksFull,
    WebhookDisabled,
    RefusalNotFound,
    RevisionNotFound,
    StatementNotFound,
    RevisionStale,
    PoliciesUnchanged,
    TrialRunning,
    NoTrial,
    NoEarlierRevision,
    PlansInUse,
    PoliciesInvalid,
    BodyTooLarge,
    BodyUnsupported,
    NameUnknown,
    ValueImpossible,
    Internal,
    StoreUnavailable,
    StoreFull,
    Busy,
}

impl Code {
    /// Status, code and title.
    #[allow(clippy::too_many_lines, reason = "a table: each code has its line")]
    pub(super) const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BodyMalformed => (S::BAD_REQUEST, "body-malformed", "The body is not JSON"),
            Self::FieldInvalid => (S::BAD_REQUEST, "field-invalid", "A field is not valid"),
            Self::ParameterInvalid => (S::BAD_REQUEST, "parameter-invalid", "A parameter is not valid"),
            Self::PathInvalid => (S::BAD_REQUEST, "path-invalid", "The path names nothing that can be"),
            Self::HeaderInvalid => (S::BAD_REQUEST, "header-invalid", "A header is not valid"),
            Self::CredentialMissing => (S::UNAUTHORIZED, "credential-missing", "A token is needed"),
            Self::CredentialInvalid => (S::UNAUTHORIZED, "credential-invalid", "The token is not valid"),
            Self::TokenUnset => (S::UNAUTHORIZED, "admin-token-unset", "The admin API has no token"),
            Self::CredentialExpired => (S::UNAUTHORIZED, "credential-expired", "The token has expired"),
            Self::RoleForbids => (S::FORBIDDEN, "role-forbids", "The token's role does not allow it"),
            Self::TokenNotFound => (S::NOT_FOUND, "token-not-found", "There is no such token"),
            Self::NameTaken => (S::CONFLICT, "name-taken", "The name is taken"),
            Self::TokensFull => (S::CONFLICT, "tokens-full", "There are too many tokens"),
            Self::PathNotFound => (S::NOT_FOUND, "path-not-found", "There is nothing at this path"),
            Self::TenantNotFound => (S::NOT_FOUND, "tenant-not-found", "There is no such tenant"),
            Self::SubscriptionNotFound => {
                (S::NOT_FOUND, "subscription-not-found", "The tenant has no subscription")
            }
            Self::GrantNotFound => (S::NOT_FOUND, "grant-not-found", "There is no such grant"),
            Self::AddonNotFound => (S::NOT_FOUND, "addon-not-found", "The tenant has no such add-on"),
            Self::BillingNotFound => {
                (S::NOT_FOUND, "billing-not-found", "The tenant has no customer in the billing system")
            }
            Self::EventNotFound => (S::NOT_FOUND, "event-not-found", "There is no such event"),
            Self::SignatureInvalid => (S::BAD_REQUEST, "signature-invalid", "The signature is not valid"),
            Self::CustomerTaken => (S::CONFLICT, "customer-taken", "The customer is another tenant's"),
            Self::KeyNotFound => (S::NOT_FOUND, "key-not-found", "There is no such key"),
            Self::NodeNotFound => (S::NOT_FOUND, "node-not-found", "There is no such node"),
            Self::ExportNotFound => (S::NOT_FOUND, "export-not-found", "There is no such export"),
            Self::WebhookNotFound => (S::NOT_FOUND, "webhook-not-found", "There is no such webhook"),
            Self::DeliveryNotFound => {
                (S::NOT_FOUND, "delivery-not-found", "The webhook was not told of this event")
            }
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "This path has no such method")
            }
            Self::BodyTimeout => (S::REQUEST_TIMEOUT, "body-timeout", "The body did not arrive in time"),
            Self::IdempotencyConflict => {
                (S::CONFLICT, "idempotency-conflict", "The Idempotency-Key belongs to another request")
            }
            Self::KeyTaken => (S::CONFLICT, "key-taken", "The key is already in use"),
            Self::PlanMissing => (S::CONFLICT, "plan-missing", "The policies lack the tenant's plan"),
            Self::StateForbids => (S::CONFLICT, "state-forbids", "The tenant's state forbids it"),
            Self::NothingToUndo => (S::CONFLICT, "nothing-to-undo", "There is nothing to undo"),
            Self::TrialUsed => (S::CONFLICT, "trial-used", "The plan was tried before"),
            Self::GrantsFull => (S::CONFLICT, "grants-full", "The tenant has too many grants"),
            Self::WebhooksFull => (S::CONFLICT, "webhooks-full", "There are as many as there may be"),
            Self::WebhookDisabled => (S::CONFLICT, "webhook-disabled", "The webhook is disabled"),
            Self::RefusalNotFound => {
                (S::NOT_FOUND, "refusal-not-found", "This node knows of no such refusal")
            }
            Self::RevisionNotFound => (S::NOT_FOUND, "revision-not-found", "There is no such revision"),
            Self::StatementNotFound => {
                (S::NOT_FOUND, "statement-not-found", "There is no such billing period")
            }
            Self::RevisionStale => (S::CONFLICT, "revision-stale", "Another revision is in force by now"),
            Self::PoliciesUnchanged => {
                (S::CONFLICT, "policies-unchanged", "These policies are in force already")
            }
            Self::TrialRunning => (S::CONFLICT, "trial-running", "Other policies are on trial"),
            Self::NoTrial => (S::CONFLICT, "no-trial", "No policies are on trial"),
            Self::NoEarlierRevision => {
                (S::CONFLICT, "no-earlier-revision", "There are no earlier policies to return to")
            }
            Self::PlansInUse => (S::CONFLICT, "plans-in-use", "Tenants are on plans that would be missing"),
            Self::PoliciesInvalid => {
                (S::UNPROCESSABLE_ENTITY, "policies-invalid", "The policies have errors")
            }
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::BodyUnsupported => {
                (S::UNSUPPORTED_MEDIA_TYPE, "body-unsupported", "The body is of a type that is not taken")
            }
            Self::NameUnknown => {
                (S::UNPROCESSABLE_ENTITY, "name-unknown", "The policies do not have this name")
            }
            Self::ValueImpossible => (
                S::UNPROCESSABLE_ENTITY,
                "value-impossible",
                "A value is out of range, or makes no sense now",
            ),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here"),
            Self::StoreUnavailable => {
                (S::SERVICE_UNAVAILABLE, "store-unavailable", "The database is not available")
            }
            Self::StoreFull => (S::SERVICE_UNAVAILABLE, "store-full", "The database cannot store more"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "This node does that for somebody else just now"),
        }
    }
}
