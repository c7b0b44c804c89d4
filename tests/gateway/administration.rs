//! The admin API (contract, section 5) over its socket, on SQLite and on PostgreSQL.

use serde_json::Value;

use crate::support::{
    admin::TOKEN,
    client::{Reply, ask, get},
    postgres::Postgres,
    process::{Gateway, Setup},
    upstream::Upstream,
};

/// Runs each scenario of a module on both databases.
macro_rules! on_both_databases {
    ($($scenario:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(super::Place::on_sqlite().await).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(super::Place::on_postgres().await).await;
            })*
        }
    };
}

mod access;
mod asking;
mod keys;
mod life;
mod once;
mod refusals;
mod reports;
mod tenants;

/// A gateway, its upstream and everything it keeps.
pub struct Place {
    pub gateway: Gateway,
    pub upstream: Upstream,
    // What the gateway was started from lives as long as it runs.
    _setup: Setup,
}

impl Place {
    pub async fn on_sqlite() -> Self {
        let upstream = Upstream::start().await;
        let setup = Setup::before(&upstream);
        Self::of(setup, upstream).await
    }

    pub async fn on_postgres() -> Self {
        let upstream = Upstream::start().await;
        let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
        Self::of(setup, upstream).await
    }

    async fn of(setup: Setup, upstream: Upstream) -> Self {
        Self { gateway: setup.start().await, upstream, _setup: setup }
    }

    /// A call of the admin API with headers of its own.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut ask = ask(method, path).bearer(TOKEN).body(body);
        for (name, value) in headers {
            ask = ask.with(name, value);
        }
        ask.send(self.gateway.admin.0).await
    }

    /// A call that must succeed with this status.
    pub async fn done(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let reply = self.gateway.admin.call(method, path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        reply.json()
    }

    /// A call that must be refused with this status and code; its problem.
    pub async fn refused(&self, method: &str, path: &str, body: &str, status: u16, code: &str) -> Value {
        let reply = self.send(method, path, &[], body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{method} {path} {body}: {}",
            reply.text()
        );
        assert_eq!(reply.json()["request_id"].as_str(), reply.header("x-request-id"));
        reply.json()
    }

    /// The status and code with which the gateway answers a tenant's request.
    pub async fn answer(&self, method: &str, path: &str, key: &str) -> (u16, String) {
        outcome(&ask(method, path).key(key).send(self.gateway.data).await)
    }

    /// Sends `/v1/messages` until it is refused, at most `most` times; how many passed, and the refusal's code.
    pub async fn use_up(&self, key: &str, most: u64) -> (u64, String) {
        for passed in 0..most {
            let reply = get("/v1/messages").key(key).send(self.gateway.data).await;
            if reply.status != 200 {
                return (passed, reply.code());
            }
        }
        (most, String::new())
    }
}

/// The status and, of a refusal, the code.
pub fn outcome(reply: &Reply) -> (u16, String) {
    let code = if reply.status == 200 || reply.body.is_empty() { String::new() } else { reply.code() };
    (reply.status, code)
}

/// Whether a text is an instant in UTC, such as `2026-01-31T00:00:00Z`.
pub fn is_instant(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok())
}

/// What the clock says; the gateway under test has the same.
#[allow(clippy::disallowed_methods, reason = "the gateway is another process: there is no clock to inject")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
