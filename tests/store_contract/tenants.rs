//! Tenants, keys, changes, audit, idempotency.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use plangate::{
    domain::{
        command::{Change, Subscribe},
        id::KeyId,
        identity::KeyHash,
        period::{AnchorDay, Zone},
        subscription::Standing,
        subscription::UsageRule,
        tenant::Overrides,
        time::{UnixMillis, Version},
    },
    ports::{Effect, ExecuteError, Heartbeat, Registration},
    wire::overrides,
};

use super::*;
use crate::Fixture;

on_every_store!(
    a_tenant_lives,
    attributes_come_back_as_they_went,
    a_subscription_changes,
    overrides_come_back_as_they_went,
    keys_are_found_by_hash,
    tenants_are_paged_in_byte_order,
    what_is_unknown_is_named,
    each_change_is_in_feed_and_audit,
    a_repetition_acts_once,
    repetitions_at_once_act_once,
    a_tenant_is_enrolled_once,
    versions_have_no_gap_under_many_writers,
    a_change_wakes,
    a_closed_store_is_unavailable,
);

async fn attributes_come_back_as_they_went(on: &Fixture) {
    let store = &*on.store;
    let acme = tenant("acme");
    let put = async |attributes: Option<serde_json::Value>, name: Option<&str>| {
        let attributes = attributes.map(|all| plangate::wire::attributes::decode(&all).unwrap());
        let change = Change::PutTenant { name: name.map(str::to_owned), zone: None, attributes };
        done(store, &super::change("acme", change)).await;
        store.tenant(&acme).await.unwrap().value.unwrap().attributes
    };
    let all = json!({ "region": "eu \"west\" \u{e9}", "level": -9_007_199_254_740_991_i64, "beta": false });
    let kept = put(Some(all.clone()), None).await.unwrap();
    assert_eq!(plangate::wire::attributes::encode(&kept), all);
    assert_eq!(put(None, Some("Acme")).await, Some(kept), "what is not named stays");
    let less = put(Some(json!({ "region": "us" })), None).await.unwrap();
    assert_eq!(plangate::wire::attributes::encode(&less), json!({ "region": "us" }), "all are replaced");
    assert_eq!(put(Some(json!({})), None).await, None);
}

async fn a_tenant_lives(on: &Fixture) {
    let store = &*on.store;
    let acme = tenant("acme");
    assert_eq!(store.tenant(&acme).await.unwrap().value, None);
    let made = done(store, &put("acme")).await;
    assert_eq!((made.version, made.effect, made.replayed), (Version(1), Effect::Created, false));
    let read = store.tenant(&acme).await.unwrap();
    assert_eq!(read.version, Version(1));
    let read = read.value.unwrap();
    assert_eq!((read.name, read.zone.name(), read.suspended), (None, "UTC", false));
    assert_eq!((read.version, read.created_at, read.subscription), (Version(1), START, None));

    let berlin = Zone::named("Europe/Berlin").unwrap();
    let named = Change::PutTenant { name: Some("Ä & Co".into()), zone: Some(berlin), attributes: None };
    assert_eq!(done(store, &change("acme", named)).await.effect, Effect::Updated);
    done(store, &put("acme")).await;
    done(store, &change("acme", Change::Suspend)).await;
    let read = store.tenant(&acme).await.unwrap().value.unwrap();
    assert_eq!((read.name.as_deref(), read.zone.name()), (Some("Ä & Co"), "Europe/Berlin"));
    assert_eq!((read.suspended, read.version), (true, Version(4)));
    done(store, &change("acme", Change::Resume)).await;
    assert!(!store.tenant(&acme).await.unwrap().value.unwrap().suspended);

    let gone = done(store, &change("acme", Change::DeleteTenant)).await;
    assert_eq!((gone.version, gone.effect), (Version(6), Effect::Deleted));
    let read = store.tenant(&acme).await.unwrap();
    assert_eq!((read.version, read.value), (Version(6), None));
    let again = done(store, &put("acme")).await;
    assert_eq!((again.version, again.effect), (Version(7), Effect::Created));
}

