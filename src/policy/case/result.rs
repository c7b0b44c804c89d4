//! What became of a case.

use super::coverage::Exercise;
pub use crate::policy::outcome::Difference;

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// Its file, relative to the policy folder.
    pub file: String,
    /// Its line there.
    pub line: usize,
    /// What it expected, in words: at its end, or where it failed.
    pub expected: String,
    /// What the policies say to that, in words.
    pub got: String,
    /// Whether that is the same, in each of its steps.
    pub passed: bool,
    /// Requests that it expects something of: one, and one for each step.
    pub steps: usize,
    /// Where and how it failed.
    pub failed: Option<Box<Failed>>,
    /// What of the policies it has tried, as far as it came.
    pub exercised: Vec<Exercise>,
}

/// Where and how a case failed. The steps after it were not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The line: of the case, of the step, or of the word that could not be carried out.
    pub line: usize,
    /// Which step of `then` it was, from 1; 0: the case itself.
    pub step: usize,
    /// What came before the step's request; empty: nothing.
    pub after: Vec<String>,
    /// The request.
    pub request: String,
    /// When it came, in the tenant's own time.
    pub at: String,
    /// What differs; nothing where a word could not be carried out.
    pub differences: Vec<Difference>,
    /// Why the answer is as it is, in words.
    pub reason: Option<String>,
    /// What the tenant had then; `None`: the case names no tenant.
    pub tenant: Option<Holding>,
    /// Steps that were not run.
    pub left: usize,
}

/// What a tenant has at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Its plan.
    pub plan: Option<String>,
    /// The state of its subscription.
    pub state: &'static str,
    /// Whether it is suspended.
    pub suspended: bool,
    /// What conditions may ask of it, by name.
    pub attributes: Vec<(String, String)>,
    /// What it has used of the meters that the request is charged to.
    pub meters: Vec<Held>,
    /// Whether the request itself is part of that, as it was let through.
    pub counted: bool,
}

/// What has been used of a meter in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The meter.
    pub meter: String,
    /// The window.
    pub window: &'static str,
    /// Units used.
    pub used: u64,
    /// Units that there are, from all sources; `None`: any number.
    pub limit: Option<u64>,
    /// `allow` or `bill`: part of the limit, or what is beyond it, is overage.
    pub overage: Option<&'static str>,
}
