//! The forms that a request takes on its way through the stack.
//!
//! `Inbound -> Matched -> Identified -> Entitled -> Granted -> Metered -> Forwardable`: each can only be made from the one
//! before it, inside this module tree, so that the compiler checks the order of the stages.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;

pub use super::context::Subject;
use super::{
    admission::Admission,
    context::Context,
    faults::{Ambiguous, Malformed},
    language::Language,
    observe::Mode,
    ratelimit::Fields,
    shadow,
    view::ViewRefusal,
};
use crate::{
    domain::{denial::Denial, identity::Identity, rights::Rights, route::Operation},
    ports::Hold,
};

/// A request as the listener (or an embedding service) hands it in.
#[derive(Debug)]
pub struct Inbound<B> {
    /// The request. Its body is not touched before the last stage.
    pub request: Request<B>,
    /// Who is at the other end of the connection.
    pub client: Client,
    /// The head was already found unacceptable; the stack only answers.
    pub refusal: Option<HeadRefusal>,
    /// The language in which a refusal is to be told.
    pub language: Language,
}

impl<B> From<Request<B>> for Inbound<B> {
    fn from(request: Request<B>) -> Self {
        let language = Language::asked(request.headers());
        Self { request, client: Client::default(), refusal: None, language }
    }
}

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Client {
    /// The peer's address (of the connection, never from a header); `None` where there is no socket.
    pub address: Option<IpAddr>,
    /// It is one of `trusted_proxies`: its `X-Request-Id` and `X-Forwarded-*` are believed.
    pub trusted: bool,
}

/// Why a request's head is refused before anything else is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadRefusal {
    /// Over `caps.request_head`, or too many fields.
    TooLarge,
    /// Not a well-formed HTTP request.
    Malformed(Malformed),
    /// The request target has no one meaning.
    AmbiguousPath(Ambiguous),
}

/// Everything about a request but its present stage.
#[derive(Debug)]
pub(crate) struct Head<B> {
    pub(crate) request: Request<B>,
    pub(crate) context: Context,
}

impl<B> Head<B> {
    pub(crate) fn operation(&self) -> Option<&Operation> {
        self.context.operation()
    }
}

/// A request whose path is canonical and whose route, if it has one, is known.
#[derive(Debug)]
pub struct Matched<B>(pub(crate) Head<B>);

/// A request whose tenant is proven.
#[derive(Debug)]
pub struct Identified<B> {
    pub(crate) head: Head<B>,
    pub(crate) identity: Arc<Identity>,
}

/// A request whose tenant's rights are known.
#[derive(Debug)]
pub struct Entitled<B> {
    pub(crate) head: Head<B>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) rights: Arc<Rights>,
}

/// A request that the tenant's rights allow, as far as units are there.
#[derive(Debug)]
pub struct Granted<B> {
    pub(crate) head: Head<B>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) rights: Arc<Rights>,
}

/// A request whose units are taken.
pub struct Metered<B> {
    pub(crate) head: Head<B>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) rights: Arc<Rights>,
    pub(crate) hold: Hold,
}

/// A request that may go to the upstream: metered, or public.
#[derive(Debug)]
pub struct Forwardable<B> {
    pub(crate) request: Request<B>,
    pub(crate) request_id: HeaderValue,
    pub(crate) client: Client,
    pub(crate) subject: Option<Subject>,
    /// What the header for API keys holds is no key of Plangate's: it may be one of the upstream's own.
    pub(crate) foreign_key: bool,
    /// What let it in; `None`: whatever changes, it goes on to its end.
    pub(crate) admission: Option<Admission>,
}

impl<B> Forwardable<B> {
    /// The request, its path canonical, its headers as the client sent them less Plangate's own names and keys.
    pub fn into_parts(self) -> (Request<B>, HeaderValue, Client, Option<Subject>) {
        (self.request, self.request_id, self.client, self.subject)
    }
}

/// Why the upstream's answer is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// No connection could be made, or it broke before an answer came.
    #[error("the service behind this gateway cannot be reached")]
    Unreachable {
        /// The upstream may have seen (a part of) the request, so its charge stays.
        seen: bool,
        /// For the log.
        reason: String,
    },
    /// It did not answer in time.
    #[error("the service behind this gateway did not answer in time")]
    Timeout {
        /// The upstream may have seen (a part of) the request.
        seen: bool,
    },
    /// The client's own body ended in an error while it was being sent on.
    #[error("the request's body broke off")]
    ClientBody,
    /// The request was not sent whole when its tenant lost the right to it.
    #[error(transparent)]
    Withdrawn(Box<Rejection>),
    /// A bound of this gateway is reached; nothing was sent.
    #[error("the gateway is at its limit")]
    Overloaded,
}

impl ForwardError {
    /// Whether the upstream may have seen the request; only where it provably did not is a charge given back.
    #[must_use]
    pub const fn may_be_seen(&self) -> bool {
        match self {
            Self::Unreachable { seen, .. } | Self::Timeout { seen } => *seen,
            Self::ClientBody | Self::Withdrawn(_) => true,
            Self::Overloaded => false,
        }
    }
}

