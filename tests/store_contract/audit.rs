//! The audit log is one chain: under concurrent writers, after tidying, and whatever is done to it by others is found.

use std::time::Duration;

use plangate::{
    domain::revision::{Deploy, PolicyFiles},
    ports::{AuditFilter, AuditHead, AuditLine, WebhookChange, WebhookCommand},
    store::Retention,
    wire::{
        audit::{GENESIS, Hashed},
        audit_chain::{Broken, Chain, Link, Verified},
    },
};
use serde_json::{Value, json};

use super::*;
use crate::{Fixture, Kind, open};

on_every_store!(
    lines_follow_from_each_other_under_concurrent_writers,
    a_line_says_what_was_altered,
    what_is_left_after_tidying_still_follows,
    lines_are_found_by_what_they_say,
    what_others_do_to_the_log_is_found,
    what_others_hide_in_the_log_is_found,
    what_concerns_the_installation_has_two_sides_as_well,
);

fn shown(line: AuditLine) -> Value {
    json!({
        "cursor": line.cursor, "version": line.version, "at": line.at.to_string(), "actor": line.actor,
        "source": line.source, "tenant": line.tenant, "kind": line.kind, "detail": line.detail,
        "before": line.before, "after": line.after, "previous": line.previous, "hash": line.hash,
    })
}

async fn all(on: &Fixture) -> Vec<AuditLine> {
    on.store.audit_lines(0, 10_000, &AuditFilter::default()).await.unwrap()
}

/// Verifies the log as the command does.
async fn verify(on: &Fixture) -> Result<Verified, Broken> {
    let AuditHead { head, start, anchor, .. } = on.store.audit_head().await.unwrap();
    let mut chain = Chain::after(Link { cursor: anchor.cursor, hash: anchor.hash }, start);
    chain.expect(Link { cursor: head.cursor, hash: head.hash });
    for line in all(on).await {
        chain.read(&shown(line))?;
    }
    chain.finish()
}