async fn a_subscription_changes(on: &Fixture) {
    let store = &*on.store;
    // In Auckland it is already the 10th.
    let zone = Zone::named("Pacific/Auckland").unwrap();
    done(store, &change("acme", Change::PutTenant { name: None, zone: Some(zone), attributes: None })).await;
    let read = || async { store.tenant(&tenant("acme")).await.unwrap().value.unwrap().subscription.unwrap() };
    let later = |seconds: i64| Origin { at: UnixMillis(START.0 + seconds * 1000), ..origin() };

    let evening = Origin { at: UnixMillis(1_760_043_600_000), ..origin() };
    let first = store.execute(&subscribe("acme", "basic", UsageRule::Keep), &evening).await.unwrap();
    assert_eq!((first.effect, first.version), (Effect::Created, Version(2)));
    let subscription = read().await;
    assert_eq!((subscription.plan.id.as_str(), subscription.state), ("basic", Standing::Active));
    assert_eq!((subscription.anchor.get(), subscription.epoch), (10, Version(2)));
    assert_eq!(subscription.since, evening.at);

    let second = store.execute(&subscribe("acme", "pro", UsageRule::Keep), &later(90)).await.unwrap();
    assert_eq!((second.effect, second.version), (Effect::Updated, Version(3)));
    let subscription = read().await;
    assert_eq!((subscription.plan.id.as_str(), subscription.anchor.get()), ("pro", 10));
    assert_eq!((subscription.epoch, subscription.since), (Version(2), later(90).at));

    let plan = Subscribe::to("pro".parse().unwrap());
    let anchor = Some(AnchorDay::new(31).unwrap());
    let reset = Change::Subscribe(Subscribe { anchor, usage: Some(UsageRule::Reset), ..plan });
    store.execute(&change("acme", reset), &later(95)).await.unwrap();
    let subscription = read().await;
    assert_eq!((subscription.anchor.get(), subscription.epoch), (31, Version(4)));
    assert_eq!(subscription.since, later(90).at, "the plan did not change");
}

async fn overrides_come_back_as_they_went(on: &Fixture) {
    let store = &*on.store;
    done(store, &put("acme")).await;
    let document = serde_json::json!({
        "features": { "export": true, "ai.chat": false },
        "limits": { "seats": 7, "rooms": "unlimited" },
        "quotas": { "requests": { "limit": 5, "day": "unlimited",
            "overage": { "mode": "bill", "price": "0.002", "per": 1000, "cap": 9_007_199_254_740_991_u64 } } },
        "rates": { "requests": { "limit": 5, "per": "1s", "burst": 9 }, "ai_tokens": "unlimited" },
    });
    let wanted = overrides::decode(&document).unwrap();
    done(store, &change("acme", Change::SetOverrides(wanted.clone()))).await;
    assert_eq!(store.tenant(&tenant("acme")).await.unwrap().value.unwrap().overrides, wanted);
    done(store, &change("acme", Change::SetOverrides(Overrides::default()))).await;
    assert!(store.tenant(&tenant("acme")).await.unwrap().value.unwrap().overrides.is_empty());
}

async fn keys_are_found_by_hash(on: &Fixture) {
    let store = &*on.store;
    done(store, &put("acme")).await;
    done(store, &put("other")).await;
    let id = |id: &str| KeyId::parse(id).unwrap();
    let made = done(store, &key("acme", "k1", 1)).await;
    assert_eq!((made.effect, made.version), (Effect::KeyCreated(id("k1")), Version(3)));
    let found = store.key_by_hash(&KeyHash([1; 32])).await.unwrap();
    assert_eq!(found.version, Version(3));
    assert_eq!(store.key_by_id(&id("k1")).await.unwrap(), found);
    assert_eq!(store.key_by_id(&id("k9")).await.unwrap().value, None);
    let found = found.value.unwrap();
    assert_eq!((found.id, found.tenant, found.name.as_deref()), (id("k1"), tenant("acme"), Some("ci")));
    assert_eq!((found.expires_at, found.imported, found.created_at), (Some(UnixMillis(77)), true, START));
    assert_eq!(store.key_by_hash(&KeyHash([9; 32])).await.unwrap().value, None);
    let rights = store.tenant(&tenant("acme")).await.unwrap().value.unwrap().version;
    assert_eq!(rights, Version(1), "a key does not change rights");

    let taken = store.execute(&key("other", "k2", 1), &origin()).await;
    assert_eq!(taken, Err(ExecuteError::KeyTaken));
    let older = Origin { at: UnixMillis(START.0 - 1), ..origin() };
    store.execute(&key("acme", "k2", 2), &older).await.unwrap();
    let listed: Vec<KeyId> =
        store.keys(&tenant("acme")).await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(listed, [id("k2"), id("k1")]);

    let foreign = store.execute(&change("other", Change::RevokeKey(id("k1"))), &origin()).await;
    assert_eq!(foreign, Err(ExecuteError::NoKey(tenant("other"), id("k1"))));
    let gone = done(store, &change("acme", Change::RevokeKey(id("k1")))).await;
    assert_eq!((gone.effect, gone.version), (Effect::Deleted, Version(5)));
    let again = store.execute(&change("acme", Change::RevokeKey(id("k1"))), &origin()).await;
    assert_eq!(again, Err(ExecuteError::NoKey(tenant("acme"), id("k1"))));
    assert_eq!(store.key_by_hash(&KeyHash([1; 32])).await.unwrap().value, None);
    assert_eq!(store.key_by_id(&id("k1")).await.unwrap().value, None);

    done(store, &change("acme", Change::DeleteTenant)).await;
    assert_eq!(store.key_by_hash(&KeyHash([2; 32])).await.unwrap().value, None);
    done(store, &key("other", "k2", 2)).await;
    assert_eq!(store.key_secret().await.unwrap(), store.key_secret().await.unwrap());
}

