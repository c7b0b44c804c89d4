//! Keeps connections on the runtime that opened the store, whichever runtime asks.
//!
//! A connection belongs to the reactor of the runtime that was current when it was opened. Request workers come and go
//! with runtimes of their own; a pooled connection must outlive them, for the last flush of a shutdown needs it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

pin_project_lite::pin_project! {
    /// Polls `inner` wherever it is awaited, with `home` as the current runtime.
    pub(super) struct AtHome<F> {
        home: Handle,
        #[pin]
        inner: F,
    }
}

impl<F> AtHome<F> {
    pub(super) fn new(home: &Handle, inner: F) -> Self {
        Self { home: home.clone(), inner }
    }
}

impl<F: Future> Future for AtHome<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.home.enter();
        this.inner.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_future_runs_on_its_home() {
        let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (home, away) = (runtime().unwrap(), runtime().unwrap());
        let seen = away.block_on(AtHome::new(home.handle(), async { Handle::current().id() }));
        assert_eq!(seen, home.handle().id());
        // A timer made there fires there.
        let timer = async { tokio::time::sleep(std::time::Duration::from_millis(1)).await };
        away.block_on(AtHome::new(home.handle(), timer));
    }
}
