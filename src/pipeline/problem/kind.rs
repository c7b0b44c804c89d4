//! The kinds of problems that clients are told of: each has a code that never changes, and a status.

use http::StatusCode;

use super::super::{
    request::{ForwardError, HeadRefusal, Rejection},
    view::ViewRefusal,
};
use crate::{
    domain::denial::Denial,
    ports::{CredentialError, ResolveError},
};

/// A kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    CredentialMissing,
    CredentialInvalid,
    CredentialExpired,
    CredentialAmbiguous,
    PathAmbiguous,
    RequestMalformed,
    HeadTooLarge,
    MethodNotAllowed,
    TenantUnknown,
    TenantSuspended,
    SubscriptionInactive,
    RouteNotCovered,
    ConditionFailed,
    FeatureNotInPlan,
    RateLimited,
    QuotaExhausted,
    LedgerUnavailable,
    RightsUnavailable,
    Overloaded,
    UpstreamUnreachable,
    UpstreamTimeout,
}

impl Kind {
    /// What a rejection is.
    pub(crate) const fn of(why: &Rejection) -> Self {
        match why {
            Rejection::Head(HeadRefusal::TooLarge) => Self::HeadTooLarge,
            Rejection::Head(HeadRefusal::Malformed(_)) | Rejection::Forward(ForwardError::ClientBody) => {
                Self::RequestMalformed
            }
            Rejection::Head(HeadRefusal::AmbiguousPath(_)) => Self::PathAmbiguous,
            Rejection::Credential(error) => Self::of_credential(error),
            Rejection::Resolve(ResolveError::Unavailable) => Self::RightsUnavailable,
            Rejection::Resolve(ResolveError::TenantUnknown) => Self::TenantUnknown,
            Rejection::Denied(denial) => Self::of_denial(denial),
            Rejection::LedgerUnavailable | Rejection::View(ViewRefusal::Unavailable) => {
                Self::LedgerUnavailable
            }
            Rejection::View(ViewRefusal::TooOften(_)) => Self::RateLimited,
            Rejection::View(ViewRefusal::Method) => Self::MethodNotAllowed,
            Rejection::Forward(ForwardError::Unreachable { .. }) => Self::UpstreamUnreachable,
            Rejection::Forward(ForwardError::Timeout { .. }) => Self::UpstreamTimeout,
            Rejection::Forward(ForwardError::Overloaded) => Self::Overloaded,
            Rejection::Forward(ForwardError::Withdrawn(why)) => Self::of(why),
        }
    }

    const fn of_credential(error: &CredentialError) -> Self {
        match error {
            CredentialError::Missing => Self::CredentialMissing,
            CredentialError::Invalid { .. } => Self::CredentialInvalid,
            CredentialError::Expired => Self::CredentialExpired,
            CredentialError::Ambiguous => Self::CredentialAmbiguous,
            CredentialError::Unavailable => Self::RightsUnavailable,
        }
    }

    const fn of_denial(denial: &Denial) -> Self {
        match denial {
            Denial::TenantSuspended => Self::TenantSuspended,
            Denial::SubscriptionInactive(_) => Self::SubscriptionInactive,
            Denial::RouteNotCovered => Self::RouteNotCovered,
            Denial::ConditionFailed { .. } => Self::ConditionFailed,
            Denial::FeatureNotInPlan { .. } | Denial::MeterNotInPlan { .. } => Self::FeatureNotInPlan,
            Denial::RateLimited { .. } => Self::RateLimited,
            Denial::QuotaExhausted { .. } | Denial::SpendCapReached { .. } => Self::QuotaExhausted,
        }
    }

    /// The problem code of the contract.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::CredentialMissing => "credential-missing",
            Self::CredentialInvalid => "credential-invalid",
            Self::CredentialExpired => "credential-expired",
            Self::CredentialAmbiguous => "credential-ambiguous",
            Self::PathAmbiguous => "path-ambiguous",
            Self::RequestMalformed => "request-malformed",
            Self::HeadTooLarge => "head-too-large",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::TenantUnknown => "tenant-unknown",
            Self::TenantSuspended => "tenant-suspended",
            Self::SubscriptionInactive => "subscription-inactive",
            Self::RouteNotCovered => "route-not-covered",
            Self::ConditionFailed => "condition-failed",
            Self::FeatureNotInPlan => "feature-not-in-plan",
            Self::RateLimited => "rate-limited",
            Self::QuotaExhausted => "quota-exhausted",
            Self::LedgerUnavailable => "ledger-unavailable",
            Self::RightsUnavailable => "rights-unavailable",
            Self::Overloaded => "overloaded",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamTimeout => "upstream-timeout",
        }
    }

    /// The status of its answers.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::CredentialMissing | Self::CredentialInvalid | Self::CredentialExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::CredentialAmbiguous | Self::PathAmbiguous | Self::RequestMalformed => {
                StatusCode::BAD_REQUEST
            }
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TenantUnknown | Self::TenantSuspended | Self::ConditionFailed | Self::FeatureNotInPlan => {
                StatusCode::FORBIDDEN
            }
            Self::SubscriptionInactive => StatusCode::PAYMENT_REQUIRED,
            Self::RouteNotCovered => StatusCode::NOT_FOUND,
            Self::RateLimited | Self::QuotaExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::LedgerUnavailable | Self::RightsUnavailable | Self::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamUnreachable => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

#[cfg(test)]
impl Kind {
    /// Every one.
    pub(crate) const ALL: [Self; 21] = [
        Self::CredentialMissing,
        Self::CredentialInvalid,
        Self::CredentialExpired,
        Self::CredentialAmbiguous,
        Self::PathAmbiguous,
        Self::RequestMalformed,
        Self::HeadTooLarge,
        Self::MethodNotAllowed,
        Self::TenantUnknown,
        Self::TenantSuspended,
        Self::SubscriptionInactive,
        Self::RouteNotCovered,
        Self::ConditionFailed,
        Self::FeatureNotInPlan,
        Self::RateLimited,
        Self::QuotaExhausted,
        Self::LedgerUnavailable,
        Self::RightsUnavailable,
        Self::Overloaded,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
    ];
}
