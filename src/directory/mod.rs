//! Tenants in memory: compiled rights, never older than what this node has heard.
