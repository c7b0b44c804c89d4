//! The change feed: what keeps a node fresh.
