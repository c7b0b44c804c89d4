//! A worker's front: what it knows, and how soon it knows that no more.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use super::{
    setup::{NOW, Outcome, Setup, bearer, claims, headers, is_invalid, issuer, key_header, setup, tenant},
    signer::Signer,
};
use crate::{
    credentials::{ApiKeySecret, CacheCounts, CredentialsFront, TokenKeys},
    domain::time::{UnixMillis, Version},
    ports::{Answer, Authenticator, CredentialError},
};

const SECRET: [u8; 32] = [9; 32];
const HOUR: i64 = 3_600_000;

struct Worker {
    setup: Setup,
    front: CredentialsFront,
    key: String,
}

impl Worker {
    fn new() -> Self {
        let setup = setup(vec![issuer(TokenKeys::Hs256Secret(SECRET.to_vec()))]);
        let front = setup.credentials.front();
        let key = ApiKeySecret::generate().unwrap().reveal().to_owned();
        setup.store.add(setup.hash(&key), "acme", None);
        Self { setup, front, key }
    }

    async fn identify_at(&self, headers: &HeaderMap, now: UnixMillis) -> Outcome {
        self.front.identify(headers, now).wait().await
    }

    async fn identify(&self, headers: &HeaderMap) -> Outcome {
        self.identify_at(headers, NOW).await
    }

    /// How often the caches that all share were asked.
    fn shared(&self) -> u64 {
        let (all, front) = (self.setup.credentials.cache_counts(), self.setup.credentials.fronts.sum());
        all.hits + all.misses - front.hits
    }
}

fn token(claims: &serde_json::Value) -> String {
    Signer::Hs(SECRET.to_vec()).token("k", claims)
}

fn at(millis: i64) -> UnixMillis {
    UnixMillis(NOW.0 + millis)
}

#[tokio::test]
async fn what_is_known_is_not_asked_for_and_stays_the_workers_own() {
    let worker = Worker::new();
    for headers in [key_header(&worker.key), bearer(&token(&claims("acme")))] {
        worker.identify(&headers).await.unwrap();
        let first = worker.identify(&headers).await.unwrap();
        let asked = worker.shared();
        let second = worker.identify(&headers).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second), "so that what was kept beside it is found again");
        assert_eq!(worker.shared(), asked);
        let other = worker.setup.credentials.front();
        let Answer::Ready(Ok(other)) = other.identify(&headers, NOW) else { panic!() };
        assert_eq!(other, first);
        assert!(!Arc::ptr_eq(&other, &first));
        assert!(!std::ptr::eq(other.tenant.as_str(), first.tenant.as_str()), "nor do they share ids");
    }
}

#[tokio::test]
async fn a_key_is_known_in_either_header() {
    let worker = Worker::new();
    for _ in 0..2 {
        worker.identify(&bearer(&worker.key)).await.unwrap();
    }
    let asked = worker.shared();
    assert_eq!(tenant(&worker.identify(&key_header(&worker.key)).await), "acme");
    assert_eq!(worker.shared(), asked);
}

#[tokio::test]
async fn a_credential_known_in_one_place_proves_nothing_in_another() {
    let worker = Worker::new();
    let imported = "9f86d081884c7d659a2feaa0c55ad015";
    worker.setup.store.add(worker.setup.hash(imported), "acme", None);
    let session = token(&claims("acme"));
    let cookie = |name: &str, text: &str| headers(&[(header::COOKIE, &format!("{name}={text}"))]);
    for _ in 0..3 {
        worker.identify(&key_header(imported)).await.unwrap();
        worker.identify(&key_header(&worker.key)).await.unwrap();
        worker.identify(&bearer(&session)).await.unwrap();
    }
    assert!(is_invalid(&worker.identify(&bearer(imported)).await), "an imported key as a token");
    assert!(is_invalid(&worker.identify(&cookie("session", imported)).await));
    assert!(is_invalid(&worker.identify(&cookie("session", &worker.key)).await));
    assert!(is_invalid(&worker.identify(&key_header(&session)).await), "a token as a key");
    assert_eq!(tenant(&worker.identify(&cookie("session", &session)).await), "acme");
    assert_eq!(worker.identify(&cookie("other", &session)).await, Err(CredentialError::Missing));
    let mut two = key_header(&worker.key);
    two.extend(bearer(&worker.key));
    assert_eq!(worker.identify(&two).await, Err(CredentialError::Ambiguous), "known, and yet");
    let twice = HeaderName::from_static("x-api-key");
    let twice = headers(&[(twice.clone(), &worker.key), (twice, &worker.key)]);
    assert_eq!(worker.identify(&twice).await, Err(CredentialError::Ambiguous));
}

