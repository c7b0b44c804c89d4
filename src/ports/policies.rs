//! The catalog in force.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;
use crate::domain::catalog::Catalog;

/// The catalog in force.
pub trait Policies: Send + Sync + 'static {
    /// The catalog in force now. A request takes it once and is decided wholly by it.
    fn catalog(&self) -> Arc<Catalog>;
}

/// Puts in force on this node what the database says of the policies.
#[async_trait]
pub trait Deployments: Send + Sync + 'static {
    /// When this returns without an error, no request is decided any more by policies from before its call.
    ///
    /// # Errors
    /// [`StoreError`]: they cannot be read, or not be used by this version of the program. The ones before stay.
    async fn obey(&self) -> Result<(), StoreError>;
}
