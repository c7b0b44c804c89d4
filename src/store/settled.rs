//! What becomes of Stripe's events, without a database: whom they are about, and what is to be written down of each.

use crate::{
    domain::{
        catalog::Catalog,
        id::TenantId,
        stripe::{Folded, StripeEvent, StripeKind, Verdict, fold, named, needless},
    },
    ports::StripeEventState,
    wire::stripe::{Meaning, read},
};

/// The longest reason that is written down.
const LONGEST_WHY: usize = 500;

/// An event as it is kept.
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) state: StripeEventState,
    pub(super) why: Option<String>,
    pub(super) tenant: Option<TenantId>,
    pub(super) due: bool,
    pub(super) decides: bool,
    /// What it means; it was readable when it came.
    pub(super) event: Option<StripeEvent>,
}

/// What an event means that was kept.
pub(super) fn meaning(body: &str) -> Option<StripeEvent> {
    match read(body.as_bytes()).ok()?.meaning {
        Meaning::Event(event) => Some(*event),
        Meaning::Other(_) | Meaning::Unreadable(_) => None,
    }
}

/// What is to be written down of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: String,
    pub(super) state: StripeEventState,
    pub(super) why: Option<String>,
    pub(super) tenant: Option<TenantId>,
    pub(super) decides: bool,
}

/// Whose a customer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// This tenant's, as it is linked.
    Linked(TenantId),
    /// This tenant's by the events' word, where it is there and has no other customer. Else it stays the one's that it is
    /// linked with.
    Named(TenantId, Option<TenantId>),
    /// Nobody's, and why.
    Nobody(String),
}

/// Whose a customer is: what a call has linked stands above what events say.
pub(super) fn owner(customer: &str, link: Option<(TenantId, bool)>, events: &[StripeEvent]) -> Owner {
    let named = named(events);
    match (link, named) {
        (Some((tenant, true)), _) | (Some((tenant, _)), None) => Owner::Linked(tenant),
        (Some((tenant, false)), Some((_, name))) if name == tenant.as_str() => Owner::Linked(tenant),
        (link, Some((event, name))) => match (TenantId::parse(name), link) {
            (Ok(named), link) => Owner::Named(named, link.map(|(tenant, _)| tenant)),
            (Err(_), Some((tenant, _))) => Owner::Linked(tenant),
            (Err(error), None) => Owner::Nobody(format!("event `{}` names no tenant: {error}", event.id)),
        },
        (None, None) => Owner::Nobody(format!(
            "no tenant is linked with customer `{customer}`: no event names one, and no call has linked one"
        )),
    }
}

/// What can be known of a tenant that events name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) exists: bool,
    /// Its customer, where that is another.
    pub(super) customer: Option<String>,
}

/// Why a tenant that events name is not the customer's; the second: whether this ends when the tenant is made.
pub(super) fn unfit(tenant: &TenantId, found: &Candidate) -> Option<(String, bool)> {
    if !found.exists {
        return Some((format!("there is no tenant `{tenant}`"), true));
    }
    let other = found.customer.as_ref()?;
    Some((format!("tenant `{tenant}` is customer `{other}`: only a call can link it with another"), false))
}

/// All events that can be gone by.
pub(super) fn events(kept: &[Kept]) -> Vec<StripeEvent> {
    kept.iter().filter_map(|kept| kept.event.clone()).collect()
}

/// What the events of a tenant's customer come to, and what is to be written down of each that is not so yet.
pub(super) fn settle(kept: &[Kept], tenant: &TenantId, catalog: &Catalog) -> (Folded, Vec<Mark>) {
    let events = events(kept);
    let (folded, needless) = (fold(&events, catalog), needless(&events));
    let mark = |kept: &Kept| {
        use StripeEventState as S;
        let needed = !needless.contains(kept.id.as_str());
        let checkout = kept.event.as_ref().is_some_and(|event| event.kind == StripeKind::CheckedOut);
        let (state, why, decides) = match folded.verdicts.get(&kept.id) {
            Some(Verdict::Applied) => (S::Applied, None, needed || !checkout),
            Some(Verdict::Settled) => (S::Applied, None, false),
            // What was in force once stays applied.
            Some(Verdict::Superseded { .. }) if kept.state == S::Applied => (S::Applied, None, false),
            Some(Verdict::Superseded { by }) => {
                (S::Ignored, Some(format!("event `{by}` is later and about the same")), false)
            }
            Some(Verdict::Waiting(why)) => (S::Waiting, Some(short(why)), needed),
            Some(Verdict::Unmapped(why)) => (S::Unmapped, Some(short(why)), needed),
            None => (S::Failed, Some("it cannot be read any more".to_owned()), false),
        };
        Mark { id: kept.id.clone(), state, why, tenant: Some(tenant.clone()), decides }
    };
    // What never meant anything stays as it was when it came.
    let meant = kept.iter().filter(|kept| kept.due || kept.event.is_some());
    let marks = meant.filter_map(|kept| changed(kept, mark(kept))).collect();
    (folded, marks)
}

/// What is to be written down where the events are nobody's; `until`: the tenant that they wait for.
pub(super) fn wait(kept: &[Kept], why: &str, until: Option<&TenantId>) -> Vec<Mark> {
    let events = events(kept);
    let needless = needless(&events);
    let mark = |kept: &Kept| Mark {
        id: kept.id.clone(),
        state: StripeEventState::Waiting,
        why: Some(short(why)),
        tenant: until.cloned(),
        decides: !needless.contains(kept.id.as_str()),
    };
    let open = kept.iter().filter(|kept| kept.event.is_some());
    open.filter_map(|kept| changed(kept, mark(kept))).collect()
}

fn changed(kept: &Kept, mark: Mark) -> Option<Mark> {
    let same = !kept.due
        && kept.state == mark.state
        && kept.why == mark.why
        && kept.tenant == mark.tenant
        && kept.decides == mark.decides;
    (!same).then_some(mark)
}

/// A reason as it can be kept and shown in a line.
pub(super) fn short(why: &str) -> String {
    why.chars().filter(|c| !c.is_control()).take(LONGEST_WHY).collect()
}
