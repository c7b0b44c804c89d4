//! Sets of keys: from files and URLs, changed, missing, and asked for by requests.

use std::{fs, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde_json::Value;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    server::{Reply, Server},
    setup::{NOW, Outcome, Setup, bearer, claims, is_invalid, issuer, tenant, try_setup},
    signer::{Signer, key_set},
};
use crate::{
    credentials::{Algorithm, IssuerSettings, Settings, SettingsError, TokenKeys, jwt::Timing},
    domain::time::UnixMillis,
    ports::CredentialError,
};

fn at(seconds: i64) -> UnixMillis {
    UnixMillis(NOW.0 + seconds * 1000)
}

fn document(keys: &[Value]) -> Reply {
    Reply::Document(key_set(keys))
}

struct Running {
    setup: Setup,
    _stop: DropGuard,
}

/// An authenticator whose background task runs. Scheduled fetches are far apart unless `timing` says otherwise.
fn run(settings: IssuerSettings, timing: Timing) -> Running {
    let setup = try_setup(Settings { issuers: vec![settings], ..Settings::default() }, timing).unwrap();
    let stop = CancellationToken::new();
    TaskTracker::new().spawn(Arc::clone(&setup.credentials).run(stop.clone()));
    Running { setup, _stop: stop.drop_guard() }
}

