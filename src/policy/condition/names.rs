//! The names that stand for a request, its client and its tenant: each becomes a slot.

use cel::{
    IdedExpr,
    common::ast::{Expr, operators},
};
use std::ops::Range;

use super::{
    AttributeKind, Mistake,
    check::{Checker, text_of},
    slot::Slot,
    types::Type,
};
use crate::{
    domain::{condition::hidden, route::Segment},
    policy::suggest,
};

const REQUEST: [&str; 6] = ["headers", "method", "params", "path", "query", "time"];

impl Checker<'_> {
    /// Where the part refers to the request, client or tenant: puts a slot in its place.
    pub(super) fn reference(&mut self, part: &mut IdedExpr) -> Option<Type> {
        let id = part.id;
        match &part.expr {
            Expr::Select(select) => {
                if let Some(of) = self.global(&select.operand) {
                    let (of, field, test) = (of.to_owned(), select.field.clone(), select.test);
                    let span = self.word_after(id, &field);
                    return Some(self.field_of(part, &of, (&field, test), span));
                }
                let kind = self.entries(&select.operand)?;
                let (field, test) = (select.field.clone(), select.test);
                let span = self.word_after(id, &field);
                Some(self.entry(part, kind, (&field, test), span))
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [of, key] = call.args.as_slice() else { return None };
                let name = text_of(key)?.to_owned();
                let span = self.span(key.id);
                if let Some(of) = self.global(of) {
                    let help = Some(format!("write `{of}.{name}`"));
                    return Some(self.wrong_help("condition-type", span, "expected a dot here", help));
                }
                let kind = self.entries(of)?;
                Some(self.entry(part, kind, (&name, false), span))
            }
            Expr::Call(call) if call.func_name == operators::IN => {
                let [key, of] = call.args.as_slice() else { return None };
                let name = text_of(key)?.to_owned();
                let (kind, span) = (self.entries(of)?, self.span(key.id));
                Some(self.entry(part, kind, (&name, true), span))
            }
            _ => None,
        }
    }

    /// Whether it is `request.headers`, `request.query` or `request.params`.
    fn entries(&self, part: &IdedExpr) -> Option<&'static str> {
        let Expr::Select(select) = &part.expr else { return None };
        if select.test || self.global(&select.operand)? != "request" {
            return None;
        }
        ["headers", "query", "params"].into_iter().find(|kind| *kind == select.field)
    }

    fn field_of(
        &mut self,
        part: &mut IdedExpr,
        of: &str,
        (field, test): (&str, bool),
        span: Range<usize>,
    ) -> Type {
        let (slot, found) = match (of, field) {
            ("tenant", _) => return self.tenant(part, (field, test), span),
            ("client", "address") => (Slot::Client, Type::Text),
            ("request", "method") => (Slot::Method, Type::Text),
            ("request", "path") => (Slot::Path, Type::Text),
            ("request", "time") => (Slot::Time, Type::Timestamp),
            ("request", "headers") => (Slot::Headers, Type::Map(Box::new(Type::Text))),
            ("request", "query") => (Slot::Queries, Type::Map(Box::new(Type::Text))),
            ("request", "params") => (Slot::Params(self.params()), Type::Map(Box::new(Type::Text))),
            _ => {
                let known: &[&str] = if of == "client" { &["address"] } else { &REQUEST };
                let help = suggest::help(field, known.iter().copied());
                return self.wrong_help(
                    "unknown-variable",
                    span,
                    format!("unknown variable `{of}.{field}`"),
                    help,
                );
            }
        };
        if test {
            let message = format!("`{of}.{field}` is always there");
            return self.wrong("condition-type", span, message);
        }
        self.slot(&mut part.expr, slot);
        found
    }

    fn params(&self) -> Vec<(String, usize, bool)> {
        let segments = self.scope.path.map_or(&[][..], |path| path.segments());
        let named = segments.iter().enumerate().filter_map(|(place, segment)| match segment {
            Segment::Parameter(name) => Some((name.clone(), place, false)),
            Segment::Rest(name) => Some((name.clone(), place, true)),
            Segment::Literal(_) => None,
        });
        named.collect()
    }

    fn entry(
        &mut self,
        part: &mut IdedExpr,
        kind: &str,
        (name, test): (&str, bool),
        span: Range<usize>,
    ) -> Type {
        let slot = match (kind, test) {
            ("headers", _) => {
                if let Some(mistake) = bad_header(name, span) {
                    self.mistake(mistake);
                    return if test { Type::Bool } else { Type::Text };
                }
                if test { Slot::HasHeader(name.to_owned()) } else { Slot::Header(name.to_owned()) }
            }
            ("query", true) => Slot::HasQuery(name.to_owned()),
            ("query", false) => Slot::Query(name.to_owned()),
            _ => {
                let params = self.params();
                let Some((name, place, rest)) = params.iter().find(|(known, ..)| known == name).cloned()
                else {
                    let help = match self.scope.path {
                        None => Some("`defaults` are for all routes: their paths differ".to_owned()),
                        Some(_) => suggest::help(name, params.iter().map(|(name, ..)| name.as_str()))
                            .or_else(|| Some("its path has none".to_owned())),
                    };
                    let message = format!("the route has no path parameter `{name}`");
                    return self.wrong_help("unknown-variable", span, message, help);
                };
                if test {
                    return self.wrong(
                        "condition-type",
                        span,
                        format!("`request.params.{name}` is always there"),
                    );
                }
                Slot::Param { name, place, rest }
            }
        };
        self.slot(&mut part.expr, slot);
        if test { Type::Bool } else { Type::Text }
    }

    fn tenant(&mut self, part: &mut IdedExpr, (field, test): (&str, bool), span: Range<usize>) -> Type {
        if self.scope.public {
            let help = "remove `public`, or ask only for the request".to_owned();
            let message = "a public route is decided before its tenant is known";
            return self.wrong_help("public-route", span, message, help);
        }
        let own = match field {
            "id" => Some(Slot::TenantId),
            "plan" => Some(Slot::TenantPlan),
            _ => None,
        };
        if let Some(slot) = own {
            if test {
                return self.wrong("condition-type", span, format!("`tenant.{field}` is always there"));
            }
            self.slot(&mut part.expr, slot);
            return Type::Text;
        }
        let found = match self.scope.attributes {
            None => Type::Any,
            Some(declared) => match declared.get(field) {
                Some(terms) => match terms.kind {
                    AttributeKind::Text => Type::Text,
                    AttributeKind::Number => Type::Int,
                    AttributeKind::Flag => Type::Bool,
                },
                None => {
                    let known = declared.keys().map(String::as_str).chain(["id", "plan"]);
                    let help = suggest::help(field, known.collect::<Vec<_>>());
                    let message = format!("unknown attribute `{field}`: features.yaml does not declare it");
                    return self.wrong_help("unknown-attribute", span, message, help);
                }
            },
        };
        let slot =
            if test { Slot::HasAttribute(field.to_owned()) } else { Slot::Attribute(field.to_owned()) };
        self.slot(&mut part.expr, slot);
        if test { Type::Bool } else { found }
    }

    /// Warns where an attribute is compared with what it cannot be.
    pub(super) fn warn_of_values(&mut self, left: &IdedExpr, right: &IdedExpr) {
        let Some(declared) = self.scope.attributes else { return };
        let attribute = |part: &IdedExpr| match &part.expr {
            Expr::Select(select) if !select.test && self.global(&select.operand) == Some("tenant") => {
                declared.get(&select.field).map(|terms| (select.field.clone(), terms))
            }
            _ => None,
        };
        let (found, with) = match (attribute(left), attribute(right)) {
            (Some(found), _) => (found, right),
            (None, Some(found)) => (found, left),
            (None, None) => return,
        };
        let (name, terms) = found;
        let parts = match &with.expr {
            Expr::List(list) => list.elements.iter().collect(),
            _ => vec![with],
        };
        for part in parts {
            let Some(text) = text_of(part).filter(|text| !terms.values.iter().any(|known| known == text))
            else {
                continue;
            };
            if terms.values.is_empty() {
                continue;
            }
            let help = suggest::help(text, terms.values.iter().map(String::as_str));
            let message = format!("`tenant.{name}` is never `{text}`: features.yaml lists its values");
            self.mistake(Mistake::new("unknown-value", self.span(part.id), message).help(help).warning());
        }
    }
}

fn bad_header(name: &str, span: Range<usize>) -> Option<Mistake> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(token) {
        let shown: String = name.chars().take(80).collect();
        return Some(Mistake::new("invalid-header", span, format!("`{shown}` is not a header's name")));
    }
    let lower = name.to_ascii_lowercase();
    if lower != name {
        let message = "the names of headers are in lower case here";
        return Some(Mistake::new("invalid-header", span, message).help(format!("write `{lower}`")));
    }
    let why = hidden(name)?;
    Some(
        Mistake::new("hidden-header", span, format!("no condition sees the header `{name}`"))
            .help(why.to_owned()),
    )
}
