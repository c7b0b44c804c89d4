//! One tenant in memory: its facts, and its rights as compiled from the catalog that was asked for last.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::{
    domain::{catalog::Catalog, rights::Rights, tenant::Tenant, time::Version},
    ports::ResolveError,
};

/// A tenant as it was read, or the fact that there is none.
pub(super) struct Entry {
    /// The newest version that was committed when it was read.
    pub(super) read_at: Version,
    tenant: Option<Tenant>,
    rights: ArcSwapOption<Rights>,
    /// The catalog under which there are no rights: that is worth one line in the log, not one for each request.
    reported: ArcSwapOption<Catalog>,
}

impl Entry {
    pub(super) fn new(read_at: Version, tenant: Option<Tenant>) -> Self {
        Self { read_at, tenant, rights: ArcSwapOption::empty(), reported: ArcSwapOption::empty() }
    }

    pub(super) const fn is_unknown(&self) -> bool {
        self.tenant.is_none()
    }

    pub(super) fn version(&self) -> Version {
        self.tenant.as_ref().map_or(Version(0), |tenant| tenant.version)
    }

    /// The rights under a catalog. Two requests under two catalogs at once each get their own.
    pub(super) fn rights(&self, catalog: &Arc<Catalog>) -> Result<Arc<Rights>, ResolveError> {
        let tenant = self.tenant.as_ref().ok_or(ResolveError::TenantUnknown)?;
        if let Some(rights) = &*self.rights.load()
            && Arc::ptr_eq(&rights.catalog, catalog)
        {
            return Ok(Arc::clone(rights));
        }
        match Rights::compile(tenant, catalog) {
            Ok(rights) => {
                let rights = Arc::new(rights);
                self.rights.store(Some(Arc::clone(&rights)));
                Ok(rights)
            }
            Err(error) => {
                let before = self.reported.swap(Some(Arc::clone(catalog)));
                if !before.is_some_and(|before| Arc::ptr_eq(&before, catalog)) {
                    tracing::error!(tenant = tenant.id.as_str(), "rights cannot be compiled: {error}");
                }
                Err(ResolveError::Unavailable)
            }
        }
    }
}
