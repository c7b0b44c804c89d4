//! Who calls: the configured token, or one that was made by command, and what its role allows.

use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};

use super::{
    Shared,
    problem::{Code, Problem},
    roles,
};
use crate::domain::role::{CONFIGURED, Role};

/// Answered to anybody.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// A token's use is noted once in so long.
const USE_NOTED_EVERY: i64 = 60_000;

/// Whoever makes a request, as the audit log names it.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) name: Arc<str>,
    pub(super) role: Role,
}

/// What a request's token is compared with. Digests have one length, so the comparison tells nothing of the token.
#[derive(Clone)]
pub(super) struct Access {
    configured: Option<digest::Digest>,
    shared: Shared,
}

fn hash(token: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, token)
}

fn invalid() -> Problem {
    Problem::new(Code::CredentialInvalid, "this is not an admin token of this installation")
}

/// What a request shows as its token; `None`: nothing that could be one.
fn presented(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let mut presented = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = presented.next() else {
        return Err(Problem::new(
            Code::CredentialMissing,
            "send the admin token as `Authorization: Bearer <token>`",
        ));
    };
    let token = first
        .as_bytes()
        .split_at_checked(7)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, token)| token.trim_ascii().to_owned());
    Ok(token.filter(|_| presented.next().is_none()))
}

impl Access {
    /// An empty token is none.
    pub(super) fn new(shared: Shared) -> Self {
        let configured = shared.token.as_deref().filter(|token| !token.is_empty());
        Self { configured: configured.map(|token| hash(token.as_bytes())), shared }
    }

    /// Whether it is the configured token.
    fn is_configured(&self, token: &[u8]) -> bool {
        let expected = self.configured.as_ref().map_or(&[][..], AsRef::as_ref);
        constant_time::verify_slices_are_equal(hash(token).as_ref(), expected).is_ok()
    }

    async fn caller(&self, presented: Result<Option<Vec<u8>>, Problem>) -> Result<Caller, Problem> {
        let token = presented.as_ref().ok().and_then(Option::as_deref);
        if token.is_some_and(|token| self.is_configured(token)) {
            return Ok(Caller { name: CONFIGURED.into(), role: Role::Admin });
        }
        let Some(hash) = token.and_then(|token| self.shared.token_issuer.hash(token)) else {
            if self.configured.is_none() {
                return Err(Problem::new(
                    Code::TokenUnset,
                    "no token is configured, and this is none that was made by `plangate token create`: set PLANGATE_ADMIN_TOKEN (or admin.token) and restart",
                ));
            }
            return Err(presented.err().unwrap_or_else(invalid));
        };
        // Asked of the database at each call, so that a token that was revoked is refused from then on.
        let found = self.shared.tokens.token_by_hash(&hash).await?.ok_or_else(invalid)?;
        let now = self.shared.clock.now();
        if found.has_expired(now) {
            let ended = found.expires_at.map(|end| end.to_string()).unwrap_or_default();
            return Err(Problem::new(
                Code::CredentialExpired,
                format!("this admin token expired at {ended}"),
            ));
        }
        if found.used_at.is_none_or(|used| used.0 <= now.0.saturating_sub(USE_NOTED_EVERY))
            && let Err(error) = self.shared.tokens.note_token_used(&found.id, now).await
        {
            tracing::debug!(%error, "that a token was used could not be noted");
        }
        Ok(Caller { name: found.name.into(), role: found.role })
    }
}

/// Refuses everything but the probes without a token, before anything else is looked at, and what its role does not allow.
pub(super) async fn require_token(
    State(access): State<Access>,
    mut request: Request,
    next: Next,
) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let presented = presented(request.headers());
    match access.caller(presented).await {
        Ok(caller) => {
            // Where there is nothing, that is said to any role.
            let needed = request
                .extensions()
                .get::<MatchedPath>()
                .map(|path| roles::needed(request.method(), path.as_str()));
            if let Some(needed) = needed.filter(|needed| *needed > caller.role) {
                let detail = format!(
                    "this needs a token with the role `{needed}`, and `{}` has the role `{}`",
                    caller.name, caller.role
                );
                return Problem::new(Code::RoleForbids, detail).into_response();
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) if problem.is_server_error() => problem.into_response(),
        Err(problem) => {
            problem.with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"plangate-admin\"").into_response()
        }
    }
}
