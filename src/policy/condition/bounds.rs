//! What may be written at all: looked at before the parser is, which goes one level deeper for each level of the text.

use std::ops::Range;

use super::Mistake;

/// The longest text, in bytes.
pub(super) const MOST_TEXT: usize = 1024;
/// Brackets within brackets.
const MOST_DEPTH: usize = 12;
/// `!` and `-` before one value.
const MOST_SIGNS: usize = 4;
/// `a ? b : c` in one text.
const MOST_CHOICES: usize = 8;
/// Operators, `&&` and `||`, and steps into a value, so many of each: each may be one level.
const MOST_STEPS: usize = 48;

/// Finds what cannot be parsed safely, or is not CEL by its characters alone.
pub(super) fn check(text: &str) -> Result<(), Mistake> {
    if text.len() > MOST_TEXT {
        return Err(wrong(0..text.len(), format!("a condition has at most {MOST_TEXT} bytes")));
    }
    if text.trim().is_empty() {
        return Err(wrong(0..text.len(), "expected a CEL expression, found nothing".to_owned()));
    }
    let mut scan =
        Scan { text, at: 0, open: Vec::new(), signs: 0, choices: 0, steps: 0, operators: 0, logic: 0 };
    while let Some(byte) = text.as_bytes().get(scan.at) {
        scan.step(*byte)?;
    }
    match scan.open.last() {
        Some((_, at)) => Err(wrong(*at..*at + 1, "this bracket is never closed".to_owned())),
        None => Ok(()),
    }
}

/// What the parser says, without what it might have expected: that is a long list mostly.
pub(super) fn unparsed(text: &str, errors: &cel::ParseErrors) -> Mistake {
    let Some(first) = errors.errors.first() else {
        return Mistake::new("invalid-condition", 0..text.len(), "this is not CEL");
    };
    let said = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let said = said.split(" expecting ").next().unwrap_or(said);
    let said = said.replace("'<EOF>'", "the end").replace("<EOF>", "the end");
    let said: String = said.chars().filter(|c| !c.is_control()).take(120).collect();
    let (line, column) = (usize::try_from(first.pos.0), usize::try_from(first.pos.1));
    let (line, column) = (line.unwrap_or(1).max(1), column.unwrap_or(1).max(1));
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let within = rest.char_indices().nth(column - 1).map_or(rest.len(), |(at, _)| at);
    let at = (before + within).min(text.trim_end().len().saturating_sub(1));
    Mistake::new("invalid-condition", at..at + 1, format!("this is not CEL: {said}"))
}

fn wrong(span: Range<usize>, message: String) -> Mistake {
    Mistake::new("invalid-condition", span, message)
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    /// Brackets that are to be closed, by what, and where they are.
    open: Vec<(u8, usize)>,
    signs: usize,
    choices: usize,
    steps: usize,
    operators: usize,
    logic: usize,
}

impl Scan<'_> {
    fn here(&self, len: usize) -> Range<usize> {
        self.at..self.at + len
    }

    fn step(&mut self, byte: u8) -> Result<(), Mistake> {
        let before = self.signs;
        if !byte.is_ascii_whitespace() {
            self.signs = 0;
        }
        match byte {
            b'\'' | b'"' => return self.string(byte),
            b'(' | b'[' | b'{' => self.open(byte)?,
            b')' | b']' | b'}' => self.close(byte)?,
            b'!' | b'-' => {
                self.signs = before + 1;
                if self.signs > MOST_SIGNS {
                    return Err(self.too_many(MOST_SIGNS, "signs before one value"));
                }
                self.operator()?;
            }
            b'?' => {
                self.choices += 1;
                if self.choices > MOST_CHOICES {
                    return Err(self.too_many(MOST_CHOICES, "`?`"));
                }
            }
            b'.' => self.deeper()?,
            b'/' if self.text.as_bytes().get(self.at + 1) == Some(&b'/') => {
                return Err(wrong(self.here(2), "comments cannot stand in a condition".to_owned())
                    .help("write a YAML comment, with `#`".to_owned()));
            }
            b'+' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'&' | b'|' => self.operator()?,
            b',' | b':' | b'_' => {}
            byte if byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() => {}
            _ => return Err(self.stranger()),
        }
        self.at += 1;
        Ok(())
    }

    fn stranger(&self) -> Mistake {
        let character = self.text[self.at..].chars().next().unwrap_or_default();
        let message = format!("`{}` cannot stand here", character.escape_default());
        let help = matches!(character, '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}')
            .then(|| "texts stand between straight quotes".to_owned());
        wrong(self.here(character.len_utf8()), message).help(help)
    }

    fn too_many(&self, most: usize, what: &str) -> Mistake {
        wrong(self.here(1), format!("a condition has at most {most} {what}"))
    }

    fn operator(&mut self) -> Result<(), Mistake> {
        // Of `&&`, `==` and the like the second byte is the same operator.
        let bytes = self.text.as_bytes();
        let again = self.at > 0 && matches!(bytes[self.at - 1], b'&' | b'|' | b'=' | b'<' | b'>' | b'!');
        if !again {
            let logic = matches!(bytes[self.at], b'&' | b'|');
            *(if logic { &mut self.logic } else { &mut self.operators }) += 1;
        }
        if self.operators.max(self.logic) > MOST_STEPS {
            Err(self.too_many(MOST_STEPS, "operators"))
        } else {
            Ok(())
        }
    }

    fn deeper(&mut self) -> Result<(), Mistake> {
        self.steps += 1;
        if self.steps > MOST_STEPS { Err(self.too_many(MOST_STEPS, "`.` and `[`")) } else { Ok(()) }
    }

    fn open(&mut self, byte: u8) -> Result<(), Mistake> {
        if byte == b'[' {
            self.deeper()?;
        }
        let close = match byte {
            b'(' => b')',
            b'[' => b']',
            _ => b'}',
        };
        self.open.push((close, self.at));
        if self.open.len() > MOST_DEPTH {
            return Err(self.too_many(MOST_DEPTH, "brackets within each other"));
        }
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<(), Mistake> {
        match self.open.pop() {
            Some((close, _)) if close == byte => Ok(()),
            Some((close, _)) => {
                Err(wrong(self.here(1), format!("expected `{}` before this", char::from(close))))
            }
            None => Err(wrong(self.here(1), "no bracket is open that this could close".to_owned())),
        }
    }

    /// A text between quotes; the escapes in it are the parser's business.
    fn string(&mut self, quote: u8) -> Result<(), Mistake> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at + 1) == Some(&quote) && bytes.get(self.at + 2) == Some(&quote) {
            return Err(wrong(self.here(3), "a text stands between one pair of quotes".to_owned()));
        }
        let prefix = bytes[..self.at].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if prefix > 0 {
            let from = self.at - prefix;
            let message = "nothing can stand right before a text".to_owned();
            return Err(wrong(from..self.at, message).help("write it without a prefix".to_owned()));
        }
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                Some(byte) if *byte == quote => break,
                Some(b'\\') => end += 2,
                Some(byte) if byte.is_ascii_control() => {
                    return Err(wrong(end..end + 1, "a control character cannot stand in a text".to_owned()));
                }
                Some(_) => end += 1,
                None => return Err(wrong(self.here(1), "this text is never closed".to_owned())),
            }
        }
        self.at = end + 1;
        self.signs = 0;
        Ok(())
    }
}
