//! What can be wrong with a request's head: closed lists, so that each is told in every language.

use crate::domain::path::AmbiguousPath;

/// Why a request is not a well-formed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Methods that concern proxies themselves.
    #[error("the methods TRACE and CONNECT are not served")]
    MethodNotServed,
    /// Bare CR or LF.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// Not a token.
    #[error("the method is not a token")]
    Method,
    /// Another version of HTTP/1, or none.
    #[error("the version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// A byte that no name has.
    #[error("a header name is not valid")]
    HeaderName,
    /// A byte that no value has.
    #[error("a header value is not valid")]
    HeaderValue,
    /// Where one is needed.
    #[error("an HTTP/1.1 request has no Host")]
    NoHost,
    /// Two or more.
    #[error("more than one Host")]
    ManyHosts,
    /// Neither a name nor an address.
    #[error("the Host is not valid")]
    Host,
    /// HTTP/2's own way to name the host is missing.
    #[error("the request has no :authority")]
    NoAuthority,
    /// Two names for one host.
    #[error(":authority and Host differ")]
    TwoAuthorities,
    /// Two or more.
    #[error("more than one Content-Length")]
    ManyLengths,
    /// Not decimal, or too large.
    #[error("the Content-Length is not a number")]
    Length,
    /// Two or more.
    #[error("more than one Transfer-Encoding")]
    ManyEncodings,
    /// Anything but `chunked`.
    #[error("a Transfer-Encoding other than `chunked`")]
    Encoding,
    /// Two ways to tell where the body ends.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// HTTP/1.0 has none.
    #[error("Transfer-Encoding in an HTTP/1.0 request")]
    OldEncoding,
    /// Before a request's first line.
    #[error("too many empty lines before the request line")]
    EmptyLines,
}

/// Why a request target has no one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// Its path has none.
    #[error(transparent)]
    Path(#[from] AmbiguousPath),
    /// It cannot be read at all.
    #[error("the request target is not a path")]
    NotAPath,
    /// A whole address, an authority or `*`.
    #[error("the request target is not in origin form")]
    NotOriginForm,
    /// A byte of the path that servers read differently.
    #[error("the path has a byte that must be percent-encoded")]
    PathByte,
    /// The same of the query.
    #[error("the query has a byte that must be percent-encoded")]
    QueryByte,
    /// Its canonical form is not one that can be sent.
    #[error("the path has no canonical form")]
    NoCanonicalForm,
}

#[cfg(test)]
impl Malformed {
    /// Every one.
    pub(crate) const ALL: [Self; 18] = [
        Self::MethodNotServed,
        Self::LineEnd,
        Self::Method,
        Self::Version,
        Self::HeaderName,
        Self::HeaderValue,
        Self::NoHost,
        Self::ManyHosts,
        Self::Host,
        Self::NoAuthority,
        Self::TwoAuthorities,
        Self::ManyLengths,
        Self::Length,
        Self::ManyEncodings,
        Self::Encoding,
        Self::LengthAndEncoding,
        Self::OldEncoding,
        Self::EmptyLines,
    ];
}

#[cfg(test)]
impl Ambiguous {
    /// Every one.
    pub(crate) fn all() -> Vec<Self> {
        use AmbiguousPath as P;
        let paths = [
            P::NoSlash,
            P::DotSegment,
            P::EmptySegment,
            P::Backslash,
            P::Semicolon,
            P::EncodedSlash,
            P::EncodedBackslash,
            P::EncodedSemicolon,
            P::EncodedNul,
            P::BadEncoding,
            P::NotUtf8,
            P::Control,
            P::NonAscii,
            P::Forbidden,
        ];
        let others =
            [Self::NotAPath, Self::NotOriginForm, Self::PathByte, Self::QueryByte, Self::NoCanonicalForm];
        paths.into_iter().map(Self::Path).chain(others).collect()
    }
}
