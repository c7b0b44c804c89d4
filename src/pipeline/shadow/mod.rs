//! Shadow: while other policies are tried beside those in force, each request is decided by both. The ones in force are
//! carried out; what the others would have done otherwise is counted.
//!
//! Nothing here refuses, charges, delays or alters anything. A request on a node where nothing is tried pays for one
//! comparison; on one where something is, the second decision is made from what is in memory: where that does not have
//! what is needed, the request is counted as not compared.

mod found;
mod learning;
mod spending;
mod tally;
mod trials;
mod tried;

use std::sync::Arc;

use super::{
    context::{Context, Route},
    facts::Facts,
    problem,
    request::{Head, Rejection, Subject},
};
use crate::{
    domain::{
        catalog::Catalog,
        denial::Denial,
        id::TenantId,
        revision::Rollout,
        time::{Monotonic, UnixMillis},
        verdict::Verdict,
    },
    ports::{CredentialError, Directory, Ledger, ResolveError, Sender},
};
use found::Found;
use tried::Asked;

pub use trials::Trials;

/// A request that was decided by the policies in force, to be decided once more by those that are tried.
pub(crate) struct Seen<'a> {
    candidate: &'a Arc<Catalog>,
    /// The tenant, where it is known.
    tenant: Option<&'a TenantId>,
    enforced: Enforced<'a>,
    /// By the policies in force.
    found: Found<'a>,
    /// What conditions can know of it.
    facts: Facts<'a>,
    arrived: UnixMillis,
    started: Monotonic,
}

/// How a request was decided.
enum Enforced<'a> {
    /// Without asking who sends it.
    Public,
    /// Its tenant was let in, and charged.
    Admitted,
    /// Its tenant was refused.
    Denied(&'a Denial),
    /// Nobody was let in, for lack of a credential or tenant.
    Unknown(&'static str),
}

/// Decides requests once more.
pub(crate) trait Shadow: Send + Sync {
    /// Counts a request, if it would have been decided otherwise.
    fn compare(&self, seen: &Seen<'_>);
}

/// The policies that are tried beside those by which a request is decided.
fn candidate(context: &Context) -> Option<&Arc<Catalog>> {
    let candidate = context.catalog.candidate.as_ref()?;
    (candidate.rollout == Rollout::Shadow).then_some(&candidate.catalog)
}

/// A request of a tenant is let in, its units taken.
#[cold]
#[inline(never)]
pub(super) fn admitted<B>(head: &Head<B>, tenant: &TenantId) {
    see(head, Some(tenant), Enforced::Admitted);
}

/// A request is let through as its route is public, or as it is a question that browsers ask.
#[cold]
#[inline(never)]
pub(super) fn open<B>(head: &Head<B>) {
    if head.operation().is_some_and(|operation| operation.public) {
        see(head, None, Enforced::Public);
    }
}

/// A request is refused. What no policy could alter is not compared.
#[cold]
#[inline(never)]
pub(super) fn refused<B>(head: &Head<B>, why: &Rejection, subject: Option<&Subject>) {
    let enforced = match why {
        Rejection::Denied(denial) => Enforced::Denied(denial),
        Rejection::Credential(CredentialError::Unavailable) => return,
        Rejection::Credential(_) | Rejection::Resolve(ResolveError::TenantUnknown) => {
            Enforced::Unknown(problem::code(why))
        }
        Rejection::Head(_)
        | Rejection::Resolve(ResolveError::Unavailable)
        | Rejection::LedgerUnavailable
        | Rejection::View(_)
        | Rejection::Forward(_) => return,
    };
    if head.context.route != Route::Own {
        see(head, subject.map(Subject::tenant_id), enforced);
    }
}

fn see<B>(head: &Head<B>, tenant: Option<&TenantId>, enforced: Enforced<'_>) {
    let context = &head.context;
    let Some(candidate) = candidate(context) else { return };
    context.parts.shadow.compare(&Seen {
        candidate,
        tenant,
        enforced,
        found: Found::by_context(context),
        facts: Facts::of(head),
        arrived: context.arrived,
        started: context.started,
    });
}

/// The same ports that the stages ask, and what the node has counted.
pub(super) struct Shadower<D, L> {
    pub(super) trials: Arc<Trials>,
    pub(super) directory: Arc<D>,
    pub(super) ledger: Arc<L>,
}

impl<D: Directory, L: Ledger> Shadow for Shadower<D, L> {
    fn compare(&self, seen: &Seen<'_>) {
        let Some(trial) = self.trials.of(seen.candidate) else { return };
        let found = Found::by_catalog(seen.candidate, &seen.facts);
        let route = seen.found.name().or(found.name()).unwrap_or_default();
        let count = |enforced: Verdict, candidate: Verdict| {
            let sender = seen.tenant.cloned().map_or(Sender::Anonymous, Sender::Tenant);
            trial.tally.differs(sender, route, enforced, candidate);
        };
        match (&seen.enforced, seen.tenant) {
            (Enforced::Public, _) if found.is_public() => trial.tally.same(),
            // By its contract nobody is told that there is no such route without saying who asks; it is refused either way.
            (Enforced::Public, _) if found.operation.is_none() => {
                count(Verdict::ALLOW, Verdict::from(&Denial::RouteNotCovered));
            }
            (Enforced::Public, _) => count(Verdict::ALLOW, Verdict::IDENTITY_NEEDED),
            (Enforced::Unknown(code), _) if found.is_public() => {
                count(Verdict::refused(code), Verdict::ALLOW)
            }
            // Whoever is not known by the one is not known by the other.
            (Enforced::Unknown(_), _) | (_, None) => {}
            (Enforced::Admitted, Some(_)) if found.is_public() => trial.tally.same(),
            (Enforced::Denied(denial), Some(_)) if found.is_public() => {
                count(Verdict::from(*denial), Verdict::ALLOW);
            }
            (enforced @ (Enforced::Admitted | Enforced::Denied(_)), Some(tenant)) => {
                let enforced = if let Enforced::Denied(denial) = enforced { Err(*denial) } else { Ok(()) };
                let known = |bucket: &_| self.ledger.known_used(bucket);
                let asked = Asked {
                    tenant,
                    found: &found,
                    facts: &seen.facts,
                    spent: enforced.is_ok().then_some(&seen.found),
                    arrived: seen.arrived,
                    started: seen.started,
                    nodes: self.trials.nodes(),
                    known: &known,
                };
                let fresh = || self.directory.tried(tenant, seen.candidate, seen.arrived);
                match self.trials.decide(&trial, seen.candidate, &asked, fresh) {
                    None => trial.tally.uncompared(),
                    Some(decided) => match (enforced, &decided) {
                        (Ok(()), Ok(())) => trial.tally.same(),
                        (Err(a), Err(tried::Refused::Denied(b))) if a.is_like(b) => trial.tally.same(),
                        _ => count(
                            enforced.map_or_else(Verdict::from, |()| Verdict::ALLOW),
                            decided.map_or_else(|refused| refused.verdict(), |()| Verdict::ALLOW),
                        ),
                    },
                }
            }
        }
    }
}
