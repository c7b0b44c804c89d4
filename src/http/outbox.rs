//! Bytes that wait to be written to a socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// Data up to this is copied behind what goes before it, so that both go in one piece.
const COPIED: usize = 8 * 1024;
/// With so much in it nothing more is taken in.
const ENOUGH: usize = 64 * 1024;

/// Text, then perhaps a larger piece of data.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    text: Vec<u8>,
    written: usize,
    data: Bytes,
}

impl Outbox {
    /// Begins with a text.
    pub const fn new(text: Vec<u8>) -> Self {
        Self { text, written: 0, data: Bytes::new() }
    }

    /// Nothing is left to be written.
    pub fn is_empty(&self) -> bool {
        self.written == self.text.len() && self.data.is_empty()
    }

    /// More may be put in.
    pub fn has_room(&self) -> bool {
        self.data.is_empty() && self.text.len() - self.written < ENOUGH
    }

    /// Where text is put in, behind what is there.
    pub fn text(&mut self) -> &mut Vec<u8> {
        if self.written == self.text.len() {
            self.text.clear();
            self.written = 0;
        }
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            self.text.extend_from_slice(&data);
        }
        &mut self.text
    }

    /// Puts data in, behind what is there.
    pub fn push(&mut self, data: Bytes) {
        if data.len() <= COPIED || !self.data.is_empty() {
            self.text().extend_from_slice(&data);
        } else {
            self.data = data;
        }
    }

    /// The memory of the text, to be used again.
    pub fn take_memory(&mut self) -> Vec<u8> {
        self.written = 0;
        std::mem::take(&mut self.text)
    }

    /// Writes all; `wrote` is told of each piece that went.
    pub fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut W,
        mut wrote: impl FnMut(),
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let text = self.written < self.text.len();
            let bytes = if text { &self.text[self.written..] } else { &self.data };
            let count = ready!(Pin::new(&mut *io).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            wrote();
            if text {
                self.written += count;
            } else {
                let _ = self.data.split_to(count);
            }
        }
        Poll::Ready(Ok(()))
    }
}
