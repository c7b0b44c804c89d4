//! What the demo consists of: set up in a temporary folder, gone when it stops.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{HeaderValue, Method};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{super::client::Call, super::client::Connection, Failure, upstream};
use crate::{
    app::{
        config::Config,
        start::{Node, StartError, start},
    },
    clock::Clock,
    domain::{
        id::{KeyId, TenantId},
        identity::{Credential, Identity},
        period::Window,
        rights::Rights,
        route::Charge,
        units::Units,
    },
    ports::{Directory, Ledger, Policies},
};

/// A tenant of the demo.
pub(super) struct Tenant {
    pub(super) name: &'static str,
    pub(super) plan: &'static str,
    pub(super) key: String,
}

/// Everything that runs.
pub(super) struct Scene {
    pub(super) node: Node,
    pub(super) admin_token: String,
    /// On a plan with everything.
    pub(super) big: Tenant,
    /// On the free plan, with one request left this month.
    pub(super) small: Tenant,
    folder: PathBuf,
    stop: CancellationToken,
}

fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::Refused(error.to_string())
}

/// The usual port, or any other where it is taken.
fn address(port: u16) -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let free = TcpListener::bind(usual).is_ok();
    if free { usual } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
}

impl Scene {
    pub(super) async fn set(policies: &Path) -> Result<Self, Failure> {
        if !policies.is_dir() {
            return Err(Failure::Usage(format!(
                "`{}` is not a folder: run the demo from the repository's folder, or name one with --policies",
                policies.display()
            )));
        }
        let stop = CancellationToken::new();
        let product = start_upstream(&stop).await.map_err(refused)?;
        let folder = std::env::temp_dir().join(format!("plangate-demo-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&folder).map_err(refused)?;
        let admin_token = uuid::Uuid::new_v4().simple().to_string();
        let config = json!({
            "listen": address(8080).to_string(),
            "upstream": format!("http://{product}"),
            "policies": policies,
            "database": format!("sqlite://{}", folder.join("plangate.db").display()),
            "data_dir": folder.join("data"),
            "node": "demo",
            "workers": 2,
            "admin": { "listen": address(8081).to_string(), "token": admin_token },
            "timeouts": { "drain": "2s" },
        });
        let config: Config = serde_json::from_value(config).map_err(refused)?;
        let node = match start(config, stop.clone()).await {
            Ok(node) => node,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(match error {
                    StartError::System(error) => refused(error),
                    error => Failure::Usage(error.to_string()),
                });
            }
        };
        let admin = Admin::of(&node, &admin_token)?;
        let big = admin.tenant("acme", "pro").await?;
        let small = admin.tenant("tiny", "free").await?;
        use_up(&node, &admin, &small).await?;
        Ok(Self { node, admin_token, big, small, folder, stop })
    }

    /// Stops everything and removes the folder.
    pub(super) async fn strike(self) {
        self.node.finish().await;
        self.stop.cancel();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn start_upstream(stop: &CancellationToken) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let stop = stop.clone();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move {
        // It ends with the demo; connections that are then open are cut with the process.
        let serving = std::future::IntoFuture::into_future(axum::serve(listener, upstream::router()));
        stop.run_until_cancelled(serving).await
    });
    Ok(address)
}

/// The demo's own administrator: over HTTP, as any other.
struct Admin {
    connection: Connection,
    token: HeaderValue,
}

impl Admin {
    fn of(node: &Node, token: &str) -> Result<Self, Failure> {
        let connection = Connection::to(node.admin_address);
        let token = HeaderValue::from_str(&format!("Bearer {token}")).map_err(refused)?;
        Ok(Self { connection, token })
    }

    async fn send(&self, method: Method, path: &[&str], body: Value) -> Result<Value, Failure> {
        let call = Call::new(method, path).body(body);
        self.connection.call_as(call, self.token.clone()).await
    }

    async fn tenant(&self, name: &'static str, plan: &'static str) -> Result<Tenant, Failure> {
        let path = ["v1", "tenants", name];
        self.send(Method::PUT, &path, json!({ "name": name })).await?;
        let subscription = ["v1", "tenants", name, "subscription"];
        self.send(Method::PUT, &subscription, json!({ "plan": plan })).await?;
        let keys = ["v1", "tenants", name, "keys"];
        let made = self.send(Method::POST, &keys, json!({ "name": "demo" })).await?;
        let key = made.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Tenant { name, plan, key })
    }

    async fn rates(&self, name: &str, rates: Value) -> Result<Value, Failure> {
        self.send(Method::PUT, &["v1", "tenants", name, "overrides"], json!({ "rates": rates })).await
    }
}

/// Uses up the small tenant's month but for one request, as a month of traffic would have.
async fn use_up(node: &Node, admin: &Admin, tenant: &Tenant) -> Result<(), Failure> {
    // All at once is faster than the plan's rate allows: lifted for this moment.
    admin.rates(tenant.name, json!({ "requests": "unlimited" })).await?;
    let rights = rights(node, tenant).await?;
    let meter = rights.catalog.meter_ix("requests");
    let limit = meter
        .zip(rights.entitlement.as_ref())
        .and_then(|(meter, entitlement)| entitlement.terms(meter).quota)
        .and_then(|quota| quota.hard_limit(Window::Month));
    if let (Some(meter), Some(limit)) = (meter, limit) {
        let units = limit.saturating_sub(Units::ONE);
        if units > Units::ZERO {
            let charge = [Charge { meter, units }];
            let hold = node.ledger.charge(&rights, &charge, node.clock.now()).wait().await;
            hold.map_err(refused)?.keep();
        }
    }
    admin.rates(tenant.name, json!({})).await.map(drop)
}

async fn rights(node: &Node, tenant: &Tenant) -> Result<Arc<Rights>, Failure> {
    let credential = Credential::ApiKey { id: KeyId::parse("demo").map_err(refused)? };
    let identity = Identity::new(TenantId::parse(tenant.name).map_err(refused)?, credential);
    node.directory
        .resolve(&identity, &node.policies.catalog(), node.clock.monotonic(), node.clock.now())
        .wait()
        .await
        .map_err(refused)
}
