//! Header values without an allocation for each: they are written one behind the other into a block of the thread's own,
//! which is used again once all of them are gone.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderValue;

/// A value that lives long keeps its whole block.
const BLOCK: usize = 2048;

thread_local! {
    static HERE: RefCell<BytesMut> = RefCell::default();
}

/// A value of this text; `None` where it is none.
pub(super) fn value(text: &[u8]) -> Option<HeaderValue> {
    if text.len() > BLOCK / 4 {
        return HeaderValue::from_bytes(text).ok();
    }
    let shared = HERE.try_with(|block| {
        let mut block = block.try_borrow_mut().ok()?;
        if block.capacity() < text.len() {
            block.reserve(BLOCK);
        }
        block.extend_from_slice(text);
        Some(block.split().freeze())
    });
    match shared {
        Ok(Some(bytes)) => HeaderValue::from_maybe_shared(bytes).ok(),
        _ => HeaderValue::from_bytes(text).ok(),
    }
}

/// Appends a number in decimal digits. (`core::fmt` takes several times as long, on each request.)
pub(crate) fn push_number(text: &mut Vec<u8>, mut number: u64) {
    const LONGEST: usize = 20;
    let mut digits = [b'0'; LONGEST];
    let mut at = LONGEST;
    loop {
        at -= 1;
        // Below ten.
        digits[at] += u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_numbers() {
        for number in [0, 1, 9, 10, 99, 100, 2_678_400, u64::MAX - 1, u64::MAX] {
            let mut text = b"q=".to_vec();
            push_number(&mut text, number);
            assert_eq!(text, format!("q={number}").into_bytes());
        }
    }

    #[test]
    fn values_stay_what_they_were_however_many_follow() {
        let texts: Vec<String> = (0..1000).map(|n| format!("value {n} {}", "x".repeat(n % 700))).collect();
        let values: Vec<HeaderValue> = texts.iter().map(|text| value(text.as_bytes()).unwrap()).collect();
        for (text, value) in texts.iter().zip(&values) {
            assert_eq!(value, text);
        }
        assert_eq!(value(b"two\r\nlines"), None);
        assert_eq!(value(b"").unwrap(), "");
    }
}
