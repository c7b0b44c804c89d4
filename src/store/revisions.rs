//! Which policies decide: files by their digest, and the history of what decided.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    altered::{Altered, between},
    audit::{self, Entry},
    classify::unreadable,
    engine::Lane,
    epoch::{BUMP, NOTIFY},
    execute::INSERT_CHANGE,
    once, rows,
    session::{Arg, Record, Session, Sql, signed},
    sql::SqlStore,
};
use crate::{
    domain::{
        catalog::Digest,
        revision::{Deploy, DeployRefused, Deployment, PolicyFiles, Revision, RevisionNumber, Trial},
        time::Version,
    },
    ports::{DeployCommand, DeployError, Deployed, Origin, RevisionStore, StoreError},
    wire::rollout,
};

/// The first entry, where there was a folder before: see [`DeployCommand::folder`].
pub(super) const IMPORT: &str = "import";

const KEEP: Sql =
    Sql::same("INSERT INTO policy_files (digest, files) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING");
const FILES: Sql = Sql::same("SELECT files FROM policy_files WHERE digest = $1");
const LAST: Sql = Sql::same(
    "SELECT number, version, kind, enforced, candidate, rollout, message, author, at_ms \
     FROM policy_revisions ORDER BY number DESC LIMIT 1",
);
const PAGE: Sql = Sql::same(
    "SELECT number, version, kind, enforced, candidate, rollout, message, author, at_ms \
     FROM policy_revisions WHERE number < $1 ORDER BY number DESC LIMIT $2",
);
const ENFORCED_IN: Sql = Sql::same("SELECT enforced FROM policy_revisions WHERE number = $1");
const ENFORCED_BEFORE: Sql =
    Sql::same("SELECT enforced FROM policy_revisions WHERE enforced <> $1 ORDER BY number DESC LIMIT 1");
const INSERT: Sql = Sql::same(
    "INSERT INTO policy_revisions \
     (number, version, kind, enforced, candidate, rollout, message, author, at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
);
const SET_HEAD: Sql = Sql::same("UPDATE head SET policies = $1");

fn revision(row: &Record) -> Result<Revision, StoreError> {
    let trial = |digest: String| {
        let text = row.maybe_text(5)?.unwrap_or_default();
        let value = serde_json::from_str(&text).map_err(|error| unreadable("a roll-out", error))?;
        let rollout = rollout::decode(&value).map_err(|error| unreadable("a roll-out", error))?;
        Ok::<_, StoreError>(Trial { digest: Digest(digest.into()), rollout })
    };
    Ok(Revision {
        number: RevisionNumber(row.count(0)?),
        version: rows::version(row, 1)?,
        kind: row.text(2)?,
        enforced: Digest(row.text(3)?.into()),
        candidate: row.maybe_text(4)?.map(trial).transpose()?,
        message: row.maybe_text(6)?,
        author: row.maybe_text(7)?,
        at: rows::instant(row, 8)?,
    })
}

/// What decides after the last entry of the history.
pub(super) fn deployment(last: Option<Revision>) -> Deployment {
    last.map_or_else(Deployment::default, |last| Deployment {
        version: last.version,
        number: last.number,
        enforced: Some(last.enforced),
        candidate: last.candidate,
    })
}

/// What decides when a change is made, and whether that is an entry of its own: the folder, where others than its policies
/// are applied for the first time.
///
/// # Errors
/// [`DeployRefused::Stale`]: the change was made for something else.
pub(super) fn begun(
    command: &DeployCommand,
    now: Deployment,
    version: Version,
) -> Result<(Deployment, bool), DeployRefused> {
    if let Some(base) = command.base
        && base != now.number
    {
        return Err(DeployRefused::Stale { base, now: now.number });
    }
    match &command.folder {
        Some(folder) if now.enforced.is_none() && command.change != Deploy::Enforce(folder.clone()) => {
            let (number, enforced) = (RevisionNumber(1), Some(folder.clone()));
            Ok((Deployment { version, number, enforced, candidate: None }, true))
        }
        _ => Ok((now, false)),
    }
}

