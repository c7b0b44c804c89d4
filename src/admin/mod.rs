//! The admin API: what an operator, a billing system or the `plangate` command changes and asks.
//!
//! [`router`] builds it over the ports alone, [`serve`] runs it on a listener of its own. Every answer but the probes
//! needs a token whose role allows it; every error is a problem document; every write is one [`crate::domain::command::Command`].

mod access;
mod addons;
mod answer;
mod billing;
mod billing_events;
mod body;
mod check;
mod cost;
mod customer_view;
mod deploy;
mod event_log;
mod events_in;
mod exports;
mod feeds;
mod findings;
mod grants;
mod grounds;
mod guard;
mod instants;
mod keys;
mod nodes;
mod offers;
mod openapi;
mod operations;
mod overrides;
mod params;
mod policy;
mod policy_diff;
mod policy_impact;
mod present;
mod problem;
mod quota_check;
mod refusals;
mod refused;
mod rights;
mod roles;
mod rules;
mod serve;
mod shadow;
mod sources;
mod spend;
mod standing;
mod statement_views;
mod statements;
mod steps;
mod strict;
mod stripe;
mod subscription;
mod subscription_view;
mod tenants;
#[cfg(test)]
mod tests;
mod tokens;
mod upcoming;
mod usage;
mod views;
mod webhook_calls;
mod webhook_messages;
mod write;

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, middleware};

#[cfg(test)]
pub(crate) use self::events_in::charges_of;
pub use self::{
    openapi::document,
    serve::{ServeError, serve},
    stripe::{StripeInbox, stripe_router},
};
use crate::{
    clock::Clock,
    domain::{catalog::Digest, id::TenantId, revision::PolicyFiles},
    pipeline::refusals::Refusals,
    ports::{
        AuditStore, Barrier, Bills, EventStore, KeyIssuer, Ledger, LifecycleStore, MeterExportStore,
        NodeStore, Outgoing, Policies, PolicyCompiler, Previews, Readiness, RevisionStore, ShadowStore,
        StatementStore, StripeStore, SurveyStore, TenantStore, TokenIssuer, TokenStore, UsageEventStore,
        WebhookStore,
    },
};
use present::Present;
use problem::{Code, Problem};

/// What the admin API works on.
pub struct AdminState {
    /// Tenants, keys, changes, the audit log and recorded usage.
    pub tenants: Arc<dyn TenantStore>,
    /// What tenants had, and what is to become of them.
    pub lifecycle: Arc<dyn LifecycleStore>,
    /// What was told outside.
    pub events: Arc<dyn EventStore>,
    /// Usage that is told to a billing system.
    pub exports: Arc<dyn MeterExportStore>,
    /// The registry of nodes.
    pub nodes: Arc<dyn NodeStore>,
    /// The catalog in force.
    pub policies: Arc<dyn Policies>,
    /// Makes catalogs of policy files.
    pub compiler: Arc<dyn PolicyCompiler>,
    /// Which policies decide, and which did.
    pub revisions: Arc<dyn RevisionStore>,
    /// What policies that are tried in the shadow would have decided otherwise.
    pub shadow: Arc<dyn ShadowStore>,
    /// Who is told of facts.
    pub webhooks: Arc<dyn WebhookStore>,
    /// Makes requests of them.
    pub outgoing: Arc<dyn Outgoing>,
    /// The files of this node's policy folder that were last good; `None`: it has no folder.
    pub folder: Arc<dyn Fn() -> Option<(Digest, PolicyFiles)> + Send + Sync>,
    /// What Stripe told.
    pub stripe: Arc<dyn StripeStore>,
    /// What many tenants used.
    pub survey: Arc<dyn SurveyStore>,
    /// Usage that others tell of.
    pub usage_events: Arc<dyn UsageEventStore>,
    /// What tenants are billed by, and closed statements.
    pub statements: Arc<dyn StatementStore>,
    /// Reckons what the running month costs.
    pub bills: Arc<dyn Bills>,
    /// Makes whole what the compiler made.
    pub previews: Arc<dyn Previews>,
    /// What tenants use now.
    pub ledger: Arc<dyn Ledger>,
    /// Makes API keys.
    pub keys: Arc<dyn KeyIssuer>,
    /// Waits until a change is in force.
    pub barrier: Arc<dyn Barrier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// This node's name.
    pub node: String,
    /// How long ago this node last asked successfully what was changed; `None`: it never did.
    pub age: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// What this node refused lately.
    pub refusals: Arc<Refusals>,
    /// Writes the metrics in the OpenMetrics text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether this node can take requests.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The audit log, line by line.
    pub audit: Arc<dyn AuditStore>,
    /// Tokens of this API that were made by command.
    pub tokens: Arc<dyn TokenStore>,
    /// Makes them.
    pub token_issuer: Arc<dyn TokenIssuer>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusts: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// The configured bearer token; without one, and without one made by command, everything but the probes is refused.
    pub token: Option<String>,
}

/// The largest request body.
const MAX_BODY: usize = 256 * 1024;
/// The largest one that brings policy files: a thousand plans and ten thousand routes are some 2 MiB.
const MAX_POLICIES: usize = 16 * 1024 * 1024;
/// How long a request's body may take.
const BODY_TIME: Duration = Duration::from_secs(10);

struct Inner {
    ports: AdminState,
    body_time: Duration,
    /// Taken while the impact of policies is reckoned: it reads every tenant.
    reckoning: tokio::sync::Semaphore,
    texts: rules::Texts,
}

#[derive(Clone)]
struct Shared(Arc<Inner>);

impl std::ops::Deref for Shared {
    type Target = AdminState;
    fn deref(&self) -> &AdminState {
        &self.0.ports
    }
}

impl Shared {
    /// The tenant as it is now, or a 404.
    async fn find(&self, id: &TenantId) -> Result<Present, Problem> {
        let found = self.tenants.tenant(id).await?.value;
        let found =
            found.ok_or_else(|| Problem::new(Code::TenantNotFound, format!("there is no tenant `{id}`")))?;
        Ok(Present::of(&found, self.policies.catalog().of_tenant(id), self.clock.now()))
    }
}

/// The admin API as an axum router, ready for [`serve`].
pub fn router(state: AdminState) -> Router {
    build(state, BODY_TIME)
}

fn build(ports: AdminState, body_time: Duration) -> Router {
    let (reckoning, texts) = (tokio::sync::Semaphore::new(1), rules::Texts::default());
    let shared = Shared(Arc::new(Inner { ports, body_time, reckoning, texts }));
    let access = access::Access::new(shared.clone());
    let (routes, _) = openapi::routes().split_for_parts();
    routes
        .fallback(operations::no_such_path)
        .method_not_allowed_fallback(operations::wrong_method)
        .layer(middleware::from_fn_with_state(access, access::require_token))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::around))
        .with_state(shared)
}
