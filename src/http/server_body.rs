//! A request's body as it comes from the client, which tells the connection whether it was read to its end.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::http_body::{Body, Frame, SizeHint};
use bytes::Bytes;
use hyper::body::Incoming;

use super::conversation::Conversation;

/// The body of a request, streamed from the client.
pub struct ServerBody {
    incoming: Incoming,
    /// Present as long as the end was not read.
    open: Option<Arc<Conversation>>,
}

impl ServerBody {
    pub(super) fn new(incoming: Incoming, conversation: &Arc<Conversation>) -> Self {
        let open = (!incoming.is_end_stream()).then(|| {
            conversation.upload_begins();
            Arc::clone(conversation)
        });
        Self { incoming, open }
    }

    fn ends(&mut self, whole: bool) {
        if let Some(conversation) = self.open.take() {
            conversation.upload_ends(whole);
        }
    }
}

impl Body for ServerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if let Some(conversation) = &self.open {
            conversation.touch();
        }
        match &frame {
            Some(Ok(frame)) if frame.is_trailers() => self.ends(true),
            Some(Ok(_)) if self.incoming.is_end_stream() => self.ends(true),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.ends(false),
            None => self.ends(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ServerBody {
    fn drop(&mut self) {
        self.ends(false);
    }
}

impl fmt::Debug for ServerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBody").field("open", &self.open.is_some()).finish_non_exhaustive()
    }
}
