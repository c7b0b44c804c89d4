//! Pieces of memory for heads, used again by the next requests of the same thread.

use std::cell::RefCell;

/// As many are kept, each of at most this size.
const KEPT: usize = 64;
const LARGEST: usize = 16 * 1024;
const FIRST: usize = 1024;

/// The pieces of one thread.
#[derive(Debug, Default)]
pub(super) struct Memory(RefCell<Vec<Vec<u8>>>);

impl Memory {
    /// An empty piece.
    pub fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(FIRST))
    }

    /// Keeps a piece for later.
    pub fn put(&self, mut piece: Vec<u8>) {
        let mut pieces = self.0.borrow_mut();
        if pieces.len() < KEPT && (1..=LARGEST).contains(&piece.capacity()) {
            piece.clear();
            pieces.push(piece);
        }
    }
}