#[tokio::test]
async fn a_cookie_that_is_not_for_an_issuer_is_refused_though_its_token_is_known() {
    let mut other = issuer(TokenKeys::Hs256Secret(vec![8; 32]));
    (other.issuer, other.cookie) = ("https://other.example".into(), Some("other".into()));
    let setup = setup(vec![issuer(TokenKeys::Hs256Secret(SECRET.to_vec())), other]);
    let front = setup.credentials.front();
    let session = token(&claims("acme"));
    for name in ["session", "other", "session", "other"] {
        let headers = headers(&[(header::COOKIE, &format!("{name}={session}"))]);
        let Answer::Ready(outcome) = front.identify(&headers, NOW) else { panic!() };
        assert_eq!(outcome.is_ok(), name == "session", "{name}");
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_the_very_next_request() {
    let worker = Worker::new();
    let headers = key_header(&worker.key);
    for _ in 0..5 {
        worker.identify(&headers).await.unwrap();
    }
    let version = worker.setup.store.revoke(&worker.setup.hash(&worker.key));
    assert!(worker.identify(&headers).await.is_ok(), "not heard of here yet");
    // The word alone: what is applied is reported only afterwards.
    worker.setup.freshness.outdate(&"acme".parse().unwrap(), version);
    assert!(is_invalid(&worker.identify(&headers).await));
}

#[tokio::test]
async fn a_change_of_the_tenant_costs_one_look_up_and_one_of_another_none() {
    let worker = Worker::new();
    let headers = key_header(&worker.key);
    for _ in 0..3 {
        worker.identify(&headers).await.unwrap();
    }
    let (asked, read) = (worker.shared(), worker.setup.store.look_ups());
    worker.setup.apply("other", Version(2));
    worker.identify(&headers).await.unwrap();
    assert_eq!(worker.shared(), asked);
    worker.setup.store.rows.lock().unwrap().version = 3;
    worker.setup.apply("acme", Version(3));
    for _ in 0..3 {
        worker.identify(&headers).await.unwrap();
    }
    assert_eq!(worker.setup.store.look_ups(), read + 1);
    let asked = worker.shared();
    worker.identify(&headers).await.unwrap();
    assert_eq!(worker.shared(), asked);
}

#[tokio::test]
async fn a_known_key_expires_to_the_millisecond() {
    let worker = Worker::new();
    let key = ApiKeySecret::generate().unwrap().reveal().to_owned();
    worker.setup.store.add(worker.setup.hash(&key), "acme", Some(at(1000)));
    let headers = key_header(&key);
    for _ in 0..3 {
        worker.identify(&headers).await.unwrap();
    }
    assert!(worker.identify_at(&headers, at(999)).await.is_ok());
    assert_eq!(worker.identify_at(&headers, at(1000)).await, Err(CredentialError::Expired));
    assert!(worker.identify_at(&headers, at(999)).await.is_ok(), "the clock was set back");
}

#[tokio::test]
async fn a_known_token_holds_as_long_as_it_says() {
    let worker = Worker::new();
    let mut claims = claims("acme");
    (claims["nbf"], claims["exp"]) = ((NOW.0 / 1000).into(), (NOW.0 / 1000 + 100).into());
    let headers = bearer(&token(&claims));
    for _ in 0..3 {
        worker.identify(&headers).await.unwrap();
    }
    assert!(worker.identify_at(&headers, at(129_999)).await.is_ok(), "with the leeway");
    assert_eq!(worker.identify_at(&headers, at(130_000)).await, Err(CredentialError::Expired));
    assert!(is_invalid(&worker.identify_at(&headers, at(-30_001)).await));
    assert!(worker.identify(&headers).await.is_ok());
}

#[tokio::test]
async fn a_known_token_leaves_after_an_hour() {
    let worker = Worker::new();
    let mut claims = claims("acme");
    claims["exp"] = (NOW.0 / 1000 + 100_000).into();
    let headers = bearer(&token(&claims));
    for _ in 0..3 {
        worker.identify(&headers).await.unwrap();
    }
    let asked = worker.shared();
    worker.identify_at(&headers, at(HOUR - 1)).await.unwrap();
    assert_eq!(worker.shared(), asked);
    worker.identify_at(&headers, at(HOUR)).await.unwrap();
    assert_eq!(worker.shared(), asked + 1);
}

#[tokio::test]
async fn what_does_not_verify_is_not_remembered_here() {
    let worker = Worker::new();
    let unknown = key_header(ApiKeySecret::generate().unwrap().reveal());
    let forged = bearer(&Signer::Hs(vec![8; 32]).token("k", &claims("acme")));
    for headers in [unknown, forged] {
        for _ in 0..3 {
            assert!(is_invalid(&worker.identify(&headers).await));
        }
    }
    assert_eq!(worker.setup.credentials.fronts.sum(), CacheCounts::default());
    assert!(format!("{:?}", worker.front).starts_with("CredentialsFront"));
}

#[tokio::test]
async fn a_front_that_is_taken_answers_all_the_same() {
    let worker = Worker::new();
    let headers = key_header(&worker.key);
    worker.identify(&headers).await.unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let Answer::Ready(outcome) = worker.front.identify(&headers, NOW) else { panic!() };
                    assert_eq!(tenant(&outcome), "acme");
                }
            });
        }
    });
    assert_eq!(worker.setup.credentials.cache_counts(), CacheCounts { hits: 2000, misses: 1 });
    drop(worker.front);
    assert_eq!(worker.setup.credentials.cache_counts().hits, 2000, "what a front counted outlives it");
}

#[tokio::test]
async fn keys_are_not_handed_on() {
    let worker = Worker::new();
    let mut headers = key_header("whatever");
    headers.extend(bearer(&worker.key));
    worker.front.strip_own(&mut headers);
    assert_eq!(headers.len(), 1);
    worker.front.strip(&mut headers);
    assert!(headers.is_empty());
}
