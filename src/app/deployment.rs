//! What the database says of the policies, put in force on this node.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{
    in_force::InForce,
    plan_versions::{Keep, PlanVersions, Whole},
};
use crate::{
    domain::{
        catalog::{Candidate, Catalog, Digest, Stamp},
        revision::{Deployment, Rollout},
    },
    freshness::Freshness,
    ledger::EscrowLedger,
    policy::{Compiler, Watched},
    ports::{Deployments, Finding, Policies, PolicyCompiler, RevisionStore, StoreError},
};

/// Compiled policies that are kept, as the next change mostly needs them again.
const KEPT: usize = 3;

/// Makes catalogs of what the database says.
pub(super) struct Deployer {
    store: Arc<dyn RevisionStore>,
    versions: Arc<PlanVersions>,
    compiled: Mutex<Vec<Arc<Catalog>>>,
}

impl Deployer {
    pub(super) const fn new(store: Arc<dyn RevisionStore>, versions: Arc<PlanVersions>) -> Self {
        Self { store, versions, compiled: Mutex::new(Vec::new()) }
    }

    /// What is in force on a node that begins: what the database says, or else what its folder says.
    ///
    /// # Errors
    /// [`StoreError`]: to be tried again.
    pub(super) async fn begin(&self, watched: &Watched) -> Result<InForce, StoreError> {
        let deployment = self.store.deployment().await?;
        let whole = match self.whole(&deployment).await? {
            Some(whole) => whole,
            None if watched.is_a_folder() => self.versions.complete(&watched.catalog(), Keep::All).await?,
            None => Whole { catalog: watched.catalog(), damaged: Vec::new() },
        };
        Ok(InForce::with(whole))
    }

    /// The catalog that decides, with the one that is tried beside it; `None`: there never was a revision.
    async fn whole(&self, deployment: &Deployment) -> Result<Option<Whole>, StoreError> {
        let Some(enforced) = &deployment.enforced else { return Ok(None) };
        let compiled = self.compiled(enforced).await?;
        let mut whole = self.versions.complete(&compiled, Keep::All).await?;
        let candidate = match &deployment.candidate {
            Some(trial) => {
                let compiled = self.compiled(&trial.digest).await?;
                let keep = match trial.rollout {
                    Rollout::Shadow => Keep::Nothing,
                    Rollout::Staged(_) => Keep::Unknown,
                };
                let tried = self.versions.complete(&compiled, keep).await?;
                whole.damaged.extend(tried.damaged);
                let catalog = Catalog {
                    stamp: Stamp::new(),
                    deployed: deployment.version,
                    ..Catalog::clone(&tried.catalog)
                };
                let rollout = trial.rollout.clone();
                Some(Arc::new(Candidate { catalog: Arc::new(catalog), rollout }))
            }
            None => None,
        };
        // Another stamp each time: what was compiled from these policies before knows of no candidate, or of another.
        let catalog = Catalog {
            stamp: Stamp::new(),
            deployed: deployment.version,
            candidate,
            ..Catalog::clone(&whole.catalog)
        };
        Ok(Some(Whole { catalog: Arc::new(catalog), ..whole }))
    }

    async fn compiled(&self, digest: &Digest) -> Result<Arc<Catalog>, StoreError> {
        let known = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalog) = known().iter().find(|catalog| catalog.digest == *digest) {
            return Ok(Arc::clone(catalog));
        }
        let files = self.store.policy_files(digest).await?;
        let files =
            files.ok_or_else(|| StoreError::Corrupt(format!("the policies `{}` are missing", digest.0)))?;
        let compiled = tokio::task::spawn_blocking(move || Compiler.compile(&files)).await;
        let compiled =
            compiled.map_err(|error| StoreError::Corrupt(format!("the policies cannot be read: {error}")))?;
        let catalog = match compiled {
            Ok((catalog, _)) if catalog.digest == *digest => Arc::new(catalog),
            Ok(_) => return Err(StoreError::Corrupt(format!("the policies `{}` were altered", digest.0))),
            Err(findings) => return Err(unusable(digest, &findings)),
        };
        let mut known = known();
        known.insert(0, Arc::clone(&catalog));
        known.truncate(KEPT);
        Ok(catalog)
    }
}

/// Policies that another version of the program has taken, and this one cannot use.
fn unusable(digest: &Digest, findings: &[Finding]) -> StoreError {
    let first =
        findings.iter().find(|finding| finding.severity == "error").map_or_else(String::new, |finding| {
            let line = finding.place.map_or(0, |(line, _)| line);
            format!(": {}:{line}: {}", finding.file, finding.message)
        });
    let digest: String = digest.0.chars().take(12).collect();
    StoreError::Corrupt(format!("this version cannot use the policies `{digest}`{first}"))
}

/// Keeps a node to what the database says.
pub(super) struct Obedient {
    pub(super) deployer: Arc<Deployer>,
    pub(super) in_force: Arc<InForce>,
    pub(super) ledger: EscrowLedger,
    pub(super) freshness: Arc<Freshness>,
}

#[async_trait]
impl Deployments for Obedient {
    async fn obey(&self) -> Result<(), StoreError> {
        let _turn = self.in_force.turn().await;
        let deployment = self.deployer.store.deployment().await?;
        let in_force = self.in_force.catalog().deployed;
        if deployment.version > in_force
            && let Some(whole) = self.deployer.whole(&deployment).await?
        {
            self.ledger.apply_all(Arc::clone(&whole.catalog));
            self.in_force.put_whole(&whole);
            let digest = &whole.catalog.digest.0;
            tracing::info!(revision = deployment.number.0, %digest, "policies in force");
        }
        self.freshness.set_policies(self.in_force.catalog().deployed);
        Ok(())
    }
}
