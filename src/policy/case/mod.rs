//! Cases: what the policies must say to a request, decided as the gateway does, but from the files alone.
//!
//! A case names a tenant (its plan, the `state` of its subscription, `addons`, `grants`, what it has `used`, `overrides`,
//! `timezone`, `anchor_day`, `suspended`, `attributes`; no plan is a tenant without subscription, no tenant an anonymous
//! request), a `request`, the instant `at` which it comes, and what to `expect`: the charge and the tenant's `limits` (as
//! they are handed to the application), or the refusal. States, add-ons and grants of a case last: none ends by itself.
//! `used: { requests: 10 }` counts in the month alone; `used: { requests: { month: 10, day: 10 } }` names the windows.
//!
//! A request is `GET /v1/messages?page=2`, or where more of it matters
//! `{ method: GET, path: /v1/messages, query: page=2, headers: { x-n: "3" }, client: 10.0.0.1 }`.
//!
//! # Steps
//!
//! `then` goes on from there: each step says what comes in between (`after`), which request then comes (none: the one
//! before again) and what to expect. What was used stays used, by meter, window and source, as in the ledger; a request
//! that is let through is charged. The words of `after`, carried out in the order in which they stand:
//!
//! | word | means |
//! |---|---|
//! | `requests: 100` | the request before so many times more, slowly enough for every rate; as far as they are let through |
//! | `burst: 20` | the same at this very instant, so that rates count |
//! | `plan: pro` | an upgrade or downgrade; beside it `at: now`, `period_end` or an instant, `usage: keep`, `reset` or `prorate`, `trial_days: 14`, `anchor_day: 31`, each as the admin API has it |
//! | `cancel: now`, `cancel: period_end` | the end of the subscription; `undo: true` takes it, or what is scheduled, back |
//! | `pause: true`, `past_due: true`, `past_due: { grace_days: 3 }`, `paid: true` | what happens to a subscription |
//! | `suspend: true`, `resume: true` | of the tenant; `resume` ends a suspension, or where there is none a pause |
//! | `grant: { requests: 100 }` | units beside the plan's; also `{ requests: { units: 100, priority: 5, expires_at: INSTANT, recurring: true } }` |
//! | `addons: { archive: 2 }` | so many of an add-on from now on; 0 takes it away |
//! | `overrides: { .. }` | replaces all overrides |
//! | `timezone: Asia/Shanghai` | moves the tenant |
//! | `next: hour` (`day`, `week`, `month`) | the clock to where the tenant's next one begins |
//! | `days: 3`, `hours: 6`, `minutes: 30`, `at: INSTANT` | the clock forward: days keep the local time |
//!
//! A single word may stand alone (`after: cancel`), and so may a span of time (`after: 90m`; `2d` are days as above).
//! A list (`after: [2d, { plan: pro }, pause]`) is for where a word is needed twice. The clock only goes forward. What
//! comes by itself comes as it does in the gateway: trials and graces end, what is scheduled comes into force, what is
//! left of a month is rolled over. A step that the subscription's state does not allow fails, and says why.
//!
//! Rates run by the case's clock, unused at its start: two requests without time between them are a burst of two.
//! A charge that is only a reserve costs all of it, as an answer without the header does.

mod book;
mod change;
mod coverage;
mod life;
mod request;
mod result;
mod run;
#[cfg(test)]
mod tests;
mod word;

use std::collections::BTreeMap;

use super::{
    decode,
    diagnostic::{Diagnostic, Findings},
    outcome::Expect,
    source::{Kind, Sources},
    yaml,
};
use crate::domain::{catalog::Catalog, period::Window, tenant::Tenant, time::UnixMillis, units::Units};

pub(super) use request::Request;
pub(super) use word::{NewPlan, What, Word};

pub use coverage::{Coverage, Exercise, Tried};
pub(super) use coverage::{percent, tried_of};
pub use result::{CaseResult, Difference, Failed, Held, Holding};
pub use run::{Progress, run, run_with};

/// One case of `cases/*.yaml`.
#[derive(Debug, Clone)]
pub struct Case {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) tenant: Option<Tenant>,
    /// What conditions may ask of the tenant.
    pub(super) used: BTreeMap<(String, Window), Units>,
    pub(super) request: Request,
    pub(super) at: UnixMillis,
    pub(super) expect: Expect,
    pub(super) then: Vec<Step>,
}

/// What follows in a case.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) line: usize,
    /// What comes before the request.
    pub(super) after: Vec<Word>,
    /// `None`: the one before.
    pub(super) request: Option<Request>,
    pub(super) expect: Expect,
}

impl Case {
    /// Whether its name or its file's contains the text.
    #[must_use]
    pub fn is_named(&self, text: &str) -> bool {
        self.name.contains(text) || self.file.contains(text)
    }

    /// The requests that it expects something of, as the route table is asked for them: those without a canonical path
    /// are left out.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = std::iter::once(&self.request).chain(self.then.iter().filter_map(|s| s.request.as_ref()));
        all.filter_map(|request| Some((request.method.as_str(), request.path.as_deref().ok()?)))
    }
}

/// Reads all cases. Names are compared with the catalog, where there is one.
pub(super) fn read(sources: &Sources, catalog: Option<&Catalog>) -> (Vec<Case>, Vec<Diagnostic>) {
    let mut findings = Findings::over(sources);
    let mut cases = Vec::new();
    for (ix, source) in sources.of_kind(Kind::Cases) {
        if let Some(root) = source.text.as_deref().and_then(|text| yaml::parse(ix, text, &mut findings)) {
            cases.extend(decode::case::decode(&root, catalog, &mut findings));
        }
    }
    (cases, findings.finish())
}
