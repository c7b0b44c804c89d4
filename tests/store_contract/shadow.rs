//! Counts of policies that are tried in the shadow.

use plangate::{
    domain::{
        catalog::Digest,
        revision::{Deploy, PolicyFiles, Rollout, Trial},
        verdict::Verdict,
    },
    ports::{DeployCommand, Sender, ShadowBy, ShadowOf, ShadowReport, ShadowRow, ShadowSum, ShadowTotals},
    store::{Retention, Tidied},
};

use super::*;
use crate::Fixture;

on_every_store!(
    totals_of_all_runs_are_summed_up,
    an_older_or_repeated_report_changes_nothing,
    rows_are_sorted_summed_up_and_paged,
    a_new_trial_forgets_those_before,
    tidying_forgets_a_trial_that_is_over,
);

const TRIAL: Version = Version(7);

fn row(sender: Sender, route: &str, enforced: &str, candidate: &str, count: u64) -> ShadowRow {
    let verdict = |text| Verdict::parse(text).unwrap();
    ShadowRow {
        sender,
        route: route.into(),
        enforced: verdict(enforced),
        candidate: verdict(candidate),
        count,
    }
}

fn acme() -> Sender {
    Sender::Tenant(tenant("acme"))
}

fn totals(compared: u64, differing: u64) -> ShadowTotals {
    ShadowTotals { compared, differing, newly_refused: differing, newly_allowed: 0, uncompared: 1 }
}

fn report(trial: Version, of: u128, totals: ShadowTotals, rows: Vec<ShadowRow>) -> ShadowReport {
    ShadowReport { trial, incarnation: node(of), at: START, totals, rows }
}

async fn keep(on: &Fixture, report: &ShadowReport) {
    on.store.keep_shadow(report).await.unwrap();
}

async fn all(on: &Fixture, trial: Version) -> Vec<ShadowRow> {
    on.store.shadow_rows(trial, 0, 100).await.unwrap()
}

async fn totals_of_all_runs_are_summed_up(on: &Fixture) {
    assert_eq!(on.store.shadow_totals(TRIAL).await.unwrap(), ShadowTotals::default());
    assert_eq!(all(on, TRIAL).await, []);
    let lacks = |count| row(acme(), "GET /a", "allow", "feature-not-in-plan feature:export", count);
    keep(on, &report(TRIAL, 1, totals(10, 3), vec![lacks(3)])).await;
    keep(on, &report(TRIAL, 2, totals(5, 4), vec![lacks(4)])).await;
    let sum = ShadowTotals { compared: 15, differing: 7, newly_refused: 7, newly_allowed: 0, uncompared: 2 };
    assert_eq!(on.store.shadow_totals(TRIAL).await.unwrap(), sum);
    assert_eq!(all(on, TRIAL).await, [lacks(7)]);
    let another = ShadowTotals { newly_allowed: 2, ..totals(9, 6) };
    keep(on, &report(TRIAL, 2, another, vec![lacks(6)])).await;
    assert_eq!(on.store.shadow_totals(TRIAL).await.unwrap().newly_allowed, 2);
    assert_eq!(all(on, TRIAL).await, [lacks(9)], "all that a run has counted, not what was added");
}

async fn an_older_or_repeated_report_changes_nothing(on: &Fixture) {
    let slow = |count| row(acme(), "", "route-not-covered", "rate-limited meter:requests", count);
    let (older, newer) =
        (report(TRIAL, 1, totals(10, 3), vec![slow(3)]), report(TRIAL, 1, totals(20, 5), vec![slow(5)]));
    for report in [&older, &newer, &older, &newer] {
        keep(on, report).await;
    }
    assert_eq!(on.store.shadow_totals(TRIAL).await.unwrap(), newer.totals);
    assert_eq!(all(on, TRIAL).await, [slow(5)]);
    // Rows that have not grown need not be told again.
    keep(on, &report(TRIAL, 1, totals(30, 5), Vec::new())).await;
    assert_eq!(all(on, TRIAL).await, [slow(5)]);
    assert_eq!(on.store.shadow_totals(TRIAL).await.unwrap().compared, 30);
}

