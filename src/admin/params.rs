//! What a request's path and query name. Nothing is ignored: a misspelt parameter is an error.

use axum::extract::{FromRequestParts, Query, RawPathParams};
use http::request::Parts;

use super::{
    Shared,
    problem::{Code, Problem},
};
use crate::domain::{
    id::{AddonId, GrantId, InvalidId, KeyId, TenantId, WebhookId},
    time::Version,
};

/// The tenant that the path names.
pub(super) struct TenantPath(pub(super) TenantId);

/// The tenant and the key that the path names.
pub(super) struct KeyPath(pub(super) TenantId, pub(super) KeyId);

/// The tenant and the grant that the path names.
pub(super) struct GrantPath(pub(super) TenantId, pub(super) GrantId);

/// The tenant and the add-on that the path names.
pub(super) struct AddonPath(pub(super) TenantId, pub(super) AddonId);

/// The tenant and the period that the path names.
pub(super) struct PeriodPath(pub(super) TenantId, pub(super) String);

impl FromRequestParts<Shared> for PeriodPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let params = segments(parts, shared).await?;
        let period = params.iter().find(|(given, _)| *given == "period").map_or("", |(_, value)| value);
        Ok(Self(part(&params, "tenant", TenantId::parse)?, period.to_owned()))
    }
}
/// The webhook that the path names.
pub(super) struct WebhookPath(pub(super) WebhookId);

/// The webhook and the event that the path names.
pub(super) struct DeliveryPath(pub(super) WebhookId, pub(super) String);

/// The id of an admin token from the path.
pub(super) struct TokenPath(pub(super) String);

impl FromRequestParts<Shared> for TokenPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let params = segments(parts, shared).await?;
        let id = params.iter().next().map_or("", |(_, id)| id);
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if id.is_empty() || id.len() > 63 || !id.as_bytes().iter().all(fits) {
            return Err(Problem::new(Code::PathInvalid, "expected the id of a token, such as `tok_...`"));
        }
        Ok(Self(id.to_owned()))
    }
}

/// A node's name from the path.
pub(super) struct NodePath(pub(super) String);

/// The id of an event of Stripe from the path.
pub(super) struct EventPath(pub(super) String);

impl FromRequestParts<Shared> for EventPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let params = segments(parts, shared).await?;
        let id = params.iter().next().map_or("", |(_, id)| id);
        if !crate::wire::stripe::is_id(id) {
            let expected = "expected an event's id of 1 to 255 letters, digits and `_`";
            return Err(Problem::new(Code::PathInvalid, expected));
        }
        Ok(Self(id.to_owned()))
    }
}

impl FromRequestParts<Shared> for NodePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        plain(parts, shared, "a node's name").await.map(Self)
    }
}

/// The name of an export from the path.
pub(super) struct ExportPath(pub(super) String);

impl FromRequestParts<Shared> for ExportPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        plain(parts, shared, "an export's name").await.map(Self)
    }
}

/// The one segment that the path leaves open, for names without a form of their own.
async fn plain(parts: &mut Parts, shared: &Shared, what: &str) -> Result<String, Problem> {
    let params = segments(parts, shared).await?;
    let name = params.iter().next().map_or("", |(_, name)| name);
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        let expected = format!("expected {what} of 1 to 255 bytes without control characters");
        return Err(Problem::new(Code::PathInvalid, expected));
    }
    Ok(name.to_owned())
}

async fn segments(parts: &mut Parts, shared: &Shared) -> Result<RawPathParams, Problem> {
    RawPathParams::from_request_parts(parts, shared)
        .await
        .map_err(|_| Problem::new(Code::PathInvalid, "the path is not percent-encoded UTF-8"))
}

fn part<T>(
    params: &RawPathParams,
    name: &str,
    parse: fn(&str) -> Result<T, InvalidId>,
) -> Result<T, Problem> {
    let text = params.iter().find(|(given, _)| *given == name).map_or("", |(_, value)| value);
    parse(text).map_err(|error| Problem::new(Code::PathInvalid, error.to_string()))
}

impl FromRequestParts<Shared> for TenantPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        part(&segments(parts, shared).await?, "tenant", TenantId::parse).map(Self)
    }
}

impl FromRequestParts<Shared> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let params = segments(parts, shared).await?;
        Ok(Self(part(&params, "tenant", TenantId::parse)?, part(&params, "key", KeyId::parse)?))
    }
}

impl FromRequestParts<Shared> for GrantPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let params = segments(parts, shared).await?;
        Ok(Self(part(&params, "tenant", TenantId::parse)?, part(&params, "grant", GrantId::parse)?))
    }
}

impl FromRequestParts<Shared> for AddonPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let params = segments(parts, shared).await?;
        Ok(Self(part(&params, "tenant", TenantId::parse)?, part(&params, "addon", AddonId::parse)?))
    }
}

impl FromRequestParts<Shared> for WebhookPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        part(&segments(parts, shared).await?, "webhook", WebhookId::parse).map(Self)
    }
}

impl FromRequestParts<Shared> for DeliveryPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let params = segments(parts, shared).await?;
        let event = params.iter().find(|(name, _)| *name == "event").map_or("", |(_, event)| event);
        if !(1..=80).contains(&event.len()) || !event.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Problem::new(Code::PathInvalid, "expected an event's id, such as `evt_...`"));
        }
        Ok(Self(part(&params, "webhook", WebhookId::parse)?, event.to_owned()))
    }
}

/// The query's parameters, each to be taken once.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn of(uri: &http::Uri) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(Code::ParameterInvalid, "the query cannot be read"))?;
        for (place, (name, _)) in pairs.iter().enumerate() {
            if pairs[..place].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(name, "given twice"));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// How many items a page has.
    pub(super) fn limit(&mut self) -> Result<u32, Problem> {
        let Some(text) = self.take("limit") else { return Ok(100) };
        text.parse()
            .ok()
            .filter(|limit| (1..=500).contains(limit))
            .ok_or_else(|| Problem::parameter("limit", format!("`{text}`: expected a number from 1 to 500")))
    }

    /// A place in a numbered list, by default its start.
    pub(super) fn place(&mut self, name: &str) -> Result<u64, Problem> {
        let Some(text) = self.take(name) else { return Ok(0) };
        // What a database column holds is the largest place there can be.
        text.parse::<u64>()
            .ok()
            .filter(|place| i64::try_from(*place).is_ok())
            .ok_or_else(|| Problem::parameter(name, format!("`{text}`: expected a whole number from 0")))
    }

    /// A place in a list that is read from its newest end; `None`: that end.
    pub(super) fn place_from_the_end(&mut self, name: &str) -> Result<Option<Version>, Problem> {
        let place = self.place(name)?;
        Ok((place > 0).then_some(Version(place)))
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::parameter(name, "this call has no such parameter")),
        }
    }
}

impl FromRequestParts<Shared> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

/// For calls without any parameter.
pub(super) struct NoParams;

impl FromRequestParts<Shared> for NoParams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        Params::of(&parts.uri)?.finish().map(|()| Self)
    }
}
