//! What `policy check` says: for people, with each line and a caret; as JSON; for code scanning; for a build's log.

mod github;
mod json;
mod sarif;
mod text;

use std::path::{Component, Path, PathBuf};

use annotate_snippets::normalize_untrusted_str;

use super::diagnostic::{Diagnostic, Severity};

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
            out.push_str(&self.render_one(diagnostic, color));
            out.push_str("\n\n");
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    /// One finding as text, with its place and line.
    #[must_use]
    pub fn render_one(&self, diagnostic: &Diagnostic, color: bool) -> String {
        text::render(&self.folder, diagnostic, color)
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
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A file as it is named to people: the folder as it was given, and the file in it.
fn path(folder: &Path, file: &str) -> String {
    if file.is_empty() { folder.display().to_string() } else { folder.join(file).display().to_string() }
}

/// A file as programs find it from where the command ran, with `/`. One that does not lie below stays absolute.
fn path_from(from: &Path, folder: &Path, file: &str) -> String {
    let folder = folder.strip_prefix(from).unwrap_or(folder);
    let whole = if file.is_empty() { folder.to_owned() } else { folder.join(file) };
    let mut out = String::new();
    for component in whole.components() {
        match component {
            Component::RootDir => out.push('/'),
            Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir | Component::Normal(_) => {
                if !out.is_empty() && !out.ends_with('/') {
                    out.push('/');
                }
                out.push_str(&component.as_os_str().to_string_lossy());
            }
        }
    }
    if out.is_empty() { ".".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_where_the_command_ran() {
        for (from, folder, file, path) in [
            ("/w", "policies", "plans/a.yaml", "policies/plans/a.yaml"),
            ("/w", "./policies/", "a.yaml", "policies/a.yaml"),
            ("/w", "/w/x/policies", "a.yaml", "x/policies/a.yaml"),
            ("/w", "/elsewhere", "a.yaml", "/elsewhere/a.yaml"),
            ("/w", "../p", "a.yaml", "../p/a.yaml"),
            ("/w", ".", "", "."),
            ("/w", "/w", "a.yaml", "a.yaml"),
        ] {
            assert_eq!(path_from(Path::new(from), Path::new(folder), file), path);
        }
    }
}
