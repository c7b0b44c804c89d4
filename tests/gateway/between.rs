//! What falls between the areas: rules of the contract that hold on every way through the gateway.

use crate::support::{
    client::{ask, get},
    process::Setup,
    upstream::Upstream,
};

#[tokio::test]
async fn a_plangate_key_is_not_forwarded_on_any_way() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let preflight = ask("OPTIONS", "/v1/messages")
        .with("origin", "https://app.example")
        .with("access-control-request-method", "POST");
    for (way, request) in
        [("metered", get("/v1/messages")), ("public", get("/healthz")), ("preflight", preflight)]
    {
        for presented in [request.clone().key(&key), request.bearer(&key)] {
            assert_eq!(presented.send(gateway.data).await.status, 200, "{way}");
            let seen = upstream.last();
            assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (None, None), "{way}");
        }
    }
    let basic = get("/healthz").with("authorization", "Basic eDp5").send(gateway.data).await;
    assert_eq!(basic.status, 200);
    assert_eq!(upstream.last().header("authorization"), Some("Basic eDp5"), "other schemes pass untouched");
}
