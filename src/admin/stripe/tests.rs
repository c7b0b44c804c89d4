//! Signatures as Stripe makes them, and everything that is none.

use axum::http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::signature::{Unsigned, sign, verify};
use crate::domain::time::UnixMillis;

const SECRET: &str = "whsec_first";
const OTHER: &str = "whsec_second";
const BODY: &[u8] = br#"{"id": "evt_1", "type":"invoice.paid"}"#;
const NOW: i64 = 1_780_000_000;

fn headers(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("stripe-signature", HeaderValue::from_str(value).unwrap());
    headers
}

fn check(value: &str, body: &[u8], secrets: &[&str]) -> Result<(), Unsigned> {
    let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    verify(&headers(value), body, &secrets, UnixMillis(NOW * 1000 + 999))
}

/// Made by `stripe.WebhookSignature.generate_signature_header` of the package of version 16.1.0.
#[test]
fn a_signature_of_the_stripe_package_is_believed() {
    let vector = "t=1780000000,\
                  v1=de8c87b4032144fb23f48c77a4c81bfc7b381e7dd33a43a2a19e00b7f376a9ba";
    let body = r#"{"id":"evt_1","object":"event","type":"invoice.paid","data":{"object":{"note":"Grüße"}}}"#;
    assert_eq!(check(vector, body.as_bytes(), &["whsec_test_secret"]), Ok(()));
    assert_eq!(sign(NOW, body.as_bytes(), &["whsec_test_secret"]), vector);
}

#[test]
fn it_holds_for_the_secret_the_body_and_300_seconds() {
    let genuine = |seconds| sign(seconds, BODY, &[SECRET]);
    assert_eq!(check(&genuine(NOW), BODY, &[SECRET]), Ok(()));
    assert_eq!(check(&genuine(NOW), BODY, &[OTHER]), Err(Unsigned::Wrong));
    assert_eq!(check(&genuine(NOW), BODY, &[]), Err(Unsigned::Wrong));
    assert_eq!(check(&genuine(NOW), BODY, &[""]), Err(Unsigned::Wrong));
    assert_eq!(check(&genuine(NOW - 300), BODY, &[SECRET]), Ok(()));
    assert_eq!(check(&genuine(NOW + 300), BODY, &[SECRET]), Ok(()));
    assert_eq!(check(&genuine(NOW - 301), BODY, &[SECRET]), Err(Unsigned::Late(301)));
    assert_eq!(check(&genuine(NOW + 301), BODY, &[SECRET]), Err(Unsigned::Ahead(301)));
    // Another time than the one that was signed.
    let moved = genuine(NOW - 1000).replace(&(NOW - 1000).to_string(), &NOW.to_string());
    assert_eq!(check(&moved, BODY, &[SECRET]), Err(Unsigned::Wrong));
    let again = serde_json::from_slice::<serde_json::Value>(BODY).unwrap().to_string();
    assert_eq!(
        check(&genuine(NOW), again.as_bytes(), &[SECRET]),
        Err(Unsigned::Wrong),
        "the same, written anew"
    );
    assert_eq!(check(&genuine(NOW), &[BODY, b"\n"].concat(), &[SECRET]), Err(Unsigned::Wrong));
}

#[test]
fn of_two_signatures_or_two_secrets_one_suffices() {
    let both = sign(NOW, BODY, &[SECRET, OTHER]);
    for secrets in [&[SECRET][..], &[OTHER], &[OTHER, SECRET], &["whsec_third", OTHER]] {
        assert_eq!(check(&both, BODY, secrets), Ok(()), "{secrets:?}");
    }
    assert_eq!(check(&sign(NOW, BODY, &[OTHER]), BODY, &[SECRET, OTHER]), Ok(()), "while it is rotated");
    assert_eq!(check(&both, BODY, &["whsec_third"]), Err(Unsigned::Wrong));
    let with_others = format!("{both},v0={},v2=x", "0".repeat(64));
    assert_eq!(check(&with_others, BODY, &[SECRET]), Ok(()));
    let digits = sign(NOW, BODY, &[SECRET]).rsplit('=').next().unwrap().to_owned();
    for beside in ["v1=", "v1=abc", &format!("v1={}", "z".repeat(64)), "v1", "", "v1=a=b"] {
        for one in [format!("t={NOW},{beside},v1={digits}"), format!("t={NOW},v1={digits},{beside}")] {
            assert_eq!(check(&one, BODY, &[SECRET]), Ok(()), "{one}");
            assert_eq!(check(&one, BODY, &[OTHER]), Err(Unsigned::Wrong), "{one}");
        }
    }
    let old_scheme = sign(NOW, BODY, &[SECRET]).replace("v1=", "v0=");
    assert_eq!(check(&old_scheme, BODY, &[SECRET]), Err(Unsigned::Malformed), "of another scheme alone");
}

#[test]
fn everything_else_is_malformed() {
    let genuine = sign(NOW, BODY, &[SECRET]);
    let digits = genuine.rsplit('=').next().unwrap();
    let (many, long) = (format!("{genuine}{}", format!(",v1={digits}").repeat(16)), "t=1,".repeat(2000));
    for value in [
        "",
        ",",
        "t",
        "t=",
        "v1=",
        "t=1,v1=",
        &format!("v1={digits}"),
        &format!("t=,v1={digits}"),
        &format!("t=-{NOW},v1={digits}"),
        &format!("t=+{NOW},v1={digits}"),
        &format!("t={NOW}.0,v1={digits}"),
        &format!("t=99999999999999999999,v1={digits}"),
        &format!("t={NOW},t={NOW},v1={digits}"),
        &format!("t={NOW},v1={}", &digits[1..]),
        &format!("t={NOW},v1={digits}0"),
        &format!("t={NOW},v1={}", "g".repeat(64)),
        &format!("t={NOW};v1={digits}"),
        &many,
        &long,
    ] {
        assert_eq!(check(value, BODY, &[SECRET]), Err(Unsigned::Malformed), "{value:?}");
    }
    let secrets = [SECRET.to_owned()];
    let now = UnixMillis(NOW * 1000);
    assert_eq!(verify(&HeaderMap::new(), BODY, &secrets, now), Err(Unsigned::Missing));
    let mut twice = headers(&genuine);
    twice.append("stripe-signature", HeaderValue::from_str(&genuine).unwrap());
    assert_eq!(verify(&twice, BODY, &secrets, now), Err(Unsigned::Malformed));
    let mut bytes = HeaderMap::new();
    bytes.insert("stripe-signature", HeaderValue::from_bytes(b"t=1,v1=\xff").unwrap());
    assert_eq!(verify(&bytes, BODY, &secrets, now), Err(Unsigned::Malformed));
}

proptest! {
    #[test]
    fn no_header_is_believed_by_chance(value in "[ -~]{0,200}", body: Vec<u8>) {
        prop_assert!(check(&value, &body, &[SECRET, OTHER]).is_err());
    }

    #[test]
    fn a_changed_body_is_not_believed(body: Vec<u8>, at: usize, bit in 0..8u8, age in -300i64..=300) {
        let header = sign(NOW - age, &body, &[SECRET]);
        prop_assert_eq!(check(&header, &body, &[OTHER, SECRET]), Ok(()));
        if !body.is_empty() {
            let mut changed = body.clone();
            let at = at % changed.len();
            changed[at] ^= 1 << bit;
            prop_assert_eq!(check(&header, &changed, &[OTHER, SECRET]), Err(Unsigned::Wrong));
        }
    }
}
