//! Everything that goes wrong, as the problem documents of RFC 9457.

mod code;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use self::code::Code;
use super::findings::{FindingView, views};
use crate::{
    domain::time::Version,
    ports::{Finding, LostError, StoreError, WebhookError},
    wire::FieldError,
};

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
