//! Takes the data out of a chunked body (RFC 9112, section 7.1).

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Bytes, BytesMut};

use super::headers;

/// A chunk's first line may not be longer.
const MAX_LINE: usize = 4 * 1024;
/// Trailers may not be longer, nor more.
const MAX_TRAILERS: usize = 32 * 1024;
const MAX_FIELDS: usize = 64;

const BAD_SIZE: InvalidChunk = InvalidChunk("the size of a chunk is not a hexadecimal number");

/// The body is not in chunked form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not in chunked form: {0}")]
pub struct InvalidChunk(&'static str);

/// Where in a chunked body the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Dechunk {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What comes next of a body.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More bytes must be read first.
    Wanted,
    End,
}

impl Dechunk {
    /// Takes the next piece off the bytes.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Piece, InvalidChunk> {
        loop {
            match *self {
                Self::Size => match size(bytes)? {
                    None => return Ok(Piece::Wanted),
                    Some(0) => *self = Self::Trailers,
                    Some(size) => *self = Self::Data(size),
                },
                Self::Data(_) if bytes.is_empty() => return Ok(Piece::Wanted),
                Self::Data(left) => {
                    let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    let left = left - count as u64;
                    *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                    return Ok(Piece::Data(bytes.split_to(count).freeze()));
                }
                Self::DataEnd if bytes.len() < 2 => return Ok(Piece::Wanted),
                Self::DataEnd => {
                    if bytes.split_to(2) != b"\r\n"[..] {
                        return Err(InvalidChunk("a chunk is longer than its size"));
                    }
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some(trailers) = trailers(bytes)? else { return Ok(Piece::Wanted) };
                    *self = Self::Done;
                    return Ok(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) });
                }
                Self::Done => return Ok(Piece::End),
            }
        }
    }
}

/// Takes off a chunk's first line; its extensions mean nothing here.
fn size(bytes: &mut BytesMut) -> Result<Option<u64>, InvalidChunk> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|b| *b == b'\n') else {
        return if bytes.len() < MAX_LINE { Ok(None) } else { Err(BAD_SIZE) };
    };
    let line = bytes.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(InvalidChunk("a line does not end in CR LF"))?;
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii_end();
    // Fifteen digits are far more than any body.
    if digits.is_empty() || digits.len() > 15 {
        return Err(BAD_SIZE);
    }
    let size = digits
        .iter()
        .try_fold(0, |sum, digit| char::from(*digit).to_digit(16).map(|digit| sum * 16 + u64::from(digit)));
    size.map(Some).ok_or(BAD_SIZE)
}

fn trailers(bytes: &mut BytesMut) -> Result<Option<HeaderMap>, InvalidChunk> {
    let bad = InvalidChunk("the trailers cannot be parsed");
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (length, fields) = match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(read)) => read,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_TRAILERS => return Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => return Err(bad),
    };
    let mut trailers = HeaderMap::new();
    for field in fields {
        match (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value)) {
            (Ok(name), Ok(value)) => drop(trailers.append(name, value)),
            _ => return Err(bad),
        }
    }
    headers::remove_hop_by_hop(&mut trailers);
    let _ = bytes.split_to(length);
    Ok(Some(trailers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data, the trailers' number and what is left, with the body coming in pieces of that size.
    fn read(body: &[u8], piece: usize) -> Result<(Vec<u8>, usize, Vec<u8>), InvalidChunk> {
        let (mut chunks, mut bytes, mut data, mut trailers) =
            (Dechunk::default(), BytesMut::new(), vec![], 0);
        let mut pieces = body.chunks(piece);
        loop {
            match chunks.next(&mut bytes)? {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::Trailers(map) => trailers = map.len(),
                Piece::End => break,
                Piece::Wanted => match pieces.next() {
                    Some(piece) => bytes.extend_from_slice(piece),
                    None => return Err(InvalidChunk("ended")),
                },
            }
        }
        pieces.for_each(|piece| bytes.extend_from_slice(piece));
        Ok((data, trailers, bytes.to_vec()))
    }

    #[test]
    fn data_and_trailers_come_out_however_they_are_cut() {
        for (body, data, trailers) in [
            ("0\r\n\r\n", "", 0),
            ("5\r\nhello\r\n00A;x=y\r\n0123456789\r\n0;end\r\nX-Sum: 1\r\ny: \r\n\r\n", "hello0123456789", 2),
            ("2 \r\n\r\n\r\n0\r\nKeep-Alive: 1\r\n\r\n", "\r\n", 0),
        ] {
            for piece in [1, 2, 3, 1000] {
                let read = read(format!("{body}HTTP/1.1").as_bytes(), piece);
                assert_eq!(read, Ok((data.into(), trailers, b"HTTP/1.1".to_vec())), "{body:?} by {piece}");
            }
        }
    }

    #[test]
    fn oddities_end_the_answer() {
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "0\r\nX\r\n\r\n",
            "1000000000000000\r\n",
        ] {
            assert!(matches!(read(body.as_bytes(), 1), Err(InvalidChunk(_))), "{body:?}");
        }
        let long = format!("1;{}", "x".repeat(MAX_LINE));
        assert!(matches!(read(long.as_bytes(), 1000), Err(InvalidChunk(_))));
        let long = format!("0\r\nx: {}", "x".repeat(MAX_TRAILERS));
        assert!(matches!(read(long.as_bytes(), 1000), Err(InvalidChunk(_))));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(body in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            prop_assert_eq!(read(&body, piece), read(&body, 1));
        }
    }
}
