//! The request of a case: everything of it that a policy may ask for.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use crate::domain::path::AmbiguousPath;

/// A request as a case gives it.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Request {
    pub(in crate::policy) method: String,
    /// Canonical; an error: the gateway would refuse it as ambiguous.
    pub(in crate::policy) path: Result<String, AmbiguousPath>,
    /// As it was written.
    pub(in crate::policy) shown: String,
    /// Without the question mark.
    pub(in crate::policy) query: Option<String>,
    /// By lower-case name.
    pub(in crate::policy) headers: BTreeMap<String, String>,
    /// Those that conditions see.
    pub(in crate::policy) seen: Vec<(String, String)>,
    pub(in crate::policy) client: Option<IpAddr>,
}

/// As it was written, with what the form of one line has no room for.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.shown)?;
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        for (name, value) in &self.headers {
            write!(f, ", {name}: {value}")?;
        }
        match &self.client {
            Some(client) => write!(f, ", from {client}"),
            None => Ok(()),
        }
    }
}
