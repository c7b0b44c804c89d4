//! Why the view is not shown to somebody who may see it.

use std::time::Duration;

/// Why the view is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewRefusal {
    /// It is only read.
    #[error("only GET and HEAD are answered here")]
    Method,
    /// It is asked for again and again: in so long it may be.
    #[error("this account's usage is asked for too often")]
    TooOften(Duration),
    /// The numbers cannot be read.
    #[error("usage cannot be read at the moment")]
    Unavailable,
}
