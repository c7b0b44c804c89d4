//! The body of an answer on its way to the client, which tells the connection when it has ended.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::http_body::{Body, Frame, SizeHint};
use bytes::Bytes;
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::http::{BoxError, conversation::Conversation};

pin_project! {
    /// The body of an answer: the stack's, or one of the listener's own.
    pub(super) struct Answer<B> {
        #[pin]
        body: Source<B>,
        ending: Ending,
    }
}

pin_project! {
    #[project = SourceProjection]
    enum Source<B> {
        Stack { #[pin] body: B },
        Own { #[pin] body: Full<Bytes> },
    }
}

struct Ending(Rc<Conversation>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.answer_ends();
    }
}

impl<B> Answer<B> {
    pub fn stack(body: B, conversation: Rc<Conversation>) -> Self {
        Self { body: Source::Stack { body }, ending: Ending(conversation) }
    }

    pub fn own(body: Full<Bytes>, conversation: Rc<Conversation>) -> Self {
        Self { body: Source::Own { body }, ending: Ending(conversation) }
    }
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let frame = match this.body.project() {
            SourceProjection::Stack { body } => ready!(body.poll_frame(cx)).map(|f| f.map_err(Into::into)),
            SourceProjection::Own { body } => ready!(body.poll_frame(cx)).map(|f| f.map_err(Into::into)),
        };
        this.ending.0.touch();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Stack { body } => body.is_end_stream(),
            Source::Own { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Stack { body } => body.size_hint(),
            Source::Own { body } => body.size_hint(),
        }
    }
}
