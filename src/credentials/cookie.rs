//! Finds one cookie in a request's `Cookie` headers.

use http::{HeaderMap, header};

use crate::ports::CredentialError;

/// The value of the cookie `name`; `None` where there is none or it is empty (a browser after a log-out).
///
/// Cookies of other names are not judged: they belong to the upstream. Several values under this name that differ have
/// no one meaning.
pub(super) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h [u8]>, CredentialError> {
    let mut found: Option<&[u8]> = None;
    for header in headers.get_all(header::COOKIE) {
        for pair in header.as_bytes().split(|byte| *byte == b';') {
            let Some(value) = value_of(pair.trim_ascii(), name.as_bytes()) else { continue };
            match found {
                Some(before) if before != value => return Err(CredentialError::Ambiguous),
                _ => found = Some(value),
            }
        }
    }
    Ok(found.filter(|value| !value.is_empty()))
}

fn value_of<'p>(pair: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
    match value {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn cookies(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::COOKIE, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn finds_exactly_the_named_cookie() {
        let headers = cookies(&["a=1; session=abc.def; b", "xsession=no; Session=no; session2=no"]);
        assert_eq!(find(&headers, "session"), Ok(Some(&b"abc.def"[..])));
        assert_eq!(find(&headers, "other"), Ok(None));
    }

    #[test]
    fn quotes_are_not_part_of_the_value() {
        assert_eq!(find(&cookies(&["s=\"abc\""]), "s"), Ok(Some(&b"abc"[..])));
        assert_eq!(find(&cookies(&["s=\""]), "s"), Ok(Some(&b"\""[..])));
    }

    #[test]
    fn the_same_value_twice_is_one_value_and_two_values_are_none() {
        assert_eq!(find(&cookies(&["s=a; s=a", "s=a"]), "s"), Ok(Some(&b"a"[..])));
        assert_eq!(find(&cookies(&["s=a; s=b"]), "s"), Err(CredentialError::Ambiguous));
        assert_eq!(find(&cookies(&["s=a", "s=b"]), "s"), Err(CredentialError::Ambiguous));
        assert_eq!(find(&cookies(&["s=; s=b"]), "s"), Err(CredentialError::Ambiguous));
    }

    #[test]
    fn an_empty_cookie_is_none() {
        assert_eq!(find(&cookies(&["s="]), "s"), Ok(None));
        assert_eq!(find(&cookies(&["s=\"\""]), "s"), Ok(None));
        assert_eq!(find(&cookies(&[";;=; =;s"]), "s"), Ok(None));
    }
}
