//! A store in which no policies were ever applied: what the other calls need of one.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    domain::{
        catalog::Digest,
        cost::CostSoFar,
        id::TenantId,
        period::Period,
        revision::{Deployment, PolicyFiles, Revision, RevisionNumber},
        rights::Rights,
        statement::{BillingFacts, Counted},
        time::{UnixMillis, Version},
    },
    ports::{
        Bills, ClosedStatement, Closing, DeployCommand, DeployError, Deployed, MeterUsage, Origin,
        RevisionStore, ShadowBy, ShadowReport, ShadowRow, ShadowStore, ShadowSum, ShadowTotals,
        StatementHead, StatementStore, StoreError,
    },
};

pub struct NoRevisions;

#[async_trait]
impl RevisionStore for NoRevisions {
    async fn deployment(&self) -> Result<Deployment, StoreError> {
        Ok(Deployment::default())
    }
    async fn policy_files(&self, _: &Digest) -> Result<Option<PolicyFiles>, StoreError> {
        Ok(None)
    }
    async fn keep_policy_files(&self, _: &Digest, _: &PolicyFiles) -> Result<(), StoreError> {
        Err(StoreError::Full("no policies are kept".to_owned()))
    }
    async fn deploy(&self, _: &DeployCommand, _: &Origin) -> Result<Deployed, DeployError> {
        Err(StoreError::Full("no policies are kept".to_owned()).into())
    }
    async fn revisions(&self, _: Option<RevisionNumber>, _: u32) -> Result<Vec<Revision>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ShadowStore for NoRevisions {
    async fn keep_shadow(&self, _: &ShadowReport) -> Result<(), StoreError> {
        Ok(())
    }
    async fn shadow_totals(&self, _: Version) -> Result<ShadowTotals, StoreError> {
        Ok(ShadowTotals::default())
    }
    async fn shadow_rows(&self, _: Version, _: u64, _: u32) -> Result<Vec<ShadowRow>, StoreError> {
        Ok(Vec::new())
    }
    async fn shadow_sums(
        &self,
        _: Version,
        _: ShadowBy,
        _: u64,
        _: u32,
    ) -> Result<Vec<ShadowSum>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl StatementStore for NoRevisions {
    async fn billing_facts(&self, _: &TenantId, _: Period) -> Result<Vec<BillingFacts>, StoreError> {
        Ok(Vec::new())
    }
    async fn counted(&self, _: &TenantId, _: Period, _: bool) -> Result<Counted, StoreError> {
        Ok(Counted::default())
    }
    async fn to_close(&self, _: UnixMillis, _: u32) -> Result<Vec<(TenantId, Option<Period>)>, StoreError> {
        Ok(Vec::new())
    }
    async fn next_to_close(&self, _: &TenantId) -> Result<Option<Period>, StoreError> {
        Ok(None)
    }
    async fn close_period(&self, _: &Closing) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn closed_statement(&self, _: &TenantId, _: &str) -> Result<Option<ClosedStatement>, StoreError> {
        Ok(None)
    }
    async fn closed_statements(
        &self,
        _: &TenantId,
        _: Option<UnixMillis>,
        _: u32,
    ) -> Result<Vec<StatementHead>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Bills for NoRevisions {
    async fn so_far(
        &self,
        _: &Arc<Rights>,
        _: &[MeterUsage],
        _: UnixMillis,
    ) -> Result<Option<CostSoFar>, StoreError> {
        Ok(None)
    }
}
