//! The trie of segments behind a route table. A look-up visits each node at most once, and compares numbers before texts.

use super::route::{Methods, OperationIx};

/// What may follow after some segments.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// In the order of their [`Word`]s.
    literals: Vec<(Word, Box<Node>)>,
    pub(super) parameter: Option<Box<Node>>,
    /// Ends here or anywhere below.
    pub(super) rest: Leaf,
    /// Ends here without a slash (and, if nothing else does, with one).
    pub(super) plain: Leaf,
    /// Ends here with a slash, written so.
    pub(super) slash: Leaf,
}

/// The operations of one path, by method.
#[derive(Debug, Clone, Default)]
pub(super) struct Leaf {
    named: Vec<(Word, OperationIx)>,
    any: Option<OperationIx>,
}

/// A text that is looked for: most differ already in length and the bytes of `key`, and a short one is equal if these are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Word {
    key: u64,
    text: Box<[u8]>,
}

/// The first and the last four bytes; of a shorter text all bytes. Two texts of equal length up to eight bytes have the
/// same only if they are equal.
fn key(bytes: &[u8]) -> u64 {
    match bytes {
        [] => 0,
        [first, .., last] if bytes.len() < 4 => {
            u64::from(*first) | u64::from(bytes[bytes.len() / 2]) << 8 | u64::from(*last) << 16
        }
        [only] => u64::from(*only),
        _ => {
            let four = |part: Option<&[u8; 4]>| part.map_or(0, |part| u64::from(u32::from_le_bytes(*part)));
            four(bytes.first_chunk()) | four(bytes.last_chunk()) << 32
        }
    }
}

/// A text as it is looked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    key: u64,
    text: &'a [u8],
}

impl<'a> Wanted<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self { key: key(text), text }
    }

    fn is(&self, word: &Word) -> bool {
        self.key == word.key
            && self.text.len() == word.text.len()
            && (self.text.len() <= 8 || *self.text == *word.text)
    }
}

impl Word {
    fn of(text: &str) -> Self {
        Self { key: key(text.as_bytes()), text: text.as_bytes().into() }
    }
}

/// Where the first slash is. Looks at eight bytes at a time: a byte of `other` is zero where they have a slash, and the
/// first one that is gives the lowest bit of `zero`.
fn slash(bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let other = u64::from_le_bytes(*eight) ^ (EACH * u64::from(b'/'));
        let zero = other.wrapping_sub(EACH) & !other & (EACH << 7);
        if zero != 0 {
            return Some(at + zero.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes.get(at..)?.iter().position(|byte| *byte == b'/').map(|place| at + place)
}

/// So few are looked through one after the other.
const FEW: usize = 8;

impl Leaf {
    fn find(&self, method: Wanted<'_>) -> Option<OperationIx> {
        let named = |name: Wanted<'_>| self.named.iter().find(|(word, _)| name.is(word)).map(|(_, ix)| *ix);
        let found =
            named(method).or_else(|| (method.text == b"HEAD").then(|| named(Wanted::of(b"GET"))).flatten());
        found.or(self.any)
    }

    /// One that there is, of whatever method.
    fn first(&self) -> Option<OperationIx> {
        self.any.or_else(|| self.named.first().map(|(_, ix)| *ix))
    }

    /// Adds an operation, or answers which is there already for one of the methods.
    pub(super) fn add(&mut self, methods: &Methods, ix: OperationIx) -> Option<OperationIx> {
        match methods {
            Methods::Any if self.any.is_some() => return self.any,
            Methods::Any => self.any = Some(ix),
            Methods::Named(names) => {
                for name in names {
                    if let Some((_, first)) =
                        self.named.iter().find(|(word, _)| *word.text == *name.as_bytes())
                    {
                        return Some(*first);
                    }
                }
                self.named.extend(names.iter().map(|name| (Word::of(name), ix)));
            }
        }
        None
    }
}

/// How a path ends, for matching.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    method: Option<Wanted<'a>>,
    slash: bool,
}

impl<'a> Subject<'a> {
    /// A path with a final slash or without, for one method or for any.
    pub(super) fn new(method: Option<&'a str>, slash: bool) -> Self {
        Self { method: method.map(|method| Wanted::of(method.as_bytes())), slash }
    }

    fn of(self, leaf: &Leaf) -> Option<OperationIx> {
        match self.method {
            Some(method) => leaf.find(method),
            None => leaf.first(),
        }
    }
}

impl Node {
    fn literal(&self, head: &[u8]) -> Option<&Self> {
        let wanted = Wanted::of(head);
        let literals = &self.literals[..];
        let near = if literals.len() <= FEW {
            literals
        } else {
            &literals[literals.partition_point(|(word, _)| word.key < wanted.key)..]
        };
        let mut near = near.iter().take_while(|(word, _)| literals.len() <= FEW || word.key == wanted.key);
        near.find(|(word, _)| wanted.is(word)).map(|(_, node)| &**node)
    }

    /// The node of a literal, made where there is none.
    pub(super) fn literal_mut(&mut self, text: &str) -> &mut Self {
        let word = Word::of(text);
        let place = match self.literals.binary_search_by(|(known, _)| known.cmp(&word)) {
            Ok(place) => place,
            Err(place) => {
                self.literals.insert(place, (word, Box::default()));
                place
            }
        };
        &mut self.literals[place].1
    }

    fn at_end(&self, subject: Subject<'_>) -> Option<OperationIx> {
        let written = if subject.slash { subject.of(&self.slash) } else { None };
        written.or_else(|| subject.of(&self.plain)).or_else(|| subject.of(&self.rest))
    }

    /// `rest` is `None` at the path's end. Literal over parameter over rest, segment by segment, with a step back
    /// where the more specific branch has nothing for this method.
    pub(super) fn find(&self, rest: Option<&[u8]>, subject: Subject<'_>) -> Option<OperationIx> {
        let Some(rest) = rest else { return self.at_end(subject) };
        if self.literals.is_empty() && self.parameter.is_none() {
            return subject.of(&self.rest);
        }
        let (head, tail) = match slash(rest) {
            Some(place) => (&rest[..place], rest.get(place + 1..)),
            None => (rest, None),
        };
        if let Some(found) = self.literal(head).and_then(|node| node.find(tail, subject)) {
            return Some(found);
        }
        if !head.is_empty()
            && let Some(found) = self.parameter.as_ref().and_then(|n| n.find(tail, subject))
        {
            return Some(found);
        }
        subject.of(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slash_is_found_wherever_it_is() {
        for length in 0..30 {
            for byte in [0, b'a', b'.', b'0', 0x80, 0xae, 0xaf, 0xff] {
                let mut bytes = vec![byte; length];
                assert_eq!(slash(&bytes), None);
                for place in (0..length).rev() {
                    bytes[place] = b'/';
                    assert_eq!(slash(&bytes), Some(place), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn texts_of_one_length_have_one_key_only_where_they_may() {
        let mut texts: Vec<String> = vec![String::new()];
        for length in 1..=9 {
            texts.push("a".repeat(length));
            for place in 0..length {
                let mut text = "a".repeat(length);
                text.replace_range(place..=place, "b");
                texts.push(text);
            }
        }
        for one in &texts {
            for other in &texts {
                assert_eq!(Wanted::of(one.as_bytes()).is(&Word::of(other)), one == other, "{one} {other}");
            }
        }
    }
}
