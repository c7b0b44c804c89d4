//! Signatures as Stripe makes them, and everything that is none.

use axum::http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use serde_json::{Value, json};

use super::signature::{Unsigned, sign, verify};
use crate::{domain::time::UnixMillis, wire::stripe::package};

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

/// A header that the package is asked about, too.
struct Case {
    header: String,
    body: String,
    secrets: Vec<&'static str>,
    /// Why Plangate refuses what the package believes; empty: both say the same.
    stricter: &'static str,
}

fn case(header: impl Into<String>) -> Case {
    let body = String::from_utf8(BODY.to_vec()).unwrap();
    Case { header: header.into(), body, secrets: vec![SECRET], stricter: "" }
}

fn cases() -> Vec<Case> {
    let genuine = sign(NOW, BODY, &[SECRET]);
    let digits = genuine.rsplit('=').next().unwrap().to_owned();
    let at = |seconds: i64| sign(seconds, BODY, &[SECRET]);
    let with = |more: &str| format!("{genuine},{more}");
    let again = serde_json::from_slice::<Value>(BODY).unwrap().to_string();
    let zeros = "0".repeat(64);
    let other = |case: Case, body: &str| Case { body: body.to_owned(), ..case };
    let secrets = |case: Case, secrets: &[&'static str]| Case { secrets: secrets.to_vec(), ..case };
    let stricter = |case: Case, stricter: &'static str| Case { stricter, ..case };
    vec![
        case(&genuine),
        secrets(case(&genuine), &[OTHER]),
        secrets(case(&genuine), &[]),
        secrets(case(&genuine), &[""]),
        secrets(case(&genuine), &["  "]),
        secrets(case(sign(NOW, BODY, &["  "])), &["  "]),
        secrets(case(&genuine), &[OTHER, SECRET]),
        case(at(NOW - 300)),
        case(at(NOW - 301)),
        case(at(NOW + 300)),
        stricter(case(at(NOW + 301)), "from the future"),
        case(at(NOW - 1000).replace(&(NOW - 1000).to_string(), &NOW.to_string())),
        other(case(&genuine), &again),
        other(case(&genuine), &format!("{again} ")),
        other(case(sign(NOW, "{\"note\":\"Grüße\"}".as_bytes(), &[SECRET])), "{\"note\":\"Grüße\"}"),
        other(case(sign(NOW, b"no JSON", &[SECRET])), "no JSON"),
        case(sign(NOW, BODY, &[OTHER, SECRET])),
        case(sign(NOW, BODY, &[SECRET, OTHER])),
        case(sign(NOW, BODY, &[OTHER, "whsec_third"])),
        case(with(&format!("v1={zeros}"))),
        case(format!("t={NOW},v1={zeros},v1={digits}")),
        case(format!("v1={digits},t={NOW}")),
        case(with("v1=short")),
        case(with("v1=")),
        case(format!("t={NOW},v1=short")),
        case(with(&format!("v0={zeros},v2=x"))),
        case(genuine.replace("v1=", "v0=")),
        case(genuine.replace("v1=", "V1=")),
        case(genuine.replace("t=", "T=")),
        case(format!("t={NOW},v1={}", digits.to_uppercase())),
        case(with("junk")),
        case(with("")),
        case(with("=")),
        case(format!(",{genuine}")),
        case(format!("t={NOW}, v1={digits}")),
        case(format!("t={NOW},v1= {digits}")),
        case(format!("t={NOW};v1={digits}")),
        case(format!("t={NOW}.0,v1={digits}")),
        case(format!("t=,v1={digits}")),
        case(format!("t=now,v1={digits}")),
        case(format!("v1={digits}")),
        case(format!("t={NOW}")),
        case("t"),
        case("="),
        case("nonsense"),
        case(format!("t={},{genuine}", NOW - 1000)),
        stricter(case(format!("{genuine},t={NOW}")), "two times"),
        stricter(case(format!("{genuine},t={}", NOW - 1000)), "two times"),
        stricter(case(format!("t=0{NOW},v1={digits}")), "a time as Stripe does not write it"),
        stricter(case(format!("t=+{NOW},v1={digits}")), "a time as Stripe does not write it"),
        stricter(
            case(with(&format!("v1={zeros},").repeat(16))),
            "more signatures than an endpoint has secrets",
        ),
    ]
}

/// Headers put together of pieces, as if by chance and always the same.
fn odd_headers() -> Vec<Case> {
    let genuine = sign(NOW, BODY, &[SECRET]);
    let digits = genuine.rsplit('=').next().unwrap().to_owned();
    let zeros = sign(NOW, BODY, &[OTHER]).rsplit('=').next().unwrap().to_owned();
    let pieces = [
        format!("t={NOW}"),
        format!("t={NOW}"),
        format!("v1={digits}"),
        format!("v1={digits}"),
        format!("v1={zeros}"),
        format!("t={}", NOW - 301),
        format!("t=00{NOW}"),
        format!(" v1={digits}"),
        format!("v1={digits}=x"),
        format!("v1={}", digits.to_uppercase()),
        format!("v0={digits}"),
        format!("t={NOW} "),
        "t=".to_owned(),
        "junk".to_owned(),
        String::new(),
    ];
    let mut state = 7_u64;
    let mut roll = |sides: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % sides
    };
    let mut all = Vec::new();
    for _ in 0..600 {
        let parts: Vec<&str> = (0..=roll(4)).map(|_| pieces[roll(pieces.len())].as_str()).collect();
        all.push(Case { stricter: "perhaps", ..case(parts.join(",")) });
    }
    all
}

/// Python's package and Plangate believe the same; where Plangate is stricter it is said why, and nowhere it is looser.
#[test]
fn the_stripe_package_says_the_same() {
    let mut all = cases();
    all.extend(odd_headers());
    let asked: Vec<Value> = all
        .iter()
        .map(|Case { header, body, secrets, .. }| json!({ "header": header, "body": body, "secrets": secrets }))
        .collect();
    let own = String::from_utf8(BODY.to_vec()).unwrap();
    let to_sign: Vec<Value> = [own.as_str(), "{\"note\":\"Grüße, 你好\"}", ""]
        .into_iter()
        .map(|body| json!({ "body": body, "secret": SECRET, "at": NOW - 7 }))
        .collect();
    let given = json!({ "now": NOW, "cases": asked, "to_sign": to_sign });
    let Some(found) = package::ask("signatures.py", &given) else { return };
    let believed: Vec<bool> = serde_json::from_value(found["believed"].clone()).unwrap();
    assert_eq!(believed.len(), all.len());
    let mut both = 0;
    for (Case { header, body, secrets, stricter }, theirs) in all.iter().zip(believed) {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let ours = verify(&headers(header), body.as_bytes(), &secrets, UnixMillis(NOW * 1000)).is_ok();
        match *stricter {
            "" => assert_eq!(ours, theirs, "{header:?} {body}"),
            "perhaps" => assert!(theirs || !ours, "{header:?}"),
            why => assert!(theirs && !ours, "{why}: {header:?}"),
        }
        both += u32::from(ours && theirs);
    }
    assert!(both > 40, "{both} headers were believed");
    for (asked, signed) in to_sign.iter().zip(found["signed"].as_array().unwrap()) {
        let (body, header) = (asked["body"].as_str().unwrap(), signed.as_str().unwrap());
        assert_eq!(check(header, body.as_bytes(), &[SECRET]), Ok(()), "{header}");
        assert_eq!(sign(NOW - 7, body.as_bytes(), &[SECRET]), header);
    }
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
