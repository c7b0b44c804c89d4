//! What passes between a client and the upstream, and that it is charged once: heads, both bodies, and every ending.

mod bodies;
mod charging;
mod headers;
mod protocols;

use crate::support::{
    client::Reply,
    origin::Origin,
    process::{Gateway, Setup},
};

/// A gateway in front of `origin`, and a key of the tenant `acme`.
async fn before(origin: &Origin, plan: &str) -> (Setup, Gateway, String) {
    let setup = Setup::at(&origin.url());
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", plan).await;
    (setup, gateway, key)
}

async fn used(gateway: &Gateway) -> u64 {
    gateway.admin.used("acme", "requests").await
}

/// What is left of the month, as the answer has it.
fn left(reply: &Reply) -> &str {
    let limit = reply.header("ratelimit").unwrap();
    limit.strip_prefix("\"requests\";r=").unwrap().split_once(';').unwrap().0
}
