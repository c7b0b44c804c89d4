//! Kept connections to the upstream, one pool a thread: the one used last is used next.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::tasks::Tasks;

/// Idle connections kept per thread.
const MAX_IDLE: usize = 256;
/// At least so often the pool is swept.
const SWEEP: Duration = Duration::from_secs(15);

/// The idle connections of one thread.
pub(super) struct Pool<B> {
    idle: RefCell<Vec<(SendRequest<B>, Instant)>>,
    limit: Duration,
    tasks: Tasks,
    swept: Cell<bool>,
}

impl<B: 'static> Pool<B> {
    pub(super) fn new(limit: Duration, tasks: Tasks) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), limit, tasks, swept: Cell::new(false) })
    }

    /// A connection that can take a request at once.
    pub(super) fn take(&self) -> Option<SendRequest<B>> {
        let mut idle = self.idle.borrow_mut();
        let mut place = idle.len();
        while place > 0 {
            place -= 1;
            let (connection, since) = &idle[place];
            if connection.is_closed() || since.elapsed() >= self.limit {
                idle.remove(place);
            } else if connection.is_ready() {
                return Some(idle.remove(place).0);
            }
        }
        None
    }

    /// Keeps a connection whose request and answer are over. It may need a moment to be ready; `take` minds that.
    pub(super) fn put(self: &Rc<Self>, connection: SendRequest<B>) {
        if connection.is_closed() || self.tasks.stopping.is_cancelled() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        idle.push((connection, Instant::now()));
        drop(idle);
        if !self.swept.replace(true) {
            let sweep = sweep(Rc::downgrade(self), self.limit.min(SWEEP), self.tasks.clone());
            self.tasks.upstreams.spawn_local(sweep);
        }
    }
}

/// Closes connections that were idle for too long, also while there are no requests.
async fn sweep<B: 'static>(pool: Weak<Pool<B>>, every: Duration, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = tasks.cut.cancelled() => return,
        }
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.borrow_mut();
        idle.retain(|(connection, since)| !connection.is_closed() && since.elapsed() < pool.limit);
        if idle.is_empty() {
            pool.swept.set(false);
            return;
        }
    }
}
