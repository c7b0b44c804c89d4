//! Plans, features and quotas in front of an axum app, in the app's own process: no proxy, no database.
//!
//! `cargo run --example embedded [PORT]`

use std::{error::Error, path::Path, sync::Arc};

use axum::{Extension, Router, routing::get};
use plangate::{
    app::embed::Embedded,
    domain::{command::Change, id::TenantId},
    pipeline::request::Subject,
    store::memory::Memory,
};
use tokio::net::TcpListener;
use tower::Layer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).map_or(Ok(3000), |port| port.parse::<u16>())?;
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies");

    // What decides: policies from a folder, tenants and usage in memory.
    let plangate = Embedded::open(&policies, Arc::new(Memory::new()?)).await?;
    let acme = TenantId::parse("acme")?;
    plangate.change(&acme, Change::Enroll { plan: "hobby".parse()? }).await?;
    let key = plangate.create_key(&acme).await?;

    // The app, and the stages around all of it.
    let app = Router::new()
        .route("/healthz", get(|| async { "fine\n" }))
        .route("/notes", get(notes))
        .route("/search", get(|| async { "found\n" }));
    let app = plangate.gateway().embed().layer(app);

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let at = listener.local_addr()?;
    println!("curl -i http://{at}/healthz                      # public");
    println!("curl -i http://{at}/notes                        # 401: no key");
    println!("curl -i http://{at}/notes  -H 'x-api-key: {key}'   # passes; 429 after five");
    println!("curl -i http://{at}/search -H 'x-api-key: {key}'   # 403: not in the plan");
    let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, Router::new().fallback_service(app)).with_graceful_shutdown(stop).await?;
    plangate.finish().await;
    Ok(())
}

async fn notes(Extension(subject): Extension<Subject>) -> String {
    format!("the notes of {}\n", subject.tenant())
}
