//! API keys: who is known, for how long, and how often the store is asked.

use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, header};

use super::setup::{NOW, Setup, bearer, headers, is_invalid, key_header, setup, tenant};
use crate::{
    credentials::{ApiKeySecret, CacheCounts},
    domain::{
        identity::Credential,
        time::{UnixMillis, Version},
    },
    ports::{Answer, Authenticator, CredentialError},
};

const IMPORTED: &str = "9f86d081884c7d659a2feaa0c55ad015";

fn with_key(expires_at: Option<UnixMillis>) -> (Setup, String) {
    let setup = setup(vec![]);
    let key = ApiKeySecret::generate().unwrap().reveal().to_owned();
    setup.store.add(setup.hash(&key), "acme", expires_at);
    (setup, key)
}

#[tokio::test]
async fn a_key_speaks_for_its_tenant_and_is_looked_up_once() {
    let (setup, key) = with_key(None);
    let outcome = setup.identify(&key_header(&key)).await;
    assert_eq!(tenant(&outcome), "acme");
    assert!(matches!(&outcome.unwrap().credential, Credential::ApiKey { id } if id.as_str() == "key_1"));
    for headers in [key_header(&key), bearer(&key)] {
        assert_eq!(tenant(&setup.at_once(&headers, NOW).unwrap()), "acme");
    }
    assert_eq!(setup.store.look_ups(), 1);
    assert_eq!(setup.credentials.cache_counts(), CacheCounts { hits: 2, misses: 1 });
}

#[tokio::test]
async fn without_a_credential_there_is_no_identity() {
    let (setup, key) = with_key(None);
    assert_eq!(setup.identify(&HeaderMap::new()).await, Err(CredentialError::Missing));
    assert_eq!(setup.identify(&bearer("some.other.token")).await, Err(CredentialError::Missing));
    let both = [(http::HeaderName::from_static("x-api-key"), key.as_str())];
    let mut both = headers(&both);
    both.extend(bearer(&key));
    assert_eq!(setup.identify(&both).await, Err(CredentialError::Ambiguous));
    assert_eq!(setup.store.look_ups(), 0);
}

#[tokio::test]
async fn a_changed_key_is_refused_without_a_look_up() {
    let (setup, key) = with_key(None);
    for place in 0..key.len() {
        let mut changed = key.clone().into_bytes();
        changed[place] = if changed[place] == b'x' { b'y' } else { b'x' };
        let changed = String::from_utf8(changed).unwrap();
        if changed.starts_with("pgk_") {
            assert!(is_invalid(&setup.at_once(&key_header(&changed), NOW).unwrap()));
            assert!(is_invalid(&setup.at_once(&bearer(&changed), NOW).unwrap()));
        }
    }
    assert!(is_invalid(&setup.at_once(&bearer("pgk_"), NOW).unwrap()));
    assert!(is_invalid(&setup.at_once(&key_header("short"), NOW).unwrap()));
    assert!(is_invalid(&setup.at_once(&key_header("has space has space has space"), NOW).unwrap()));
    assert!(is_invalid(&setup.at_once(&key_header(&"x".repeat(513)), NOW).unwrap()));
    assert_eq!(setup.store.look_ups(), 0);
}

#[tokio::test]
async fn an_imported_key_is_taken_from_its_header_only() {
    let setup = setup(vec![]);
    setup.store.add(setup.hash(IMPORTED), "acme", None);
    assert_eq!(tenant(&setup.identify(&key_header(IMPORTED)).await), "acme");
    assert_eq!(setup.identify(&bearer(IMPORTED)).await, Err(CredentialError::Missing));
}

