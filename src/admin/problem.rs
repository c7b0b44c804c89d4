//! Everything that goes wrong, as the problem documents of RFC 9457.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::findings::{FindingView, views};
use crate::{
    domain::time::Version,
    ports::{Finding, LostError, StoreError, WebhookError},
    wire::FieldError,
};

/// The kinds of errors of this API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
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
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
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

/// An error on its way to the client.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    fields: Vec<Fault>,
    findings: Vec<FindingView>,
    headers: Vec<(HeaderName, HeaderValue)>,
    committed: Option<Version>,
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Fault {
    /// Where in the body: a JSON pointer (RFC 6901), empty for the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// Which parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// What was found and what was expected.
    detail: String,
}

/// An error document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemView {
    /// `urn:plangate:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The kind of error, in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: String,
    /// The kind of error, for programs.
    code: &'static str,
    /// The same as in `X-Request-Id` and in the log.
    request_id: String,
    /// The first wrong field of the body: a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// The first wrong parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// All that is wrong, as far as it was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// What is wrong with the policies, and what is to be said of them besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<FindingView>,
    /// The change was made, as this version; only the answer could not be completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

const LONGEST_DETAIL: usize = 500;

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST_DETAIL) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: cut(detail.into()),
            fields: Vec::new(),
            findings: Vec::new(),
            headers: Vec::new(),
            committed: None,
        }
    }

    /// Policies that cannot be used.
    pub(super) fn policies(findings: &[Finding]) -> Self {
        let errors = findings.iter().filter(|finding| finding.severity == "error").count();
        let plural = if errors == 1 { "" } else { "s" };
        let mut problem = Self::new(
            Code::PoliciesInvalid,
            format!(
                "the policies have {errors} error{plural}: `plangate policy check` shows them in their lines"
            ),
        );
        problem.findings = views(findings);
        problem
    }

    /// A problem of one field of the body.
    pub(super) fn field(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::fields(code, vec![FieldError::new(pointer, detail)])
    }

    /// A problem of several fields of the body.
    pub(super) fn fields(code: Code, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [only] => only.to_string(),
            all => format!("{} fields are not valid", all.len()),
        };
        let mut problem = Self::new(code, detail);
        problem.fields = errors
            .into_iter()
            .map(|error| Fault {
                pointer: Some(cut(error.pointer)),
                parameter: None,
                detail: cut(error.detail),
            })
            .collect();
        problem
    }

    /// A parameter of the query that is not valid.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::of_parameter(Code::ParameterInvalid, name, detail)
    }

    /// A problem of one parameter of the query.
    pub(super) fn of_parameter(code: Code, name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(code, format!("`{}`: {detail}", cut(name.to_owned())));
        problem.fields =
            vec![Fault { pointer: None, parameter: Some(cut(name.to_owned())), detail: cut(detail) }];
        problem
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// The change is durable all the same.
    pub(super) fn after_commit(mut self, version: Version) -> Self {
        self.detail = format!("the change was made as version {version}, but: {}", self.detail);
        self.committed = Some(version);
        self
    }

    pub(super) fn is_server_error(&self) -> bool {
        self.code.parts().0.is_server_error()
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer, with the request's id.
    pub(super) fn render(self, request_id: &str) -> Response {
        let (status, code, title) = self.code.parts();
        let first = self.fields.first();
        let view = ProblemView {
            kind: format!("urn:plangate:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail,
            code,
            request_id: request_id.to_owned(),
            pointer: first.and_then(|fault| fault.pointer.clone()),
            parameter: first.and_then(|fault| fault.parameter.clone()),
            errors: self.fields,
            findings: self.findings,
            version: self.committed.map(|version| version.0),
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&view).unwrap_or_default()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}

/// The response carries the problem itself: the outermost layer knows the request's id and writes it out.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.parts().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        // What a database says of itself is for the log; it may name hosts and paths.
        tracing::warn!(error = %error, "the store refused an admin request");
        match error {
            StoreError::Unavailable(_) => {
                Self::new(Code::StoreUnavailable, "the database does not answer at the moment: try again")
                    .with_header(header::RETRY_AFTER, "1")
            }
            StoreError::Full(_) => Self::new(
                Code::StoreFull,
                "the database cannot store more: free some space on its disk, then try again",
            )
            .with_header(header::RETRY_AFTER, "30"),
            StoreError::Corrupt(_) => {
                Self::new(Code::Internal, "the database answered unexpectedly: see the log of this node")
            }
        }
    }
}

pub(super) const OTHER_REQUEST: &str =
    "this Idempotency-Key was used for another request: use a new key for each new request";

impl From<LostError> for Problem {
    fn from(error: LostError) -> Self {
        match error {
            LostError::Unknown(_) => {
                Self::new(Code::NodeNotFound, format!("{error}; `GET /v1/nodes` lists the nodes"))
            }
            LostError::IdempotencyConflict => Self::new(Code::IdempotencyConflict, OTHER_REQUEST),
            LostError::Store(error) => error.into(),
        }
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let code = match &error {
            WebhookError::Unknown(_) => Code::WebhookNotFound,
            WebhookError::NoDelivery(..) => Code::DeliveryNotFound,
            WebhookError::Full | WebhookError::Secrets(_) => Code::WebhooksFull,
            WebhookError::Disabled(_) => Code::WebhookDisabled,
            WebhookError::IdempotencyConflict => {
                return Self::new(Code::IdempotencyConflict, OTHER_REQUEST);
            }
            WebhookError::Store(error) => return error.clone().into(),
        };
        Self::new(code, error.to_string())
    }
}
