//! The administrator: calls the admin API over its socket.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::client::{Reply, ask};

/// The token of every test's gateway.
pub const TOKEN: &str = "test-admin-token";

/// The admin API of one node.
#[derive(Debug, Clone, Copy)]
pub struct Admin(pub SocketAddr);

impl Admin {
    pub async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        let ask = ask(method, path).bearer(TOKEN);
        let ask = if body.is_null() { ask } else { ask.json(&body) };
        ask.send(self.0).await
    }

    /// A call that must succeed.
    pub async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.call(method, path, body).await;
        assert!(reply.status < 300, "{method} {path}: {} {}", reply.status, reply.text());
        reply.json()
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, Value::Null).await
    }

    /// Makes a tenant on a plan and returns a key of it.
    pub async fn tenant(&self, name: &str, plan: &str) -> String {
        self.ok("PUT", &format!("/v1/tenants/{name}"), json!({})).await;
        self.subscribe(name, plan).await;
        self.key(name).await
    }

    pub async fn subscribe(&self, name: &str, plan: &str) -> Value {
        self.ok("PUT", &format!("/v1/tenants/{name}/subscription"), json!({ "plan": plan })).await
    }

    pub async fn key(&self, name: &str) -> String {
        let made = self.ok("POST", &format!("/v1/tenants/{name}/keys"), json!({ "name": "test" })).await;
        made["key"].as_str().unwrap().to_owned()
    }

    pub async fn overrides(&self, name: &str, overrides: Value) -> Value {
        self.ok("PUT", &format!("/v1/tenants/{name}/overrides"), overrides).await
    }

    /// Units used this month.
    pub async fn used(&self, name: &str, meter: &str) -> u64 {
        let rights = self.get(&format!("/v1/tenants/{name}/rights")).await;
        rights["quotas"][meter]["used"].as_u64().unwrap_or_else(|| panic!("{rights}"))
    }
}
