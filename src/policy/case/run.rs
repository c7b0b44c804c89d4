//! Runs cases, on all cores; each is for itself, and the results keep the order of the files.

use std::{
    num::NonZeroUsize,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    Case, CaseResult, Step,
    coverage::Exercise,
    life::{Answer, Life, in_words},
    request::Request,
    result::{Failed, Held, Holding},
    word::Word,
};
use crate::domain::{catalog::Catalog, denial::Denial, period::Period, time::UnixMillis};
use crate::policy::{
    compile::meter_name,
    outcome::{Expect, Outcome},
};

/// Cases that a thread takes at once. So few are not worth a second thread.
const TAKE: usize = 64;

/// How far a run has come, for somebody who watches it.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicUsize,
    all: AtomicUsize,
}

impl Progress {
    /// How many cases were run, and how many there are; both 0 while files are read.
    #[must_use]
    pub fn get(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }
}

/// Decides every case.
#[must_use]
pub fn run(catalog: &Arc<Catalog>, cases: &[Case]) -> Vec<CaseResult> {
    run_with(catalog, &cases.iter().collect::<Vec<_>>(), &Progress::default())
}

/// Decides these cases, and tells how far it has come.
#[must_use]
pub fn run_with(catalog: &Arc<Catalog>, cases: &[&Case], progress: &Progress) -> Vec<CaseResult> {
    progress.all.store(cases.len(), Ordering::Relaxed);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        loop {
            let start = next.fetch_add(TAKE, Ordering::Relaxed);
            let Some(some) = cases.get(start..(start + TAKE).min(cases.len())).filter(|c| !c.is_empty())
            else {
                return results;
            };
            results.extend((start..).zip(some).map(|(ix, case)| (ix, one(catalog, case))));
            progress.done.fetch_add(some.len(), Ordering::Relaxed);
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut results = thread::scope(|scope| {
        let others = cores.min(cases.len().div_ceil(TAKE)).saturating_sub(1);
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(ix, _)| *ix);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Where in a case something is asked.
#[derive(Clone, Copy)]
struct Asking<'a> {
    step: usize,
    line: usize,
    request: &'a Request,
    expect: &'a Expect,
}

struct Run<'a> {
    case: &'a Case,
    life: Life<'a>,
    result: CaseResult,
}

fn one(catalog: &Arc<Catalog>, case: &Case) -> CaseResult {
    let result = CaseResult {
        name: case.name.clone(),
        file: case.file.clone(),
        line: case.line,
        expected: String::new(),
        got: String::new(),
        passed: true,
        steps: case.then.len() + 1,
        failed: None,
        exercised: Vec::with_capacity(case.then.len() + 1),
    };
    let mut run = Run { case, life: Life::begin(catalog, case), result };
    let mut request = &case.request;
    run.ask(Asking { step: 0, line: case.line, request, expect: &case.expect }, Vec::new(), catalog);
    for (number, step) in (1..).zip(&case.then) {
        if !run.result.passed {
            break;
        }
        request = run.step(number, step, request, catalog);
    }
    run.result
}

impl<'a> Run<'a> {
    /// Lets what comes before it come, and asks. The request that was asked is the answer.
    fn step(&mut self, number: usize, step: &'a Step, before: &'a Request, catalog: &Catalog) -> &'a Request {
        let request = step.request.as_ref().unwrap_or(before);
        let mut after = Vec::new();
        for Word { line, what } in &step.after {
            match self.life.carry_out(what, before) {
                Ok(None) => after.push(what.to_string()),
                Ok(Some(admitted)) => after.push(format!("{what} ({admitted} let through)")),
                Err(why) => {
                    after.push(what.to_string());
                    let asking = Asking { step: number, line: *line, request, expect: &step.expect };
                    let why = format!("`{what}` cannot be carried out: {why}");
                    self.fail(asking, after, &Outcome::Impossible(why), catalog);
                    return request;
                }
            }
        }
        self.ask(Asking { step: number, line: step.line, request, expect: &step.expect }, after, catalog);
        request
    }

    fn ask(&mut self, asking: Asking<'a>, after: Vec<String>, catalog: &Catalog) {
        let Answer { outcome, route, plan } = self.life.decide(asking.request);
        if let Some(answer) = outcome.word() {
            let lacking = match &outcome {
                Outcome::Denied(Denial::FeatureNotInPlan { feature }) => Some(feature.clone()),
                _ => None,
            };
            self.result.exercised.push(Exercise { route, plan, answer, lacking });
        }
        if asking.expect.differences(&outcome).is_empty() {
            if asking.step + 1 == self.result.steps {
                self.result.expected = asking.expect.to_string();
                self.result.got = outcome.to_string();
            }
        } else {
            self.fail(asking, after, &outcome, catalog);
        }
    }

    fn fail(&mut self, asking: Asking<'a>, after: Vec<String>, outcome: &Outcome, catalog: &Catalog) {
        let Asking { step, line, request, expect } = asking;
        let differences = match outcome {
            Outcome::Impossible(_) => Vec::new(),
            _ => expect.differences(outcome),
        };
        self.result.passed = false;
        self.result.expected = expect.to_string();
        self.result.got = outcome.to_string();
        self.result.failed = Some(Box::new(Failed {
            line,
            step,
            after,
            request: request.to_string(),
            at: self.local(self.life.now),
            differences,
            reason: self.reason(outcome, request),
            tenant: self.holding(request, matches!(outcome, Outcome::Allowed { .. }), catalog),
            left: self.case.then.len() - step,
        }));
    }

    /// An instant in the tenant's own time.
    fn local(&self, at: UnixMillis) -> String {
        let zone = self.life.calendar().zone;
        let Ok(found) = jiff::tz::TimeZone::get(zone.name()) else { return at.to_string() };
        let offset = found.to_offset(at.timestamp());
        match zone.name() {
            "UTC" => at.to_string(),
            name => format!("{} ({name})", at.timestamp().display_with_offset(offset)),
        }
    }

    fn reason(&self, outcome: &Outcome, request: &Request) -> Option<String> {
        let denial = match outcome {
            Outcome::Allowed { .. } => return None,
            Outcome::Refused(_, why) | Outcome::Impossible(why) => return Some(why.clone()),
            Outcome::Denied(denial) => denial,
        };
        let mut text = denial.to_string();
        match denial {
            Denial::QuotaExhausted { period: Period { end, .. }, .. } => {
                text.push_str(&format!("; the next begins at {}", self.local(*end)));
            }
            Denial::RateLimited { retry_after: Some(span), .. } => {
                text.push_str(&format!("; it would pass after {}", in_words(*span)));
            }
            Denial::RateLimited { retry_after: None, .. } => {
                text.push_str("; it never passes, as one request is more than the burst");
            }
            _ => {}
        }
        let plans = self.life.plans_that_allow(denial, request);
        if !plans.is_empty() {
            let names: Vec<&str> = plans.iter().map(crate::domain::id::PlanId::as_str).collect();
            text.push_str(&format!("; allowed by: {}", names.join(", ")));
        }
        Some(text)
    }

    fn holding(&self, request: &Request, counted: bool, catalog: &Catalog) -> Option<Holding> {
        let (tenant, metered) = self.life.holding(&self.life.charges(request).unwrap_or_default())?;
        let meters = metered.into_iter().map(|(meter, overage, state)| Held {
            meter: meter_name(catalog, meter).to_owned(),
            window: state.window.as_str(),
            used: state.used.get(),
            limit: state.limit.map(crate::domain::units::Units::get),
            overage: overage.filter(|_| state.window == crate::domain::period::Window::Month),
        });
        Some(Holding {
            plan: tenant.subscription.as_ref().map(|subscription| subscription.plan.id.to_string()),
            state: tenant.state().as_str(),
            suspended: tenant.suspended,
            attributes: tenant
                .attributes
                .iter()
                .flat_map(|attributes| attributes.iter())
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            meters: meters.collect(),
            counted,
        })
    }
}
