//! Where the rules of a decision are written: file, line, and what stands there.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::domain::{
    catalog::{Catalog, Digest},
    id::PlanId,
    origin::{Origin, PlanOrigins},
    plan::PlanVersion,
    revision::PolicyFiles,
    route::OperationIx,
};

/// What is shown of a line.
const LONGEST_LINE: usize = 200;
/// Policies whose files are kept to show lines of them: those in force, and those on trial.
const KEPT: usize = 2;

/// A line of the policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Rule)]
pub(super) struct RuleView {
    /// The file, relative to the policy folder.
    file: String,
    /// The line, from 1.
    line: u32,
    /// What stands there; `null`: the file's text is not at hand.
    text: Option<String>,
}

/// The files of the policies that decide, kept to show lines of them.
#[derive(Default)]
pub(super) struct Texts(Mutex<Vec<(Digest, Arc<PolicyFiles>)>>);

impl Texts {
    fn known(&self, digest: &Digest) -> Option<Arc<PolicyFiles>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == digest).map(|(_, files)| Arc::clone(files))
    }

    fn keep(&self, digest: &Digest, files: PolicyFiles) -> Arc<PolicyFiles> {
        let files = Arc::new(files);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(0, (digest.clone(), Arc::clone(&files)));
        kept.truncate(KEPT);
        files
    }
}

/// The rules of one catalog.
pub(super) struct Rules {
    catalog: Arc<Catalog>,
    files: Option<Arc<PolicyFiles>>,
}

impl Rules {
    /// Those of a catalog. Lines without their text, where its files cannot be had: an explanation does not fail for that.
    pub(super) async fn of(shared: &Shared, catalog: &Arc<Catalog>) -> Self {
        let digest = &catalog.digest;
        let files = match shared.0.texts.known(digest) {
            Some(files) => Some(files),
            None => find(shared, digest).await.map(|files| shared.0.texts.keep(digest, files)),
        };
        Self { catalog: Arc::clone(catalog), files }
    }

    /// A line with its text.
    pub(super) fn line(&self, at: &Origin) -> RuleView {
        let text = self.files.as_ref().and_then(|files| files.0.get(&*at.file));
        let place = usize::try_from(at.line).unwrap_or(usize::MAX).saturating_sub(1);
        let text = text.and_then(|text| text.lines().nth(place));
        RuleView {
            file: at.file.to_string(),
            line: at.line,
            text: text.map(|text| text.trim().chars().take(LONGEST_LINE).collect()),
        }
    }

    /// Where the route is written; of none, what becomes of requests without one.
    pub(super) fn route(&self, route: Option<OperationIx>) -> Option<RuleView> {
        let origins = &self.catalog.origins;
        let at = route.map_or_else(|| origins.unmatched(), |ix| origins.route(ix));
        at.map(|at| self.line(&at))
    }

    /// Where it is written what a request of this route costs.
    pub(super) fn charge(&self, route: Option<OperationIx>) -> Option<RuleView> {
        let origins = &self.catalog.origins;
        let at = route.map_or_else(|| origins.default_charge(), |ix| origins.charge(ix));
        at.map(|at| self.line(&at))
    }

    /// Where the values of a plan are written. `None`: the files have another version of it.
    pub(super) fn plan(&self, id: &PlanId, version: PlanVersion) -> Option<PlanOrigins<'_>> {
        let in_file = self.catalog.plan(id.as_str()).is_some_and(|plan| plan.version == version);
        self.catalog.origins.plan(id).filter(|_| in_file)
    }
}

async fn find(shared: &Shared, digest: &Digest) -> Option<PolicyFiles> {
    match (shared.folder)() {
        Some((of, files)) if of == *digest => Some(files),
        _ => shared.revisions.policy_files(digest).await.ok().flatten(),
    }
}
