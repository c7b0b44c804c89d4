//! Stripe's events in memory.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Memory, once::Outcome, state::State, take};
use crate::{
    domain::{
        catalog::Catalog,
        command::{Change, Command},
        id::TenantId,
        time::UnixMillis,
    },
    ports::{
        AuditRow, BillingLink, DroppedEvents, FoldOutcome, LinkError, Linked, NewStripeEvent, Origin,
        StoreError, StripeEventRow, StripeEventState, StripeStore, Unclaimed,
    },
    store::{
        altered::Altered,
        linking,
        settled::{self, Candidate, Kept, Mark, Owner},
    },
};

/// What Stripe told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) events: Vec<Event>,
    pub(super) links: BTreeMap<String, (TenantId, UnixMillis, bool)>,
    kept: u64,
    /// What was dropped of customers that are nobody's.
    pub(super) dropped: DroppedEvents,
}

/// An event.
pub(super) struct Event {
    pub(super) row: StripeEventRow,
    pub(super) due: bool,
    pub(super) decides: bool,
}

impl Told {
    fn keep(&mut self, event: &NewStripeEvent) -> bool {
        if self.events.iter().any(|kept| kept.row.id == event.id) {
            return false;
        }
        self.kept += 1;
        let settled = event.settled.as_ref();
        let row = StripeEventRow {
            place: self.kept,
            id: event.id.clone(),
            kind: event.kind.clone(),
            created: event.created,
            customer: event.customer.clone(),
            subscription: event.subscription.clone(),
            body: event.body.clone(),
            state: settled.map_or(StripeEventState::Waiting, |(state, _)| *state),
            why: settled.map(|(_, why)| settled::short(why)),
            tenant: None,
            received: event.received,
        };
        self.events.push(Event { row, due: settled.is_none(), decides: false });
        true
    }

    fn of(&self, customer: &str) -> Vec<Kept> {
        let open = |event: &&Event| event.due || event.row.state != StripeEventState::Failed;
        let own = self.events.iter().filter(|event| event.row.customer == customer).filter(open);
        own.map(|Event { row, due, decides }| Kept {
            id: row.id.clone(),
            state: row.state,
            why: row.why.clone(),
            tenant: row.tenant.clone(),
            due: *due,
            decides: *decides,
            event: settled::meaning(&row.body),
        })
        .collect()
    }

    /// Forgets what decides nothing and waits for nothing.
    pub(super) fn forget(&mut self, before: UnixMillis) -> u64 {
        let had = self.events.len();
        self.events.retain(|event| event.due || event.decides || event.row.received >= before);
        (had - self.events.len()) as u64
    }

    fn mark(&mut self, marks: Vec<Mark>) {
        for Mark { id, state, why, tenant, decides } in marks {
            if let Some(event) = self.events.iter_mut().find(|event| event.row.id == id) {
                (event.row.state, event.row.why, event.row.tenant) = (state, why, tenant);
                (event.due, event.decides) = (false, decides);
            }
        }
    }

    fn customer_of(&self, tenant: &TenantId) -> Option<(&String, &(TenantId, UnixMillis, bool))> {
        self.links.iter().find(|(_, (owner, ..))| owner == tenant)
    }
}

impl State {
    fn whose(&mut self, customer: &str, kept: &[Kept], at: UnixMillis) -> Result<TenantId, Vec<Mark>> {
        let link = self.told.links.get(customer).map(|(tenant, _, by_call)| (tenant.clone(), *by_call));
        let (named, linked) = match settled::owner(customer, link, &settled::events(kept)) {
            Owner::Linked(tenant) => return Ok(tenant),
            Owner::Nobody(why) => return Err(settled::wait(kept, &why, None)),
            Owner::Named(named, linked) => (named, linked),
        };
        let other = self.told.customer_of(&named).map(|(other, _)| other.clone());
        let found = Candidate {
            exists: self.tenants.contains_key(&named),
            customer: other.filter(|other| other != customer),
        };
        match (settled::unfit(&named, &found), linked) {
            (None, _) => {
                self.told.links.insert(customer.to_owned(), (named.clone(), at, false));
                Ok(named)
            }
            (Some(_), Some(linked)) => Ok(linked),
            (Some((why, until_made)), None) => Err(settled::wait(kept, &why, until_made.then_some(&named))),
        }
    }

    fn fold(
        &mut self,
        customer: &str,
        catalog: &Arc<Catalog>,
        origin: &Origin,
    ) -> Result<FoldOutcome, StoreError> {
        let kept = self.told.of(customer);
        let tenant = match self.whose(customer, &kept, origin.at) {
            Ok(tenant) => tenant,
            Err(marks) => {
                self.told.mark(marks);
                return Ok(FoldOutcome::default());
            }
        };
        let (folded, marks) = settled::settle(&kept, &tenant, catalog.of_tenant(&tenant));
        let command = Command { tenant: tenant.clone(), change: Change::Mirror(Box::new(folded.mirror)) };
        let done = self.carry_out(&command, origin);
        let done = done.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.told.mark(marks);
        Ok(FoldOutcome { tenant: Some(tenant), version: Some(done.version), changed: !done.replayed })
    }

