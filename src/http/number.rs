//! Numbers in bytes; `core::fmt` takes several times as long, on each request.

/// Writes a number in digits.
pub(super) fn write(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[first..]);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers() {
        for n in [0, 7, 10, 255, 1_234_567, u64::MAX] {
            let mut out = Vec::new();
            super::write(&mut out, n);
            assert_eq!(out, n.to_string().into_bytes());
        }
    }
}
