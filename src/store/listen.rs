//! Hears PostgreSQL's notifications. They only save time: whoever waits also polls.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The channel on which each commit of a change is announced.
pub(super) const CHANNEL: &str = "plangate";
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Listens until `closed`, connecting again whenever the connection is lost.
pub(super) async fn listen(pool: PgPool, woken: Arc<Notify>, closed: CancellationToken) {
    let listening = async {
        loop {
            if let Err(error) = listen_once(&pool, &woken).await {
                tracing::debug!(%error, "no notifications for now; changes are still polled");
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    };
    closed.run_until_cancelled(listening).await;
    pool.close().await;
}

async fn listen_once(pool: &PgPool, woken: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    // A lost connection ends this call: the caller waits a little before it tries again.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    loop {
        // What was announced while nobody listened is not repeated.
        woken.notify_one();
        if listener.try_recv().await?.is_none() {
            return Ok(());
        }
    }
}
