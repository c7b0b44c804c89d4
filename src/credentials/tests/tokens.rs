//! Tokens: what RFC 8725 asks, one rule after the other.

use std::{io::Write, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{
    setup::{
        ISSUER, NOW, Outcome, Setup, bearer, claims, headers, is_invalid, is_jwt, issuer, setup, tenant,
    },
    signer::{Signer, b64, key_set},
};
use crate::{
    credentials::{CacheCounts, IssuerSettings, TokenKeys},
    domain::time::UnixMillis,
    ports::CredentialError,
};

/// An issuer whose keys are in a file.
fn published(keys: &[Value]) -> (IssuerSettings, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(key_set(keys).as_bytes()).unwrap();
    (issuer(TokenKeys::JwksFile(file.path().to_owned())), file)
}

struct Known {
    setup: Setup,
    ed: Signer,
    ec: Signer,
    rsa: Signer,
}

fn known() -> Known {
    let (ed, ec, rsa) = (Signer::ed(), Signer::ec(), Signer::rsa());
    let (issuer, _file) = published(&[ed.jwk("ed"), ec.jwk("ec"), rsa.jwk("rsa")]);
    Known { setup: setup(vec![issuer]), ed, ec, rsa }
}

impl Known {
    fn try_token(&self, token: &str) -> Outcome {
        self.setup.at_once(&bearer(token), NOW).unwrap()
    }

    fn try_claims(&self, claims: &Value) -> Outcome {
        self.try_token(&self.ed.token("ed", claims))
    }

    fn with(&self, name: &str, value: Value) -> Outcome {
        let mut claims = claims("acme");
        claims[name] = value;
        self.try_claims(&claims)
    }

    fn without(&self, name: &str) -> Outcome {
        let mut claims = claims("acme");
        claims.as_object_mut().unwrap().remove(name);
        self.try_claims(&claims)
    }
}

#[test]
fn tokens_of_every_kind_of_key_are_accepted_and_remembered() {
    let known = known();
    for (signer, kid) in [(&known.ed, "ed"), (&known.ec, "ec"), (&known.rsa, "rsa")] {
        let token = signer.token(kid, &claims("acme"));
        let outcome = known.try_token(&token);
        assert_eq!(tenant(&outcome), "acme", "{kid}");
        assert!(is_jwt(&outcome));
        assert_eq!(known.try_token(&token), outcome);
    }
    assert_eq!(known.setup.credentials.cache_counts(), CacheCounts { hits: 3, misses: 3 });
}

#[test]
fn tokens_made_by_the_library_are_accepted() {
    let pkcs8 = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new());
    let pkcs8 = pkcs8.unwrap();
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let (issuer, _file) = published(&[Signer::Ed(pair).jwk("a")]);
    let setup = setup(vec![issuer]);
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.kid = Some("a".into());
    let key = jsonwebtoken::EncodingKey::from_ed_der(pkcs8.as_ref());
    let token = jsonwebtoken::encode(&header, &claims("acme"), &key).unwrap();
    assert_eq!(tenant(&setup.at_once(&bearer(&token), NOW).unwrap()), "acme");
}

