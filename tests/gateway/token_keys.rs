//! Where token keys come from and how they change while the gateway runs (issue: Identity).

use serde_json::{Value, json};

use super::tokens::{claims, issuer, with_keys};
use crate::{
    signer::{Signer, key_set},
    support::{
        client::{Reply, get},
        process::{Gateway, Setup, eventually, write},
        provider::Provider,
        upstream::Upstream,
    },
};

fn behind(provider: &Provider, upstream: &Upstream) -> Setup {
    Setup::before(upstream).with("/identity/jwt", json!([issuer("jwks_url", &provider.url())]))
}

async fn start(setup: &Setup) -> Gateway {
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "big").await;
    gateway
}

async fn send(gateway: &Gateway, token: &str) -> Reply {
    get("/v1/messages").bearer(token).send(gateway.data).await
}

fn document(keys: &[Value]) -> String {
    key_set(keys)
}

#[tokio::test]
async fn a_provider_that_is_away_at_the_start_is_waited_for() {
    let (upstream, mut provider, signer) = (Upstream::start().await, Provider::closed(), Signer::ed());
    let setup = behind(&provider, &upstream);
    let gateway = start(&setup).await;
    let token = signer.token("a", &claims("acme"));
    let reply = send(&gateway, &token).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "rights-unavailable"), "the token may be good");
    assert!(reply.header("retry-after").is_some());
    let key = gateway.admin.key("acme").await;
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200, "keys need no provider");

    provider.begin(&document(&[signer.jwk("a")]));
    eventually("the keys are fetched", async || send(&gateway, &token).await.status == 200).await;
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_first_used_and_an_unknown_one_only_once() {
    let (upstream, old, new) = (Upstream::start().await, Signer::ed(), Signer::ec());
    let provider = Provider::open(&document(&[old.jwk("old")]));
    let setup = behind(&provider, &upstream);
    let gateway = start(&setup).await;
    let (first, second) = (old.token("old", &claims("acme")), new.token("new", &claims("acme")));
    eventually("the keys are fetched", async || send(&gateway, &first).await.status == 200).await;
    let before = provider.fetches();

    provider.publish(Some(&document(&[new.jwk("new")])));
    assert_eq!(send(&gateway, &second).await.status, 200, "the rotated key's first token");
    let rotated = provider.fetches();
    // The wait above may have asked for the first fetch and the start for another, but rotation for one.
    assert!(rotated <= before + 1, "{before} {rotated}");
    let withdrawn = send(&gateway, &first).await;
    assert_eq!(
        (withdrawn.status, withdrawn.code().as_str()),
        (401, "credential-invalid"),
        "though remembered"
    );

    let mut asking = tokio::task::JoinSet::new();
    for number in 0..50 {
        let (token, data) = (Signer::ed().token(&format!("no-{number}"), &claims("acme")), gateway.data);
        asking.spawn(async move { get("/v1/messages").bearer(&token).send(data).await });
    }
    for reply in asking.join_all().await {
        assert_eq!((reply.status, reply.code().as_str()), (401, "credential-invalid"));
    }
    assert_eq!(provider.fetches(), rotated, "no flood of unknown keys reaches the provider");
}

#[tokio::test]
async fn old_keys_stay_while_the_provider_is_down() {
    let (upstream, signer) = (Upstream::start().await, Signer::ed());
    let provider = Provider::open(&document(&[signer.jwk("a")]));
    let setup = behind(&provider, &upstream);
    let gateway = start(&setup).await;
    let token = signer.token("a", &claims("acme"));
    eventually("the keys are fetched", async || provider.fetches() > 0).await;
    // Not the first use of an unknown key: that would spend the one fetch.
    eventually("they are in use", async || gateway.log().contains("the issuer's keys were read")).await;
    for broken in [None, Some("<html>"), Some("{}")] {
        provider.publish(broken);
        let fetches = provider.fetches();
        let unknown = send(&gateway, &Signer::ed().token("b", &claims("acme"))).await;
        assert_eq!((unknown.status, unknown.code().as_str()), (503, "rights-unavailable"), "{broken:?}");
        assert!(provider.fetches() <= fetches + 1);
        assert_eq!(send(&gateway, &token).await.status, 200, "{broken:?}");
        let fresh = signer.token(
            "a",
            &json!({ "n": 1, "iss": claims("acme")["iss"], "aud": "plangate",
            "exp": claims("acme")["exp"], "tenant": "acme" }),
        );
        assert_eq!(send(&gateway, &fresh).await.status, 200, "also what was not verified before: {broken:?}");
    }
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    let (upstream, old, new) = (Upstream::start().await, Signer::ed(), Signer::ed());
    let setup = with_keys(&upstream, &[old.jwk("old")]);
    let gateway = start(&setup).await;
    let (first, second) = (old.token("old", &claims("acme")), new.token("new", &claims("acme")));
    assert_eq!(send(&gateway, &first).await.status, 200);
    assert_eq!(send(&gateway, &second).await.status, 401);
    write(setup.path("").as_path(), "jwks.json", &document(&[new.jwk("new")]));
    eventually("the new key is read", async || send(&gateway, &second).await.status == 200).await;
    assert_eq!(send(&gateway, &first).await.status, 401);

    // What is no set of keys leaves the good one in force.
    write(setup.path("").as_path(), "jwks.json", "{");
    eventually("the fault is told", async || gateway.log().contains("the old ones stay")).await;
    assert_eq!(send(&gateway, &second).await.status, 200);
}
