//! URLs, read strictly: what two readers could take for different hosts is no URL here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use super::address::Rule;
use crate::ports::OutgoingError;

const LONGEST: usize = 2_048;
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;
/// Of an error's text.
const SHOWN: usize = 100;

/// Whom a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// An address.
    Address(IpAddr),
    /// A name, in lower case.
    Name(String),
}

/// A URL that may be called, as far as it can be told without asking anybody.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) uri: Uri,
    pub(super) host: Host,
}

/// The URL without what may be secret: its scheme and its host.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let text = if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") };
    text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl Target {
    /// Reads a URL.
    pub(super) fn parse(url: &str, rule: &Rule) -> Result<Self, OutgoingError> {
        let wrong = |reason: &str| OutgoingError::Url { url: shown(url), reason: reason.to_owned() };
        let (https, host) = read(url, rule).map_err(wrong)?;
        // The one library that will read it must read the same.
        let uri: Uri = url.parse().map_err(|_| wrong("it is not a URL"))?;
        let same = uri.host().is_some_and(|name| matches(name, &host))
            && uri.scheme_str() == Some(if https { "https" } else { "http" });
        if !same {
            return Err(wrong("it is not a URL"));
        }
        if let Host::Address(address) = host
            && !rule.permits(address)
        {
            return Err(OutgoingError::Forbidden { host: shown(url), address });
        }
        Ok(Self { uri, host })
    }
}

fn matches(name: &str, host: &Host) -> bool {
    read_host(name).is_ok_and(|read| read == *host)
}

fn read(url: &str, rule: &Rule) -> Result<(bool, Host), &'static str> {
    if url.len() > LONGEST {
        return Err("it is longer than 2048 characters");
    }
    if !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "only visible ASCII characters are taken: write other names in punycode, and encode the rest",
        );
    }
    let (https, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) if rule.http => (false, rest),
        (_, Some(_)) => return Err("only https is spoken, unless `webhooks.http` is configured"),
        _ => return Err("expected a URL that begins with `https://`"),
    };
    if rest.contains(['\\', '#', '"', '<', '>', '^', '`', '{', '|', '}']) {
        return Err("a URL has no fragment, and no characters that would have to be encoded");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.contains('@') {
        return Err("user names and passwords are not sent");
    }
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            (&authority[..colon], Some(&authority[colon + 1..]))
        }
        _ => (authority, None),
    };
    if let Some(port) = port {
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        if !digits || port.parse::<u16>().is_err() {
            return Err("the port is no number from 1 to 65535");
        }
    }
    let host = read_host(host)?;
    if let Host::Name(name) = &host
        && (name == "localhost" || name.ends_with(".localhost"))
        && !rule.permits(IpAddr::V4(Ipv4Addr::LOCALHOST))
    {
        return Err(
            "this is the machine itself, which is not called unless `webhooks.allow` names its address",
        );
    }
    Ok((https, host))
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        let address = address.ok_or("what stands in brackets is no IPv6 address")?;
        return Ok(Host::Address(IpAddr::V6(address)));
    }
    let name = text.to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    if !last.is_empty() && (hex || last.bytes().all(|b| b.is_ascii_digit())) {
        // Whatever ends in a number is an address to some readers. This one takes four decimal numbers only.
        let address: Result<Ipv4Addr, _> = name.parse();
        return address
            .map(|address| Host::Address(IpAddr::V4(address)))
            .map_err(|_| "an address is written as four decimal numbers, such as 192.0.2.1");
    }
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.is_empty() {
        return Err("the host is missing");
    }
    if name.len() > LONGEST_NAME || !name.split('.').all(is_label) {
        return Err(
            "the host's name is not one: expected letters, digits and `-` between dots, none at the end",
        );
    }
    Ok(Host::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_may_be_called() {
        let rule = Rule::default();
        for url in [
            "https://hooks.example",
            "https://hooks.example/",
            "https://Hooks.Example:8443/a/b?c=d&e=%20",
            "https://hooks.example?x",
            "https://a_b.example/",
            "https://xn--bcher-kva.example/",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://[2606:4700::1111]:444/",
            "https://1.2.3.4.example/",
            "https://0x7f.example/",
        ] {
            assert!(Target::parse(url, &rule).is_ok(), "{url}: {:?}", Target::parse(url, &rule));
        }
        let parsed = Target::parse("https://Hooks.Example:8443/a", &rule).unwrap();
        assert_eq!(parsed.host, Host::Name("hooks.example".into()));
        let open = Rule { http: true, allow: vec!["127.0.0.0/8".parse().unwrap()] };
        for url in ["http://127.0.0.1:9/x", "http://localhost:9/", "http://[::ffff:127.0.0.1]/"] {
            assert!(Target::parse(url, &open).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        let said = |url: &str| Target::parse(url, &Rule::default()).unwrap_err().to_string();
        assert!(said("https://me:hidden@a.example/hidden?hidden").contains("user names"));
        for url in [
            "https://me:hidden@a.example/hidden?hidden",
            "https://127.0.0.1/hidden",
            "http://a.example/hidden",
            "https://a.example:0/hidden",
        ] {
            let said = said(url);
            assert!(!said.contains("hidden") && !said.contains('\n'), "{said}");
        }
        assert!(said("https://10.0.0.1/").contains("not a public address"));
        assert!(said(&format!("https://a.example/{}", "x".repeat(LONGEST))).contains("2048"));
        assert!(said("").contains("begins with"));
    }
}
