//! A request's body as it comes from the client, which tells the connection whether it was read to its end.

use std::{
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::http_body::{Body, Frame, SizeHint};
use bytes::Bytes;
use hyper::body::Incoming;

use super::{BoxError, conversation::Conversation, http1::RequestBody};

/// The body of a request, streamed from the client.
pub struct ServerBody {
    source: Source,
    /// Present as long as the end was not read.
    open: Option<Rc<Conversation>>,
}

enum Source {
    Http1(RequestBody),
    Http2(Incoming),
}

impl ServerBody {
    pub(super) fn http1(body: RequestBody, conversation: &Rc<Conversation>) -> Self {
        Self::new(Source::Http1(body), conversation)
    }

    pub(super) fn http2(incoming: Incoming, conversation: &Rc<Conversation>) -> Self {
        Self::new(Source::Http2(incoming), conversation)
    }

    fn new(source: Source, conversation: &Rc<Conversation>) -> Self {
        let open = (!source.is_end_stream()).then(|| {
            conversation.upload_begins();
            Rc::clone(conversation)
        });
        Self { source, open }
    }

    fn ends(&mut self, whole: bool) {
        if let Some(conversation) = self.open.take() {
            conversation.upload_ends(whole);
        }
    }
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }
}

impl Body for ServerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match &mut self.source {
            Source::Http1(body) => ready!(body.poll_frame(cx)).map(|frame| frame.map_err(BoxError::from)),
            Source::Http2(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                if let Some(conversation) = &self.open {
                    conversation.touch();
                }
                frame.map(|frame| frame.map_err(BoxError::from))
            }
        };
        match &frame {
            Some(Ok(frame)) if frame.is_trailers() => self.ends(true),
            Some(Ok(_)) if self.source.is_end_stream() => self.ends(true),
            Some(Ok(_)) => {}
            Some(Err(_)) => self.ends(false),
            None => self.ends(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http1(body) => body.size_hint(),
            Source::Http2(incoming) => incoming.size_hint(),
        }
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
