//! Tenants, keys, changes, audit and usage: what is read of them.

use async_trait::async_trait;

use super::{
    engine::Lane,
    rows,
    session::{Arg, Record, Sql},
    sql::SqlStore,
    tenant_row::{TENANT, tenant, tenant_rows},
};
use crate::{
    domain::{
        command::Command,
        id::{KeyId, TenantId},
        identity::{ApiKey, KeyHash},
        period::Period,
        tenant::Tenant,
        time::Version,
    },
    ports::{
        AuditRow, ChangeRow, Committed, ExecuteError, KeyStore, Origin, Snapshot, StoreError, TenantStore,
        UsageRow,
    },
};

const TENANTS: Sql = tenant_rows!(
    "CAST(0 AS BIGINT)",
    "tenants t LEFT JOIN subscriptions s ON s.tenant = t.id WHERE t.id > $1 ORDER BY t.id LIMIT $2"
);
const KEYS: Sql = Sql::same(
    "SELECT CAST(0 AS BIGINT), id, tenant, name, expires_ms, imported, created_ms \
     FROM keys WHERE tenant = $1 ORDER BY created_ms, id",
);
const CHANGES: Sql = Sql::same(
    "SELECT version, tenant, kind, at_ms FROM changes WHERE version > $1 \
     ORDER BY version, tenant, kind LIMIT $2",
);
const AUDIT: Sql = Sql::same(
    "SELECT place, version, at_ms, actor, source, tenant, kind, detail \
     FROM audit WHERE place > $1 ORDER BY place LIMIT $2",
);
const USAGE: Sql = Sql::same(
    "SELECT meter, hour_ms, CAST(sum(units) AS BIGINT), CAST(0 AS BIGINT) FROM usage_hours \
     WHERE tenant = $1 AND hour_ms >= $2 AND hour_ms < $3 GROUP BY hour_ms, meter \
     UNION ALL SELECT meter, day_ms, units, CAST(1 AS BIGINT) FROM usage_days \
     WHERE tenant = $1 AND day_ms >= $2 AND day_ms < $3 ORDER BY 2, 1, 4",
);

impl SqlStore {
    pub(super) async fn list<T: Send>(
        &self,
        sql: Sql,
        args: &[Arg<'_>],
        read: fn(&Record) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.call(async { self.engine.read(Lane::Data, sql, args).await?.iter().map(read).collect() }).await
    }

    /// A value and the head's version, read by one statement and so in one snapshot.
    async fn snapshot<T: Send>(
        &self,
        sql: Sql,
        arg: Arg<'_>,
        read: fn(&Record) -> Result<Option<T>, StoreError>,
    ) -> Result<Snapshot<Option<T>>, StoreError> {
        self.call(async {
            let rows = self.engine.read(Lane::Data, sql, &[arg]).await?;
            let row = rows.first().ok_or_else(|| StoreError::Corrupt("the version row is missing".into()))?;
            Ok(Snapshot { version: rows::version(row, 0)?, value: read(row)? })
        })
        .await
    }
}

#[async_trait]
impl TenantStore for SqlStore {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        self.snapshot(TENANT, Arg::Text(id.as_str()), tenant).await
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let after = after.map_or("", TenantId::as_str);
        let rows = self.list(TENANTS, &[Arg::Text(after), Arg::Int(i64::from(limit))], tenant).await?;
        Ok(rows.into_iter().flatten().collect())
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        let rows = self.list(KEYS, &[Arg::Text(tenant.as_str())], rows::key).await?;
        Ok(rows.into_iter().flatten().collect())
    }

    async fn execute(&self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError> {
        self.call(self.carry_out(command, origin)).await
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<ChangeRow>, StoreError> {
        let args = [Arg::Int(super::session::signed(after.0)), Arg::Int(i64::from(limit))];
        self.list(CHANGES, &args, |row| rows::change(row, 0)).await
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let args = [Arg::Int(super::session::signed(after)), Arg::Int(i64::from(limit))];
        self.list(AUDIT, &args, rows::audit).await
    }

    async fn usage(&self, tenant: &TenantId, span: Period) -> Result<Vec<UsageRow>, StoreError> {
        let args = [Arg::Text(tenant.as_str()), Arg::Int(span.start.0), Arg::Int(span.end.0)];
        self.list(USAGE, &args, rows::usage).await
    }
}

#[async_trait]
impl KeyStore for SqlStore {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        self.snapshot(rows::KEY_BY_HASH, Arg::Bytes(&hash.0), rows::key).await
    }

    async fn key_by_id(&self, id: &KeyId) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        self.snapshot(rows::KEY_BY_ID, Arg::Text(id.as_str()), rows::key).await
    }

    async fn key_secret(&self) -> Result<[u8; 32], StoreError> {
        self.call(self.read_key_secret()).await
    }
}