async fn tenants_are_paged_in_byte_order(on: &Fixture) {
    let store = &*on.store;
    let mut ids = ["a", "a-b", "a.b", "a_b", "ab", "0z", "b", "a0", "aa"];
    for id in ids {
        done(store, &put(id)).await;
    }
    done(store, &subscribe("ab", "pro", UsageRule::Keep)).await;
    ids.sort_unstable();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.tenants(after.as_ref(), 4).await.unwrap();
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        seen.extend(page);
    }
    assert_eq!(seen.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>(), ids);
    for one in seen {
        assert_eq!(store.tenant(&one.id).await.unwrap().value, Some(one));
    }
}

async fn what_is_unknown_is_named(on: &Fixture) {
    let store = &*on.store;
    let commands = [
        change("acme", Change::DeleteTenant),
        change("acme", Change::Suspend),
        change("acme", Change::Resume),
        subscribe("acme", "pro", UsageRule::Keep),
        change("acme", Change::SetOverrides(Overrides::default())),
        key("acme", "k1", 1),
        change("acme", Change::RevokeKey(KeyId::parse("k1").unwrap())),
    ];
    for command in commands {
        let refused = store.execute(&command, &origin()).await;
        assert_eq!(refused, Err(ExecuteError::NoTenant(tenant("acme"))), "{command:?}");
    }
    assert_eq!(done(store, &put("acme")).await.version, Version(1), "a refused change has no version");
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 1);
}

async fn each_change_is_in_feed_and_audit(on: &Fixture) {
    let store = &*on.store;
    done(store, &put("acme")).await;
    done(store, &key("acme", "k1", 0xab)).await;
    let named = Change::PutTenant { name: Some("N".into()), zone: None, attributes: None };
    done(store, &change("acme", named)).await;
    done(store, &change("acme", Change::DeleteTenant)).await;
    let feed = store.changes(Version(0), 100).await.unwrap();
    let kinds: Vec<(u64, &str)> = feed.iter().map(|row| (row.version.0, row.kind.as_str())).collect();
    assert_eq!(kinds, [(1, "tenant.put"), (2, "key.created"), (3, "tenant.put"), (4, "tenant.deleted")]);
    assert!(feed.iter().all(|row| row.tenant == Some(tenant("acme")) && row.at == START));
    assert_eq!(store.changes(Version(1), 2).await.unwrap(), feed[1..3]);
    assert!(store.changes(Version(4), 2).await.unwrap().is_empty());

    let audit = store.audit(0, 100).await.unwrap();
    assert!(audit.is_sorted_by(|a, b| a.cursor < b.cursor));
    assert_eq!(audit.iter().map(|row| row.version.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((audit[1].actor.as_str(), audit[1].source.as_str()), ("admin", "127.0.0.1"));
    assert_eq!(audit[1].detail["id"], "k1");
    assert_eq!(audit[2].detail["name"], "N");
    assert!(!format!("{audit:?}").contains("abab"), "no hash in the audit log");
    assert_eq!(store.audit(audit[1].cursor, 1).await.unwrap(), audit[2..3]);
}

async fn a_repetition_acts_once(on: &Fixture) {
    let store = &*on.store;
    let refused = store.execute(&change("acme", Change::Suspend), &once("x", "f")).await;
    assert_eq!(refused, Err(ExecuteError::NoTenant(tenant("acme"))));
    // A refusal does not use the key up.
    let first = store.execute(&put("acme"), &once("x", "f")).await.unwrap();
    assert_eq!((first.version, first.replayed), (Version(1), false));
    let again = store.execute(&put("acme"), &once("x", "f")).await.unwrap();
    assert_eq!(again, Committed { replayed: true, ..first });
    let other = store.execute(&put("acme"), &once("x", "g")).await;
    assert_eq!(other, Err(ExecuteError::IdempotencyConflict));

    store.execute(&key("acme", "k1", 1), &once("y", "f")).await.unwrap();
    // The caller makes a new key for each try; the answer names the one that was made first.
    let again = store.execute(&key("acme", "k2", 2), &once("y", "f")).await.unwrap();
    assert_eq!(again.effect, Effect::KeyCreated(KeyId::parse("k1").unwrap()));
    assert!(again.replayed);
    assert_eq!(store.keys(&tenant("acme")).await.unwrap().len(), 1);
    assert_eq!(store.changes(Version(0), 10).await.unwrap().len(), 2);
}

async fn repetitions_at_once_act_once(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(&on.store);
        tries.spawn(async move {
            store.execute(&key("acme", &format!("k{number}"), number), &once("x", "f")).await.unwrap()
        });
    }
    let all = tries.join_all().await;
    assert_eq!(all.iter().filter(|one| !one.replayed).count(), 1);
    assert!(all.iter().all(|one| one.effect == all[0].effect && one.version == Version(2)));
    assert_eq!(on.store.keys(&tenant("acme")).await.unwrap().len(), 1);
}

async fn a_tenant_is_enrolled_once(on: &Fixture) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let store = Arc::clone(&on.store);
        let enroll = change("acme", Change::Enroll { plan: "free".parse().unwrap() });
        tasks.spawn(async move { done(&*store, &enroll).await });
    }
    let all = tasks.join_all().await;
    assert!(all.iter().all(|done| done.version == Version(1)), "{all:?}");
    assert_eq!(all.iter().filter(|done| !done.replayed).count(), 1);
    assert_eq!(on.store.audit(0, 10).await.unwrap().len(), 1);
    assert_eq!(on.store.changes(Version(0), 10).await.unwrap().len(), 1);
    // One that an administrator made keeps what it has, also if that is nothing.
    done(&*on.store, &put("bare")).await;
    let enroll = change("bare", Change::Enroll { plan: "free".parse().unwrap() });
    assert!(done(&*on.store, &enroll).await.replayed);
    assert_eq!(on.store.tenant(&tenant("bare")).await.unwrap().value.unwrap().subscription, None);
}

