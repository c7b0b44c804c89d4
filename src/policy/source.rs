//! The texts of a policy folder, and places in them.

use aws_lc_rs::digest;

use super::diagnostic::{Diagnostic, Excerpt, Location, Span};
use crate::{
    domain::{catalog::Digest, revision::PolicyFiles},
    wire::hex,
};

/// What a file of the folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Features,
    Plan,
    Addon,
    Routes,
    Stripe,
    Cases,
}

impl Kind {
    /// What a file of this name (relative, with `/`) is for.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.split_once('/') {
            None if name == "features.yaml" => Some(Self::Features),
            None if name == "routes.yaml" => Some(Self::Routes),
            None if name == "stripe.yaml" => Some(Self::Stripe),
            Some(("plans", file)) if is_yaml(file) => Some(Self::Plan),
            Some(("addons", file)) if is_yaml(file) => Some(Self::Addon),
            Some(("cases", file)) if is_yaml(file) => Some(Self::Cases),
            _ => None,
        }
    }
}

fn is_yaml(file: &str) -> bool {
    file.len() > ".yaml".len() && file.ends_with(".yaml") && !file.contains('/') && !file.starts_with('.')
}

/// A file's place in its [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileIx(pub(super) u32);

/// Bytes of a file. Texts are at most 1 MiB, so that 32 bits are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) file: FileIx,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Place {
    pub(super) fn new(file: FileIx, start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: narrow(start), end: narrow(end.max(start)) }
    }
}

/// One file as it was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Relative to the folder, with `/`.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// `None`: it could not be read, and [`Sources::problems`] says why.
    pub(super) text: Option<String>,
    lines: Vec<u32>,
}

/// All files of a policy folder, sorted by name, and what went wrong in reading them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    files: Vec<Source>,
    pub(super) problems: Vec<Diagnostic>,
}

impl Sources {
    /// Takes a file. Names that are not policy files are passed over.
    pub(super) fn add(&mut self, name: &str, text: Option<String>) {
        let Some(kind) = Kind::of(name) else { return };
        let bytes = text.as_deref().unwrap_or_default().as_bytes();
        // A carriage return alone ends a line for YAML, too.
        let ends = |place: &usize| match bytes[*place] {
            b'\n' => true,
            b'\r' => bytes.get(place + 1) != Some(&b'\n'),
            _ => false,
        };
        let after = (0..bytes.len()).filter(ends).filter_map(|place| u32::try_from(place + 1).ok());
        let lines = std::iter::once(0).chain(after).collect();
        let source = Source { name: name.to_owned(), kind, text, lines };
        let place = self.files.partition_point(|file| file.name.as_str() < name);
        self.files.insert(place, source);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (FileIx, &Source)> {
        self.files.iter().enumerate().map(|(ix, file)| (FileIx(u32::try_from(ix).unwrap_or(u32::MAX)), file))
    }

    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (FileIx, &Source)> {
        self.iter().filter(move |(_, file)| file.kind == kind)
    }

    pub(super) fn file(&self, ix: FileIx) -> Option<&Source> {
        self.files.get(ix.0 as usize)
    }

    /// What the catalog is compiled from.
    pub(super) fn files(&self) -> PolicyFiles {
        let read = self.files.iter().filter(|file| file.kind != Kind::Cases);
        PolicyFiles(read.filter_map(|file| Some((file.name.clone(), file.text.clone()?))).collect())
    }

    /// SHA-256 over the names and texts of all that the catalog is compiled from: everything but the cases.
    pub(super) fn digest(&self) -> Digest {
        Digest(self.hash(|file| file.kind != Kind::Cases).into())
    }

    /// Changes whenever anything that was read, or could not be read, changes.
    pub(super) fn fingerprint(&self) -> String {
        let problems: String = self.problems.iter().map(|p| format!("{p:?}\n")).collect();
        format!("{}{problems}", self.hash(|_| true))
    }

    fn hash(&self, include: impl Fn(&Source) -> bool) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for file in self.files.iter().filter(|file| include(file)) {
            let text = file.text.as_deref();
            for part in [file.name.as_str(), text.unwrap_or_default()] {
                context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                context.update(part.as_bytes());
            }
            context.update(&[u8::from(text.is_some())]);
        }
        hex::encode(context.finish().as_ref())
    }

