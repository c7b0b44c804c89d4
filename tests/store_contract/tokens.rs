//! Tokens of the admin API: one of a name at a time, gone when revoked, made once.

use plangate::{
    domain::role::Role,
    ports::{AuditFilter, NewToken, TokenError},
};
use serde_json::json;

use super::*;
use crate::{Fixture, open};

on_every_store!(
    a_token_is_found_until_it_is_revoked,
    names_are_unique_among_the_living,
    what_is_repeated_is_done_once,
    uses_are_noted_once_a_minute,
);

fn new(id: &str, name: &str, hash: u8) -> NewToken {
    let (id, name) = (id.to_owned(), name.to_owned());
    NewToken { id, name, role: Role::Operator, expires_at: None, hash: KeyHash([hash; 32]) }
}

async fn a_token_is_found_until_it_is_revoked(on: &Fixture) {
    let created = on.store.create_token(&new("tok_1", "ci", 1), &origin()).await.unwrap();
    assert_eq!((created.id.as_str(), created.replayed), ("tok_1", false));
    let other = match on.url() {
        Some(url) => open(url).await,
        None => on.store.clone(),
    };
    let found = other.token_by_hash(&KeyHash([1; 32])).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.role, found.created_at), ("ci", Role::Operator, START));
    assert_eq!(other.token_by_hash(&KeyHash([2; 32])).await.unwrap(), None);
    assert_eq!(other.tokens().await.unwrap(), [found]);
    on.store.revoke_token("tok_1", &origin()).await.unwrap();
    assert_eq!(other.token_by_hash(&KeyHash([1; 32])).await.unwrap(), None, "at once, everywhere");
    let gone = on.store.revoke_token("tok_1", &origin()).await;
    assert_eq!(gone, Err(TokenError::Unknown("tok_1".into())));
    let lines = on.store.audit_lines(0, 10, &AuditFilter::default()).await.unwrap();
    let kinds: Vec<_> = lines.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["token.created", "token.revoked"]);
    let facts = json!({ "name": "ci", "role": "operator", "expires_at": null });
    assert_eq!((&lines[0].after, &lines[1].before), (&facts, &facts));
    assert_eq!(lines[0].detail, json!({ "id": "tok_1", "name": "ci" }));
}

async fn names_are_unique_among_the_living(on: &Fixture) {
    let short = NewToken { expires_at: Some(UnixMillis(START.0 + 1_000)), ..new("tok_1", "ci", 1) };
    on.store.create_token(&short, &origin()).await.unwrap();
    let taken = on.store.create_token(&new("tok_2", "ci", 2), &origin()).await;
    assert_eq!(taken, Err(TokenError::NameTaken("ci".into())));
    assert_eq!(
        on.store.audit_lines(0, 10, &AuditFilter::default()).await.unwrap().len(),
        1,
        "nothing was done"
    );
    let later = Origin { at: UnixMillis(START.0 + 1_000), ..origin() };
    on.store.create_token(&new("tok_3", "ci", 3), &later).await.unwrap();
    let ids: Vec<_> = on.store.tokens().await.unwrap().into_iter().map(|token| token.id).collect();
    assert_eq!(ids, ["tok_3"], "one that has expired gives its name away");
}

async fn what_is_repeated_is_done_once(on: &Fixture) {
    let first = on.store.create_token(&new("tok_1", "ci", 1), &once("x", "f")).await.unwrap();
    let again = on.store.create_token(&new("tok_2", "ci", 2), &once("x", "f")).await.unwrap();
    assert_eq!((again.id, again.replayed), (first.id, true));
    let other = on.store.create_token(&new("tok_2", "cd", 2), &once("x", "g")).await;
    assert_eq!(other, Err(TokenError::IdempotencyConflict));
    on.store.revoke_token("tok_1", &once("y", "f")).await.unwrap();
    on.store.revoke_token("tok_1", &once("y", "f")).await.unwrap();
    assert!(on.store.tokens().await.unwrap().is_empty());
}

async fn uses_are_noted_once_a_minute(on: &Fixture) {
    on.store.create_token(&new("tok_1", "ci", 1), &origin()).await.unwrap();
    let used = async |at: i64| {
        on.store.note_token_used("tok_1", UnixMillis(START.0 + at)).await.unwrap();
        on.store.tokens().await.unwrap()[0].used_at.unwrap().0 - START.0
    };
    assert_eq!([used(5).await, used(59_000).await, used(60_005).await], [5, 5, 60_005]);
}
