//! What `policy check` says: for people, with each line and a caret, and as JSON.

use std::path::{Path, PathBuf};

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str, renderer::DecorStyle,
};
use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Location, Severity};

/// The findings about a policy folder.
#[derive(Debug, Clone)]
pub struct Report {
    folder: PathBuf,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(super) fn new(folder: &Path, diagnostics: Vec<Diagnostic>) -> Self {
        Self { folder: folder.to_owned(), diagnostics }
    }

    /// All findings, by file and line.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// What makes the policies unusable.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error)
    }

    /// What is legal and probably not meant.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Warning)
    }

    /// Whether there is no error; warnings do not count.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.errors().next().is_none()
    }

    /// The findings as text, each with its place and line, and a last line that sums them up.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            out.push_str(&render(&self.folder, diagnostic, color));
            out.push_str("\n\n");
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    /// One line: how many errors and warnings.
    #[must_use]
    pub fn summary(&self) -> String {
        let folder = normalize_untrusted_str(&self.folder.display().to_string());
        match (self.errors().count(), self.warnings().count()) {
            (0, 0) => format!("{folder}: no errors, no warnings"),
            (0, warnings) => format!("{folder}: no errors, {}", count(warnings, "warning")),
            (errors, warnings) => {
                format!("{folder}: {}, {}", count(errors, "error"), count(warnings, "warning"))
            }
        }
    }

    /// The findings for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let all: Vec<Value> = self.diagnostics.iter().map(|d| self.diagnostic_json(d)).collect();
        json!({
            "folder": self.folder.display().to_string(),
            "ok": self.is_ok(),
            "errors": self.errors().count(),
            "warnings": self.warnings().count(),
            "diagnostics": all,
        })
    }

    fn diagnostic_json(&self, diagnostic: &Diagnostic) -> Value {
        let mut out = self.location_json(&diagnostic.location);
        out["severity"] = diagnostic.severity.as_str().into();
        out["code"] = diagnostic.code.into();
        out["message"] = diagnostic.message.as_str().into();
        out["help"] = diagnostic.help.as_deref().into();
        let related = diagnostic.related.iter().map(|(location, reason)| {
            let mut out = self.location_json(location);
            out["message"] = reason.as_str().into();
            out
        });
        out["related"] = related.collect();
        out
    }

    fn location_json(&self, location: &Location) -> Value {
        json!({
            "file": location.file,
            "path": path(&self.folder, &location.file),
            "line": location.span.map(|span| span.line),
            "column": location.span.map(|span| span.column),
            "length": location.span.map(|span| span.len),
            "source": location.excerpt.as_ref().map(|excerpt| excerpt.text.as_str()),
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// Wide enough that the renderer never cuts an excerpt again.
const WIDTH: usize = 500;

pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn path(folder: &Path, file: &str) -> String {
    if file.is_empty() { folder.display().to_string() } else { folder.join(file).display().to_string() }
}

fn render(folder: &Path, diagnostic: &Diagnostic, color: bool) -> String {
    let message = normalize_untrusted_str(&diagnostic.message);
    let help = diagnostic.help.as_deref().map(normalize_untrusted_str);
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(&message).id(diagnostic.code);
    let mut group = shown(Group::with_title(title), folder, &diagnostic.location, true);
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help));
    }
    let mut groups = vec![group];
    for (location, reason) in &diagnostic.related {
        let title = Level::NOTE.secondary_title(normalize_untrusted_str(reason));
        groups.push(shown(Group::with_title(title), folder, location, false));
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH).render(&groups)
}

/// The place and the line.
fn shown<'a>(group: Group<'a>, folder: &Path, location: &'a Location, primary: bool) -> Group<'a> {
    let file = normalize_untrusted_str(&path(folder, &location.file));
    let Some(span) = location.span else { return group.element(Origin::path(file)) };
    let origin = |file| Origin::path(file).line(span.line).char_column(span.column);
    let Some(excerpt) = &location.excerpt else { return group.element(origin(file)) };
    let kind = if primary { AnnotationKind::Primary } else { AnnotationKind::Context };
    let snippet = Snippet::source(excerpt.text.as_str())
        .line_start(span.line)
        .annotation(kind.span(excerpt.start..excerpt.end));
    let before = excerpt.text.get(..excerpt.start).map_or(0, |before| before.chars().count());
    if before + 1 == span.column {
        group.element(snippet.path(file))
    } else {
        // The line was cut, and the column must not be counted from the cut.
        group.element(origin(file)).element(snippet)
    }
}
