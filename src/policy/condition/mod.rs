//! Conditions and amounts in CEL: read, typed and bounded when the policies are compiled, so that a request only evaluates.
//!
//! A text passes four rooms: `bounds` looks at its characters, so that no text is too deep for the parser; the `cel` crate
//! parses it; `check` finds the type of every part, bounds what it can cost and replaces each `request.headers['x-n']` by a
//! numbered [`slot`](slot::Slot); `eval` fills the slots from a request and runs it.

mod bounds;
mod calls;
mod check;
mod eval;
mod names;
mod pattern;
mod place;
mod slot;
#[cfg(test)]
mod tests;
mod types;

use std::{collections::BTreeMap, ops::Range};

use super::{definition::At, diagnostic::Findings};
use crate::domain::{
    condition::{Computed, When},
    route::Pattern,
};

/// What kind of value an attribute has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeKind {
    Text,
    Number,
    Flag,
}

impl AttributeKind {
    /// As `features.yaml` writes it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "number",
            Self::Flag => "bool",
        }
    }
}

/// What `features.yaml` says of an attribute.
#[derive(Debug, Clone)]
pub(super) struct AttributeTerms {
    pub(super) kind: AttributeKind,
    /// Of a text: what it may be; empty: anything.
    pub(super) values: Vec<String>,
}

/// What a text may refer to.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    /// The path whose parameters there are; `None`: any route's, so that none can be named.
    pub(super) path: Option<&'s Pattern>,
    /// The attributes that are declared; `None`: any may be used.
    pub(super) attributes: Option<&'s BTreeMap<String, AttributeTerms>>,
    /// It is asked before the tenant is known.
    pub(super) public: bool,
}

/// Something wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mistake {
    code: &'static str,
    /// Bytes of the text.
    span: Range<usize>,
    message: String,
    help: Option<String>,
    /// It is legal all the same.
    warning: bool,
}

impl Mistake {
    fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), help: None, warning: false }
    }

    fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }

    fn warning(mut self) -> Self {
        self.warning = true;
        self
    }
}

/// What a text must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Condition,
    Amount,
}

/// Reads a condition. `None`: it is none, and the findings say why.
pub(super) fn when(text: &At<String>, scope: Scope<'_>, findings: &mut Findings<'_>) -> Option<When> {
    let program = program(text, scope, Wanted::Condition, findings)?;
    Some(When::new(&text.value, program))
}

/// Reads an amount. `None`: it is none, and the findings say why.
pub(super) fn amount(text: &At<String>, scope: Scope<'_>, findings: &mut Findings<'_>) -> Option<Computed> {
    let program = program(text, scope, Wanted::Amount, findings)?;
    Some(Computed::new(&text.value, program))
}

fn program(
    text: &At<String>,
    scope: Scope<'_>,
    wanted: Wanted,
    findings: &mut Findings<'_>,
) -> Option<eval::Program> {
    let (program, mistakes) = check::compile(&text.value, scope, wanted);
    for Mistake { code, span, message, help, warning } in mistakes {
        let place = place::within(text.place, findings.written(text.place), &text.value, span);
        if warning {
            findings.warn(code, place, message, help);
        } else {
            findings.error_help(code, place, message, help);
        }
    }
    program
}
