//! What was told outside, in memory.

use async_trait::async_trait;

use super::{Memory, state::State, take};
use crate::{
    domain::{id::TenantId, tenant::Tenant, time::UnixMillis},
    ports::{EventRow, EventStore, StoreError, WhichEvents},
    store::{events::notice, outbox},
};

impl State {
    /// Keeps when somebody is to be told of a tenant's trial.
    pub(super) fn keep_notice(&mut self, before: &Tenant, after: &Tenant) {
        let trial = after.trial_notice();
        if trial != before.trial_notice() {
            self.look_next(&after.id, trial.map(|trial| trial.due));
        }
    }

    fn look_next(&mut self, tenant: &TenantId, at: Option<UnixMillis>) {
        match at {
            Some(at) => self.notices.insert(tenant.clone(), at),
            None => self.notices.remove(tenant),
        };
    }

    /// Forgets what was told before an instant.
    pub(super) fn forget_events(&mut self, before: UnixMillis, most: u64) -> u64 {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let old = self.outbox.iter().take(most).take_while(|(_, event)| event.at < before).count();
        self.outbox.drain(..old);
        self.outbox_gone += old as u64;
        old as u64
    }
}

#[async_trait]
impl EventStore for Memory {
    async fn events(&self, after: u64, limit: u32, which: &WhichEvents) -> Result<Vec<EventRow>, StoreError> {
        let state = self.state()?;
        let asked = state.outbox.iter().zip(state.outbox_gone + 1..).filter(|((_, event), cursor)| {
            *cursor > after
                && which.tenant.as_ref().is_none_or(|tenant| *tenant == event.tenant)
                && which.kind.is_none_or(|kind| kind == event.kind)
        });
        Ok(take(limit, asked.map(|((_, event), cursor)| EventRow { cursor, ..outbox::row(event) })))
    }

    async fn tell_trial_ends(&self, now: UnixMillis, limit: u32) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        let mut due: Vec<(UnixMillis, TenantId)> =
            state.notices.iter().filter(|(_, at)| **at <= now).map(|(id, at)| (*at, id.clone())).collect();
        due.sort();
        let more = u32::try_from(due.len()).is_ok_and(|due| due >= limit);
        for (_, id) in due.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            let (told, next) = state.tenants.get(&id).map_or((None, None), |tenant| notice(tenant, now));
            state.tell(told.into_iter().collect());
            state.look_next(&id, next);
        }
        Ok(more)
    }
}
