//! A request's body, read from the client's connection as it is wanted.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    task::{Context, Poll},
};

use ::http_body::{Frame, SizeHint};
use bytes::Bytes;

use super::wire::{self, Wire};

/// The body of one request of a connection.
pub(in crate::http) struct RequestBody(Option<Source>);

struct Source {
    wire: Rc<RefCell<Wire>>,
    /// The request that it belongs to.
    request: u64,
}

impl RequestBody {
    /// The body of the request that the wire has just begun.
    pub(super) fn of(wire: &Rc<RefCell<Wire>>) -> Self {
        let now = wire.borrow();
        Self((!now.is_read()).then(|| Source { wire: Rc::clone(wire), request: now.request }))
    }

    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(in crate::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(source) = &self.0 else { return Poll::Ready(None) };
        let mut wire = source.wire.borrow_mut();
        if wire.request != source.request {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        wire.poll_body(cx).map(|piece| piece.map(wire::frame).transpose())
    }

    pub(in crate::http) fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|source| {
            let wire = source.wire.borrow();
            wire.request == source.request && wire.is_read()
        })
    }

    pub(in crate::http) fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.0 else { return SizeHint::with_exact(0) };
        source.wire.borrow().length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
