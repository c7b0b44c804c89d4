//! Codes of what fails behind the gateway, or in it: the database, the upstream, room.

use serde_json::json;
use sqlx::Connection;
use tokio::net::TcpListener;

use super::{expect, token_of, with_tokens};
use crate::support::{
    client::{Wire, get},
    origin::Origin,
    process::{Setup, eventually},
    upstream::Upstream,
};

/// Puts a table of the gateway's database out of its reach, or back.
async fn rename(setup: &Setup, from: &str, to: &str) {
    let file = setup.path("data/plangate.db");
    let mut database =
        sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let statement = format!("ALTER TABLE {from} RENAME TO {to}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_fails() {
    let upstream = Upstream::start().await;
    let setup = with_tokens(Setup::before(&upstream));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let second = gateway.admin.key("acme").await;
    assert_eq!(get("/v1/me").key(&key).send(gateway.data).await.status, 200);

    rename(&setup, "slots", "slots_away").await;
    let spent = get("/v1/messages").key(&key).send(gateway.data).await;
    expect(&spent, 503, "ledger-unavailable", &["tenant", "plan", "retry_after"]);
    assert_eq!(get("/v1/me").key(&key).send(gateway.data).await.status, 200, "what costs nothing passes");
    rename(&setup, "slots_away", "slots").await;

    rename(&setup, "keys", "keys_away").await;
    let unread = get("/v1/me").key(&second).send(gateway.data).await;
    expect(&unread, 503, "rights-unavailable", &["retry_after"]);
    rename(&setup, "keys_away", "keys").await;
    rename(&setup, "tenants", "tenants_away").await;
    let unread = get("/v1/me").bearer(&token_of("other")).send(gateway.data).await;
    expect(&unread, 503, "rights-unavailable", &["tenant", "retry_after"]);
    rename(&setup, "tenants_away", "tenants").await;

    assert_eq!(upstream.count(), 2);
    eventually("the ledger grants again", async || {
        get("/v1/messages").key(&key).send(gateway.data).await.status == 200
    })
    .await;
    assert_eq!(gateway.admin.used("acme", "requests").await, 1, "the refused ones cost nothing");
}

#[tokio::test]
async fn more_connections_than_there_may_be() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/caps", json!({ "connections": 1 }));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let mut first = Wire::to(gateway.data).await;
    assert_eq!(get("/v1/me").key(&key).send_on(&mut first, gateway.data).await.status, 200);
    let refused = get("/v1/messages").key(&key).send(gateway.data).await;
    expect(&refused, 503, "overloaded", &["retry_after"]);
    assert_eq!(upstream.count(), 1);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);
    drop(first);
    eventually("there is room again", async || {
        get("/v1/me").key(&key).send(gateway.data).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn upstreams_that_do_not_answer() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let setup = Setup::at(&format!("http://{nobody}"));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let refused = get("/v1/messages").key(&key).send(gateway.data).await;
    expect(&refused, 502, "upstream-unreachable", &["tenant", "plan"]);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0, "provably not seen");
    let public = get("/healthz").send(gateway.data).await;
    expect(&public, 502, "upstream-unreachable", &[]);

    let silent = Origin::scripted(|_, mut wire| async move { while wire.request().await.is_some() {} }).await;
    let setup =
        Setup::at(&silent.url()).with("/timeouts", json!({ "response_head": "200ms", "drain": "5s" }));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let late = get("/v1/messages").key(&key).send(gateway.data).await;
    assert_eq!((late.status, late.code().as_str()), (504, "upstream-timeout"));
    let limit = late.header("ratelimit").expect("a metered answer");
    assert!(limit.starts_with("\"requests\";r=4;t="), "{limit}");
    assert_eq!(gateway.admin.used("acme", "requests").await, 1, "it may have been seen");
    assert_eq!(silent.connections(), 1, "and is not sent again");
}