async fn versions_have_no_gap_under_many_writers(on: &Fixture) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 12;
    let node = Registration {
        name: "a".into(),
        incarnation: node(1),
        file: node(9).0,
        digest: plangate::domain::catalog::Digest("d".into()),
    };
    let mut applied = on.store.register(&node).await.unwrap().version;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&on.store);
        writers.spawn(async move {
            for round in 0..EACH {
                // Some write to one tenant, some to their own; some are refused.
                let id = if round % 3 == 0 { "shared".to_owned() } else { format!("t{writer}") };
                store.execute(&put(&id), &origin()).await.unwrap();
                let _ = store.execute(&change("nobody", Change::Suspend), &origin()).await;
            }
        });
    }
    let mut seen = Vec::new();
    while applied.0 < WRITERS * EACH {
        let beat = Heartbeat {
            incarnation: node.incarnation,
            applied,
            digest: node.digest.clone(),
            reasserted: Epoch(0),
        };
        let answer = on.store.poll(&beat).await.unwrap();
        assert!(!answer.gap && !answer.superseded);
        assert_eq!(answer.upto.0 - applied.0, answer.changes.len() as u64);
        seen.extend(answer.changes.iter().map(|change| change.version.0));
        applied = answer.upto;
    }
    writers.join_all().await;
    assert_eq!(seen, (1..=WRITERS * EACH).collect::<Vec<_>>());
}

async fn a_change_wakes(on: &Fixture) {
    let woken = async {
        loop {
            on.store.changed().await;
            // A wake-up for no reason is allowed (the listener begins with one).
            if !on.store.changes(Version(0), 1).await.unwrap().is_empty() {
                return;
            }
        }
    };
    let changed = async {
        // The waiter is there first.
        tokio::task::yield_now().await;
        done(&*on.store, &put("acme")).await;
    };
    let both = async { tokio::join!(woken, changed) };
    tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
}

async fn a_closed_store_is_unavailable(on: &Fixture) {
    on.store.close().await;
    let error = on.store.tenant(&tenant("acme")).await.unwrap_err();
    assert!(matches!(error, plangate::ports::StoreError::Unavailable(_)), "{error}");
    let error = on.store.execute(&put("acme"), &origin()).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Store(plangate::ports::StoreError::Unavailable(_))), "{error}");
}
