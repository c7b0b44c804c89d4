//! The languages in which clients are told why they are refused, and how they stand.
//!
//! Every text of a language is an arm of a `match` without a rest: whoever adds a reason adds its text in each language, or
//! it does not compile. Codes, types and the names of members are never translated.

mod accept;
mod chinese;
mod english;
#[cfg(test)]
mod tests;

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use super::{problem::Kind, request::Rejection, view::Message};

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// The one that is spoken where none is asked for.
    #[default]
    English,
    /// Chinese in simplified characters.
    Chinese,
}

impl Language {
    /// The one that a request asks for (`Accept-Language`, RFC 9110, section 12.5.4). Whatever stands there, the answer is
    /// a language: what is not understood is passed over.
    #[must_use]
    pub fn asked(headers: &HeaderMap) -> Self {
        accept::asked(headers.get_all(header::ACCEPT_LANGUAGE).iter().map(HeaderValue::as_bytes))
    }

    /// The one that a head asks for which cannot be read as a whole: as far as lines of it can.
    #[must_use]
    pub fn asked_in(head: &[u8]) -> Self {
        accept::asked_in(head)
    }

    /// Whether a field's value can ask for anything but the language that is spoken anyway.
    #[must_use]
    pub fn may_matter(value: &[u8]) -> bool {
        value.iter().any(|byte| matches!(byte, b'z' | b'Z' | b'*'))
    }

    /// Its tag (RFC 5646).
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-Hans",
        }
    }

    /// A kind of problem in a few words.
    pub(super) const fn title(self, kind: Kind) -> &'static str {
        match self {
            Self::English => english::title(kind),
            Self::Chinese => chinese::title(kind),
        }
    }

    /// Why a request is refused.
    pub(super) const fn detail(self, why: &Rejection) -> Detail<'_> {
        Detail { language: self, why }
    }

    /// How a customer stands, in a sentence.
    pub(super) fn message(self, message: &Message<'_>) -> String {
        match self {
            Self::English => english::message(message),
            Self::Chinese => chinese::message(message),
        }
    }

    /// Says on an answer in which language it is, and that it depends on what was asked for.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(self.tag()));
        headers.append(header::VARY, HeaderValue::from_static("Accept-Language"));
    }
}

/// Why a request is refused, to be written in a language.
pub(super) struct Detail<'a> {
    language: Language,
    why: &'a Rejection,
}

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.language {
            Language::English => english::detail(self.why, f),
            Language::Chinese => chinese::detail(self.why, f),
        }
    }
}
