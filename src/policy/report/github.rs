//! A report as workflow commands, which a build on GitHub shows beside the lines that they are about.

use std::path::Path;

use annotate_snippets::normalize_untrusted_str;

use super::{Report, path_from};
use crate::policy::diagnostic::Diagnostic;

impl Report {
    /// One `::error` or `::warning` line for each finding. `from` is the folder in which the command ran: files are named
    /// from there.
    #[must_use]
    pub fn to_github(&self, from: &Path) -> String {
        self.diagnostics.iter().map(|diagnostic| self.command(from, diagnostic) + "\n").collect()
    }

    fn command(&self, from: &Path, diagnostic: &Diagnostic) -> String {
        let mut properties = Vec::new();
        let location = &diagnostic.location;
        if !location.file.is_empty() {
            properties.push(("file", path_from(from, &self.folder, &location.file)));
        }
        if let Some(span) = location.span {
            properties.push(("line", span.line.to_string()));
            properties.push(("col", span.column.to_string()));
            properties.push(("endColumn", (span.column + span.len).to_string()));
        }
        properties.push(("title", diagnostic.code.to_owned()));
        let properties: Vec<String> =
            properties.iter().map(|(key, value)| format!("{key}={}", property(value))).collect();
        let mut message = diagnostic.message.clone();
        if let Some(help) = &diagnostic.help {
            message.push_str(&format!("\nhelp: {help}"));
        }
        for (location, reason) in &diagnostic.related {
            let line = location.span.map_or(String::new(), |span| format!(":{}", span.line));
            let file = path_from(from, &self.folder, &location.file);
            message.push_str(&format!("\n{reason}: {file}{line}"));
        }
        format!("::{} {}::{}", diagnostic.severity.as_str(), properties.join(","), data(&message))
    }
}

/// Text after `::`. What stands in a file must neither end the command nor begin another one.
fn data(text: &str) -> String {
    let line = |line: &str| normalize_untrusted_str(&line.replace('%', "%25")).replace('\r', "%0D");
    text.split('\n').map(line).collect::<Vec<_>>().join("%0A")
}

/// The value of a property: it ends at a comma, and the properties at a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_a_command_or_begins_one() {
        assert_eq!(data("100% of\r\n::error::x"), "100%25 of\u{240d}%0A::error::x");
        assert_eq!(property("a,b:c%2C"), "a%2Cb%3Ac%252C");
        assert!(!data("\u{1b}[31m\u{7f}").contains(char::is_control));
    }
}
