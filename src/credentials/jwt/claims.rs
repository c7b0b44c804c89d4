//! The claims of a token: who issued it to whom, when it holds, and whose it is.

use std::time::Duration;

use serde_json::{Map, Number, Value};

use super::{Refusal, strict};
use crate::domain::{id::TenantId, time::UnixMillis};

/// The claims of a token. They are a stranger's words until the signature is verified.
pub(super) struct Claims(Map<String, Value>);

/// When a token holds, the leeway included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    /// From then on.
    pub(super) from: UnixMillis,
    /// Until then, not then any more.
    pub(super) until: UnixMillis,
}

impl Claims {
    pub(super) fn parse(part: &str) -> Result<Self, Refusal> {
        strict::object(part).map(Self).ok_or(Refusal::Invalid("the token's claims are not a JSON object"))
    }

    /// Who says to have issued it.
    pub(super) fn issuer(&self) -> Result<&str, Refusal> {
        match self.0.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            _ => Err(Refusal::Invalid("`iss` is not a string")),
        }
    }

    /// Checks that the token was made for `audience`.
    pub(super) fn check_audience(&self, audience: &str) -> Result<(), Refusal> {
        let meant = match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) if several.iter().all(Value::is_string) => {
                several.iter().any(|one| one.as_str() == Some(audience))
            }
            _ => return Err(Refusal::Invalid("`aud` is neither a string nor an array of strings")),
        };
        if meant { Ok(()) } else { Err(Refusal::Invalid("the token is for another audience")) }
    }

    /// When the token holds.
    pub(super) fn validity(&self, leeway: Duration) -> Result<Validity, Refusal> {
        let leeway = i64::try_from(leeway.as_millis()).unwrap_or(i64::MAX);
        let until =
            self.instant("exp", "`exp` is not a number")?.ok_or(Refusal::Invalid("`exp` is missing"))?;
        let from = self.instant("nbf", "`nbf` is not a number")?.unwrap_or(i64::MIN);
        self.instant("iat", "`iat` is not a number")?;
        Ok(Validity {
            from: UnixMillis(from.saturating_sub(leeway)),
            until: UnixMillis(until.saturating_add(leeway)),
        })
    }

    /// Milliseconds since 1970; the claim itself is in seconds.
    fn instant(&self, claim: &str, wrong: &'static str) -> Result<Option<i64>, Refusal> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(Value::Number(seconds)) => Ok(Some(millis(seconds))),
            Some(_) => Err(Refusal::Invalid(wrong)),
        }
    }

    /// The tenant that `claim` names: a member of that name or, where there is none, a path with dots.
    pub(super) fn tenant(&self, claim: &str) -> Result<TenantId, Refusal> {
        let value = self.0.get(claim).or_else(|| {
            let mut names = claim.split('.');
            let first = self.0.get(names.next()?)?;
            names.try_fold(first, |value, name| value.as_object()?.get(name))
        });
        let Some(Value::String(text)) = value else {
            return Err(Refusal::Invalid("the claim that names the tenant is not a string"));
        };
        TenantId::parse(text)
            .map_err(|_| Refusal::Invalid("the claim that names the tenant is not a tenant's id"))
    }
}

fn millis(seconds: &Number) -> i64 {
    if let Some(whole) = seconds.as_i64() {
        return whole.saturating_mul(1000);
    }
    // What is beyond 64 bits ends at the last instant there is: `as` saturates.
    #[allow(clippy::cast_possible_truncation, reason = "saturates")]
    seconds.as_f64().map_or(i64::MIN, |seconds| (seconds * 1000.0).floor() as i64)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::parse(&URL_SAFE_NO_PAD.encode(json)).unwrap()
    }

    #[test]
    fn the_issuer_is_a_string() {
        assert_eq!(claims(r#"{"iss":"a"}"#).issuer(), Ok("a"));
        for json in ["{}", r#"{"iss":["a"]}"#, r#"{"iss":null}"#] {
            assert!(claims(json).issuer().is_err(), "{json}");
        }
    }

    #[test]
    fn the_audience_is_a_string_or_strings() {
        for json in [r#"{"aud":"us"}"#, r#"{"aud":["them","us"]}"#] {
            assert_eq!(claims(json).check_audience("us"), Ok(()), "{json}");
        }
        for json in ["{}", r#"{"aud":"us2"}"#, r#"{"aud":[]}"#, r#"{"aud":["us",1]}"#, r#"{"aud":{"us":1}}"#]
        {
            assert!(claims(json).check_audience("us").is_err(), "{json}");
        }
    }

    #[test]
    fn times_are_numbers_of_seconds() {
        let leeway = Duration::from_secs(30);
        let validity = claims(r#"{"exp":100,"nbf":50.5,"iat":1}"#).validity(leeway).unwrap();
        assert_eq!(validity, Validity { from: UnixMillis(20_500), until: UnixMillis(130_000) });
        let open = claims(r#"{"exp":1e300}"#).validity(leeway).unwrap();
        assert_eq!(open, Validity { from: UnixMillis(i64::MIN), until: UnixMillis(i64::MAX) });
        let gone = claims(r#"{"exp":-1e300}"#).validity(leeway).unwrap();
        assert!(gone.until < UnixMillis(0));
        assert_eq!(
            claims(r#"{"exp":18446744073709551615}"#).validity(leeway).unwrap().until,
            UnixMillis(i64::MAX)
        );
        for json in [
            "{}",
            r#"{"exp":"100"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":true}"#,
            r#"{"exp":100,"nbf":"50"}"#,
            r#"{"exp":100,"nbf":null}"#,
            r#"{"exp":100,"iat":"1"}"#,
            r#"{"exp":100,"iat":[1]}"#,
        ] {
            assert!(claims(json).validity(leeway).is_err(), "{json}");
        }
    }

    #[test]
    fn the_tenant_is_found_by_name_then_by_path() {
        let acme = TenantId::parse("acme").unwrap();
        for (claim, json) in [
            ("tenant", r#"{"tenant":"acme"}"#),
            ("https://x.example/tenant", r#"{"https://x.example/tenant":"acme"}"#),
            ("app.tenant.id", r#"{"app":{"tenant":{"id":"acme"}}}"#),
            ("app.tenant", r#"{"app.tenant":"acme","app":{"tenant":"other"}}"#),
        ] {
            assert_eq!(claims(json).tenant(claim), Ok(acme.clone()), "{json}");
        }
        for (claim, json) in [
            ("tenant", "{}"),
            ("tenant", r#"{"tenant":1}"#),
            ("tenant", r#"{"tenant":["acme"]}"#),
            ("tenant", r#"{"tenant":"Not an id"}"#),
            ("tenant", r#"{"tenant":""}"#),
            ("a.b", r#"{"a":{"c":"acme"}}"#),
            ("a.b", r#"{"a":"acme"}"#),
            ("a.b", r#"{"a.b":1,"a":{"b":"acme"}}"#),
            ("...", r#"{"a":"acme"}"#),
        ] {
            assert!(claims(json).tenant(claim).is_err(), "{claim} {json}");
        }
    }
}
