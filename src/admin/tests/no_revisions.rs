//! A store in which no policies were ever applied: what the other calls need of one.

use async_trait::async_trait;

use crate::{
    domain::{
        catalog::Digest,
        revision::{Deployment, PolicyFiles, Revision, RevisionNumber},
        time::Version,
    },
    ports::{
        DeployCommand, DeployError, Deployed, Origin, RevisionStore, ShadowBy, ShadowReport, ShadowRow,
        ShadowStore, ShadowSum, ShadowTotals, StoreError,
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
