//! Keys and tokens that can be foretold, and the audit log.

use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::Fake;
use crate::{
    domain::{id::KeyId, identity::KeyHash},
    ports::*,
};

#[async_trait]
impl AuditStore for Fake {
    async fn audit_lines(
        &self,
        after: u64,
        limit: u32,
        only: &AuditFilter,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let rows = self.audit(after, u32::MAX).await?.into_iter().map(|row| AuditLine {
            cursor: row.cursor,
            version: row.version.0,
            at: row.at,
            actor: row.actor,
            source: row.source,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            kind: row.kind,
            detail: row.detail,
            before: serde_json::Value::Null,
            after: serde_json::Value::Null,
            previous: None,
            hash: None,
        });
        let fits = |line: &AuditLine| only.kind.as_ref().is_none_or(|kind| *kind == line.kind);
        Ok(rows.filter(fits).take(limit as usize).collect())
    }

    async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        self.0.check()?;
        let link = AuditLink { cursor: 0, hash: "0".repeat(64) };
        Ok(AuditHead { head: link.clone(), at: None, start: 0, anchor: link })
    }
}

impl TokenIssuer for Fake {
    fn generate(&self) -> Result<IssuedToken, String> {
        let n = self.0.made.fetch_add(1, Ordering::SeqCst) + 1;
        let secret = format!("pga_{n}");
        let hash = TokenIssuer::hash(self, secret.as_bytes()).unwrap();
        Ok(IssuedToken { id: format!("tok_{n}"), secret, hash })
    }

    fn hash(&self, presented: &[u8]) -> Option<KeyHash> {
        let mut hash = [0; 32];
        let rest = presented.strip_prefix(b"pga_").filter(|rest| rest.len() <= 32)?;
        hash[..rest.len()].copy_from_slice(rest);
        Some(KeyHash(hash))
    }
}

impl KeyIssuer for Fake {
    fn generate(&self) -> Result<NewKey, String> {
        let n = self.0.made.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(NewKey {
            id: KeyId::parse(&format!("k{n}")).unwrap(),
            secret: format!("pgk_secret{n}"),
            hash: KeyHash([1; 32]),
        })
    }

    fn import(&self, text: &str) -> Result<NewKey, String> {
        if text.len() < 16 {
            return Err("the key is too short: expected at least 128 random bits".into());
        }
        let hash = if text.starts_with("taken") { [9; 32] } else { [2; 32] };
        Ok(NewKey { secret: text.to_owned(), hash: KeyHash(hash), ..KeyIssuer::generate(self)? })
    }
}