impl Running {
    async fn until(&self, token: &str, now: UnixMillis, wanted: fn(&Outcome) -> bool) {
        let headers = bearer(token);
        let settled = tokio::time::timeout(Duration::from_secs(20), async {
            while !wanted(&self.setup.identify_at(&headers, now).await) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        settled.await.unwrap();
    }
}

/// Long enough that nothing happens by itself; requests wait as long as it takes.
fn quiet() -> Timing {
    let long = Duration::from_secs(3600);
    Timing { url: long, retry: long, retry_at_most: long, file: long, patience: long, ..Timing::default() }
}

#[tokio::test]
async fn requests_with_unknown_keys_cause_one_fetch_in_thirty_seconds() {
    let (old, new) = (Signer::ed(), Signer::ed());
    let server = Server::start(document(&[old.jwk("old")])).await;
    let running = run(issuer(TokenKeys::JwksUrl(server.url())), quiet());
    running.until(&old.token("old", &claims("acme")), at(-1000), Result::is_ok).await;
    let before = server.fetches();

    let early = bearer(&new.token("new", &claims("acme")));
    let outcomes = join_all((0..50).map(|_| running.setup.identify_at(&early, at(0)))).await;
    assert!(outcomes.iter().all(is_invalid));
    assert_eq!(server.fetches(), before + 1, "all waited for one fetch");

    server.reply(document(&[old.jwk("old"), new.jwk("new")]));
    assert!(is_invalid(&running.setup.at_once(&early, at(29)).unwrap()), "too soon to ask again");
    assert_eq!(server.fetches(), before + 1);
    assert_eq!(tenant(&running.setup.identify_at(&early, at(30)).await), "acme");
    assert_eq!(server.fetches(), before + 2);
    assert!(running.setup.at_once(&early, at(31)).unwrap().is_ok());
}

#[tokio::test]
async fn old_keys_stay_while_the_provider_is_down() {
    let (old, new) = (Signer::ed(), Signer::ed());
    let server = Server::start(document(&[old.jwk("old")])).await;
    let running = run(issuer(TokenKeys::JwksUrl(server.url())), quiet());
    running.until(&old.token("old", &claims("acme")), at(-1000), Result::is_ok).await;
    for (step, broken) in [Reply::Status(503), Reply::Document("<html>".into()), Reply::Document("{}".into())]
        .into_iter()
        .enumerate()
    {
        server.reply(broken);
        let now = at(100 * i64::try_from(step).unwrap());
        let unknown = bearer(&new.token("new", &claims("acme")));
        let outcome = running.setup.identify_at(&unknown, now).await;
        assert_eq!(outcome, Err(CredentialError::Unavailable), "it may be a newer key");
        assert_eq!(running.setup.at_once(&unknown, now), Some(Err(CredentialError::Unavailable)));
        let fresh = old.token("old", &claims(&format!("t{step}")));
        assert!(running.setup.at_once(&bearer(&fresh), now).unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_tried_again() {
    let signer = Signer::ed();
    let server = Server::start(Reply::Status(500)).await;
    let timing =
        Timing { retry: Duration::from_millis(1), retry_at_most: Duration::from_millis(4), ..quiet() };
    let running = run(issuer(TokenKeys::JwksUrl(server.url())), timing);
    let token = signer.token("k", &claims("acme"));
    running.until(&token, NOW, |outcome| *outcome == Err(CredentialError::Unavailable)).await;
    server.reply(document(&[signer.jwk("k")]));
    running.until(&token, NOW, Result::is_ok).await;
}

#[tokio::test]
async fn keys_behind_a_url_are_fetched_again_and_tokens_of_removed_keys_refused() {
    let (old, new) = (Signer::ed(), Signer::ed());
    let server = Server::start(document(&[old.jwk("old")])).await;
    let timing = Timing { url: Duration::from_millis(2), ..quiet() };
    let running = run(issuer(TokenKeys::JwksUrl(server.url())), timing);
    let (old, new) =
        ((old.token("old", &claims("acme"))), (new.jwk("new"), new.token("new", &claims("acme"))));
    running.until(&old, NOW, Result::is_ok).await;
    server.reply(document(&[new.0]));
    running.until(&old, NOW, is_invalid).await;
    assert!(running.setup.at_once(&bearer(&new.1), NOW).unwrap().is_ok());
}

#[tokio::test]
async fn a_request_does_not_wait_for_long() {
    let server = Server::start(Reply::Silence).await;
    let timing = Timing { patience: Duration::from_millis(10), ..quiet() };
    let running = run(issuer(TokenKeys::JwksUrl(server.url())), timing);
    let outcome = running.setup.identify(&bearer(&Signer::ed().token("k", &claims("acme")))).await;
    assert_eq!(outcome, Err(CredentialError::Unavailable));
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_broken_one_is_not_used() {
    let (old, new) = (Signer::ed(), Signer::ec());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    fs::write(&path, key_set(&[old.jwk("old")])).unwrap();
    let timing = Timing { file: Duration::from_millis(2), ..quiet() };
    let running = run(issuer(TokenKeys::JwksFile(path.clone())), timing);
    let old_token = old.token("old", &claims("acme"));
    assert!(running.setup.at_once(&bearer(&old_token), NOW).unwrap().is_ok());

    fs::write(&path, key_set(&[new.jwk("new")])).unwrap();
    running.until(&new.token("new", &claims("acme")), NOW, Result::is_ok).await;
    assert!(is_invalid(&running.setup.identify(&bearer(&old_token)).await), "its key is gone");

    fs::write(&path, "{").unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(running.setup.at_once(&bearer(&new.token("new", &claims("other"))), NOW).unwrap().is_ok());
    fs::remove_file(&path).unwrap();
    fs::write(&path, key_set(&[old.jwk("old")])).unwrap();
    running.until(&old_token, NOW, Result::is_ok).await;
}

#[tokio::test]
async fn the_background_task_ends_when_it_is_told_to() {
    for issuers in [vec![], vec![issuer(TokenKeys::Hs256Secret(vec![1; 32]))]] {
        let setup = try_setup(Settings { issuers, ..Settings::default() }, quiet()).unwrap();
        let stop = CancellationToken::new();
        let mut running = Box::pin(Arc::clone(&setup.credentials).run(stop.clone()));
        assert!(futures_util::poll!(running.as_mut()).is_pending());
        stop.cancel();
        running.await;
    }
}

fn refused(change: impl FnOnce(&mut Settings)) -> SettingsError {
    let mut settings = Settings {
        issuers: vec![issuer(TokenKeys::JwksUrl("https://id.example/jwks".into()))],
        ..Settings::default()
    };
    change(&mut settings);
    match try_setup(settings, quiet()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

#[test]
fn unusable_settings_say_what_was_expected() {
    use SettingsError as E;
    assert!(matches!(refused(|s| s.api_key_header = http::header::COOKIE), E::HeaderTaken(_)));
    assert!(matches!(refused(|s| s.issuers[0].issuer.clear()), E::Empty { field: "issuer", .. }));
    assert!(matches!(refused(|s| s.issuers[0].audience.clear()), E::Empty { field: "audience", .. }));
    assert!(matches!(refused(|s| s.issuers[0].tenant_claim.clear()), E::Empty { .. }));
    assert!(matches!(refused(|s| s.issuers[0].algorithms.clear()), E::Empty { field: "algorithms", .. }));
    assert!(matches!(refused(|s| s.issuers.push(s.issuers[0].clone())), E::IssuerTwice(_)));
    assert!(matches!(refused(|s| s.issuers[0].cookie = Some("a b".into())), E::CookieName { .. }));
    assert!(matches!(
        refused(|s| s.issuers[0].algorithms.push(Algorithm::Hs256)),
        E::AlgorithmUnfit { algorithm: Algorithm::Hs256, .. }
    ));
    let keys = |keys: TokenKeys| move |s: &mut Settings| s.issuers[0].keys = keys;
    assert!(matches!(refused(keys(TokenKeys::Hs256Secret(vec![1; 32]))), E::AlgorithmUnfit { .. }));
    assert!(matches!(refused(keys(TokenKeys::Hs256Secret(vec![1; 31]))), E::SecretShort { bytes: 31, .. }));
    assert!(matches!(refused(keys(TokenKeys::JwksUrl("jwks.json".into()))), E::Url { .. }));
    assert!(matches!(refused(keys(TokenKeys::JwksFile("/does/not/exist".into()))), E::File { .. }));
}

#[test]
fn a_file_of_keys_must_be_usable_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let file = || TokenKeys::JwksFile(path.clone());
    for (content, reason) in [
        ("{", "not a JSON object with an array `keys`".to_owned()),
        (r#"{"keys":[]}"#, "it has no usable key".to_owned()),
        (&" ".repeat(1024 * 1024 + 1), "it has more than 1 MiB".to_owned()),
    ] {
        fs::write(&path, content).unwrap();
        let error = refused(|s| s.issuers[0].keys = file()).to_string();
        assert!(error.ends_with(&reason), "{error}");
    }
    let error = refused(|s| s.issuers[0].keys = TokenKeys::JwksFile(folder.path().into())).to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", issuer(TokenKeys::Hs256Secret(b"very secret".to_vec())));
    assert!(!shown.contains("118"), "{shown}");
    assert!(!shown.contains("secret\""), "{shown}");
}
