//! Tenants for whom something could not be written down: they are tried again later, and do not hold up the others.

use std::{collections::HashMap, time::Duration};

use crate::{
    domain::{id::TenantId, time::Monotonic},
    ports::{ExecuteError, StoreError},
};

/// How long a tenant is set aside at first; twice as long each further time.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(600);
/// Set aside at most.
const MOST: usize = 10_000;
/// So many failures of the store in a row are not one tenant's.
const STORE_AWAY: u32 = 3;

struct Failures {
    until: Monotonic,
    pause: Duration,
}

/// Who is set aside.
#[derive(Default)]
pub(super) struct Aside {
    tenants: HashMap<TenantId, Failures>,
    now: Monotonic,
    in_a_row: u32,
}

impl Aside {
    /// A turn begins.
    pub(super) fn turn(&mut self, now: Monotonic) {
        self.now = now;
        self.in_a_row = 0;
        // Others have long written it down.
        self.tenants.retain(|_, failures| failures.until.after(LONGEST) > now);
    }

    /// How many are set aside now.
    pub(super) fn count(&self) -> u32 {
        let aside = self.tenants.values().filter(|failures| self.now < failures.until);
        u32::try_from(aside.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn has(&self, tenant: &TenantId) -> bool {
        self.tenants.get(tenant).is_some_and(|failures| self.now < failures.until)
    }

    /// Leaves a tenant alone for a while, as it is not its time yet.
    pub(super) fn wait(&mut self, tenant: &TenantId, pause: Duration) {
        self.in_a_row = 0;
        if self.tenants.len() < MOST || self.tenants.contains_key(tenant) {
            let failures = Failures { until: self.now.after(pause), pause: FIRST };
            self.tenants.insert(tenant.clone(), failures);
        }
    }

    pub(super) fn succeeded(&mut self, tenant: &TenantId) {
        self.in_a_row = 0;
        self.tenants.remove(tenant);
    }

    /// Sets a tenant aside.
    ///
    /// # Errors
    /// The store's own, where it fails for everybody.
    pub(super) fn failed(
        &mut self,
        tenant: &TenantId,
        change: &str,
        error: ExecuteError,
    ) -> Result<(), StoreError> {
        if let ExecuteError::Store(away @ (StoreError::Unavailable(_) | StoreError::Full(_))) = error {
            self.in_a_row += 1;
            if self.in_a_row >= STORE_AWAY {
                return Err(away);
            }
            tracing::warn!(%tenant, change, "not written down, tried again later: {away}");
        } else {
            tracing::error!(%tenant, change, "not written down, tried again later: {error}");
        }
        let before = self.tenants.get(tenant).map(|failures| failures.pause);
        if before.is_some() || self.tenants.len() < MOST {
            let pause = before.map_or(FIRST, |before| (before * 2).min(LONGEST));
            self.tenants.insert(tenant.clone(), Failures { until: self.now.after(pause), pause });
        }
        Ok(())
    }
}
