//! Values of the configuration, each read from the text that people write and checked at once.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use super::config::{ModeWord, UnknownTenant};
use crate::{credentials::Algorithm, wire::duration};

/// Reads a text; `read` says what was expected instead, and the value itself is added to that where it may be shown.
fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let read = value.as_str().and_then(read);
    read.ok_or_else(|| Error::custom(format_args!("expected {expected}")))
}

/// Reads a text of any kind.
pub(super) fn plain<'de, D: Deserializer<'de>, T: From<String>>(deserializer: D) -> Result<T, D::Error> {
    text(deserializer, "a text", |text| Some(T::from(text.to_owned())))
}

/// Reads a text of any kind that need not be given.
pub(super) fn optional<'de, D: Deserializer<'de>, T: From<String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => plain(value).map(Some).map_err(Error::custom),
    }
}

/// Reads a whole number.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    let number = Value::deserialize(deserializer)?.as_u64().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| Error::custom("expected a whole number"))
}

/// Reads a whole number that need not be given.
pub(super) fn optional_whole<'de, D: Deserializer<'de>, T: TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => whole(value).map(Some).map_err(Error::custom),
    }
}

/// A span of time such as `10s`; above zero unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a duration such as 500ms, 30s, 10m, 1h or 1d, at most 366d";
        match Value::deserialize(deserializer)? {
            // Nothing needs no unit.
            Value::Number(zero) if zero.as_u64() == Some(0) => Some(Duration::ZERO),
            Value::String(zero) if zero == "0" => Some(Duration::ZERO),
            Value::String(text) => duration::parse(&text).ok(),
            _ => None,
        }
        .map(Self)
        .ok_or_else(|| Error::custom(format_args!("expected {expected}")))
    }
}

/// How long something is kept, such as `400d`: it may be many years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept(pub Duration);

impl Kept {
    /// The longest: a hundred years.
    const LONGEST_DAYS: u64 = 36_525;

    /// Whole days.
    #[must_use]
    pub const fn days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = format!("a duration such as 36h or 400d, at most {}d", Self::LONGEST_DAYS);
        let longest = Self::days(Self::LONGEST_DAYS).0;
        text(deserializer, &expected, |text| duration::parse_up_to(text, longest).ok().map(Self))
    }
}

/// A number of bytes such as `64KiB`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl ByteSize {
    fn read(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_start() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "kB" => 1_000,
            "MB" => 1_000_000,
            _ => 0,
        };
        let bytes = number.parse::<usize>().ok().and_then(|n| n.checked_mul(factor));
        bytes.filter(|n| *n > 0).map(Self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let size = match Value::deserialize(deserializer)? {
            Value::Number(bytes) => Self::read(&bytes.to_string()),
            Value::String(text) => Self::read(&text),
            _ => None,
        };
        size.ok_or_else(|| Error::custom("expected a size such as 64KiB, with B, KiB, MiB, kB or MB"))
    }
}

/// A range of addresses, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr(pub IpNet);

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "an address range such as 10.0.0.0/8, or an address such as ::1", |text| {
            text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok().map(Self)
        })
    }
}

/// Whom requests are forwarded to: scheme, host and port only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUri(pub Uri);

impl<'de> Deserialize<'de> for UpstreamUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected =
            "scheme, host and port only (no path), such as http://127.0.0.1:9000 or https://app.example";
        text(deserializer, expected, |text| {
            web_uri(text).filter(|uri| uri.path() == "/" && uri.query().is_none()).map(Self)
        })
    }
}

fn web_uri(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
    (known && host).then_some(uri)
}

/// Reads an address with a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    text(deserializer, "an address with a port, such as 127.0.0.1:8080 or [::]:8080", |text| {
        text.parse().ok()
    })
}

/// Reads an address with a port that need not be given.
pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => address(value).map(Some).map_err(Error::custom),
    }
}

/// A secret of an endpoint of webhooks, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(pub String);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for WebhookSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "a secret of visible characters, such as whsec_ and what follows it", |text| {
            let fits = (8..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
            fits.then(|| Self(text.to_owned()))
        })
    }
}

/// Reads an optional `http` or `https` URL.
pub(super) fn optional_uri<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uri>, D::Error> {
    text(deserializer, "a URL such as https://id.example/jwks.json", web_uri).map(Some)
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderText(pub HeaderName);

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let taken = [http::header::AUTHORIZATION, http::header::COOKIE, http::header::HOST];
        text(deserializer, "the name of a header without another meaning, such as x-api-key", |text| {
            HeaderName::from_str(text).ok().filter(|name| !taken.contains(name)).map(Self)
        })
    }
}

/// The path of the load balancer's probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe(pub String);

impl Default for Probe {
    fn default() -> Self {
        Self("/.plangate/readyz".to_owned())
    }
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "a path such as /.plangate/readyz, or \"\"", |text| {
            let canonical = crate::domain::path::canonicalise(text).is_ok_and(|path| path == text);
            (text.is_empty() || canonical).then(|| Self(text.to_owned()))
        })
    }
}

/// A web origin, or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub HeaderValue);

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "an origin such as https://app.example, or *", |text| {
            let bare = |uri: &Uri| uri.path() == "/" && uri.query().is_none() && !text.ends_with('/');
            let fits = text == "*" || web_uri(text).as_ref().is_some_and(bare);
            HeaderValue::from_str(text).ok().filter(|_| fits).map(Self)
        })
    }
}

/// The name of a signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlgorithmName(pub Algorithm);

impl<'de> Deserialize<'de> for AlgorithmName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = format!("one of {}", Algorithm::names());
        text(deserializer, &expected, |text| text.parse().ok().map(Self))
    }
}

impl<'de> Deserialize<'de> for ModeWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, "enforce or observe", |text| match text {
            "enforce" => Some(Self::Enforce),
            "observe" => Some(Self::Observe),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for UnknownTenant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let plan = value.as_object().filter(|map| map.len() == 1).and_then(|map| map.get("plan")?.as_str());
        match (value.as_str(), plan) {
            (Some("deny"), _) => Ok(Self::Deny),
            (_, Some(plan)) => Ok(Self::Plan(plan.to_owned())),
            _ => Err(Error::custom("expected deny, or { plan: NAME }")),
        }
    }
}