    /// The line of a place, counted from 1.
    pub(super) fn line(&self, place: Place) -> u32 {
        let line = self.file(place.file).map_or(1, |source| source.line(place.start));
        u32::try_from(line).unwrap_or(u32::MAX)
    }

    /// A place as people read it, with its line.
    pub(super) fn locate(&self, place: Place) -> Location {
        let Some(source) = self.file(place.file) else {
            return Location { file: String::new(), span: None, excerpt: None };
        };
        let located = source.text.as_deref().map(|text| source.locate(text, place));
        let (span, excerpt) = located.unzip();
        Location { file: source.name.clone(), span, excerpt }
    }
}

/// Lines longer than this are shown only around the place.
const LONGEST_LINE: usize = 300;
const AROUND: usize = 100;

impl Source {
    fn line(&self, start: u32) -> usize {
        self.lines.partition_point(|first| *first <= start).max(1)
    }

    fn locate(&self, text: &str, place: Place) -> (Span, Excerpt) {
        let start = boundary_before(text, (place.start as usize).min(text.len()));
        let narrow = u32::try_from(start).unwrap_or(u32::MAX);
        let line = self.line(narrow);
        let first = self.lines.get(line - 1).map_or(0, |first| *first as usize);
        let next = self.lines.get(line).map_or(text.len(), |next| *next as usize);
        let whole = text[first..next].trim_end_matches(['\n', '\r']);
        let start = (start - first).min(whole.len());
        let end =
            boundary_before(whole, (place.end as usize).saturating_sub(first).min(whole.len())).max(start);
        let len = whole[start..end].chars().count().max(1);
        let span = Span { line, column: whole[..start].chars().count() + 1, len };
        (span, excerpt(whole, start, end))
    }
}

fn excerpt(line: &str, start: usize, end: usize) -> Excerpt {
    if line.len() <= LONGEST_LINE {
        return Excerpt { text: line.to_owned(), start, end };
    }
    let from = boundary_before(line, start.saturating_sub(AROUND));
    let shown = boundary_before(line, end.min(start + AROUND));
    let to = boundary_before(line, (shown + AROUND).min(line.len()));
    Excerpt { text: line[from..to].to_owned(), start: start - from, end: shown.max(start) - from }
}

fn boundary_before(text: &str, mut offset: usize) -> usize {
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add("routes.yaml", Some(text.to_owned()));
        sources
    }

    #[test]
    fn places_count_in_characters_from_one() {
        let sources = sources("äb: 1\r\ncd: été x\n");
        let at = |start, end| sources.locate(Place::new(FileIx(0), start, end)).span.unwrap();
        assert_eq!(at(0, 2), Span { line: 1, column: 1, len: 1 });
        assert_eq!(at(2, 3), Span { line: 1, column: 2, len: 1 });
        let word = "äb: 1\r\ncd: ".len();
        assert_eq!(at(word, word + "été".len()), Span { line: 2, column: 5, len: 3 });
        assert_eq!(at(9999, 9999).line, 3, "past the end is the end");
    }

    #[test]
    fn very_long_lines_are_cut_around_the_place() {
        let text = "é".repeat(100_000);
        let sources = sources(&text);
        let location = sources.locate(Place::new(FileIx(0), 100_001, 190_000));
        let excerpt = location.excerpt.unwrap();
        assert!(excerpt.text.len() <= 400 && excerpt.end <= excerpt.text.len());
        assert_eq!(location.span.unwrap().column, 50_001);
    }

    #[test]
    fn the_digest_covers_names_and_texts_but_not_cases() {
        let mut one = sources("a");
        let before = one.digest();
        one.add("cases/x.yaml", Some("b".into()));
        assert_eq!(one.digest(), before);
        assert_ne!(one.fingerprint(), sources("a").fingerprint());
        one.add("plans/x.yaml", Some("b".into()));
        assert_ne!(one.digest(), before);
        assert_eq!(before.0.len(), 64);
    }
}
