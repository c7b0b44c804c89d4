//! Which credential a request presents, and how ours is taken off it.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{cookie, key::PREFIX};
use crate::ports::CredentialError;

/// The one credential of a request, as it was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented<'h> {
    /// A text in the header for API keys: a key of ours or an imported one.
    Key(&'h [u8]),
    /// A key of ours as a Bearer token.
    BearerKey(&'h [u8]),
    /// A JSON Web Token.
    Token {
        /// The token.
        text: &'h [u8],
        /// How it came.
        channel: Channel,
    },
}

/// How a token came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Channel {
    /// As `Authorization: Bearer`.
    Bearer,
    /// In the cookie of that place among [`Presentation::cookies`].
    Cookie(usize),
}

/// Where credentials are looked for.
#[derive(Debug)]
pub(super) struct Presentation {
    key_header: HeaderName,
    tokens: bool,
    cookies: Vec<String>,
}

impl Presentation {
    /// Keys in `key_header`; tokens only where some issuer is configured.
    pub(super) fn new(key_header: HeaderName, tokens: bool) -> Self {
        Self { key_header, tokens, cookies: Vec::new() }
    }

    /// The header for API keys.
    pub(super) const fn key_header(&self) -> &HeaderName {
        &self.key_header
    }

    /// Adds a cookie for tokens, and answers its place.
    pub(super) fn cookie(&mut self, name: &str) -> usize {
        if let Some(place) = self.cookies.iter().position(|known| known == name) {
            return place;
        }
        self.cookies.push(name.to_owned());
        self.cookies.len() - 1
    }

    /// The one credential of a request.
    pub(super) fn find<'h>(&self, headers: &'h HeaderMap) -> Result<Presented<'h>, CredentialError> {
        let mut found = one(self.in_key_header(headers)?, self.in_authorization(headers)?)?;
        for (place, name) in self.cookies.iter().enumerate() {
            let token = cookie::find(headers, name)?
                .map(|text| Presented::Token { text, channel: Channel::Cookie(place) });
            found = one(found, token)?;
        }
        found.ok_or(CredentialError::Missing)
    }

    fn in_key_header<'h>(&self, headers: &'h HeaderMap) -> Result<Option<Presented<'h>>, CredentialError> {
        let mut values = headers.get_all(&self.key_header).iter();
        let first = values.next();
        if values.next().is_some() {
            return Err(CredentialError::Ambiguous);
        }
        match first.map(HeaderValue::as_bytes) {
            Some([]) => Err(CredentialError::Invalid { reason: "the header for API keys is empty" }),
            Some(text) => Ok(Some(Presented::Key(text))),
            None => Ok(None),
        }
    }

    fn in_authorization<'h>(&self, headers: &'h HeaderMap) -> Result<Option<Presented<'h>>, CredentialError> {
        let mut found = None;
        let mut values = 0;
        for value in headers.get_all(header::AUTHORIZATION) {
            values += 1;
            found = found.or(self.bearer(value.as_bytes()));
        }
        // Which of several values the upstream would believe is unknown, so none of them proves anything.
        if values > 1 && found.is_some() {
            return Err(CredentialError::Ambiguous);
        }
        Ok(found)
    }

    fn bearer<'h>(&self, value: &'h [u8]) -> Option<Presented<'h>> {
        let text = bearer_token(value)?;
        if text.starts_with(PREFIX.as_bytes()) {
            Some(Presented::BearerKey(text))
        } else {
            self.tokens.then_some(Presented::Token { text, channel: Channel::Bearer })
        }
    }

    /// Removes Plangate's keys; tokens stay, they may be the upstream's business as well.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(&self.key_header);
        strip_bearer(headers);
    }

    /// Removes keys of ours, told by their prefix; another text in the header for API keys stays.
    pub(super) fn strip_own(&self, headers: &mut HeaderMap) {
        remove_values(headers, &self.key_header, |value| value.trim_ascii().starts_with(PREFIX.as_bytes()));
        strip_bearer(headers);
    }
}

fn strip_bearer(headers: &mut HeaderMap) {
    remove_values(headers, &header::AUTHORIZATION, |value| {
        bearer_token(value).is_some_and(|text| text.starts_with(PREFIX.as_bytes()))
    });
}

fn remove_values(headers: &mut HeaderMap, name: &HeaderName, doomed: impl Fn(&[u8]) -> bool) {
    if !headers.get_all(name).iter().any(|value| doomed(value.as_bytes())) {
        return;
    }
    let others: Vec<HeaderValue> =
        headers.get_all(name).iter().filter(|value| !doomed(value.as_bytes())).cloned().collect();
    headers.remove(name);
    for value in others {
        headers.append(name, value);
    }
}

fn one<'h>(
    left: Option<Presented<'h>>,
    right: Option<Presented<'h>>,
) -> Result<Option<Presented<'h>>, CredentialError> {
    match (left, right) {
        (Some(_), Some(_)) => Err(CredentialError::Ambiguous),
        (found, None) | (None, found) => Ok(found),
    }
}

