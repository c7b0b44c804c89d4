//! What the upstream is told of the client: nothing that the client could have made up itself.

use ::http::{HeaderMap, HeaderName, header::FORWARDED};

use crate::pipeline::names::{self, folds_to};

/// The way that a request has come.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme that the client used.
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host that the client asked for.
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Removes what a client may not say: Plangate's own names in every spelling that some server folds into one, and, where
/// the peer is not trusted, the names of proxies.
pub(super) fn remove_forged(headers: &mut HeaderMap, trusted: bool) {
    names::remove(headers, |name| is_forged(name, trusted));
}

/// Whether a client may not say this.
pub(super) fn is_forged(name: &str, trusted: bool) -> bool {
    // All of these begin with `x` or `f`, after whatever a server that folds names leaves out.
    if !name
        .bytes()
        .next()
        .is_some_and(|b| matches!(b, b'x' | b'f' | b'X' | b'F') || !b.is_ascii_alphanumeric())
    {
        return false;
    }
    if names::is_own(name) {
        return true;
    }
    let of_proxies = folds_to(name, "xforwarded", true)
        || folds_to(name, "xrealip", false)
        || folds_to(name, "forwarded", false);
    // A trusted proxy spells them right; any other spelling came through it from its client.
    let well_spelt = name.starts_with("x-forwarded-") && !name.contains('_')
        || name == "x-real-ip"
        || name == FORWARDED.as_str();
    of_proxies && !(trusted && well_spelt)
}
