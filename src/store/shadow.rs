//! What the nodes have counted of policies that are tried in the shadow.

use async_trait::async_trait;
use serde_json::json;

use super::{
    classify::unreadable,
    engine::Lane,
    locked::text,
    session::{Arg, Record, Sql, bulk, signed},
    sql::SqlStore,
};
use crate::{
    domain::{time::Version, verdict::Verdict},
    ports::{
        Sender, ShadowBy, ShadowOf, ShadowReport, ShadowRow, ShadowStore, ShadowSum, ShadowTotals, StoreError,
    },
};

const PUT_ROWS: Sql = bulk!(
    "INSERT INTO policy_shadow (trial, incarnation, tenant, route, enforced, candidate, count) \
     SELECT CAST(v->>0 AS BIGINT), v->>1, v->>2, v->>3, v->>4, v->>5, CAST(v->>6 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (trial, incarnation, tenant, route, enforced, candidate) \
     DO UPDATE SET count = excluded.count WHERE policy_shadow.count < excluded.count"
);
// Of one run only one report is under way at a time; an older one that comes late counts less.
const PUT_TOTALS: Sql = Sql::same(
    "INSERT INTO policy_shadow_totals \
     (trial, incarnation, compared, differing, newly_refused, newly_allowed, uncompared, at_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (trial, incarnation) DO UPDATE SET \
     compared = excluded.compared, differing = excluded.differing, newly_refused = excluded.newly_refused, \
     newly_allowed = excluded.newly_allowed, uncompared = excluded.uncompared, at_ms = excluded.at_ms \
     WHERE policy_shadow_totals.compared + policy_shadow_totals.uncompared \
       <= excluded.compared + excluded.uncompared",
);
const FORGET_ROWS: Sql = Sql::same("DELETE FROM policy_shadow WHERE trial < $1");
const FORGET_TOTALS: Sql = Sql::same("DELETE FROM policy_shadow_totals WHERE trial < $1");
const TOTALS: Sql = Sql::same(
    "SELECT CAST(COALESCE(SUM(compared), 0) AS BIGINT), CAST(COALESCE(SUM(differing), 0) AS BIGINT), \
     CAST(COALESCE(SUM(newly_refused), 0) AS BIGINT), CAST(COALESCE(SUM(newly_allowed), 0) AS BIGINT), \
     CAST(COALESCE(SUM(uncompared), 0) AS BIGINT) FROM policy_shadow_totals WHERE trial = $1",
);
const ROWS: Sql = Sql::same(
    "SELECT tenant, route, enforced, candidate, CAST(SUM(count) AS BIGINT) AS requests FROM policy_shadow \
     WHERE trial = $1 GROUP BY tenant, route, enforced, candidate \
     ORDER BY requests DESC, tenant, route, enforced, candidate LIMIT $2 OFFSET $3",
);

/// Rows summed up by a column. The words are those of [`Verdict::ALLOW`] and [`Verdict::IDENTITY_NEEDED`].
macro_rules! summed_up_by {
    ($column:literal) => {
        Sql::same(concat!(
            "SELECT ",
            $column,
            ", CAST(SUM(count) AS BIGINT) AS requests, \
             CAST(SUM(CASE WHEN enforced = 'allow' AND candidate NOT IN ('allow', 'identity-needed') \
               THEN count ELSE 0 END) AS BIGINT), \
             CAST(SUM(CASE WHEN enforced NOT IN ('allow', 'identity-needed') AND candidate = 'allow' \
               THEN count ELSE 0 END) AS BIGINT) \
             FROM policy_shadow WHERE trial = $1 GROUP BY ",
            $column,
            " ORDER BY requests DESC, ",
            $column,
            " LIMIT $2 OFFSET $3"
        ))
    };
}
const BY_TENANT: Sql = summed_up_by!("tenant");
const BY_ROUTE: Sql = summed_up_by!("route");

fn sender(row: &Record, place: usize) -> Result<Sender, StoreError> {
    let word = row.text(place)?;
    Sender::parse(&word).ok_or_else(|| unreadable("a sender", format!("`{word}`")))
}

