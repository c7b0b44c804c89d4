//! A finding for people: its place, the line with a caret, what to do.

use std::path::Path;

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str, renderer::DecorStyle,
};

use super::path;
use crate::policy::diagnostic::{Diagnostic, Location, Severity};

/// Wide enough that the renderer never cuts an excerpt again.
const WIDTH: usize = 500;

pub(super) fn render(folder: &Path, diagnostic: &Diagnostic, color: bool) -> String {
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