#[test]
fn a_shared_secret_is_accepted_for_hs256_alone() {
    let signer = Signer::Hs(vec![9; 32]);
    let setup = setup(vec![issuer(TokenKeys::Hs256Secret(vec![9; 32]))]);
    let token = signer.token("any", &claims("acme"));
    assert_eq!(tenant(&setup.at_once(&bearer(&token), NOW).unwrap()), "acme");
    let other = Signer::Hs(vec![8; 32]).token("any", &claims("acme"));
    assert!(is_invalid(&setup.at_once(&bearer(&other), NOW).unwrap()));
    let kidless = signer.raw(r#"{"alg":"HS256"}"#, &claims("acme").to_string());
    assert_eq!(tenant(&setup.at_once(&bearer(&kidless), NOW).unwrap()), "acme");
    let forged = Signer::Hs(vec![8; 32]).raw(r#"{"alg":"HS256"}"#, &claims("acme").to_string());
    assert!(is_invalid(&setup.at_once(&bearer(&forged), NOW).unwrap()));
}

#[test]
fn a_public_key_is_no_secret() {
    let known = known();
    for (signer, kid) in [(&known.ed, "ed"), (&known.ec, "ec"), (&known.rsa, "rsa")] {
        let forged = Signer::Hs(signer.public_bytes()).token(kid, &claims("acme"));
        assert!(is_invalid(&known.try_token(&forged)), "{kid}");
    }
}

#[test]
fn a_secret_in_a_set_of_public_keys_is_never_used() {
    let (ed, secret) = (Signer::ed(), Signer::Hs(vec![1; 64]));
    let (issuer, _file) = published(&[ed.jwk("ed"), secret.jwk("hs")]);
    let setup = setup(vec![issuer]);
    assert!(is_invalid(&setup.at_once(&bearer(&secret.token("hs", &claims("acme"))), NOW).unwrap()));
}

#[test]
fn no_algorithm_and_other_algorithms_are_refused() {
    let known = known();
    let claims = claims("acme").to_string();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "ES256", "RS256", "PS256"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"ed"}}"#);
        assert!(is_invalid(&known.try_token(&known.ed.raw(&header, &claims))), "{alg}");
        let unsigned = format!("{}.{}.", b64(&header), b64(&claims));
        assert!(is_invalid(&known.try_token(&unsigned)), "{alg}");
    }
    // PS256 would go with the key, but the issuer is not configured for it.
    assert!(is_invalid(&known.try_token(&known.rsa.raw(r#"{"alg":"PS256","kid":"rsa"}"#, &claims))));
}

#[test]
fn a_key_that_is_restricted_to_another_algorithm_is_not_used() {
    let rsa = Signer::rsa();
    let mut jwk = rsa.jwk("rsa");
    jwk["alg"] = json!("PS256");
    let (issuer, _file) = published(&[jwk]);
    let setup = setup(vec![issuer]);
    assert!(is_invalid(&setup.at_once(&bearer(&rsa.token("rsa", &claims("acme"))), NOW).unwrap()));
}

#[test]
fn keys_in_the_token_are_ignored() {
    let (known, attacker) = (known(), Signer::ed());
    for name in ["jwk", "jku", "x5u", "x5c"] {
        let header = json!({ "alg": "EdDSA", "kid": "ed", name: attacker.jwk("ed") }).to_string();
        let claims = claims("acme").to_string();
        assert!(is_invalid(&known.try_token(&attacker.raw(&header, &claims))), "{name}");
    }
}

#[test]
fn headers_with_extensions_types_or_repetitions_are_refused() {
    let known = known();
    let claims = claims("acme").to_string();
    for header in [
        r#"{"alg":"EdDSA","kid":"ed","crit":["b64"],"b64":false}"#,
        r#"{"alg":"EdDSA","kid":"ed","crit":[]}"#,
        r#"{"alg":"EdDSA","kid":"ed","typ":"logout+jwt"}"#,
        r#"{"alg":"EdDSA","kid":"ed","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        r#"{"kid":"ed"}"#,
        r#"["EdDSA"]"#,
    ] {
        assert!(is_invalid(&known.try_token(&known.ed.raw(header, &claims))), "{header}");
    }
    for typ in ["at+jwt", "jwt", "JWT"] {
        let header = format!(r#"{{"alg":"EdDSA","kid":"ed","typ":"{typ}"}}"#);
        assert!(known.try_token(&known.ed.raw(&header, &claims)).is_ok(), "{typ}");
    }
}

#[test]
fn repeated_claims_are_refused_at_every_depth() {
    let known = known();
    let exp = NOW.0 / 1000 + 3600;
    for claims in [
        format!(r#"{{"iss":"{ISSUER}","aud":"plangate","exp":{exp},"tenant":"acme","tenant":"other"}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"plangate","exp":{exp},"exp":{exp},"tenant":"acme"}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"plangate","exp":{exp},"tenant":"acme","x":[{{"a":1,"a":1}}]}}"#),
    ] {
        let token = known.ed.raw(r#"{"alg":"EdDSA","kid":"ed"}"#, &claims);
        assert!(is_invalid(&known.try_token(&token)), "{claims}");
    }
}

#[test]
fn the_issuer_must_be_known_and_the_audience_ours() {
    let known = known();
    assert!(is_invalid(&known.with("iss", json!("https://id.example/"))));
    assert!(is_invalid(&known.with("iss", json!([ISSUER]))));
    assert!(is_invalid(&known.without("iss")));
    assert!(is_invalid(&known.with("aud", json!("other"))));
    assert!(is_invalid(&known.with("aud", json!([]))));
    assert!(is_invalid(&known.with("aud", json!(["plangate", 1]))));
    assert!(is_invalid(&known.without("aud")));
    assert!(known.with("aud", json!(["other", "plangate"])).is_ok());
}

#[test]
fn the_tenant_must_be_an_id() {
    let known = known();
    assert!(is_invalid(&known.without("tenant")));
    for wrong in [json!("Not An Id"), json!(""), json!(7), json!(["acme"]), Value::Null] {
        assert!(is_invalid(&known.with("tenant", wrong)));
    }
}

#[test]
fn times_hold_with_the_leeway() {
    let known = known();
    let second = NOW.0 / 1000;
    assert_eq!(known.with("exp", json!(second - 30)), Err(CredentialError::Expired));
    assert!(known.with("exp", json!(second - 29)).is_ok());
    assert!(known.with("nbf", json!(second + 30)).is_ok());
    assert!(is_invalid(&known.with("nbf", json!(second + 31))));
    assert!(is_invalid(&known.without("exp")));
    for wrong in [json!("1"), Value::Null, json!([1]), json!(true)] {
        for claim in ["exp", "nbf", "iat"] {
            assert!(is_invalid(&known.with(claim, wrong.clone())), "{claim}");
        }
    }
    assert!(known.with("exp", json!(1e300)).is_ok());
    assert!(known.with("exp", json!(second as f64 + 0.5)).is_ok());
    assert_eq!(known.with("exp", json!(-1)), Err(CredentialError::Expired));
}

#[test]
fn memory_forgets_a_token_when_it_expires() {
    let known = known();
    let token = bearer(&known.ed.token("ed", &claims("acme")));
    let end = NOW.0 + 3_630_000;
    assert!(known.setup.at_once(&token, NOW).unwrap().is_ok());
    assert!(known.setup.at_once(&token, UnixMillis(end - 1)).unwrap().is_ok());
    assert_eq!(known.setup.at_once(&token, UnixMillis(end)), Some(Err(CredentialError::Expired)));
}

#[test]
fn a_token_that_does_not_hold_yet_is_accepted_as_soon_as_it_does() {
    let known = known();
    let mut claims = claims("acme");
    claims["nbf"] = json!(NOW.0 / 1000 + 31);
    let token = bearer(&known.ed.token("ed", &claims));
    assert!(is_invalid(&known.setup.at_once(&token, NOW).unwrap()));
    assert!(is_invalid(&known.setup.at_once(&token, UnixMillis(NOW.0 + 999)).unwrap()));
    assert!(known.setup.at_once(&token, UnixMillis(NOW.0 + 1000)).unwrap().is_ok());
    assert!(is_invalid(&known.setup.at_once(&token, NOW).unwrap()), "the clock was set back");
}

#[test]
fn refusals_are_remembered_briefly() {
    let known = known();
    let token = bearer(&known.ec.token("ed", &claims("acme")));
    assert!(is_invalid(&known.setup.at_once(&token, NOW).unwrap()));
    assert!(is_invalid(&known.setup.at_once(&token, UnixMillis(NOW.0 + 1999)).unwrap()));
    assert_eq!(known.setup.credentials.cache_counts(), CacheCounts { hits: 1, misses: 1 });
    assert!(is_invalid(&known.setup.at_once(&token, UnixMillis(NOW.0 + 2000)).unwrap()));
    assert_eq!(known.setup.credentials.cache_counts(), CacheCounts { hits: 1, misses: 2 });
}

#[test]
fn long_tokens_are_refused() {
    let known = known();
    let fitting = |pad: usize| {
        let mut claims = claims("acme");
        claims["pad"] = json!("x".repeat(pad));
        known.ed.token("ed", &claims)
    };
    let over = (5000..7000).find(|pad| fitting(*pad).len() > 8192).unwrap();
    assert!(fitting(over - 1).len() <= 8192);
    assert!(known.try_token(&fitting(over - 1)).is_ok());
    let expected = CredentialError::Invalid { reason: "the token has more than 8 KiB" };
    assert_eq!(known.try_token(&fitting(over)), Err(expected));
}

#[test]
fn every_truncation_and_every_changed_bit_is_refused() {
    let known = known();
    let token = known.ed.token("ed", &claims("acme"));
    assert!(known.try_token(&token).is_ok());
    for end in 0..token.len() {
        assert!(is_invalid(&known.try_token(&token[..end])), "cut at {end}");
    }
    for place in 0..token.len() {
        for bit in 0..7 {
            let mut changed = token.clone().into_bytes();
            changed[place] ^= 1 << bit;
            if let Ok(value) = http::HeaderValue::from_bytes(&[b"Bearer ", &changed[..]].concat()) {
                let mut headers = http::HeaderMap::new();
                headers.insert(header::AUTHORIZATION, value);
                let outcome = known.setup.at_once(&headers, NOW).unwrap();
                assert!(outcome.is_err(), "bit {bit} of {place}");
            }
        }
    }
    for extra in ["=", "A", ".", "..", "\u{7f}x"] {
        assert!(
            http::HeaderValue::from_str(extra)
                .map_or(true, |_| known.try_token(&format!("{token}{extra}")).is_err())
        );
    }
}

#[test]
fn an_ecdsa_signature_has_one_encoding() {
    let known = known();
    let token = known.ec.token("ec", &claims("acme"));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for forged in [vec![0; 64], vec![0; 63], vec![], [&raw[..], &[0]].concat(), [&[0], &raw[..]].concat()] {
        assert!(is_invalid(&known.try_token(&format!("{signed}.{}", b64(forged)))));
    }
}

#[test]
fn a_token_without_a_key_id_is_tried_with_a_few_keys() {
    let claims = claims("acme").to_string();
    let kidless = |signer: &Signer| signer.raw(&format!(r#"{{"alg":"{}"}}"#, signer.alg()), &claims);
    let known = known();
    assert!(known.try_token(&kidless(&known.ed)).is_ok());
    assert!(is_invalid(&known.try_token(&kidless(&Signer::ed()))));

    let signers: Vec<Signer> = (0..5).map(|_| Signer::ed()).collect();
    let jwks: Vec<Value> = signers.iter().map(|signer| signer.jwk("same")).collect();
    let (four, _file) = published(&jwks[..4]);
    let four = setup(vec![four]);
    let mut mixed: Vec<Value> = (0..4).map(|_| Signer::ec().jwk("same")).collect();
    mixed.push(jwks[0].clone());
    let (mixed, _file) = published(&mixed);
    let kidless_ed = kidless(&signers[0]);
    let outcome = setup(vec![mixed]).at_once(&bearer(&kidless_ed), NOW).unwrap();
    assert!(outcome.is_ok(), "keys of another kind do not count");
    let (five, _file) = published(&jwks);
    let five = setup(vec![five]);
    assert!(four.at_once(&bearer(&kidless(&signers[3])), NOW).unwrap().is_ok());
    assert!(is_invalid(&five.at_once(&bearer(&kidless(&signers[0])), NOW).unwrap()));
}

#[test]
fn the_key_id_decides_which_key_is_used() {
    let known = known();
    assert!(is_invalid(&known.try_token(&known.ed.token("ec", &claims("acme")))));
    assert!(is_invalid(&known.try_token(&known.ed.token("other", &claims("acme")))));
}

#[test]
fn each_issuer_has_its_own_keys_and_cookie() {
    let (one, two) = (Signer::ed(), Signer::ed());
    let (first, _file) = published(&[one.jwk("k")]);
    let (mut second, _other) = published(&[two.jwk("k")]);
    second.issuer = "https://two.example".into();
    second.cookie = Some("two".into());
    second.tenant_claim = "org.id".into();
    second.leeway = Duration::ZERO;
    let setup = setup(vec![first, second]);
    let second_claims = json!({ "iss": "https://two.example", "aud": "plangate",
        "exp": NOW.0 / 1000 + 1, "org": { "id": "beta" } });
    let token = two.token("k", &second_claims);
    assert_eq!(tenant(&setup.at_once(&bearer(&token), NOW).unwrap()), "beta");
    let forged = one.token("k", &second_claims);
    assert!(is_invalid(&setup.at_once(&bearer(&forged), NOW).unwrap()), "one issuer's key for another");
    assert_eq!(
        setup.at_once(&bearer(&token), UnixMillis(NOW.0 + 1000)),
        Some(Err(CredentialError::Expired)),
        "no leeway here"
    );

    let cookie = |name: &str| headers(&[(header::COOKIE, &format!("a=b; {name}={token}"))]);
    assert_eq!(tenant(&setup.at_once(&cookie("two"), NOW).unwrap()), "beta");
    assert!(is_invalid(&setup.at_once(&cookie("session"), NOW).unwrap()), "another issuer's cookie");
    assert_eq!(setup.at_once(&cookie("third"), NOW), Some(Err(CredentialError::Missing)));
}

#[test]
fn a_cookie_and_a_header_are_two_credentials() {
    let known = known();
    let token = known.ed.token("ed", &claims("acme"));
    let mut both = bearer(&token);
    both.insert(header::COOKIE, format!("session={token}").parse().unwrap());
    assert_eq!(known.setup.at_once(&both, NOW), Some(Err(CredentialError::Ambiguous)));
}
