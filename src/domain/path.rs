//! The canonical path: one form that is matched and forwarded.

use std::borrow::Cow;

/// Why a path has no one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AmbiguousPath(pub &'static str);

/// The canonical form of a path (without query).
///
/// # Errors
/// [`AmbiguousPath`] says what is ambiguous.
pub fn canonicalise(path: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let lower = path.to_ascii_lowercase();
    if !path.starts_with('/') {
        return Err(AmbiguousPath("a path begins with `/`"));
    }
    if ["//", "\\", ";", "%2f", "%5c", "%3b", "%00", "%2e"].iter().any(|bad| lower.contains(bad)) {
        return Err(AmbiguousPath("it can be read in more than one way"));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(AmbiguousPath("it has a dot segment"));
    }
    Ok(Cow::Borrowed(path))
}
