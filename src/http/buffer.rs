//! The bytes of a connection that were read and not yet handed on.

const LEAST: usize = 4 * 1024;
/// An idle connection keeps no more than this.
const KEPT: usize = 16 * 1024;

/// A buffer that is filled at one end and emptied at the other.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Room to read into; grows as long as less than `limit` is filled, and is empty beyond.
    pub(super) fn room(&mut self, limit: usize) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.bytes.len() {
            let grown = (self.bytes.len() * 2).clamp(LEAST, limit.max(LEAST));
            self.bytes.resize(grown.max(self.bytes.len()), 0);
        }
        &mut self.bytes[self.end..]
    }

    pub(super) fn add(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_the_limit_holds() {
        let mut buffer = Buffer::default();
        let (mut next_in, mut next_out) = (0_u8, 0_u8);
        for round in 0..200 {
            let room = buffer.room(10_000);
            let count = room.len().min(997);
            for place in &mut room[..count] {
                *place = next_in;
                next_in = next_in.wrapping_add(1);
            }
            buffer.add(count);
            let taken = buffer.len().min(if round % 3 == 0 { 1500 } else { 400 });
            for byte in &buffer.filled()[..taken] {
                assert_eq!(*byte, next_out);
                next_out = next_out.wrapping_add(1);
            }
            buffer.consume(taken);
        }
        assert!(buffer.bytes.len() <= 10_000);
        let rest = buffer.len();
        buffer.consume(rest);
        assert!(buffer.is_empty() && buffer.filled().is_empty());
    }
}
