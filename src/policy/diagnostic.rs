//! What is wrong with the policy files, and where exactly.

use std::collections::BTreeMap;

use super::{
    source::{Place, Sources},
    suggest,
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policies cannot be used.
    Error,
    /// Legal, and probably not what was meant.
    Warning,
}

impl Severity {
    /// The word used in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in a file, for people: everything counts from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
    /// Characters marked, on that line only; at least 1.
    pub len: usize,
}

/// The offending line (cut around the place where it is very long), with the bytes to mark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Excerpt {
    /// The line without its end.
    pub text: String,
    /// The first byte of `text` to mark.
    pub start: usize,
    /// The byte after the last to mark.
    pub end: usize,
}

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, relative to the policy folder with `/`; empty: the folder itself.
    pub file: String,
    /// Where in the file; `None`: the file as a whole.
    pub span: Option<Span>,
    /// The line itself.
    pub excerpt: Option<Excerpt>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name of the kind of finding, such as `unknown-feature`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub location: Location,
    /// What to do.
    pub help: Option<String>,
    /// Other places that matter, each with the reason.
    pub related: Vec<(Location, String)>,
}

impl Diagnostic {
    /// Adds what to do about it.
    #[must_use]
    pub(super) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub(super) fn related(mut self, location: Location, reason: impl Into<String>) -> Self {
        self.related.push((location, reason.into()));
        self
    }
}

/// More findings than this in one file are counted, not shown: nobody reads them, and each costs memory.
const MOST_PER_FILE: usize = 1000;
/// And only so many warnings of one kind: whoever means it so has them each time.
const MOST_WARNINGS: usize = 50;
/// And only so many come with a suggestion, which takes longer to find than the mistake.
const MOST_SUGGESTIONS: usize = 100;

/// A message in which nothing is invisible, breaks the line or turns the direction of writing.
fn visible(text: String) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return text;
    }
    let shown = text.chars().map(|c| if hidden(c) { c.escape_default().to_string() } else { c.to_string() });
    shown.collect()
}

/// Collects findings while the files are read.
#[derive(Debug)]
pub(super) struct Findings<'s> {
    sources: &'s Sources,
    list: Vec<Diagnostic>,
    errors: bool,
    dropped: usize,
    per_file: BTreeMap<String, usize>,
    warnings: BTreeMap<&'static str, usize>,
}

impl<'s> Findings<'s> {
    pub(super) fn over(sources: &'s Sources) -> Self {
        Self {
            sources,
            list: Vec::new(),
            errors: false,
            dropped: 0,
            per_file: BTreeMap::new(),
            warnings: BTreeMap::new(),
        }
    }

    fn seen(&self, place: Place) -> usize {
        let file = self.sources.file(place.file).map_or("", |file| file.name.as_str());
        self.per_file.get(file).copied().unwrap_or(0)
    }

    /// What an unknown name may have meant.
    pub(super) fn suggest<'k>(
        &self,
        place: Place,
        typed: &str,
        known: impl IntoIterator<Item = &'k str> + Clone,
    ) -> Option<String> {
        if self.seen(place) < MOST_SUGGESTIONS { suggest::help(typed, known) } else { None }
    }

    /// An error at a place, to be completed and given to [`Self::push`].
    pub(super) fn error_at(
        &self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
    ) -> Diagnostic {
        self.finding(Severity::Error, code, place, message.into())
    }

    /// A warning at a place, to be completed and given to [`Self::push`].
    pub(super) fn warning_at(
        &self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
    ) -> Diagnostic {
        self.finding(Severity::Warning, code, place, message.into())
    }

    fn finding(&self, severity: Severity, code: &'static str, place: Place, message: String) -> Diagnostic {
        let location = self.locate(place);
        Diagnostic { severity, code, message, location, help: None, related: Vec::new() }
    }

    pub(super) fn push(&mut self, mut diagnostic: Diagnostic) {
        diagnostic.message = visible(diagnostic.message);
        diagnostic.help = diagnostic.help.map(visible);
        if diagnostic.severity == Severity::Warning {
            let alike = self.warnings.entry(diagnostic.code).or_default();
            *alike += 1;
            if *alike > MOST_WARNINGS {
                self.dropped += 1;
                return;
            }
        }
        let seen = self.per_file.entry(diagnostic.location.file.clone()).or_default();
        *seen += 1;
        // The first error is kept even after many warnings, so that a bad folder is never taken for good.
        let first_error = diagnostic.severity == Severity::Error && !self.errors;
        if *seen <= MOST_PER_FILE || first_error {
            self.errors |= first_error;
            self.list.push(diagnostic);
        } else {
            self.dropped += 1;
        }
    }

    /// Records an error.
    pub(super) fn error(&mut self, code: &'static str, place: Place, message: impl Into<String>) {
        let finding = self.error_at(code, place, message);
        self.push(finding);
    }

    /// Records an error with what to do about it.
    pub(super) fn error_help(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let finding = self.error_at(code, place, message).help(help);
        self.push(finding);
    }

    /// Records a warning with what to do about it.
    pub(super) fn warn(
        &mut self,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let finding = self.finding(Severity::Warning, code, place, message.into()).help(help);
        self.push(finding);
    }

    /// Where a place is. Finding the column of one that will not be shown is not worth its time.
    pub(super) fn locate(&self, place: Place) -> Location {
        if self.errors && self.seen(place) >= MOST_PER_FILE {
            let file = self.sources.file(place.file).map_or_else(String::new, |file| file.name.clone());
            return Location { file, span: None, excerpt: None };
        }
        self.sources.locate(place)
    }

    /// What stands at a place, as it is written.
    pub(super) fn written(&self, place: Place) -> Option<&'s str> {
        let (start, end) = (usize::try_from(place.start).ok()?, usize::try_from(place.end).ok()?);
        self.sources.file(place.file)?.text.as_deref()?.get(start..end)
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors
    }

    /// All findings, in the order of files and lines, none twice (an alias shows the same mistake at each use).
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by(|a, b| {
            (&a.location, a.severity, a.code, &a.message).cmp(&(&b.location, b.severity, b.code, &b.message))
        });
        self.list.dedup();
        if self.dropped > 0 {
            let message = format!("{} further findings are not shown", self.dropped);
            let location = Location { file: String::new(), span: None, excerpt: None };
            let severity = Severity::Warning;
            let code = "too-many-findings";
            self.list.push(Diagnostic { severity, code, message, location, help: None, related: Vec::new() });
        }
        self.list
    }
}