/// A request that does not go on to the upstream. Such are rare and answers are not: in a box it takes no room in these.
#[derive(Debug)]
pub struct Refused<B>(pub(crate) Turned<B>);

/// How a request ends here.
#[derive(Debug)]
pub(crate) enum Turned<B> {
    /// It is refused.
    Away(Box<Refusal<B>>),
    /// It was for the gateway itself.
    Answered(Box<OwnAnswer>),
}

/// The gateway's own answer to a request that was for it.
#[derive(Debug)]
pub(crate) struct OwnAnswer {
    pub(crate) response: Response<Full<Bytes>>,
    pub(crate) context: Context,
}

impl<B> Refused<B> {
    pub(crate) fn away(refusal: Refusal<B>) -> Self {
        Self(Turned::Away(Box::new(refusal)))
    }

    pub(crate) fn answered(response: Response<Full<Bytes>>, context: Context) -> Self {
        Self(Turned::Answered(Box::new(OwnAnswer { response, context })))
    }
}

/// Why a request is refused, and the request itself where it is still whole and `mode: observe` may let it pass.
#[derive(Debug)]
pub(crate) struct Refusal<B> {
    pub(crate) why: Rejection,
    pub(crate) request: Option<Request<B>>,
    /// Where it is not whole any more: what was asked. `None` once it was on its way to the upstream.
    pub(crate) asked: Option<(Method, Uri)>,
    /// How the tenant stands, where the request was charged all the same.
    pub(crate) limits: Option<Fields>,
    pub(crate) context: Context,
}

impl<B> Refused<B> {
    /// A request that the upstream did not answer.
    pub(crate) fn unanswered(error: ForwardError, limits: Option<Fields>, mut context: Context) -> Self {
        let why = match error {
            ForwardError::Withdrawn(why) => {
                // The plan that it was let in by is not the one that refuses it.
                context.subject = context.subject.map(|subject| subject.without_plan());
                *why
            }
            error => Rejection::Forward(error),
        };
        Self::away(Refusal { why, request: None, asked: None, limits, context })
    }
}

/// An answer of the upstream, with what the outermost stage needs to know of its request.
#[derive(Debug)]
pub struct Answered<R> {
    pub(crate) response: http::Response<R>,
    pub(crate) context: Context,
}

/// A stage's form that can be refused.
pub(crate) trait Refuse<B> {
    fn refuse(self, why: Rejection) -> Refused<B>;
}

impl<B> Head<B> {
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(self, why: Rejection, subject: Option<Subject>) -> Refused<B> {
        if self.context.catalog.candidate.is_some() {
            shadow::refused(&self, &why, subject.as_ref());
        }
        let Self { request, mut context } = self;
        context.subject = subject;
        let (request, asked) = if context.parts.mode == Mode::Observe {
            (Some(request), None)
        } else {
            let (parts, _) = request.into_parts();
            (None, Some((parts.method, parts.uri)))
        };
        Refused::away(Refusal { why, request, asked, limits: None, context })
    }

    /// What goes to the upstream for this subject, and what stays here.
    #[inline]
    pub(crate) fn split(
        self,
        subject: Option<Subject>,
        admission: Option<Admission>,
    ) -> (Forwardable<B>, Context) {
        let Self { request, mut context } = self;
        let (request_id, client) = (context.request_id.clone(), context.client);
        context.subject.clone_from(&subject);
        (Forwardable { request, request_id, client, subject, foreign_key: false, admission }, context)
    }
}

impl<B> Refuse<B> for Matched<B> {
    fn refuse(self, why: Rejection) -> Refused<B> {
        self.0.refuse(why, None)
    }
}

impl<B> Refuse<B> for Identified<B> {
    fn refuse(self, why: Rejection) -> Refused<B> {
        self.head.refuse(why, Some(Subject::identified(self.identity)))
    }
}

impl<B> Refuse<B> for Entitled<B> {
    fn refuse(self, why: Rejection) -> Refused<B> {
        self.head.refuse(why, Some(Subject::of(self.rights)))
    }
}

impl<B> Refuse<B> for Granted<B> {
    fn refuse(self, why: Rejection) -> Refused<B> {
        self.head.refuse(why, Some(Subject::of(self.rights)))
    }
}

/// Every way in which Plangate itself answers instead of the upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Before anything else.
    #[error("the request's head is not acceptable")]
    Head(HeadRefusal),
    /// No identity.
    #[error(transparent)]
    Credential(#[from] crate::ports::CredentialError),
    /// No rights.
    #[error(transparent)]
    Resolve(#[from] crate::ports::ResolveError),
    /// The plan says no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// Units cannot be granted now.
    #[error("usage cannot be recorded at the moment")]
    LedgerUnavailable,
    /// The customer's own view is not shown.
    #[error(transparent)]
    View(#[from] ViewRefusal),
    /// The upstream did not answer.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}
