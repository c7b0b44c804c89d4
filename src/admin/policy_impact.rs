//! Reckons what other policies would do to all tenants, a page at a time.

use std::sync::Arc;

use http::header;

use super::{
    Shared,
    problem::{Code, Problem},
};
use crate::domain::{
    catalog::Catalog,
    id::TenantId,
    impact::{Assessment, Impact, Lookback},
};

/// Tenants in one page: as many as are in memory at once with what they used.
const PAGE: u32 = 500;
/// Of so many tenants at once is in memory what Stripe told.
const TOLD_AT_ONCE: usize = 50;

/// The impact of one catalog in the place of another. One call at a time on a node: it reads all tenants.
pub(super) async fn reckon(
    shared: &Shared,
    before: Arc<Catalog>,
    after: Arc<Catalog>,
) -> Result<Impact, Problem> {
    let _turn = shared.0.reckoning.try_acquire().map_err(|_| {
        let detail =
            "this node reckons the impact of other policies just now: try again, or ask without impact";
        Problem::new(Code::Busy, detail).with_header(header::RETRY_AFTER, "5")
    })?;
    let now = shared.clock.now();
    let mut assessment = Assessment::new(before, after, now);
    let mut last: Option<TenantId> = None;
    loop {
        let tenants = shared.tenants.tenants(last.as_ref(), PAGE).await?;
        let Some(end) = tenants.last() else { return Ok(assessment.finish()) };
        last = Some(end.id.clone());
        if assessment.remaps() {
            let ids = tenants.iter().map(|tenant| tenant.id.clone()).collect();
            assessment = remapped(shared, assessment, ids).await?;
        }
        let asked: Vec<Lookback> = tenants.iter().filter_map(|tenant| assessment.lookback(tenant)).collect();
        let (used, spent) =
            tokio::try_join!(shared.survey.used_of(&asked, now), shared.survey.spent_of(&asked, now))?;
        // Not on the threads that poll for changes: a page takes some milliseconds.
        let reckoned = tokio::task::spawn_blocking(move || {
            for tenant in &tenants {
                let used = used.get(&tenant.id).map_or(&[][..], Vec::as_slice);
                let spent = spent.get(&tenant.id).map_or(&[][..], Vec::as_slice);
                assessment.add(tenant, used, spent);
            }
            assessment
        });
        assessment = reckoned.await.map_err(|_| broken())?;
    }
}

fn broken() -> Problem {
    Problem::new(Code::Internal, "the impact could not be reckoned")
}

/// Adds whose subscriptions of Stripe would mean something else.
async fn remapped(
    shared: &Shared,
    mut assessment: Assessment,
    tenants: Vec<TenantId>,
) -> Result<Assessment, Problem> {
    for some in tenants.chunks(TOLD_AT_ONCE) {
        let told = shared.survey.told_of(some).await?;
        let some = some.to_vec();
        let reckoned = tokio::task::spawn_blocking(move || {
            for (tenant, events) in some.iter().filter_map(|tenant| Some((tenant, told.get(tenant)?))) {
                assessment.told(tenant, events);
            }
            assessment
        });
        assessment = reckoned.await.map_err(|_| broken())?;
    }
    Ok(assessment)
}
