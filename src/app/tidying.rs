//! Keeps the past short: calls the store's housekeeping now and then, so that old usage becomes coarser and old rows go.

use std::{future::Future, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    ports::{Incarnation, StoreError},
    store::Tidied,
};

const MINUTE: Duration = Duration::from_secs(60);

/// How long to wait before and between calls. Each node has its own, so that nodes that were started together do not come
/// all at once; it does no harm if they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pauses {
    /// After the start.
    first: Duration,
    /// While there is more to do, or after a failure.
    soon: Duration,
    /// When all is done.
    later: Duration,
}

impl Pauses {
    /// Those of a run: five to six minutes at first, as a start has better things to do, then a minute, or 60 to 66 minutes.
    pub(super) fn of(run: Incarnation) -> Self {
        // The random half of its name, in thousandths.
        let share = u32::try_from(run.0.as_u64_pair().1 % 1_000).unwrap_or(0);
        let spread = |most: Duration| most * share / 1_000;
        Self { first: MINUTE * 5 + spread(MINUTE), soon: MINUTE, later: MINUTE * 60 + spread(MINUTE * 6) }
    }
}

/// Calls `tidy` again and again until `end`.
pub(super) async fn run<F>(pauses: Pauses, mut tidy: impl FnMut() -> F, end: &CancellationToken)
where
    F: Future<Output = Result<Tidied, StoreError>>,
{
    let mut pause = pauses.first;
    let mut well = true;
    while end.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        // A call that is broken off has done nothing, or a part of it that stands for itself.
        let Some(answer) = end.run_until_cancelled(tidy()).await else { return };
        pause = match &answer {
            Ok(done) if !done.more => pauses.later,
            _ => pauses.soon,
        };
        match &answer {
            Ok(done) => tell(*done),
            Err(error) if well => tracing::warn!("old rows could not be tidied up, tried again: {error}"),
            Err(_) => {}
        }
        well = answer.is_ok();
    }
}

/// One line, if there is anything to say.
fn tell(done: Tidied) {
    if (Tidied { more: false, ..done }) != Tidied::default() {
        tracing::info!(?done, "old rows are tidied up");
    }
    if done.stripe_unclaimed > 0 {
        tracing::warn!(
            events = done.stripe_unclaimed,
            "events of Stripe were dropped: their customers are no tenant's, and they came over 400 days ago or are the oldest of more than 100,000 (`plangate billing link` links a customer)"
        );
    }
}

#[cfg(test)]
mod tests;