fn verdict(row: &Record, place: usize) -> Result<Verdict, StoreError> {
    let word = row.text(place)?;
    Verdict::parse(&word).ok_or_else(|| unreadable("a verdict", format!("`{word}`")))
}

fn counted(row: &Record) -> Result<ShadowRow, StoreError> {
    Ok(ShadowRow {
        sender: sender(row, 0)?,
        route: row.text(1)?,
        enforced: verdict(row, 2)?,
        candidate: verdict(row, 3)?,
        count: row.count(4)?,
    })
}

fn totals(row: &Record) -> Result<ShadowTotals, StoreError> {
    Ok(ShadowTotals {
        compared: row.count(0)?,
        differing: row.count(1)?,
        newly_refused: row.count(2)?,
        newly_allowed: row.count(3)?,
        uncompared: row.count(4)?,
    })
}

fn sum(row: &Record, of: ShadowOf) -> Result<ShadowSum, StoreError> {
    Ok(ShadowSum { of, differing: row.count(1)?, newly_refused: row.count(2)?, newly_allowed: row.count(3)? })
}

impl SqlStore {
    async fn record_shadow(&self, report: &ShadowReport) -> Result<(), StoreError> {
        let ShadowReport { trial, incarnation, at, totals, rows } = report;
        let run = incarnation.0.to_string();
        let trial = signed(trial.0);
        let rows = rows.iter().map(|row| {
            let (enforced, candidate) = (row.enforced.to_string(), row.candidate.to_string());
            json!([trial, run, row.sender.as_str(), row.route, enforced, candidate, signed(row.count)])
        });
        let rows = text(rows.collect());
        let mut session = self.engine.begin(Lane::Data).await?;
        session.run(FORGET_ROWS, &[Arg::Int(trial)]).await?;
        session.run(FORGET_TOTALS, &[Arg::Int(trial)]).await?;
        session.run(PUT_ROWS, &[Arg::Text(&rows)]).await?;
        let args = [
            Arg::Int(trial),
            Arg::Text(&run),
            Arg::Int(signed(totals.compared)),
            Arg::Int(signed(totals.differing)),
            Arg::Int(signed(totals.newly_refused)),
            Arg::Int(signed(totals.newly_allowed)),
            Arg::Int(signed(totals.uncompared)),
            Arg::Int(at.0),
        ];
        session.run(PUT_TOTALS, &args).await?;
        session.commit().await
    }
}

#[async_trait]
impl ShadowStore for SqlStore {
    async fn keep_shadow(&self, report: &ShadowReport) -> Result<(), StoreError> {
        self.call(self.record_shadow(report)).await
    }

    async fn shadow_totals(&self, trial: Version) -> Result<ShadowTotals, StoreError> {
        let row = self.list(TOTALS, &[Arg::Int(signed(trial.0))], totals).await?.pop();
        row.ok_or_else(|| unreadable("the totals of a trial", "no row"))
    }

    async fn shadow_rows(&self, trial: Version, skip: u64, limit: u32) -> Result<Vec<ShadowRow>, StoreError> {
        let args = [Arg::Int(signed(trial.0)), Arg::Int(limit.into()), Arg::Int(signed(skip))];
        self.list(ROWS, &args, counted).await
    }

    async fn shadow_sums(
        &self,
        trial: Version,
        by: ShadowBy,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<ShadowSum>, StoreError> {
        let args = [Arg::Int(signed(trial.0)), Arg::Int(limit.into()), Arg::Int(signed(skip))];
        match by {
            ShadowBy::Tenant => {
                self.list(BY_TENANT, &args, |row| sum(row, ShadowOf::Sender(sender(row, 0)?))).await
            }
            ShadowBy::Route => {
                self.list(BY_ROUTE, &args, |row| sum(row, ShadowOf::Route(row.text(0)?))).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_name_the_verdicts_as_they_are_written() {
        for text in [BY_TENANT.postgres, BY_ROUTE.sqlite] {
            let words = format!("('{}', '{}')", Verdict::ALLOW, Verdict::IDENTITY_NEEDED);
            assert_eq!(text.matches(&words).count(), 2);
        }
    }
}
