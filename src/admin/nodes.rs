//! The nodes of the installation, and what differs between them.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::{ReadErrors, WriteErrors},
    params::{NoParams, NodePath},
    problem::Problem,
    views::Nothing,
    write::Write,
};
use crate::ports::NodeRow;

/// A node with a heartbeat older than this is taken for dead by the registry.
const LIVE_FOR: Duration = Duration::from_secs(5);

/// The nodes.
#[derive(Serialize, ToSchema)]
#[schema(as = Nodes)]
pub(super) struct NodesView {
    /// The nodes, by name.
    items: Vec<NodeView>,
    /// What an operator should look at.
    warnings: Vec<String>,
}

/// One node.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(super) struct NodeView {
    /// Its name.
    name: String,
    /// This run of it.
    incarnation: String,
    /// Every change up to this version is in force on it.
    applied: u64,
    /// The digest of the policies that it runs.
    digest: String,
    /// Milliseconds since its last heartbeat.
    age_ms: u64,
    /// Whether it was heard of in the last 5 seconds.
    live: bool,
}

impl From<&NodeRow> for NodeView {
    fn from(node: &NodeRow) -> Self {
        Self {
            name: node.name.clone(),
            incarnation: node.incarnation.0.to_string(),
            applied: node.applied.0,
            digest: node.digest.0.to_string(),
            age_ms: u64::try_from(node.beat_age.as_millis()).unwrap_or(u64::MAX),
            live: node.beat_age < LIVE_FOR,
        }
    }
}

fn warnings(nodes: &[NodeRow]) -> Vec<String> {
    let mut by_digest: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes {
        by_digest.entry(&*node.digest.0).or_default().push(&node.name);
    }
    if by_digest.len() < 2 {
        return Vec::new();
    }
    let groups = by_digest.iter().map(|(digest, names)| {
        let short: String = digest.chars().take(12).collect();
        format!("{} on {short}", names.join(", "))
    });
    let groups: Vec<String> = groups.collect();
    vec![format!("the nodes run different policies: {}", groups.join("; "))]
}

/// List the nodes.
#[utoipa::path(get, path = "/v1/nodes", tag = "operations",
    responses((status = 200, description = "The nodes", body = NodesView), ReadErrors))]
pub(super) async fn list_nodes(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<NodesView>, Problem> {
    let nodes = shared.nodes.nodes().await?;
    Ok(Json(NodesView { items: nodes.iter().map(Into::into).collect(), warnings: warnings(&nodes) }))
}

/// What was written off with a node.
#[derive(Serialize, ToSchema)]
#[schema(as = LostNode)]
pub(super) struct LostView {
    /// The node's name.
    name: String,
    /// `lost`.
    state: &'static str,
    /// Leases that it had not returned.
    leases: u64,
    /// Units in them that it may have used without recording it: they count as used from now on, and are shown as
    /// `uncertain`.
    units: u64,
}

/// Declare a node lost: what it holds counts as spent for good, also if it comes back. A node that is alive goes on with
/// new leases.
#[utoipa::path(post, path = "/v1/nodes/{name}/lost", tag = "operations",
    params(("name" = String, Path, description = "The node's name")),
    responses((status = 200, description = "Written off", body = LostView), WriteErrors))]
pub(super) async fn declare_lost(
    State(shared): State<Shared>,
    NodePath(name): NodePath,
    write: Write<Nothing>,
) -> Result<Json<LostView>, Problem> {
    let lost = shared.nodes.declare_lost(&name, &write.ticket.origin).await?;
    tracing::warn!(node = name, leases = lost.slots, units = lost.units, "declared lost");
    Ok(Json(LostView { name, state: "lost", leases: lost.slots, units: lost.units }))
}
