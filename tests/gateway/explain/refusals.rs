//! What a node remembers of what it refused.

use super::*;
use crate::support::cluster::{Cluster, node};

#[tokio::test]
async fn a_refusal_is_found_by_the_id_that_the_client_got() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).start().await;
    let admin = gateway.admin;
    let key = admin.tenant("acme", "small").await;
    for _ in 0..5 {
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    }
    // More connections than workers: whichever refuses, it is found.
    for _ in 0..8 {
        let reply = ask("POST", "/v1/messages?token=s3cret").key(&key).send(gateway.data).await;
        let (problem, id) = (reply.json(), reply.header("x-request-id").unwrap().to_owned());
        let found = admin.get(&format!("/v1/refusals/{id}")).await;
        for field in [
            "request_id",
            "tenant",
            "plan",
            "code",
            "status",
            "detail",
            "meter",
            "window",
            "limit",
            "used",
            "resets_at",
        ] {
            assert_eq!(found[field], problem[field], "{field}: {found}");
        }
        assert_eq!((&found["method"], &found["path"]), (&json!("POST"), &json!("/v1/messages")));
        assert_eq!((&found["route"], &found["node"]), (&json!("* /v1/messages"), &json!("a")));
        assert_eq!(found["version"], admin.get("/v1/tenants/acme").await["version"]);
        assert_eq!(found["digest"], admin.get("/v1/policy").await["digest"]);
        assert!(!found.to_string().contains("s3cret") && !found.to_string().contains(&key), "{found}");
    }
    assert_eq!(get("/v1/messages").send(gateway.data).await.status, 401);
    let wrong = get("/v1/messages").key("pgk_0").send(gateway.data).await;
    let found = admin.get(&format!("/v1/refusals/{}", wrong.header("x-request-id").unwrap())).await;
    assert!(found["reason"].is_string() && found["tenant"].is_null(), "{found}");

    let list = async |query: &str| admin.get(&format!("/v1/refusals?{query}")).await["items"].clone();
    assert_eq!(list("").await.as_array().unwrap().len(), 10);
    assert_eq!(list("").await[0]["request_id"], found["request_id"], "the newest first");
    assert_eq!(list("tenant=acme").await.as_array().unwrap().len(), 8);
    assert_eq!(list("tenant=acme&limit=3").await.as_array().unwrap().len(), 3);
    assert_eq!(list("code=credential-missing").await.as_array().unwrap().len(), 1);
    assert_eq!(list("tenant=nobody").await, json!([]));
    for query in ["limit=0", "limit=501", "tenants=acme"] {
        let refused = admin.call("GET", &format!("/v1/refusals?{query}"), Value::Null).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "parameter-invalid"), "{query}");
    }
    let bare = get("/v1/refusals").send(admin.0).await;
    assert_eq!(bare.status, 401);
}

#[tokio::test]
async fn who_asks_the_wrong_node_is_told_which_others_there_are() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups = ["a", "b"].map(|name| node(&upstream, &database, name));
    let cluster = Cluster::of(setups.into()).await;
    let (first, second) = (cluster.node(0), cluster.node(1));
    let refused = get("/v1/messages").send(first.data).await;
    let path = format!("/v1/refusals/{}", refused.header("x-request-id").unwrap());
    assert_eq!(first.admin.get(&path).await["code"], "credential-missing");
    let elsewhere = second.admin.call("GET", &path, Value::Null).await;
    assert_eq!((elsewhere.status, elsewhere.code().as_str()), (404, "refusal-not-found"));
    let detail = elsewhere.json()["detail"].as_str().unwrap().to_owned();
    for part in ["node `b`", "each node remembers its own", "10 minutes", "ask `a`, too"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let odd = second.admin.call("GET", &format!("/v1/refusals/{}", "x".repeat(129)), Value::Null).await;
    assert_eq!((odd.status, odd.code().as_str()), (400, "path-invalid"));
}
