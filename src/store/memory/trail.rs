//! The audit log in memory: each line follows from the one before it.

use std::collections::VecDeque;

use async_trait::async_trait;

use super::{Memory, take};
use crate::{
    domain::time::UnixMillis,
    ports::{AuditFilter, AuditHead, AuditLine, AuditLink, AuditRow, AuditStore, StoreError},
    store::altered::Altered,
    wire::audit::{GENESIS, Hashed},
};

/// A line with its place in the chain.
struct Chained {
    row: AuditRow,
    altered: Altered,
    previous: String,
    hash: String,
}

/// The audit log.
pub(super) struct Trail {
    lines: VecDeque<Chained>,
    head: AuditHead,
}

impl Default for Trail {
    fn default() -> Self {
        let genesis = AuditLink { cursor: 0, hash: GENESIS.to_owned() };
        Self {
            lines: VecDeque::new(),
            head: AuditHead { head: genesis.clone(), at: None, start: 0, anchor: genesis },
        }
    }
}

impl Trail {
    /// Writes a line. Its place is the next, whatever it says.
    pub(super) fn push(&mut self, row: AuditRow) {
        self.push_altered(row, Altered::default());
    }

    /// Writes a line that also says what was altered.
    pub(super) fn push_altered(&mut self, mut row: AuditRow, altered: Altered) {
        row.cursor = self.head.head.cursor + 1;
        let previous = self.head.head.hash.clone();
        let hashed = Hashed {
            cursor: row.cursor,
            version: row.version.0,
            at: row.at,
            actor: &row.actor,
            source: &row.source,
            tenant: row.tenant.as_ref().map(|tenant| tenant.as_str()),
            kind: &row.kind,
            detail: &row.detail,
            before: &altered.before,
            after: &altered.after,
            previous: &previous,
        };
        let hash = hashed.hash();
        self.head.head = AuditLink { cursor: row.cursor, hash: hash.clone() };
        self.head.at = Some(row.at);
        self.lines.push_back(Chained { row, altered, previous, hash });
    }

    /// The place of the next line.
    pub(super) const fn next(&self) -> u64 {
        self.head.head.cursor + 1
    }

    /// The lines, the oldest first.
    pub(super) fn rows(&self) -> impl Iterator<Item = &AuditRow> {
        self.lines.iter().map(|line| &line.row)
    }

    /// Deletes the oldest lines that were written before an instant; answers how many.
    pub(super) fn tidy(&mut self, before: UnixMillis) -> u64 {
        let mut deleted = 0;
        while self.lines.front().is_some_and(|line| line.row.at < before)
            && let Some(line) = self.lines.pop_front()
        {
            self.head.anchor = AuditLink { cursor: line.row.cursor, hash: line.hash };
            deleted += 1;
        }
        deleted
    }
}

impl Chained {
    fn fits(&self, only: &AuditFilter) -> bool {
        let AuditFilter { tenant, actor, kind, since } = only;
        let tenant_fits = |wanted: &String| self.row.tenant.as_ref().is_some_and(|id| id.as_str() == *wanted);
        tenant.as_ref().is_none_or(tenant_fits)
            && actor.as_ref().is_none_or(|wanted| *wanted == self.row.actor)
            && kind.as_ref().is_none_or(|wanted| *wanted == self.row.kind)
            && since.is_none_or(|since| self.row.at >= since)
    }

    fn line(&self) -> AuditLine {
        let AuditRow { cursor, version, at, actor, source, tenant, kind, detail } = self.row.clone();
        let Altered { before, after } = self.altered.clone();
        AuditLine {
            cursor,
            version: version.0,
            at,
            actor,
            source,
            tenant: tenant.map(|tenant| tenant.to_string()),
            kind,
            detail,
            before,
            after,
            previous: Some(self.previous.clone()),
            hash: Some(self.hash.clone()),
        }
    }
}

#[async_trait]
impl AuditStore for Memory {
    async fn audit_lines(
        &self,
        after: u64,
        limit: u32,
        only: &AuditFilter,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let state = self.state()?;
        let lines = state.audit.lines.iter().filter(|line| line.row.cursor > after && line.fits(only));
        Ok(take(limit, lines.map(Chained::line)))
    }

    async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        Ok(self.state()?.audit.head.clone())
    }
}
