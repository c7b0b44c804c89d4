//! Pieces of memory that the requests of one thread use one after the other, so that an idle connection holds none.

use std::cell::RefCell;

use bytes::BytesMut;

/// As many are kept of each kind, each of at most this size.
const KEPT: usize = 64;
const LARGEST: usize = 16 * 1024;
/// A head to be written.
const HEAD: usize = 1024;
/// What is read at first.
const READ: usize = 4 * 1024;

/// The pieces of one thread.
#[derive(Debug, Default)]
pub(super) struct Memory {
    heads: RefCell<Vec<Vec<u8>>>,
    inboxes: RefCell<Vec<BytesMut>>,
}

impl Memory {
    /// An empty piece for a head.
    pub fn take(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(HEAD))
    }

    /// Keeps a piece for later.
    pub fn put(&self, mut piece: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < KEPT && (1..=LARGEST).contains(&piece.capacity()) {
            piece.clear();
            heads.push(piece);
        }
    }

    /// An empty piece to read into.
    pub fn take_inbox(&self) -> BytesMut {
        self.inboxes.borrow_mut().pop().unwrap_or_else(|| BytesMut::with_capacity(READ))
    }

    /// Keeps an empty piece for later.
    pub fn put_inbox(&self, piece: BytesMut) {
        let mut inboxes = self.inboxes.borrow_mut();
        if inboxes.len() < KEPT && piece.is_empty() && (1..=LARGEST).contains(&piece.capacity()) {
            inboxes.push(piece);
        }
    }
}