    fn link(
        &mut self,
        tenant: &TenantId,
        customer: Option<&str>,
        origin: &Origin,
    ) -> Result<Linked, LinkError> {
        if let Some(done) = self.linked_before(origin)? {
            return Ok(done);
        }
        if !self.tenants.contains_key(tenant) {
            return Err(LinkError::NoTenant(tenant.clone()));
        }
        let had = self.told.customer_of(tenant).map(|(had, link)| (had.clone(), link.1));
        let altered = linking::altered(had.as_ref().map(|(had, _)| had.as_str()), customer);
        let (kind, shown) = match customer {
            Some(customer) => {
                if let Some((owner, ..)) = self.told.links.get(customer)
                    && owner != tenant
                {
                    return Err(LinkError::Taken { customer: customer.to_owned(), tenant: owner.clone() });
                }
                let since = had.as_ref().filter(|(had, _)| had == customer).map_or(origin.at, |(_, at)| *at);
                self.told.links.retain(|_, (owner, ..)| owner != tenant);
                self.told.links.insert(customer.to_owned(), (tenant.clone(), since, true));
                (linking::LINKED, customer.to_owned())
            }
            None => {
                let (had, _) = had.ok_or_else(|| LinkError::NotLinked(tenant.clone()))?;
                self.told.links.remove(&had);
                (linking::UNLINKED, had)
            }
        };
        Ok(self.note(Some(tenant), kind, (linking::detail(&shown), altered), origin))
    }

    fn linked_before(&self, origin: &Origin) -> Result<Option<Linked>, LinkError> {
        self.before(origin, LinkError::IdempotencyConflict, |outcome| match outcome {
            Outcome::Linked(done) => Some(Linked { replayed: true, ..done.clone() }),
            _ => None,
        })
    }

    fn note(
        &mut self,
        tenant: Option<&TenantId>,
        kind: &str,
        (detail, altered): (Value, Altered),
        origin: &Origin,
    ) -> Linked {
        let done = Linked { version: self.version, replayed: false };
        let row = AuditRow {
            cursor: self.next_cursor(),
            version: self.version,
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant: tenant.cloned(),
            kind: kind.to_owned(),
            detail,
        };
        self.audit.push_altered(row, altered);
        self.keep_outcome(origin, Outcome::Linked(done.clone()));
        done
    }
}

#[async_trait]
impl StripeStore for Memory {
    async fn keep_stripe_event(&self, event: &NewStripeEvent) -> Result<bool, StoreError> {
        Ok(self.state()?.told.keep(event))
    }

    async fn fold_customer(
        &self,
        customer: &str,
        catalog: &Arc<Catalog>,
        origin: &Origin,
    ) -> Result<FoldOutcome, StoreError> {
        let done = self.state()?.fold(customer, catalog, origin)?;
        if done.changed {
            self.woken.notify_one();
        }
        Ok(done)
    }

    async fn stripe_event(&self, id: &str) -> Result<Option<StripeEventRow>, StoreError> {
        let state = self.state()?;
        Ok(state.told.events.iter().find(|event| event.row.id == id).map(|event| event.row.clone()))
    }

    async fn stripe_events(
        &self,
        wanted: Option<StripeEventState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StripeEventRow>, StoreError> {
        let state = self.state()?;
        let rows = state.told.events.iter().rev().map(|event| &event.row).filter(|row| {
            before.is_none_or(|before| row.place < before) && wanted.is_none_or(|wanted| row.state == wanted)
        });
        Ok(take(limit, rows.cloned()))
    }

    async fn customers_to_fold(&self, before: UnixMillis, limit: u32) -> Result<Vec<String>, StoreError> {
        let state = self.state()?;
        let due = |event: &&Event| {
            let row = &event.row;
            let made = row.tenant.as_ref().is_some_and(|tenant| state.tenants.contains_key(tenant));
            let waits = row.state == StripeEventState::Waiting && made;
            (event.due && row.received < before)
                || (waits && !event.due && !state.told.links.contains_key(&row.customer))
        };
        let mut customers: Vec<String> =
            state.told.events.iter().filter(due).map(|event| event.row.customer.clone()).collect();
        customers.sort();
        customers.dedup();
        Ok(take(limit, customers.into_iter()))
    }

    async fn customers_with(
        &self,
        wanted: StripeEventState,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let state = self.state()?;
        let rows = state.told.events.iter().map(|event| &event.row);
        let mut customers: Vec<String> = rows
            .filter(|row| row.state == wanted && row.customer.as_str() > after)
            .map(|row| row.customer.clone())
            .collect();
        customers.sort();
        customers.dedup();
        Ok(take(limit, customers.into_iter()))
    }

    async fn customer_of(&self, tenant: &TenantId) -> Result<Option<BillingLink>, StoreError> {
        let state = self.state()?;
        Ok(state.told.customer_of(tenant).map(|(customer, (_, since, by_call))| BillingLink {
            customer: customer.clone(),
            since: *since,
            by_call: *by_call,
        }))
    }

    async fn link_customer(
        &self,
        tenant: &TenantId,
        customer: &str,
        origin: &Origin,
    ) -> Result<Linked, LinkError> {
        self.state()?.link(tenant, Some(customer), origin)
    }

    async fn note_replay(&self, what: &str, origin: &Origin) -> Result<Linked, LinkError> {
        let mut state = self.state()?;
        match state.linked_before(origin)? {
            Some(done) => Ok(done),
            None => {
                let said = (json!({ "events": what }), Altered::default());
                Ok(state.note(None, linking::REPLAYED, said, origin))
            }
        }
    }

    async fn unlink_customer(&self, tenant: &TenantId, origin: &Origin) -> Result<Linked, LinkError> {
        self.state()?.link(tenant, None, origin)
    }

    async fn drop_unclaimed(&self, bounds: &Unclaimed) -> Result<u64, StoreError> {
        Ok(self.state()?.told.drop_unclaimed(bounds))
    }

    async fn dropped_events(&self) -> Result<DroppedEvents, StoreError> {
        Ok(self.state()?.told.dropped)
    }
}
