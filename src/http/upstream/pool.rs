//! Kept connections to the upstream, one pool a thread: the one used last is used next.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use super::link::Link;
use crate::{clock::coarse_millis, http::tasks::Tasks};

/// Idle connections kept per thread.
const MAX_IDLE: usize = 256;
/// At least so often the pool is swept.
const SWEEP: Duration = Duration::from_secs(15);

/// The idle connections of one thread.
pub(super) struct Pool {
    /// And since when, in milliseconds of the coarse clock.
    idle: RefCell<Vec<(Box<Link>, u64)>>,
    limit: Duration,
    tasks: Tasks,
    swept: Cell<bool>,
}

impl Pool {
    pub fn new(limit: Duration, tasks: Tasks) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), limit, tasks, swept: Cell::new(false) })
    }

    fn is_over(&self, since: u64) -> bool {
        u128::from(coarse_millis().saturating_sub(since)) >= self.limit.as_millis()
    }

    /// A connection that can take a request at once.
    pub fn take(&self) -> Option<Box<Link>> {
        loop {
            let (mut link, since) = self.idle.borrow_mut().pop()?;
            if link.is_quiet() && !self.is_over(since) {
                return Some(link);
            }
        }
    }

    /// Keeps a connection whose request and answer are over.
    pub fn put(self: &Rc<Self>, mut link: Box<Link>) {
        if !link.inbox.is_empty() {
            return;
        }
        link.rest();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MAX_IDLE {
            idle.remove(0);
        }
        idle.push((link, coarse_millis()));
        drop(idle);
        if !self.swept.replace(true) {
            let sweep = sweep(Rc::downgrade(self), self.limit.min(SWEEP), self.tasks.clone());
            self.tasks.upstreams.spawn_local(sweep);
        }
    }
}

/// Closes connections that were idle for too long or have died, also while there are no requests.
async fn sweep(pool: Weak<Pool>, every: Duration, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = tasks.cut.cancelled() => return,
        }
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.borrow_mut();
        idle.retain_mut(|(link, since)| link.is_quiet() && !pool.is_over(*since));
        if idle.is_empty() {
            pool.swept.set(false);
            return;
        }
    }
}
