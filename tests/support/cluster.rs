//! Several processes on one database, each of which may be killed and started again in its own folder.

use std::process::Command;

use serde_json::Value;

use super::{
    admin::Admin,
    load::Place,
    process::{Gateway, Setup},
    upstream::Upstream,
};

/// The nodes `a`, `b`, ...
pub struct Cluster {
    nodes: Vec<Node>,
}

struct Node {
    // Before its set-up, so that it ends before its folder does.
    gateway: Option<Gateway>,
    setup: Setup,
    place: Place,
}

/// A node with one worker, which is not started yet.
pub fn node(upstream: &Upstream, database: &str, name: &str) -> Setup {
    Setup::before(upstream).with("/database", database).with("/node", name).with("/workers", 1)
}

impl Cluster {
    /// Three nodes, started at the same time.
    pub async fn start(upstream: &Upstream, database: &str) -> Self {
        Self::of(["a", "b", "c"].map(|name| node(upstream, database, name)).into()).await
    }

    pub async fn of(setups: Vec<Setup>) -> Self {
        let gateways = futures_util::future::join_all(setups.iter().map(Setup::start)).await;
        let nodes = setups.into_iter().zip(gateways).map(|(setup, gateway)| {
            let place = Place::at(gateway.data);
            Node { gateway: Some(gateway), setup, place }
        });
        Self { nodes: nodes.collect() }
    }

    pub fn node(&self, node: usize) -> &Gateway {
        self.nodes[node].gateway.as_ref().expect("the node was killed")
    }

    pub fn setup(&self, node: usize) -> &Setup {
        &self.nodes[node].setup
    }

    pub fn setup_mut(&mut self, node: usize) -> &mut Setup {
        &mut self.nodes[node].setup
    }

    /// The admin API of the first node that lives.
    pub fn admin(&self) -> Admin {
        self.alive().next().expect("a node lives").admin
    }

    pub fn alive(&self) -> impl Iterator<Item = &Gateway> {
        self.nodes.iter().filter_map(|node| node.gateway.as_ref())
    }

    /// Where all nodes are, whether they live or not.
    pub fn places(&self) -> Vec<Place> {
        self.nodes.iter().map(|node| node.place.clone()).collect()
    }

    pub fn place(&self, node: usize) -> Place {
        self.nodes[node].place.clone()
    }

    /// `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].gateway.take().expect("the node was killed before").kill();
    }

    /// Starts a node that was killed in the folder that it had.
    pub async fn start_again(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        assert!(node.gateway.is_none(), "the node lives");
        let gateway = node.setup.start().await;
        node.place.moved(gateway.data);
        node.gateway = Some(gateway);
    }

    /// Takes in a node that was started from its set-up by the test itself.
    pub fn adopt(&mut self, node: usize, gateway: Gateway) {
        self.nodes[node].place.moved(gateway.data);
        self.nodes[node].gateway = Some(gateway);
    }

    /// Makes a tenant that may make so many requests a month, and returns a key of it.
    pub async fn limited(&self, tenant: &str, limit: u64) -> String {
        let key = self.admin().tenant(tenant, "big").await;
        self.limit(tenant, limit).await;
        key
    }

    pub async fn limit(&self, tenant: &str, limit: u64) -> Value {
        let quota = serde_json::json!({ "quotas": { "requests": { "limit": limit } } });
        self.admin().overrides(tenant, quota).await
    }
}

/// How a tenant's requests stand in the month, as one node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub used: u64,
    pub uncertain: u64,
    pub remaining: u64,
}

pub async fn standing(admin: Admin, tenant: &str) -> Standing {
    let rights = admin.get(&format!("/v1/tenants/{tenant}/rights")).await;
    let number = |name: &str| {
        let value = &rights["quotas"]["requests"][name];
        value.as_u64().unwrap_or_else(|| panic!("no {name}: {rights}"))
    };
    Standing {
        limit: number("limit"),
        used: number("used"),
        uncertain: number("uncertain"),
        remaining: number("remaining"),
    }
}

/// Requests of the month by the usage call.
pub async fn usage(admin: Admin, tenant: &str) -> u64 {
    let usage = admin.get(&format!("/v1/tenants/{tenant}/usage?bucket=hour")).await;
    let rows = usage["rows"].as_array().unwrap_or_else(|| panic!("{usage}"));
    rows.iter().filter(|row| row["meter"] == "requests").map(|row| row["units"].as_u64().unwrap()).sum()
}

/// Runs one of the shell's commands against an admin API: its exit code, its output and its complaints.
pub async fn shell(admin: Admin, words: &[&str]) -> (i32, String, String) {
    let mut command: Command = super::process::plangate();
    command.args(words).env("PLANGATE_ADMIN_URL", format!("http://{}", admin.0));
    command.env("PLANGATE_ADMIN_TOKEN", super::admin::TOKEN);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