#[tokio::test]
async fn a_key_expires_to_the_millisecond_also_from_memory() {
    let end = UnixMillis(NOW.0 + 1000);
    let (setup, key) = with_key(Some(end));
    assert!(setup.identify(&key_header(&key)).await.is_ok());
    assert!(setup.at_once(&key_header(&key), UnixMillis(end.0 - 1)).unwrap().is_ok());
    assert_eq!(setup.at_once(&key_header(&key), end), Some(Err(CredentialError::Expired)));
    let (setup, key) = with_key(Some(NOW));
    assert_eq!(setup.identify(&key_header(&key)).await, Err(CredentialError::Expired));
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_the_next_request_on() {
    let (setup, key) = with_key(None);
    assert!(setup.identify(&key_header(&key)).await.is_ok());
    let version = setup.store.revoke(&setup.hash(&key));
    setup.apply("acme", version);
    assert!(is_invalid(&setup.identify(&key_header(&key)).await));
}

#[tokio::test]
async fn a_change_of_the_tenant_costs_one_look_up_and_one_of_another_none() {
    let (setup, key) = with_key(None);
    assert!(setup.identify(&key_header(&key)).await.is_ok());
    setup.apply("other", Version(2));
    assert!(setup.at_once(&key_header(&key), NOW).is_some());
    setup.store.rows.lock().unwrap().version = 3;
    setup.apply("acme", Version(3));
    assert!(setup.at_once(&key_header(&key), NOW).is_none());
    assert!(setup.identify(&key_header(&key)).await.is_ok());
    assert_eq!(setup.store.look_ups(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_remembered_for_two_seconds_but_not_past_a_change() {
    let setup = setup(vec![]);
    let key = ApiKeySecret::generate().unwrap().reveal().to_owned();
    let headers = key_header(&key);
    assert!(is_invalid(&setup.identify(&headers).await));
    assert!(is_invalid(&setup.at_once(&headers, UnixMillis(NOW.0 + 1999)).unwrap()));
    assert!(setup.at_once(&headers, UnixMillis(NOW.0 + 2000)).is_none());
    assert!(setup.at_once(&headers, UnixMillis(NOW.0 - 1)).is_none(), "the clock was set back");

    let version = setup.store.add(setup.hash(&key), "acme", None);
    assert!(is_invalid(&setup.at_once(&headers, NOW).unwrap()), "not applied here yet");
    setup.apply("acme", version);
    assert_eq!(tenant(&setup.identify(&headers).await), "acme");
}

#[tokio::test]
async fn a_store_that_is_away_makes_no_key_invalid() {
    let (setup, key) = with_key(None);
    setup.store.away(true);
    assert_eq!(setup.identify(&key_header(&key)).await, Err(CredentialError::Unavailable));
    setup.store.away(false);
    assert_eq!(tenant(&setup.identify(&key_header(&key)).await), "acme");
    setup.store.away(true);
    assert!(setup.at_once(&key_header(&key), NOW).unwrap().is_ok(), "known keys go on");
}

#[tokio::test]
async fn many_requests_share_one_look_up() {
    let (setup, key) = with_key(None);
    let headers = key_header(&key);
    let outcomes = join_all((0..100).map(|_| setup.identify(&headers))).await;
    assert!(outcomes.iter().all(|outcome| tenant(outcome) == "acme"));
    assert_eq!(setup.store.look_ups(), 1);
}

#[tokio::test]
async fn a_reading_that_a_change_overtook_is_not_used() {
    let (setup, key) = with_key(None);
    setup.store.answers.forget_permits(usize::MAX);
    let headers = key_header(&key);
    let mut reading = Box::pin(setup.identify(&headers));
    assert!(futures_util::poll!(reading.as_mut()).is_pending());
    assert_eq!(setup.store.look_ups(), 1, "it has read");
    let version = setup.store.revoke(&setup.hash(&key));
    setup.apply("acme", version);
    setup.store.answers.add_permits(2);
    assert!(is_invalid(&reading.await));
    assert_eq!(setup.store.look_ups(), 2);
}

#[tokio::test]
async fn a_request_after_a_change_does_not_join_a_reading_from_before() {
    let setup = setup(vec![]);
    let key = ApiKeySecret::generate().unwrap().reveal().to_owned();
    let headers = key_header(&key);
    setup.store.answers.forget_permits(usize::MAX);
    let mut before = Box::pin(setup.identify(&headers));
    assert!(futures_util::poll!(before.as_mut()).is_pending());
    let version = setup.store.add(setup.hash(&key), "acme", None);
    setup.apply("acme", version);
    let mut after = Box::pin(setup.identify(&headers));
    assert!(futures_util::poll!(after.as_mut()).is_pending());
    setup.store.answers.add_permits(2);
    assert!(is_invalid(&before.await), "this one came before the key");
    assert_eq!(tenant(&after.await), "acme");
    assert!(setup.at_once(&headers, NOW).unwrap().is_ok());
}

#[tokio::test]
async fn a_store_that_only_answers_from_before_the_change_is_unavailable() {
    let (setup, key) = with_key(None);
    setup.apply("acme", Version(9));
    assert_eq!(setup.identify(&key_header(&key)).await, Err(CredentialError::Unavailable));
    assert_eq!(setup.store.look_ups(), 3);
}

#[tokio::test]
async fn a_flood_of_invented_keys_does_not_reach_the_store_all_at_once() {
    let setup = setup(vec![]);
    setup.store.answers.forget_permits(usize::MAX);
    let keys: Vec<_> = (0..400).map(|_| key_header(ApiKeySecret::generate().unwrap().reveal())).collect();
    // Else the runtime would let this one task do only so much at a time.
    let free = |headers| Box::pin(tokio::task::unconstrained(setup.identify(headers)));
    let mut requests: Vec<_> = keys.iter().map(free).collect();
    let mut refused = 0;
    for request in &mut requests {
        match futures_util::poll!(request.as_mut()) {
            std::task::Poll::Ready(outcome) => {
                assert_eq!(outcome, Err(CredentialError::Unavailable));
                refused += 1;
            }
            std::task::Poll::Pending => {}
        }
    }
    assert_eq!(setup.store.look_ups(), 16);
    assert_eq!(refused, 400 - 16 - 256);
}

#[tokio::test]
async fn a_request_that_is_given_up_does_not_take_others_along() {
    let (setup, key) = with_key(None);
    setup.store.answers.forget_permits(usize::MAX);
    let headers = key_header(&key);
    let mut first = Box::pin(setup.identify(&headers));
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    let mut second = Box::pin(setup.identify(&headers));
    assert!(futures_util::poll!(second.as_mut()).is_pending());
    drop(first);
    setup.store.answers.add_permits(1);
    let second = tokio::time::timeout(Duration::from_secs(5), second).await.unwrap();
    assert_eq!(tenant(&second), "acme");
}

#[tokio::test]
async fn keys_are_not_handed_on() {
    let (setup, key) = with_key(None);
    let mut headers = key_header("whatever");
    headers.extend(bearer(&key));
    setup.credentials.strip(&mut headers);
    assert!(headers.is_empty());
    let mut other = bearer("a.b.c");
    setup.credentials.strip(&mut other);
    assert_eq!(other[header::AUTHORIZATION], "Bearer a.b.c");
}

#[test]
fn a_known_key_needs_no_runtime() {
    let (setup, key) = with_key(None);
    let Answer::Pending(first) = setup.credentials.identify(&key_header(&key), NOW) else { panic!() };
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(first).unwrap();
    assert!(setup.at_once(&key_header(&key), NOW).unwrap().is_ok());
}

#[tokio::test]
async fn the_key_of_an_exchange_is_asked_for_again_after_each_change_and_once() {
    let (setup, key) = with_key(Some(UnixMillis(NOW.0 + 1_000)));
    let identity = setup.identify(&key_header(&key)).await.unwrap();
    let stands = |verified, now| Authenticator::stands(&*setup.credentials, &identity, verified, now);
    let at_once = |verified, now| match stands(verified, now) {
        Answer::Ready(answer) => answer,
        Answer::Pending(_) => panic!("it need not be asked for"),
    };
    assert_eq!(at_once(Version(0), NOW), Ok(identity.read_at));
    assert_eq!(at_once(Version(0), identity.until), Err(CredentialError::Expired));
    assert_eq!(setup.store.look_ups(), 1, "that of the request");

    let changed = setup.store.add(setup.hash("another key of the tenant"), "acme", None);
    setup.apply("acme", changed);
    let answers = join_all((0..50).map(|_| stands(identity.read_at, NOW).wait())).await;
    assert!(answers.iter().all(|answer| *answer == Ok(changed)));
    assert_eq!(at_once(Version(0), NOW), Ok(changed), "for those that come later, too");
    assert!(setup.store.look_ups() <= 1 + 16, "as many as are let in at a time");

    setup.apply("acme", setup.store.revoke(&setup.hash(&key)));
    assert_eq!(stands(changed, NOW).wait().await, Err(CredentialError::NO_SUCH_KEY));
    setup.store.away(true);
    setup.apply("acme", Version(99));
    assert_eq!(stands(changed, NOW).wait().await, Err(CredentialError::Unavailable));
}
