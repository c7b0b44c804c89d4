//! The body of an upstream's answer on its way back; its connection is free again when it ends.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::http_body::{Body, Frame, SizeHint};
use bytes::Bytes;

use super::{answer_head::Framing, link::Link, pool::Pool};
use crate::{
    http::dechunk::{Dechunk, InvalidChunk, Piece},
    pipeline::{admission::Ongoing, request::Rejection},
};

/// Why an answer's body did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenAnswer {
    /// The connection failed.
    #[error("the upstream's connection failed: {0}")]
    Connection(io::ErrorKind),
    /// The upstream closed before the end.
    #[error("the upstream closed the connection within the answer's body")]
    Ended,
    /// It is not in chunked form, though its head says so.
    #[error(transparent)]
    Chunk(#[from] InvalidChunk),
    /// The tenant lost the right to it.
    #[error("the exchange was ended: {0}")]
    Withdrawn(Rejection),
}

/// The body of an upstream's answer.
pub struct ProxyBody(Source);

enum Source {
    /// It came with its head. The connection is back already.
    Whole(Bytes),
    Coming(Box<Coming>),
    Over,
}

/// A body that is still to be read.
struct Coming {
    link: Box<Link>,
    rest: Rest,
    /// Where the connection goes, if it can be used again.
    home: Option<Rc<Pool>>,
    /// Asked again whether it may go on.
    ongoing: Option<Ongoing>,
}

enum Rest {
    Length(u64),
    Chunked(Dechunk),
    UntilClose,
}

impl ProxyBody {
    /// The body behind a head; `home` is where the connection goes when it can be used again.
    pub(super) fn new(
        mut link: Box<Link>,
        framing: Framing,
        home: Option<Rc<Pool>>,
        mut ongoing: Option<Ongoing>,
    ) -> Self {
        let rest = match framing {
            Framing::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= link.inbox.len() => {
                    let whole = link.inbox.split_to(length).freeze();
                    if let Some(home) = home {
                        home.put(link);
                    }
                    return Self(if whole.is_empty() { Source::Over } else { Source::Whole(whole) });
                }
                _ => Rest::Length(length),
            },
            Framing::Chunked => Rest::Chunked(Dechunk::default()),
            Framing::UntilClose => Rest::UntilClose,
        };
        // However long the answer was waited for.
        if let Some(ongoing) = &mut ongoing {
            ongoing.began(link.sent);
        }
        Self(Source::Coming(Box::new(Coming { link, rest, home, ongoing })))
    }

    /// A body that is none.
    pub(super) const fn none() -> Self {
        Self(Source::Over)
    }

    fn end(&mut self) {
        if let Source::Coming(coming) = std::mem::replace(&mut self.0, Source::Over)
            && let Some(home) = coming.home
        {
            home.put(coming.link);
        }
    }
}

impl Coming {
    /// Whether there is to be no further piece. One that is the last is not held back.
    fn poll_ended(
        &mut self,
        cx: &mut Context<'_>,
        piece: &Poll<Result<(Piece, bool), BrokenAnswer>>,
    ) -> Poll<Rejection> {
        match (&mut self.ongoing, piece) {
            (Some(ongoing), Poll::Pending) => self.link.poll_ended(cx, ongoing),
            (Some(ongoing), Poll::Ready(Ok((_, false)))) => ongoing.poll_ended(cx),
            _ => Poll::Pending,
        }
    }

    /// The next piece, and whether it was the last.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Piece, bool), BrokenAnswer>> {
        loop {
            let inbox = &mut self.link.inbox;
            match &mut self.rest {
                Rest::Length(0) => return Poll::Ready(Ok((Piece::End, true))),
                Rest::Length(left) if !inbox.is_empty() => {
                    let count = usize::try_from(*left).map_or(inbox.len(), |left| left.min(inbox.len()));
                    *left -= count as u64;
                    let data = inbox.split_to(count).freeze();
                    return Poll::Ready(Ok((Piece::Data(data), *left == 0)));
                }
                Rest::Chunked(chunks) => match chunks.next(inbox)? {
                    Piece::Wanted => {}
                    piece => return Poll::Ready(Ok((piece, *chunks == Dechunk::Done))),
                },
                Rest::UntilClose if !inbox.is_empty() => {
                    return Poll::Ready(Ok((Piece::Data(inbox.split().freeze()), false)));
                }
                Rest::Length(_) | Rest::UntilClose => {}
            }
            let filled = ready!(self.link.poll_fill(cx));
            match filled.map_err(|error| BrokenAnswer::Connection(error.kind()))? {
                0 if matches!(self.rest, Rest::UntilClose) => return Poll::Ready(Ok((Piece::End, true))),
                0 => return Poll::Ready(Err(BrokenAnswer::Ended)),
                _ => {}
            }
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BrokenAnswer;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenAnswer>>> {
        let piece = match &mut self.0 {
            Source::Over => return Poll::Ready(None),
            Source::Whole(whole) => {
                let whole = std::mem::take(whole);
                self.0 = Source::Over;
                return Poll::Ready(Some(Ok(Frame::data(whole))));
            }
            Source::Coming(coming) => {
                let piece = coming.poll_piece(cx);
                match coming.poll_ended(cx, &piece) {
                    Poll::Ready(why) => Err(BrokenAnswer::Withdrawn(why)),
                    Poll::Pending => ready!(piece),
                }
            }
        };
        Poll::Ready(match piece {
            Ok((piece, last)) => {
                if last {
                    self.end();
                }
                match piece {
                    Piece::Data(data) => Some(Ok(Frame::data(data))),
                    Piece::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
                    Piece::End | Piece::Wanted => None,
                }
            }
            Err(broken) => {
                self.0 = Source::Over;
                Some(Err(broken))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Source::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Over => SizeHint::with_exact(0),
            Source::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Source::Coming(coming) => match coming.rest {
                Rest::Length(left) => SizeHint::with_exact(left),
                Rest::Chunked(_) | Rest::UntilClose => SizeHint::default(),
            },
        }
    }
}
