//! Regular expressions of `matches`: small ones, in which `\d`, `\w` and `\s` mean ASCII, as CEL has it.

/// The longest pattern, in bytes.
const MOST_TEXT: usize = 128;
/// The largest, once its counted repetitions are written out.
const MOST_SIZE: usize = 1000;
/// The deepest nesting of groups.
const MOST_DEPTH: usize = 8;

/// The pattern as it is compiled for each look, or why it is none.
pub(super) fn read(pattern: &str) -> Result<String, String> {
    if pattern.len() > MOST_TEXT {
        return Err(format!("a pattern has at most {MOST_TEXT} bytes"));
    }
    let mut reader = Reader { rest: pattern, out: String::new(), sums: vec![0], last: 0 };
    while !reader.rest.is_empty() {
        reader.step()?;
    }
    let size: usize = reader.sums.iter().sum();
    if size > MOST_SIZE {
        return Err("the pattern repeats too much: write smaller counts".to_owned());
    }
    Ok(reader.out)
}

struct Reader<'p> {
    rest: &'p str,
    out: String,
    /// The sizes of the groups that are open, the whole first.
    sums: Vec<usize>,
    /// The size of what a repetition would repeat; it is in the innermost sum.
    last: usize,
}

impl Reader<'_> {
    fn step(&mut self) -> Result<(), String> {
        let Some(character) = self.rest.chars().next() else { return Ok(()) };
        match character {
            '\\' => self.escape(false),
            '[' => self.class(),
            '(' => {
                if self.sums.len() > MOST_DEPTH {
                    return Err(format!("a pattern has at most {MOST_DEPTH} groups within each other"));
                }
                self.sums.push(0);
                self.pass(1);
                self.flags()
            }
            ')' => {
                self.last = if self.sums.len() > 1 { self.sums.pop().unwrap_or_default() } else { 0 };
                self.add(self.last);
                self.pass(1);
                Ok(())
            }
            '{' => self.repeat(),
            other => {
                // A `.` is any of four lengths of UTF-8.
                let size = if other == '.' { 8 } else { other.len_utf8() };
                if !matches!(other, '*' | '+' | '?' | '|' | '^' | '$') {
                    self.last = size;
                    self.add(size);
                }
                self.pass(other.len_utf8());
                Ok(())
            }
        }
    }

    fn add(&mut self, size: usize) {
        if let Some(sum) = self.sums.last_mut() {
            *sum = sum.saturating_add(size);
        }
    }

    fn pass(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.out.push_str(passed);
        self.rest = rest;
    }

    /// What a group begins with: `?:`, or `?i:` and the like.
    fn flags(&mut self) -> Result<(), String> {
        let Some(flags) = self.rest.strip_prefix('?') else { return Ok(()) };
        let end = flags.find([':', ')', '>']).unwrap_or(flags.len());
        if !flags[..end].bytes().all(|flag| matches!(flag, b'i' | b's' | b'm')) {
            return Err(format!("`(?{}` is not used here: only the flags i, s and m", &flags[..end]));
        }
        self.pass(end + 1);
        Ok(())
    }

    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let mut characters = self.rest.chars();
        characters.next();
        let Some(escaped) = characters.next() else { return Err("a `\\` ends the pattern".to_owned()) };
        let set = match escaped {
            'd' => Some(("0-9", false)),
            'w' => Some(("0-9A-Za-z_", false)),
            's' => Some(("\\t\\n\\f\\r ", false)),
            'D' => Some(("0-9", true)),
            'W' => Some(("0-9A-Za-z_", true)),
            'S' => Some(("\\t\\n\\f\\r ", true)),
            other if other.is_ascii_punctuation() || matches!(other, 't' | 'n' | 'r' | 'f') => None,
            other => return Err(format!("`\\{other}` is not used here")),
        };
        if let Some((set, negated)) = set {
            let caret = if negated { "^" } else { "" };
            self.out.push_str(&format!("[{caret}{set}]"));
            self.rest = characters.as_str();
        } else {
            self.pass(2);
        }
        if !in_class {
            self.last = 8;
            self.add(8);
        }
        Ok(())
    }

    fn class(&mut self) -> Result<(), String> {
        self.pass(1);
        if self.rest.starts_with('^') {
            self.pass(1);
        }
        let mut first = true;
        loop {
            match self.rest.chars().next() {
                None => return Err("a `[` is never closed".to_owned()),
                Some(']') if !first => break,
                Some('\\') => self.escape(true)?,
                Some('[') => return Err("a `[` within `[...]` is written `\\[`".to_owned()),
                Some(character) => self.pass(character.len_utf8()),
            }
            first = false;
        }
        self.pass(1);
        self.last = 8;
        self.add(8);
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,5}`.
    fn repeat(&mut self) -> Result<(), String> {
        let Some((counts, _)) = self.rest[1..].split_once('}') else {
            return Err("a `{` is never closed".to_owned());
        };
        let mut most = 1;
        for count in counts.splitn(2, ',').filter(|count| !count.is_empty()) {
            let count: usize = count.parse().map_err(|_| format!("`{{{counts}}}` is no count"))?;
            most = most.max(count);
        }
        let more = self.last.saturating_mul(most - 1);
        self.last = self.last.saturating_add(more);
        self.add(more);
        self.pass(counts.len() + 2);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_patterns_are_taken() {
        for (pattern, out) in [
            ("^a.*b$", "^a.*b$"),
            (r"^\d{4}-\d\d$", "^[0-9]{4}-[0-9][0-9]$"),
            (r"[\w.-]+@[a-z]+", "[[0-9A-Za-z_].-]+@[a-z]+"),
            ("(?i:eu|us)", "(?i:eu|us)"),
            ("(?i)eu", "(?i)eu"),
            (r"a\.b\[", r"a\.b\["),
            (
                "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            ),
        ] {
            assert_eq!(read(pattern), Ok(out.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn large_and_odd_ones_are_not() {
        let long = "a".repeat(129);
        for pattern in [
            long.as_str(),
            "a{1001}",
            "(a{100}){100}",
            "((a{20}){20}){20}",
            ".{64}.{64}",
            r"\p{Greek}",
            r"\bword\b",
            r"\x41",
            "[",
            "[a",
            "a\\",
            "a{",
            "a{x}",
            "a{99999999999999999999}",
            "[a[b]]",
            "(?P<name>a)",
            "(?u)a",
            "(((((((((a)))))))))",
        ] {
            assert!(read(pattern).is_err(), "{pattern}");
        }
    }
}
