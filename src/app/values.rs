//! Values of the configuration, each read from the text that people write and checked at once.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::config::UnknownTenant;
use crate::wire::duration;

fn text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text).map_err(Error::custom)
}

/// A span of time such as `10s`; above zero unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 30s")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Span, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                // Nothing is nothing in every unit.
                let text = if text == "0" { "0s" } else { text };
                duration::parse(text).map(Span).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A number of bytes such as `64KiB`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub usize);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
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
        let bytes = number.parse::<usize>().ok().and_then(|n| n.checked_mul(factor)).filter(|n| *n > 0);
        bytes.map(Self).ok_or_else(|| {
            format!("`{text}` is not a size: expected a number above zero with B, KiB, MiB, kB or MB")
        })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64KiB")
            }
            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                self.visit_str(&bytes.to_string())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Size)
    }
}

/// A range of addresses, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr(pub IpNet);

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, |text| {
            let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            net.map(Self)
                .map_err(|_| format!("`{text}` is not an address range: expected such as 10.0.0.0/8 or ::1"))
        })
    }
}

/// Whom requests are forwarded to: scheme, host and port only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUri(pub Uri);

impl<'de> Deserialize<'de> for UpstreamUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, |text| {
            let uri = web_uri(text)?;
            let bare = uri.path() == "/" && uri.query().is_none();
            bare.then(|| Self(uri)).ok_or_else(|| {
                format!(
                    "`{text}` has a path: expected scheme, host and port only, such as http://127.0.0.1:9000"
                )
            })
        })
    }
}

fn web_uri(text: &str) -> Result<Uri, String> {
    let expected =
        || format!("`{text}` is not a URL: expected such as http://127.0.0.1:9000 or https://app.example");
    let uri: Uri = text.parse().map_err(|_| expected())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
    if known && host { Ok(uri) } else { Err(expected()) }
}

/// Reads an address with a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    text(deserializer, |text| {
        text.parse()
            .map_err(|_| format!("`{text}` is not an address: expected such as 127.0.0.1:8080 or [::]:8080"))
    })
}

/// Reads an optional `http` or `https` URL.
pub(super) fn optional_uri<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uri>, D::Error> {
    text(deserializer, web_uri).map(Some)
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderText(pub HeaderName);

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, |text| {
            let name = HeaderName::from_str(text)
                .map_err(|_| format!("`{text}` is not a header's name: expected such as x-api-key"))?;
            let taken = [http::header::AUTHORIZATION, http::header::COOKIE, http::header::HOST];
            if taken.contains(&name) {
                return Err(format!("`{text}` has a meaning of its own: expected such as x-api-key"));
            }
            Ok(Self(name))
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
        text(deserializer, |text| {
            let canonical = crate::domain::path::canonicalise(text).is_ok_and(|path| path == text);
            let fits = text.is_empty() || canonical;
            fits.then(|| Self(text.to_owned()))
                .ok_or_else(|| format!("`{text}` is not a path: expected such as /.plangate/readyz, or \"\""))
        })
    }
}

/// A web origin, or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub HeaderValue);

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, |text| {
            let expected =
                || format!("`{text}` is not an origin: expected such as https://app.example, or *");
            let uri_like = web_uri(text).is_ok_and(|uri| uri.path() == "/") && !text.ends_with('/');
            if text != "*" && !uri_like {
                return Err(expected());
            }
            HeaderValue::from_str(text).map(Self).map_err(|_| expected())
        })
    }
}

impl<'de> Deserialize<'de> for UnknownTenant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Plan {
            plan: String,
        }
        let value = serde_json::Value::deserialize(deserializer)?;
        if value.as_str() == Some("deny") {
            return Ok(Self::Deny);
        }
        serde_json::from_value::<Plan>(value.clone())
            .map(|plan| Self::Plan(plan.plan))
            .map_err(|_| Error::custom(format!("`{value}`: expected deny, or {{ plan: NAME }}")))
    }
}
