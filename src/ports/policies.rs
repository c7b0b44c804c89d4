//! The catalog in force.

use std::sync::Arc;

use crate::domain::catalog::Catalog;

/// The catalog in force.
pub trait Policies: Send + Sync + 'static {
    /// The catalog in force now. A request takes it once and is decided wholly by it.
    fn catalog(&self) -> Arc<Catalog>;
}
