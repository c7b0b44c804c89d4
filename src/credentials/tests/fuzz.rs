//! Whatever a client sends gets an answer.

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use proptest::prelude::*;

use super::{
    setup::{NOW, claims, issuer, setup},
    signer::{Signer, b64},
};
use crate::{
    credentials::TokenKeys,
    ports::{Answer, Authenticator},
};

fn value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..80);
    let start = prop_oneof![
        Just(&b""[..]),
        Just(&b"Bearer "[..]),
        Just(&b"bearer pgk_"[..]),
        Just(&b"pgk_"[..]),
        Just(&b"session="[..]),
        Just(&b"a=b; session=\""[..]),
        Just(&b"Bearer eyJhbGciOiJIUzI1NiJ9."[..]),
    ];
    (start, bytes).prop_map(|(start, rest)| [start, &rest].concat())
}

fn name() -> impl Strategy<Value = HeaderName> {
    prop_oneof![Just(HeaderName::from_static("x-api-key")), Just(header::AUTHORIZATION), Just(header::COOKIE)]
}

proptest! {
    #[test]
    fn no_headers_panic_or_prove_anything(fields in proptest::collection::vec((name(), value()), 0..4)) {
        let setup = setup(vec![issuer(TokenKeys::Hs256Secret(vec![1; 32]))]);
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        let outcome = match setup.credentials.identify(&headers, NOW) {
            Answer::Ready(outcome) => outcome,
            Answer::Pending(outcome) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(outcome.map(|outcome| outcome))
            }
        };
        prop_assert!(outcome.is_err());
        setup.credentials.strip(&mut headers);
        prop_assert!(!headers.contains_key("x-api-key"));
    }

    #[test]
    fn no_signed_json_panics(header in ".{0,60}", payload in ".{0,60}", wrap in any::<bool>()) {
        let signer = Signer::Hs(vec![1; 32]);
        let setup = setup(vec![issuer(TokenKeys::Hs256Secret(vec![1; 32]))]);
        let token = if wrap {
            let mut claims = claims("acme");
            claims["tenant"] = payload.clone().into();
            claims["x"] = header.into();
            signer.token("k", &claims)
        } else {
            format!("{}.{}.{}", b64(header), b64(&payload), b64("x"))
        };
        let headers = super::setup::bearer(&token);
        if let Some(Ok(identity)) = setup.at_once(&headers, NOW) {
            prop_assert_eq!(identity.tenant.as_str(), payload);
        }
    }
}
