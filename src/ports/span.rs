//! What the units of a bucket can be used over, and where they come from.

use std::fmt;

use crate::domain::{period::Window, rights::Source, time::Version};

/// Over what, and from where, the units of a bucket are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Span {
    /// What the plan includes in a window.
    Window(Window),
    /// What the plan lets through in a month beyond what it includes.
    Overage,
    /// A grant's units, once or in one month.
    Grant,
    /// What billed overage may cost in a month, in billionths of the currency after which the bucket's meter is called. It
    /// goes on where counting begins anew: its bucket's epoch is 0.
    Spend,
}

impl Span {
    /// What the plan includes in the billing month.
    pub const MONTH: Self = Self::Window(Window::Month);
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Window(Window::Hour),
        Self::Window(Window::Day),
        Self::Window(Window::Week),
        Self::MONTH,
        Self::Overage,
        Self::Grant,
        Self::Spend,
    ];

    /// The word used in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window(window) => window.as_str(),
            Self::Overage => "overage",
            Self::Grant => "grant",
            Self::Spend => "spend",
        }
    }

    /// The span of a word; `None`: there is no such word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.as_str() == word)
    }

    /// Whether it is a window shorter than the month.
    #[must_use]
    pub const fn is_shorter(self) -> bool {
        matches!(self, Self::Window(Window::Hour | Window::Day | Window::Week))
    }

    /// Whether units are taken from it as from one of several sources. Of the others, which are limits beside these, a
    /// charge needs each for itself.
    #[must_use]
    pub const fn is_source(self) -> bool {
        matches!(self, Self::MONTH | Self::Overage | Self::Grant)
    }

    /// Over what a source's units are, and the epoch of their bucket while counting goes on from `epoch`: a grant goes on
    /// where counting begins anew, by its own number.
    #[must_use]
    pub const fn of_source(source: Source, epoch: Version) -> (Self, Version) {
        match source {
            Source::Plan => (Self::MONTH, epoch),
            Source::Overage => (Self::Overage, epoch),
            Source::Grant(number) => (Self::Grant, number),
        }
    }

    /// The source of a bucket's units, by the bucket's epoch; `None`: it is a limit beside the sources.
    #[must_use]
    pub const fn source(self, epoch: Version) -> Option<Source> {
        match self {
            Self::MONTH => Some(Source::Plan),
            Self::Overage => Some(Source::Overage),
            Self::Grant => Some(Source::Grant(epoch)),
            Self::Window(_) | Self::Spend => None,
        }
    }
}

impl From<Window> for Span {
    fn from(window: Window) -> Self {
        Self::Window(window)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        for span in Span::ALL {
            assert_eq!(Span::parse(span.as_str()), Some(span));
            assert_eq!(span.is_shorter(), ["hour", "day", "week"].contains(&span.as_str()));
            assert_eq!(span.is_source(), ["month", "overage", "grant"].contains(&span.as_str()));
            let source = span.source(Version(7));
            assert_eq!(source.is_some(), span.is_source());
            let back = source.map(|source| Span::of_source(source, Version(7)));
            assert!(back.is_none_or(|back| back == (span, Version(7))));
        }
        assert_eq!(Span::parse("year"), None);
    }
}
