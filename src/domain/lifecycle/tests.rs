//! The life of a tenant, and its rights on the way.