/// What the audit log says of a change.
pub(super) fn detail(command: &DeployCommand, after: &Deployment) -> Value {
    let trial = after.candidate.as_ref();
    json!({
        "number": after.number.0,
        "enforced": after.enforced.as_ref().map(|digest| &*digest.0),
        "candidate": trial.map(|trial| &*trial.digest.0),
        "rollout": trial.map(|trial| rollout::encode(&trial.rollout)),
        "message": command.message,
        "author": command.author,
    })
}

/// What the audit log says was altered.
pub(super) fn altered(before: &Deployment, after: &Deployment) -> Altered {
    let facts = |of: &Deployment| {
        json!({
            "number": of.number.0,
            "enforced": of.enforced.as_ref().map(|digest| &*digest.0),
            "candidate": of.candidate.as_ref().map(|trial| &*trial.digest.0),
            "rollout": of.candidate.as_ref().map(|trial| rollout::encode(&trial.rollout)),
        })
    };
    between(&facts(before), &facts(after))
}

/// The kind of the change feed and of the audit log.
pub(super) fn feed_kind(command: &DeployCommand) -> String {
    format!("policy.{}", command.change.kind())
}

/// The outcome as it is kept beside an idempotency key.
pub(super) fn encode(number: RevisionNumber) -> String {
    format!("policy:{number}")
}

fn decode(text: &str) -> Option<RevisionNumber> {
    text.strip_prefix("policy:")?.parse().ok().map(RevisionNumber)
}

impl SqlStore {
    async fn attempt_deploy(
        &self,
        command: &DeployCommand,
        origin: &Origin,
    ) -> Result<(Deployed, Result<(), StoreError>), DeployError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let before = once::before(&mut session, origin, DeployError::IdempotencyConflict, |claimed| {
            let number = decode(&claimed.effect)?;
            Some(Deployed { version: claimed.version, number, replayed: true })
        });
        if let Some(earlier) = before.await? {
            return Ok((earlier, Ok(())));
        }
        // The head's lock is held from here to the commit: of two at once the second sees what the first has done.
        let Some(row) = session.first(BUMP, &[]).await? else {
            drop(session);
            self.advance_epoch().await?;
            return Err(StoreError::Unavailable("the database has just failed over".into()).into());
        };
        let version = rows::version(&row, 0)?;
        let (now, imported) = begun(command, last(&mut session).await?, version)?;
        if imported {
            insert(&mut session, &now, IMPORT, (None, None), origin).await?;
        }
        let earlier = earlier(&mut session, command, &now).await?;
        let mut after = now.after(&command.change, |_| earlier)?;
        after.version = version;
        after.number = RevisionNumber(now.number.0 + 1);
        let said = (command.message.as_deref(), command.author.as_deref());
        insert(&mut session, &after, command.change.kind(), said, origin).await?;
        record(&mut session, command, (&now, &after), origin).await?;
        if self.engine.notifies() {
            session.run(NOTIFY, &[Arg::Text(&version.to_string())]).await?;
        }
        let end = session.commit().await;
        Ok((Deployed { version, number: after.number, replayed: false }, end))
    }

    async fn carry_out_deploy(
        &self,
        command: &DeployCommand,
        origin: &Origin,
    ) -> Result<Deployed, DeployError> {
        let (done, end) = self.attempt_deploy(command, origin).await?;
        let done = match end {
            Ok(()) => done,
            // Whether the commit took place is not known; the idempotency key's own row tells.
            Err(StoreError::Unavailable(_)) if origin.idempotency.is_some() => {
                let (again, end) = self.attempt_deploy(command, origin).await?;
                end?;
                Deployed { replayed: false, ..again }
            }
            Err(error) => return Err(error.into()),
        };
        if !done.replayed {
            self.wake();
        }
        Ok(done)
    }
}

async fn last(session: &mut Session) -> Result<Deployment, StoreError> {
    let row = session.first(LAST, &[]).await?;
    Ok(deployment(row.as_ref().map(revision).transpose()?))
}