async fn rows_are_sorted_summed_up_and_paged(on: &Fixture) {
    let exhausted = "quota-exhausted meter:requests";
    let rows = [
        row(Sender::Others, "*", "allow", "quota-exhausted", 9),
        row(acme(), "GET /a", "allow", exhausted, 4),
        row(acme(), "GET /a", exhausted, "allow", 3),
        row(Sender::Anonymous, "GET /a", "allow", "identity-needed", 2),
        row(acme(), "GET /b", "tenant-suspended", "rate-limited meter:requests", 2),
        row(Sender::Tenant(tenant("b")), "GET /b", "allow", "rate-limited meter:requests", 1),
    ];
    keep(on, &report(TRIAL, 1, totals(30, 21), rows.to_vec())).await;
    assert_eq!(all(on, TRIAL).await, rows);
    let page = on.store.shadow_rows(TRIAL, 2, 3).await.unwrap();
    assert_eq!(page, rows[2..5]);
    let sum = |of, differing, newly_refused, newly_allowed| ShadowSum {
        of,
        differing,
        newly_refused,
        newly_allowed,
    };
    let sender = ShadowOf::Sender;
    let by_tenant = [
        sum(sender(Sender::Others), 9, 9, 0),
        sum(sender(acme()), 9, 4, 3),
        sum(sender(Sender::Anonymous), 2, 0, 0),
        sum(sender(Sender::Tenant(tenant("b"))), 1, 1, 0),
    ];
    assert_eq!(on.store.shadow_sums(TRIAL, ShadowBy::Tenant, 0, 10).await.unwrap(), by_tenant);
    assert_eq!(on.store.shadow_sums(TRIAL, ShadowBy::Tenant, 1, 2).await.unwrap(), by_tenant[1..3]);
    let by_route = [
        sum(ShadowOf::Route("*".into()), 9, 9, 0),
        sum(ShadowOf::Route("GET /a".into()), 9, 4, 3),
        sum(ShadowOf::Route("GET /b".into()), 3, 1, 0),
    ];
    assert_eq!(on.store.shadow_sums(TRIAL, ShadowBy::Route, 0, 10).await.unwrap(), by_route);
}

async fn a_new_trial_forgets_those_before(on: &Fixture) {
    let lost = |count| row(acme(), "GET /a", "allow", "tenant-suspended", count);
    keep(on, &report(TRIAL, 1, totals(10, 3), vec![lost(3)])).await;
    let next = Version(9);
    keep(on, &report(next, 2, totals(4, 1), vec![lost(1)])).await;
    assert_eq!((all(on, TRIAL).await, all(on, next).await), (Vec::new(), vec![lost(1)]));
    assert_eq!(on.store.shadow_totals(TRIAL).await.unwrap(), ShadowTotals::default());
    // A node that has not heard of it yet does no harm to it.
    keep(on, &report(TRIAL, 1, totals(11, 4), vec![lost(4)])).await;
    assert_eq!(all(on, next).await, [lost(1)]);
    assert_eq!(on.store.shadow_totals(next).await.unwrap(), totals(4, 1));
}

async fn tidying_forgets_a_trial_that_is_over(on: &Fixture) {
    let store = &*on.store;
    let digest = |text: &str| Digest(text.into());
    let deploy = async |change| {
        let command = DeployCommand { change, base: None, folder: None, message: None, author: None };
        store.deploy(&command, &origin()).await.unwrap().version
    };
    for text in ["a", "b"] {
        let files = PolicyFiles([("routes.yaml".to_owned(), text.to_owned())].into());
        store.keep_policy_files(&digest(text), &files).await.unwrap();
    }
    deploy(Deploy::Enforce(digest("a"))).await;
    let trial = deploy(Deploy::Try(Trial { digest: digest("b"), rollout: Rollout::Shadow })).await;
    let rows = vec![row(acme(), "GET /a", "allow", "tenant-suspended", 3)];
    let counted = report(trial, 1, totals(10, 3), rows.clone());
    keep(on, &counted).await;
    let day = std::time::Duration::from_secs(86_400);
    let long = Retention { usage_hours: day * 30, usage_days: day * 400, audit: day * 36_500 };
    assert_eq!(store.tidy(&long).await.unwrap(), Tidied::default());
    assert_eq!(all(on, trial).await, rows);
    deploy(Deploy::Discard).await;
    assert_eq!(store.tidy(&long).await.unwrap(), Tidied { shadow: 2, ..Tidied::default() });
    assert_eq!(all(on, trial).await, []);
    assert_eq!(store.shadow_totals(trial).await.unwrap(), ShadowTotals::default());
}
