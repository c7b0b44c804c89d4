//! One answer on its way to the client, and whether the connection goes on after it.

use std::{
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use ::http::{HeaderMap, Response, StatusCode};
use ::http_body::{Body, Frame};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    answer_head::{self, Asked, Framing},
    connection::{Connection, Gone},
    switch::Switched,
    wire::Wire,
};
use crate::http::{BoxError, headers, outbox::Outbox};

/// What an answer depends on beside itself.
pub(super) struct Answering {
    pub asked: Asked,
    /// The client wants to go on with the connection.
    pub keep: bool,
    /// Where the connection goes if the answer switches to another protocol.
    pub switch: Option<oneshot::Sender<Switched>>,
}

/// What became of the connection with an answer.
pub(super) enum Ended {
    Kept,
    Last,
    Switched(oneshot::Sender<Switched>),
}

impl Connection {
    /// Writes an answer as its body comes.
    pub async fn write<B>(&mut self, response: Response<B>, answering: Answering) -> Result<Ended, Gone>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Answering { asked, keep, switch } = answering;
        self.wire.borrow_mut().answer_begins();
        self.conversation.answer_begins();
        let (parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        let framing = asked.framing(parts.status, length);
        if self.conversation.is_abandoned() {
            // Nobody wants the rest of the body: with all of it at hand the connection can go on.
            self.wire.borrow_mut().skip_body();
        }
        let keep = keep
            && framing != Framing::UntilClose
            && !self.wire.borrow().is_lost()
            && !self.worker.is_stopping();
        let mut out = Outbox::new(self.worker.memory.take());
        let date = self.worker.date.now();
        answer_head::write(out.text(), &parts, asked, (framing, length), keep, &date);
        let (status, head) = (parts.status, parts.headers);
        let mut sending =
            Sending { out, asked, framing, head, over: framing == Framing::None, broken: false };
        {
            let mut body = pin!(body);
            self.wait(|cx, wire| sending.poll(cx, &mut wire.borrow_mut(), body.as_mut())).await??;
        }
        self.worker.memory.put(sending.out.take_memory());
        self.conversation.answer_ends();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(switch.map_or(Ended::Last, Ended::Switched));
        }
        if keep { self.end_of_request().await } else { Ok(Ended::Last) }
    }

    /// Before the next request can come, the present one must be read.
    async fn end_of_request(&mut self) -> Result<Ended, Gone> {
        let conversation = Rc::clone(&self.conversation);
        // An answer may come before its request's end, and the rest still be read by the upstream.
        self.wait(|cx, _| conversation.poll_uploaded(cx)).await?;
        let mut wire = self.wire.borrow_mut();
        if !wire.is_read() && !wire.skip_body() {
            return Ok(Ended::Last);
        }
        wire.ends_request();
        Ok(Ended::Kept)
    }
}

/// A body on its way into the socket.
struct Sending {
    out: Outbox,
    asked: Asked,
    framing: Framing,
    /// The answer's fields.
    head: HeaderMap,
    /// All of the body was taken over, or all that there is of it.
    over: bool,
    broken: bool,
}

impl Sending {
    fn poll<B>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
        mut body: Pin<&mut B>,
    ) -> Poll<Result<(), Gone>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        loop {
            let mut waiting = false;
            while !self.over && !waiting && self.out.has_room() {
                match body.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.take(frame, body.is_end_stream()),
                    Poll::Ready(Some(Err(error))) => self.breaks(&error.into()),
                    Poll::Ready(None) => self.end(None),
                    Poll::Pending => waiting = true,
                }
            }
            let written = self.out.poll_write(cx, &mut wire.stream, || wire.conversation.touch())?;
            if written.is_ready() && self.over {
                // As much as came is the client's; that it was not all, the end of the connection says.
                return Poll::Ready(if self.broken { Err(Gone) } else { Ok(()) });
            }
            if written.is_pending() || waiting {
                // Whether the client is still there.
                return wire.poll_ahead(cx).map(|error| Err(error.into()));
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>, last: bool) {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok()),
        };
        match &mut self.framing {
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(less) => {
                    *left = less;
                    self.out.push(data);
                }
                // More than was said would be read as the next answer.
                None => return self.breaks(&"the body is longer than was said".into()),
            },
            // An empty chunk would be the last.
            Framing::Chunked if data.is_empty() => {}
            Framing::Chunked => {
                let size = format!("{:X}\r\n", data.len());
                self.out.text().extend_from_slice(size.as_bytes());
                self.out.push(data);
                self.out.text().extend_from_slice(b"\r\n");
            }
            Framing::UntilClose => self.out.push(data),
            Framing::None => {}
        }
        if last {
            self.end(None);
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.over = true;
        match self.framing {
            Framing::Length(1..) => self.breaks(&"the body is shorter than was said".into()),
            Framing::Chunked => {
                let out = self.out.text();
                out.extend_from_slice(b"0\r\n");
                let trailers = trailers.unwrap_or_default();
                for (name, value) in answer_head::trailers(self.asked, &self.head, &trailers) {
                    headers::write_field(out, name.as_str(), value.as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
            Framing::None | Framing::Length(0) | Framing::UntilClose => {}
        }
    }

    fn breaks(&mut self, error: &BoxError) {
        tracing::debug!(%error, "an answer's body broke off");
        (self.over, self.broken) = (true, true);
    }
}