/// The policies to which a roll-back returns.
async fn earlier(
    session: &mut Session,
    command: &DeployCommand,
    now: &Deployment,
) -> Result<Option<Digest>, StoreError> {
    let Deploy::RollBack(to) = &command.change else { return Ok(None) };
    let row = match to {
        Some(number) => session.first(ENFORCED_IN, &[Arg::Int(signed(number.0))]).await?,
        None => {
            let enforced = now.enforced.as_ref().map_or("", |digest| &*digest.0);
            session.first(ENFORCED_BEFORE, &[Arg::Text(enforced)]).await?
        }
    };
    row.map(|row| Ok(Digest(row.text(0)?.into()))).transpose()
}

async fn insert(
    session: &mut Session,
    after: &Deployment,
    kind: &str,
    (message, author): (Option<&str>, Option<&str>),
    origin: &Origin,
) -> Result<(), StoreError> {
    let trial = after.candidate.as_ref();
    let rollout = trial.map(|trial| rollout::encode(&trial.rollout).to_string());
    let args = [
        Arg::Int(signed(after.number.0)),
        Arg::Int(signed(after.version.0)),
        Arg::Text(kind),
        Arg::Text(after.enforced.as_ref().map_or("", |digest| &*digest.0)),
        Arg::MaybeText(trial.map(|trial| &*trial.digest.0)),
        Arg::MaybeText(rollout.as_deref()),
        Arg::MaybeText(message),
        Arg::MaybeText(author),
        Arg::Int(origin.at.0),
    ];
    session.run(INSERT, &args).await.map(drop)
}

/// Writes the head, the feed, the audit log and the idempotency record.
async fn record(
    session: &mut Session,
    command: &DeployCommand,
    (now, after): (&Deployment, &Deployment),
    origin: &Origin,
) -> Result<(), StoreError> {
    let (version, at) = (Arg::Int(signed(after.version.0)), Arg::Int(origin.at.0));
    let kind = feed_kind(command);
    session.run(SET_HEAD, &[version]).await?;
    session.run(INSERT_CHANGE, &[version, Arg::Text(""), Arg::Text(&kind), at]).await?;
    once::keep(session, origin, after.version, &encode(after.number)).await?;
    let entry = Entry {
        version: after.version,
        at: origin.at,
        actor: &origin.actor,
        source: &origin.source,
        tenant: None,
        kind: &kind,
        detail: &detail(command, after),
    };
    let altered = altered(now, after);
    audit::append_altered(session, &entry, &altered.before, &altered.after).await
}

#[async_trait]
impl RevisionStore for SqlStore {
    async fn deployment(&self) -> Result<Deployment, StoreError> {
        Ok(deployment(self.list(LAST, &[], revision).await?.pop()))
    }

    async fn policy_files(&self, digest: &Digest) -> Result<Option<PolicyFiles>, StoreError> {
        let read = |row: &Record| {
            serde_json::from_str(&row.text(0)?)
                .map(PolicyFiles)
                .map_err(|error| unreadable("policy files", error))
        };
        Ok(self.list(FILES, &[Arg::Text(&digest.0)], read).await?.pop())
    }

    async fn keep_policy_files(&self, digest: &Digest, files: &PolicyFiles) -> Result<(), StoreError> {
        let text = json!(files.0).to_string();
        let args = [Arg::Text(&digest.0), Arg::Text(&text)];
        self.call(async { self.engine.write(Lane::Data, KEEP, &args).await.map(drop) }).await
    }

    async fn deploy(&self, command: &DeployCommand, origin: &Origin) -> Result<Deployed, DeployError> {
        self.call(self.carry_out_deploy(command, origin)).await
    }

    async fn revisions(
        &self,
        before: Option<RevisionNumber>,
        limit: u32,
    ) -> Result<Vec<Revision>, StoreError> {
        let before = before.map_or(i64::MAX, |before| signed(before.0));
        self.list(PAGE, &[Arg::Int(before), Arg::Int(limit.into())], revision).await
    }
}