/// What follows the scheme `Bearer`, in any case, and white space.
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    match rest.first() {
        None => Some(rest),
        Some(b' ' | b'\t') => Some(rest.trim_ascii_start()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HeaderName = HeaderName::from_static("x-api-key");

    fn headers(values: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn plain() -> Presentation {
        Presentation::new(KEY, false)
    }

    fn with_tokens() -> Presentation {
        let mut presentation = Presentation::new(KEY, true);
        assert_eq!(presentation.cookie("session"), 0);
        assert_eq!(presentation.cookie("other"), 1);
        assert_eq!(presentation.cookie("session"), 0);
        presentation
    }

    #[test]
    fn nothing_is_missing() {
        assert_eq!(plain().find(&HeaderMap::new()), Err(CredentialError::Missing));
    }

    #[test]
    fn a_key_comes_in_its_header_or_as_bearer() {
        assert_eq!(plain().find(&headers(&[(KEY, "abc")])), Ok(Presented::Key(b"abc")));
        for value in ["Bearer pgk_x", "bearer pgk_x", "BEARER   pgk_x"] {
            assert_eq!(
                plain().find(&headers(&[(header::AUTHORIZATION, value)])),
                Ok(Presented::BearerKey(b"pgk_x"))
            );
        }
    }

    #[test]
    fn an_empty_key_is_invalid() {
        assert!(matches!(plain().find(&headers(&[(KEY, "")])), Err(CredentialError::Invalid { .. })));
    }

    #[test]
    fn other_authorization_is_no_credential() {
        for value in ["Basic abc", "Bearerpgk_x", "Bearer abc.def.ghi", "Digest pgk_x", "Bear", ""] {
            let headers = headers(&[(header::AUTHORIZATION, value)]);
            assert_eq!(plain().find(&headers), Err(CredentialError::Missing), "{value}");
        }
        let basic = headers(&[(header::AUTHORIZATION, "Basic abc"), (KEY, "abc")]);
        assert_eq!(with_tokens().find(&basic), Ok(Presented::Key(b"abc")));
        let two_basic = headers(&[(header::AUTHORIZATION, "Basic a"), (header::AUTHORIZATION, "Basic b")]);
        assert_eq!(with_tokens().find(&two_basic), Err(CredentialError::Missing));
    }

    #[test]
    fn a_bearer_token_counts_once_an_issuer_is_known() {
        let bearer = headers(&[(header::AUTHORIZATION, "Bearer abc.def.ghi")]);
        assert_eq!(
            with_tokens().find(&bearer),
            Ok(Presented::Token { text: b"abc.def.ghi", channel: Channel::Bearer })
        );
        let empty = headers(&[(header::AUTHORIZATION, "Bearer")]);
        assert_eq!(with_tokens().find(&empty), Ok(Presented::Token { text: b"", channel: Channel::Bearer }));
        let cookie = headers(&[(header::COOKIE, "x=1; other=abc")]);
        assert_eq!(
            with_tokens().find(&cookie),
            Ok(Presented::Token { text: b"abc", channel: Channel::Cookie(1) })
        );
    }

    #[test]
    fn two_credentials_are_ambiguous_even_if_equal() {
        let auth = header::AUTHORIZATION;
        let pairs: [&[(HeaderName, &str)]; 8] = [
            &[(KEY, "a"), (KEY, "a")],
            &[(KEY, "pgk_x"), (auth.clone(), "Bearer pgk_x")],
            &[(auth.clone(), "Bearer pgk_x"), (auth.clone(), "Bearer pgk_x")],
            &[(auth.clone(), "Basic x"), (auth.clone(), "Bearer pgk_x")],
            &[(auth.clone(), "Bearer pgk_x"), (auth.clone(), "Basic x")],
            &[(auth.clone(), "Bearer t"), (header::COOKIE, "session=t")],
            &[(KEY, "a"), (header::COOKIE, "session=t")],
            &[(header::COOKIE, "session=t; other=t")],
        ];
        for pair in pairs {
            assert_eq!(with_tokens().find(&headers(pair)), Err(CredentialError::Ambiguous), "{pair:?}");
        }
    }

    #[test]
    fn only_our_keys_are_stripped() {
        let mut mixed = headers(&[
            (KEY, "a"),
            (KEY, "b"),
            (header::AUTHORIZATION, "Basic x"),
            (header::AUTHORIZATION, "bearer  pgk_x"),
            (header::AUTHORIZATION, "Bearer a.b.c"),
            (header::COOKIE, "session=t"),
        ]);
        with_tokens().strip(&mut mixed);
        assert!(!mixed.contains_key(KEY));
        let left: Vec<_> = mixed.get_all(header::AUTHORIZATION).iter().collect();
        assert_eq!(left, ["Basic x", "Bearer a.b.c"]);
        assert!(mixed.contains_key(header::COOKIE));
    }

    #[test]
    fn a_foreign_key_stays_where_ours_goes() {
        let auth = header::AUTHORIZATION;
        let mut mixed = headers(&[(KEY, "theirs"), (KEY, "pgk_x"), (auth.clone(), "Bearer pgk_x")]);
        plain().strip_own(&mut mixed);
        assert_eq!(mixed.get_all(KEY).iter().collect::<Vec<_>>(), ["theirs"]);
        assert!(!mixed.contains_key(auth));
    }
}
