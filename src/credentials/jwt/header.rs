//! The header of a token: which algorithm and key it claims to be signed with, and nothing else.

use serde_json::Value;

use super::{Algorithm, Refusal, strict};

/// What a token's header says, as far as it is of interest. Keys and addresses of keys in it (`jwk`, `jku`, `x5c`,
/// `x5u`) never are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl Header {
    pub(super) fn parse(part: &str) -> Result<Self, Refusal> {
        let members =
            strict::object(part).ok_or(Refusal::Invalid("the token's header is not a JSON object"))?;
        if members.contains_key("crit") {
            return Err(Refusal::Invalid("the token has critical extensions"));
        }
        match members.get("typ") {
            None => {}
            Some(Value::String(name)) if is_token_type(name) => {}
            Some(_) => return Err(Refusal::Invalid("`typ` is not that of a token")),
        }
        let algorithm = match members.get("alg") {
            Some(Value::String(name)) => {
                name.parse().map_err(|_| Refusal::Invalid("`alg` is not supported"))?
            }
            _ => return Err(Refusal::Invalid("`alg` is missing")),
        };
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Refusal::Invalid("`kid` is not a string")),
        };
        Ok(Self { algorithm, kid })
    }
}

/// `JWT`, or RFC 9068's type of access tokens; RFC 7515 lets `application/` be left out.
fn is_token_type(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.strip_prefix("application/").unwrap_or(&name), "jwt" | "at+jwt")
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    fn parse(json: &str) -> Result<Header, Refusal> {
        Header::parse(&URL_SAFE_NO_PAD.encode(json))
    }

    #[test]
    fn algorithm_and_key_are_taken() {
        for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
            let header = parse(&format!(r#"{{"alg":"EdDSA","kid":"a","typ":"{typ}"}}"#)).unwrap();
            assert_eq!(header, Header { algorithm: Algorithm::EdDsa, kid: Some("a".into()) });
        }
        assert_eq!(parse(r#"{"alg":"ES256"}"#).unwrap().kid, None);
    }

    #[test]
    fn everything_else_is_refused() {
        for json in [
            "{}",
            "[]",
            r#"{"alg":"none"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["EdDSA"]}"#,
            r#"{"alg":"EdDSA","alg":"HS256"}"#,
            r#"{"alg":"EdDSA","crit":[]}"#,
            r#"{"alg":"EdDSA","crit":["exp"]}"#,
            r#"{"alg":"EdDSA","kid":1}"#,
            r#"{"alg":"EdDSA","kid":null}"#,
            r#"{"alg":"EdDSA","typ":"JOSE"}"#,
            r#"{"alg":"EdDSA","typ":"dpop+jwt"}"#,
            r#"{"alg":"EdDSA","typ":1}"#,
            r#"{"alg":"EdDSA","x":{"a":1,"a":2}}"#,
        ] {
            assert!(matches!(parse(json), Err(Refusal::Invalid(_))), "{json}");
        }
    }
}
