//! The bearer token.

use aws_lc_rs::{constant_time, digest};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header};

use super::problem::{Code, Problem};

/// Answered to anybody.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// What a request's token is compared with. Digests have one length, so the comparison tells nothing of the token.
#[derive(Clone)]
pub(super) struct Access(Option<digest::Digest>);

fn hash(token: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, token)
}

impl Access {
    /// An empty token is none.
    pub(super) fn new(token: Option<&str>) -> Self {
        Self(token.filter(|token| !token.is_empty()).map(|token| hash(token.as_bytes())))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(expected) = &self.0 else {
            return Err(Problem::new(
                Code::TokenUnset,
                "no token is configured, so the admin API refuses everything: set PLANGATE_ADMIN_TOKEN (or admin.token) and restart",
            ));
        };
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
            .map(|(_, token)| token.trim_ascii());
        let fits = token.is_some_and(|token| {
            constant_time::verify_slices_are_equal(hash(token).as_ref(), expected.as_ref()).is_ok()
        });
        if fits && presented.next().is_none() {
            return Ok(());
        }
        Err(Problem::new(Code::CredentialInvalid, "this is not the admin token of this installation"))
    }
}

/// Refuses everything but the probes without the token, before anything else is looked at.
pub(super) async fn require_token(State(access): State<Access>, request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            problem.with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"plangate-admin\"").into_response()
        }
    }
}
