//! One tenant in memory: the facts from which rights are compiled whenever a worker needs them.

use std::sync::Arc;

use crate::domain::{
    catalog::Catalog,
    facts::Facts,
    id::TenantId,
    rights::{Rights, UnknownPlan},
    time::{UnixMillis, Version},
};

/// A tenant as it was read, or the fact that there is none.
pub(super) struct Entry {
    pub(super) tenant: Box<str>,
    /// The newest version that was committed when it was read.
    pub(super) read_at: Version,
    facts: Option<Facts>,
}

impl Entry {
    pub(super) fn known(tenant: &TenantId, read_at: Version, facts: Facts) -> Self {
        Self { facts: Some(facts), ..Self::unknown(tenant, read_at) }
    }

    pub(super) fn unknown(tenant: &TenantId, read_at: Version) -> Self {
        Self { tenant: tenant.as_str().into(), read_at, facts: None }
    }

    pub(super) const fn is_unknown(&self) -> bool {
        self.facts.is_none()
    }

    pub(super) fn version(&self) -> Version {
        self.facts.as_ref().map_or(Version(0), |facts| facts.version)
    }

    /// Rights that nobody else counts. `None`: there is no such tenant.
    pub(super) fn compile(
        &self,
        tenant: &TenantId,
        catalog: &Arc<Catalog>,
        now: UnixMillis,
    ) -> Option<Result<Arc<Rights>, UnknownPlan>> {
        Some(self.facts.as_ref()?.compile(tenant, catalog, now).map(Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        // With the two counts of its `Arc` it fills a block of 96 bytes; its name is one more of 16 or 32.
        assert!(size_of::<Entry>() <= 80, "{}", size_of::<Entry>());
    }
}