async fn lines_follow_from_each_other_under_concurrent_writers(on: &Fixture) {
    assert_eq!(on.store.audit_head().await.unwrap().head.hash, GENESIS);
    let mut stores = vec![on.store.clone(); 2];
    if let Some(url) = on.url() {
        stores[1] = open(url).await;
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let store = stores[writer % 2].clone();
        writers.spawn(async move {
            for _ in 0..6 {
                done(&*store, &put(&format!("t{}", writer / 2))).await;
                // What takes no version is in the chain all the same.
                let name = format!("n{writer}");
                store.register(&super::nodes::registration(&name, 100 + writer as u128)).await.unwrap();
                store.declare_lost(&name, &origin()).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let lines = all(on).await;
    let cursors: Vec<u64> = lines.iter().map(|line| line.cursor).collect();
    assert_eq!(cursors, (1..=72).collect::<Vec<_>>(), "no gaps");
    let line = &lines[40];
    let hashed = Hashed {
        cursor: line.cursor,
        version: line.version,
        at: line.at,
        actor: &line.actor,
        source: &line.source,
        tenant: line.tenant.as_deref(),
        kind: &line.kind,
        detail: &line.detail,
        before: &line.before,
        after: &line.after,
        previous: line.previous.as_deref().unwrap(),
    };
    assert_eq!(Some(hashed.hash()), line.hash);
    assert_eq!(line.previous, lines[39].hash);
    let verified = verify(on).await.unwrap();
    assert_eq!((verified.lines, verified.unchained), (72, 0));
    assert_eq!(on.store.audit_head().await.unwrap().at, Some(lines[71].at));
}

async fn a_line_says_what_was_altered(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    done(&*on.store, &subscribe("acme", "small", UsageRule::Keep)).await;
    done(&*on.store, &subscribe("acme", "big", UsageRule::Keep)).await;
    done(&*on.store, &key("acme", "k1", 1)).await;
    done(&*on.store, &change("acme", Change::RevokeKey(KeyId::parse("k1").unwrap()))).await;
    done(&*on.store, &change("acme", Change::DeleteTenant)).await;
    let lines = all(on).await;
    assert_eq!((&lines[0].before, &lines[0].after["timezone"]), (&Value::Null, &json!("UTC")));
    assert_eq!(lines[1].before, json!({ "subscription": null }));
    assert_eq!(lines[2].before["subscription"]["plan"], "small");
    assert_eq!(lines[2].after["subscription"]["plan"], "big");
    let facts = json!({ "name": "ci", "expires_at": "1970-01-01T00:00:00.077Z", "imported": true });
    assert_eq!(lines[3].after, json!({ "keys": { "k1": facts } }));
    assert_eq!((&lines[4].before, &lines[4].after), (&lines[3].after, &json!({ "keys": { "k1": null } })));
    assert_eq!((&lines[5].before["subscription"]["plan"], &lines[5].after), (&json!("big"), &Value::Null));
    for line in lines {
        let said = format!("{}{}{}", line.detail, line.before, line.after);
        assert!(!said.contains("hash") && !said.contains("0101"), "no hash of a key");
    }
    let digest = plangate::domain::catalog::Digest("abc".into());
    on.store.keep_policy_files(&digest, &PolicyFiles::default()).await.unwrap();
    let command = plangate::ports::DeployCommand {
        change: Deploy::Enforce(digest),
        base: None,
        folder: None,
        message: None,
        author: None,
    };
    on.store.deploy(&command, &origin()).await.unwrap();
    let last = all(on).await.pop().unwrap();
    let (before, after) =
        (json!({ "enforced": null, "number": 0 }), json!({ "enforced": "abc", "number": 1 }));
    assert_eq!((last.before, last.after), (before, after));
    verify(on).await.unwrap();
}

async fn what_is_left_after_tidying_still_follows(on: &Fixture) {
    const DAY: i64 = 86_400_000;
    let days = |count: u64| Duration::from_secs(count * 86_400);
    let keep = Retention { usage_hours: days(100), usage_days: days(3_000), audit: days(1_000) };
    let old = Origin { at: UnixMillis(START.0 - 2_000 * DAY), ..origin() };
    for _ in 0..3 {
        on.store.execute(&put("acme"), &old).await.unwrap();
    }
    done(&*on.store, &put("acme")).await;
    // Written by a node whose clock was wrong: it stays until all before it go, so that the rest is one piece.
    on.store.execute(&put("acme"), &old).await.unwrap();
    done(&*on.store, &put("acme")).await;
    let third = all(on).await[2].hash.clone().unwrap();
    assert_eq!(on.store.tidy(&keep).await.unwrap().audit, 3);
    let head = on.store.audit_head().await.unwrap();
    assert_eq!((head.anchor.cursor, head.anchor.hash, head.start, head.head.cursor), (3, third, 0, 6));
    assert_eq!(all(on).await.iter().map(|line| line.cursor).collect::<Vec<_>>(), [4, 5, 6]);
    assert_eq!(verify(on).await.unwrap().lines, 3);
    assert_eq!(on.store.tidy(&keep).await.unwrap().audit, 0);
    done(&*on.store, &put("acme")).await;
    assert_eq!(verify(on).await.unwrap().last.unwrap().cursor, 7);
    // All may go: the next line follows what is not there any more.
    let none = Retention { audit: Duration::ZERO, ..keep };
    while on.store.tidy(&none).await.unwrap().audit > 0 {}
    if all(on).await.is_empty() {
        assert_eq!(verify(on).await.unwrap().lines, 0);
        done(&*on.store, &put("acme")).await;
        assert_eq!(all(on).await[0].cursor, 8);
        verify(on).await.unwrap();
    }
}

async fn lines_are_found_by_what_they_say(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let later = Origin { at: UnixMillis(START.0 + 5), actor: "ci".into(), ..origin() };
    on.store.execute(&put("nova"), &later).await.unwrap();
    on.store.execute(&change("nova", Change::Suspend), &later).await.unwrap();
    let found = async |only: AuditFilter| -> Vec<u64> {
        let lines = on.store.audit_lines(0, 10, &only).await.unwrap();
        lines.iter().map(|line| line.cursor).collect()
    };
    let none = AuditFilter::default();
    assert_eq!(found(none.clone()).await, [1, 2, 3]);
    assert_eq!(found(AuditFilter { tenant: Some("nova".into()), ..none.clone() }).await, [2, 3]);
    assert_eq!(found(AuditFilter { actor: Some("admin".into()), ..none.clone() }).await, [1]);
    assert_eq!(found(AuditFilter { kind: Some("tenant.put".into()), ..none.clone() }).await, [1, 2]);
    assert_eq!(found(AuditFilter { since: Some(later.at), ..none.clone() }).await, [2, 3]);
    let both = AuditFilter { tenant: Some("nova".into()), kind: Some("tenant.put".into()), ..none.clone() };
    assert_eq!(found(both).await, [2]);
    assert!(found(AuditFilter { tenant: Some("'".into()), ..none.clone() }).await.is_empty());
    assert_eq!(on.store.audit_lines(1, 1, &none).await.unwrap()[0].cursor, 2);
}

async fn what_others_do_to_the_log_is_found(on: &Fixture) {
    if on.url().is_none() {
        return;
    }
    for _ in 0..6 {
        done(&*on.store, &put("acme")).await;
    }
    verify(on).await.unwrap();
    // Each is undone, so that each is found by itself.
    let cases = [
        (
            "UPDATE audit SET actor = 'nobody' WHERE place = 3",
            "UPDATE audit SET actor = 'admin' WHERE place = 3",
            3,
        ),
        (
            "UPDATE audit SET detail = replace(detail, ':', ': ') WHERE place = 2",
            "UPDATE audit SET detail = replace(detail, ': ', ':') WHERE place = 2",
            2,
        ),
        (
            "UPDATE audit SET at_ms = at_ms + 1 WHERE place = 4",
            "UPDATE audit SET at_ms = at_ms - 1 WHERE place = 4",
            4,
        ),
        (
            "UPDATE audit SET version = -version WHERE place = 4",
            "UPDATE audit SET version = -version WHERE place = 4",
            4,
        ),
        ("UPDATE audit SET place = 60 WHERE place = 6", "UPDATE audit SET place = 6 WHERE place = 60", 6),
        ("UPDATE audit_chain SET place = 7", "UPDATE audit_chain SET place = 6", 7),
        ("UPDATE audit_chain SET anchor_place = 2", "UPDATE audit_chain SET anchor_place = 0", 1),
        ("DELETE FROM audit WHERE place = 6", "SELECT CAST(1 AS BIGINT)", 6),
        ("DELETE FROM audit WHERE place = 2", "SELECT CAST(1 AS BIGINT)", 2),
    ];
    for (damage, repair, line) in cases {
        on.raw(damage).await;
        let broken = verify(on).await.unwrap_err();
        assert_eq!(broken.cursor, Some(line), "{damage}: {broken}");
        on.raw(repair).await;
    }
}

/// What shows as it did, or not at all, where it is read carelessly.
async fn what_others_hide_in_the_log_is_found(on: &Fixture) {
    if on.url().is_none() {
        return;
    }
    for _ in 0..3 {
        done(&*on.store, &put("acme")).await;
    }
    macro_rules! copy_to {
        ($place:literal) => {
            concat!(
                "INSERT INTO audit (place, version, at_ms, actor, source, kind, detail, previous, hash) SELECT ",
                $place,
                ", version, at_ms, actor, source, kind, detail, previous, hash FROM audit WHERE place = 2"
            )
        };
    }
    let stray = "DELETE FROM audit WHERE place <= 0";
    let mut cases = vec![
        (copy_to!("0"), stray, 0),
        (copy_to!("-5"), stray, 0),
        (
            "UPDATE audit SET earlier = 'null' WHERE place = 1",
            "UPDATE audit SET earlier = NULL WHERE place = 1",
            1,
        ),
    ];
    if matches!(on.kind, Kind::Sqlite { .. }) {
        cases.extend([
            (
                "UPDATE audit SET at_ms = at_ms || 'x' WHERE place = 2",
                "UPDATE audit SET at_ms = CAST(at_ms AS INTEGER) WHERE place = 2",
                2,
            ),
            (
                "UPDATE audit SET version = version + 0.5 WHERE place = 2",
                "UPDATE audit SET version = CAST(version AS INTEGER) WHERE place = 2",
                2,
            ),
            (
                "UPDATE audit SET detail = CAST(detail AS BLOB) WHERE place = 3",
                "UPDATE audit SET detail = CAST(detail AS TEXT) WHERE place = 3",
                3,
            ),
        ]);
    }
    for (damage, repair, line) in cases {
        on.raw(damage).await;
        let broken = verify(on).await.expect_err(damage);
        assert_eq!(broken.cursor, Some(line), "{damage}: {broken}");
        on.raw(repair).await;
        verify(on).await.unwrap();
    }
}

async fn what_concerns_the_installation_has_two_sides_as_well(on: &Fixture) {
    let store = &*on.store;
    let change = |change| WebhookCommand { id: "wh_1".parse().unwrap(), change };
    let create = WebhookChange::Create {
        url: "https://a.example/hidden".to_owned(),
        description: String::new(),
        events: Vec::new(),
        secret: "whsec_1".to_owned(),
    };
    let disable = WebhookChange::Update { url: None, description: None, events: None, enabled: Some(false) };
    for change in [change(create), change(disable), change(WebhookChange::Delete)] {
        store.change_webhook(&change, &origin()).await.unwrap();
    }
    done(store, &put("acme")).await;
    let acme = "acme".parse().unwrap();
    for customer in ["cus_1", "cus_2"] {
        store.link_customer(&acme, customer, &origin()).await.unwrap();
    }
    store.unlink_customer(&acme, &origin()).await.unwrap();
    let lines = all(on).await;
    let sides = |place: usize| (lines[place].before.clone(), lines[place].after.clone());
    let (before, after) = sides(0);
    assert_eq!(
        (before, &after["url"], &after["enabled"]),
        (Value::Null, &json!("https://a.example"), &json!(true))
    );
    let (before, after) = sides(1);
    assert_eq!((&before["enabled"], &after["enabled"]), (&json!(true), &json!(false)));
    assert_eq!((&sides(2).0["enabled"], sides(2).1), (&json!(false), Value::Null));
    let customer = |id: Option<&str>| json!({ "stripe_customer": id });
    assert_eq!(sides(4), (customer(None), customer(Some("cus_1"))));
    assert_eq!(sides(5), (customer(Some("cus_1")), customer(Some("cus_2"))));
    assert_eq!(sides(6), (customer(Some("cus_2")), customer(None)));
    let said = lines.iter().map(|line| format!("{}{}{}", line.detail, line.before, line.after));
    let said: String = said.collect();
    assert!(!said.contains("hidden") && !said.contains("whsec"), "{said}");
    verify(on).await.unwrap();
}
