//! Which policies decide, in memory.

use async_trait::async_trait;

use super::{Memory, once::Outcome, state::State, take};
use crate::{
    domain::{
        catalog::Digest,
        revision::{Deployment, PolicyFiles, Revision, RevisionNumber},
        time::Version,
    },
    ports::{AuditRow, ChangeRow, DeployCommand, DeployError, Deployed, Origin, RevisionStore, StoreError},
    store::revisions::{IMPORT, altered, begun, deployment, detail, feed_kind},
};

impl State {
    fn deploy(&mut self, command: &DeployCommand, origin: &Origin) -> Result<Deployed, DeployError> {
        let before = self.before(origin, DeployError::IdempotencyConflict, |outcome| match outcome {
            Outcome::Deploy(done) => Some(Deployed { replayed: true, ..done.clone() }),
            _ => None,
        });
        if let Some(earlier) = before? {
            return Ok(earlier);
        }
        let version = Version(self.version.0 + 1);
        let mut entries = Vec::new();
        let (now, imported) = begun(command, deployment(self.revisions.last().cloned()), version)?;
        if imported {
            entries.extend(entry(&now, IMPORT, (None, None), origin));
        }
        let mut after = now.after(&command.change, |to| self.earlier(to, &now))?;
        after.version = version;
        after.number = RevisionNumber(now.number.0 + 1);
        entries.extend(entry(
            &after,
            command.change.kind(),
            (command.message.as_ref(), command.author.as_ref()),
            origin,
        ));
        self.version = version;
        self.revisions.append(&mut entries);
        self.record_deploy(command, (&now, &after), origin);
        let done = Deployed { version, number: after.number, replayed: false };
        self.keep_outcome(origin, Outcome::Deploy(done.clone()));
        Ok(done)
    }

    fn earlier(&self, to: Option<RevisionNumber>, now: &Deployment) -> Option<Digest> {
        let fits = |revision: &&Revision| match to {
            Some(number) => revision.number == number,
            None => Some(&revision.enforced) != now.enforced.as_ref(),
        };
        self.revisions.iter().rev().find(fits).map(|revision| revision.enforced.clone())
    }

    fn record_deploy(
        &mut self,
        command: &DeployCommand,
        (now, after): (&Deployment, &Deployment),
        origin: &Origin,
    ) {
        let (version, kind) = (after.version, feed_kind(command));
        self.changes.push_back(ChangeRow { version, tenant: None, kind: kind.clone(), at: origin.at });
        self.prune(version, origin.at);
        let cursor = self.next_cursor();
        let row = AuditRow {
            cursor,
            version,
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant: None,
            kind,
            detail: detail(command, after),
        };
        self.audit.push_altered(row, altered(now, after));
    }
}

fn entry(
    after: &Deployment,
    kind: &str,
    (message, author): (Option<&String>, Option<&String>),
    origin: &Origin,
) -> Option<Revision> {
    Some(Revision {
        number: after.number,
        version: after.version,
        kind: kind.to_owned(),
        enforced: after.enforced.clone()?,
        candidate: after.candidate.clone(),
        message: message.cloned(),
        author: author.cloned(),
        at: origin.at,
    })
}

#[async_trait]
impl RevisionStore for Memory {
    async fn deployment(&self) -> Result<Deployment, StoreError> {
        Ok(deployment(self.state()?.revisions.last().cloned()))
    }

    async fn policy_files(&self, digest: &Digest) -> Result<Option<PolicyFiles>, StoreError> {
        Ok(self.state()?.policies.get(&digest.0).cloned())
    }

    async fn keep_policy_files(&self, digest: &Digest, files: &PolicyFiles) -> Result<(), StoreError> {
        self.state()?.policies.entry(digest.0.clone()).or_insert_with(|| files.clone());
        Ok(())
    }

    async fn deploy(&self, command: &DeployCommand, origin: &Origin) -> Result<Deployed, DeployError> {
        let done = self.state()?.deploy(command, origin)?;
        if !done.replayed {
            self.woken.notify_one();
        }
        Ok(done)
    }

    async fn revisions(
        &self,
        before: Option<RevisionNumber>,
        limit: u32,
    ) -> Result<Vec<Revision>, StoreError> {
        let state = self.state()?;
        let rows = state.revisions.iter().rev().filter(|row| before.is_none_or(|before| row.number < before));
        Ok(take(limit, rows.cloned()))
    }
}
