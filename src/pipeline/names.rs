//! The headers by which a request says for whom it is made: Plangate's to set, never the client's.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{header_text, request::Subject, respond::REQUEST_ID};

/// Whose request it is.
pub const TENANT: HeaderName = HeaderName::from_static("x-plangate-tenant");
/// On which plan the tenant is.
pub const PLAN: HeaderName = HeaderName::from_static("x-plangate-plan");

/// Whether the name is one of Plangate's own, in any spelling that some server folds into it.
#[must_use]
pub fn is_own(name: &str) -> bool {
    folds_to(name, "xplangate", true) || folds_to(name, "xrequestid", false)
}

/// Whether the name, less all but letters and digits, is (or, for a prefix, begins with) the text.
#[must_use]
pub fn folds_to(name: &str, text: &str, prefix: bool) -> bool {
    let mut folded = name.bytes().filter(u8::is_ascii_alphanumeric);
    text.bytes().all(|wanted| folded.next().is_some_and(|b| b.eq_ignore_ascii_case(&wanted)))
        && (prefix || folded.next().is_none())
}

/// Removes every header whose name `unwanted` picks.
pub fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Says for whom the request is made, and what it is called. What the client said of it must be gone already.
pub fn set(headers: &mut HeaderMap, request_id: HeaderValue, subject: Option<&Subject>) {
    headers.insert(REQUEST_ID, request_id);
    let Some(subject) = subject else { return };
    if let Some(tenant) = header_text::value(subject.tenant().as_bytes()) {
        headers.insert(TENANT, tenant);
    }
    if let Some(plan) = subject.plan().and_then(|plan| header_text::value(plan.as_bytes())) {
        headers.insert(PLAN, plan);
    }
}
