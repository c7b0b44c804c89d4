//! A store in which no policies were ever applied: what the other calls need of one.

use async_trait::async_trait;

use crate::{
    domain::{
        catalog::Digest,
        revision::{Deployment, PolicyFiles, Revision, RevisionNumber},
    },
    ports::{DeployCommand, DeployError, Deployed, Origin, RevisionStore, StoreError},
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
