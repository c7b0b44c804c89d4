//! Finds the end of a chunked request body, strictly, so that nothing behind it is ever taken for a part of it.

/// Extensions and trailers together may not be longer.
const MAX_OVERHEAD: usize = 8 * 1024;

/// The body is not well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's body is not in chunked form: {0}")]
pub(super) struct BadChunk(&'static str);

/// Where in a chunked body the reader stands.
#[derive(Debug, Clone)]
pub(super) struct Chunks {
    state: State,
    size: u64,
    overhead: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many digits of the size are read.
    Size(u8),
    Extension,
    SizeFeed,
    Data,
    DataReturn,
    DataFeed,
    Line,
    TrailerName,
    TrailerValue,
    TrailerFeed,
    LastFeed,
    Done,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::Size(0), size: 0, overhead: 0 }
    }
}

impl Chunks {
    /// Whether the last byte of the body was read.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on; how many of the bytes belong to the body.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if self.state == State::Data {
                let present = bytes.len() - at;
                let part = usize::try_from(self.size).map_or(present, |left| left.min(present));
                self.size -= part as u64;
                at += part;
                if self.size == 0 {
                    self.state = State::DataReturn;
                }
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        match (self.state, byte) {
            (State::Size(digits), _) if byte.is_ascii_hexdigit() => self.digit(digits, byte),
            (State::Size(1..), b'\r') => Ok(State::SizeFeed),
            (State::Size(1..), b';') => Ok(State::Extension),
            (State::Size(_), _) => Err(BadChunk("the size of a chunk is not a hexadecimal number")),
            (State::Extension, b'\r') => Ok(State::SizeFeed),
            (State::Extension, b'\t' | b' '..=b'~') => self.overhead(State::Extension),
            (State::Extension, _) => Err(BadChunk("a chunk extension has a control byte")),
            (State::SizeFeed, b'\n') if self.size == 0 => Ok(State::Line),
            (State::SizeFeed, b'\n') => Ok(State::Data),
            (State::DataReturn, b'\r') => Ok(State::DataFeed),
            (State::DataFeed, b'\n') => Ok(State::Size(0)),
            (State::DataReturn | State::DataFeed, _) => Err(BadChunk("a chunk is longer than its size")),
            (State::Line, b'\r') => Ok(State::LastFeed),
            (State::Line | State::TrailerName, _) if is_token(byte) => self.overhead(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::Line | State::TrailerName, _) => Err(BadChunk("a trailer's name is not valid")),
            (State::TrailerValue, b'\r') => Ok(State::TrailerFeed),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => self.overhead(State::TrailerValue),
            (State::TrailerValue, _) => Err(BadChunk("a trailer has a control byte")),
            (State::TrailerFeed, b'\n') => Ok(State::Line),
            (State::LastFeed, b'\n') => Ok(State::Done),
            (State::SizeFeed | State::TrailerFeed | State::LastFeed, _) => {
                Err(BadChunk("a line does not end in CR LF"))
            }
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<State, BadChunk> {
        // Fifteen digits are far more than any body and cannot overflow.
        if digits >= 15 {
            return Err(BadChunk("the size of a chunk is too large"));
        }
        let value = char::from(byte).to_digit(16).unwrap_or(0);
        self.size = if digits == 0 { 0 } else { self.size * 16 } + u64::from(value);
        Ok(State::Size(digits + 1))
    }

    fn overhead(&mut self, next: State) -> Result<State, BadChunk> {
        self.overhead += 1;
        if self.overhead > MAX_OVERHEAD {
            return Err(BadChunk("the extensions and trailers are too long"));
        }
        Ok(next)
    }
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end_of(body: &[u8], piece: usize) -> Result<Option<usize>, BadChunk> {
        let (mut chunks, mut at) = (Chunks::default(), 0);
        for part in body.chunks(piece) {
            at += chunks.advance(part)?;
            if chunks.is_done() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_end_is_found_and_not_passed() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00A;x=\"y z\"\r\n0123456789\r\n0;end\r\nX-Sum: 1\r\ny: \r\n\r\n",
            "1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n",
        ] {
            let pipelined = format!("{body}GET / HTTP/1.1\r\n");
            for piece in [1, 2, 3, 1000] {
                assert_eq!(end_of(pipelined.as_bytes(), piece), Ok(Some(body.len())), "{body:?} by {piece}");
            }
        }
    }

    #[test]
    fn oddities_are_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            " 1\r\n",
            "1 \r\n",
            "0x1\r\n",
            "1\na\r\n",
            "1\r\r\n",
            "1;a\nb\r\n",
            "1;\0\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\r0",
            "0\r\n\n",
            "0\r\nX\r\n",
            "0\r\n X: a\r\n",
            "0\r\nX: a\nY: b\r\n",
            "0\r\nX : a\r\n",
            "1000000000000000\r\n",
            ";a\r\n",
            "0\r\n\rX",
        ] {
            assert!(end_of(body.as_bytes(), 1).is_err(), "{body:?}");
            assert!(end_of(body.as_bytes(), 100).is_err(), "{body:?}");
        }
        let long = format!("1;{}\r\n", "x".repeat(MAX_OVERHEAD + 1));
        assert!(end_of(long.as_bytes(), 1000).is_err());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(data in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            prop_assert_eq!(end_of(&data, piece), end_of(&data, 1));
        }
    }
}
