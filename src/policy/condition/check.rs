//! The type of every part of an expression, and what it may cost. References to the request become slots on the way.

use cel::{
    IdedExpr,
    common::ast::{ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, SourceInfo, operators},
    parser::Parser,
};
use std::ops::Range;

use super::{
    Mistake, Scope, Wanted, bounds,
    eval::{Program, slot_name},
    slot::{MOST_ENTRIES, Slot},
    types::Type,
};
use crate::policy::suggest;

/// The most parts that one evaluation visits; a part that is visited for each entry of a map counts for each.
const MOST_STEPS: usize = 4096;
/// Parts within parts. The interpreter goes one level deeper for each, on the stack of the thread that serves requests.
const MOST_LEVELS: usize = 20;
/// Texts put together in one expression.
const MOST_JOINS: usize = 8;

/// Compiles a text. What is wrong with it is told by the way; without a program something is.
pub(super) fn compile(text: &str, scope: Scope<'_>, wanted: Wanted) -> (Option<Program>, Vec<Mistake>) {
    if let Err(mistake) = bounds::check(text) {
        return (None, vec![mistake]);
    }
    let (mut expression, source) = match Parser::new().parse_with_source_info(text) {
        Ok(parsed) => parsed,
        Err(errors) => return (None, vec![bounds::unparsed(text, &errors)]),
    };
    let mut checker = Checker::new(text, &source, scope);
    let found = checker.expression(&mut expression);
    if checker.steps > MOST_STEPS {
        let message = "the condition does too much for one request";
        checker.mistake(Mistake::new("condition-cost", 0..text.len(), message));
    }
    let (expected, fits) = match wanted {
        Wanted::Condition => ("true or false", found.fits(&Type::Bool)),
        Wanted::Amount => ("a whole number (an int)", found.fits(&Type::Int)),
    };
    if !fits {
        let help = (wanted == Wanted::Amount && found == Type::Double)
            .then(|| "write `int(...)` around it".to_owned());
        let message = format!("expected {expected}, found {}", found.describe());
        checker.mistake(Mistake::new("condition-type", 0..text.len(), message).help(help));
    }
    let Checker { slots, mistakes, .. } = checker;
    let good = mistakes.iter().all(|mistake| mistake.warning);
    (good.then(|| Program::new(expression, slots)), mistakes)
}

/// A name that a macro binds.
struct Local {
    name: String,
    is: Type,
}

pub(super) struct Checker<'s> {
    text: &'s str,
    source: &'s SourceInfo,
    pub(super) scope: Scope<'s>,
    locals: Vec<Local>,
    slots: Vec<Slot>,
    mistakes: Vec<Mistake>,
    steps: usize,
    levels: usize,
    /// How often the part at hand is visited.
    times: usize,
    joins: usize,
}

impl<'s> Checker<'s> {
    const fn new(text: &'s str, source: &'s SourceInfo, scope: Scope<'s>) -> Self {
        Self {
            text,
            source,
            scope,
            locals: Vec::new(),
            slots: Vec::new(),
            mistakes: Vec::new(),
            steps: 0,
            levels: 0,
            times: 1,
            joins: 0,
        }
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) {
        if self.mistakes.len() < 20 && !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Records a mistake; its value may be anything, so that nothing is said of what is made of it.
    pub(super) fn wrong(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Type {
        self.mistake(Mistake::new(code, span, message));
        Type::Any
    }

    pub(super) fn wrong_help(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) -> Type {
        self.mistake(Mistake::new(code, span, message).help(help));
        Type::Any
    }

    /// The token at which the parser placed a part: a name, a literal, an operator, a dot or a bracket.
    pub(super) fn span(&self, id: u64) -> Range<usize> {
        let Some((start, stop)) = self.source.offset_for(id) else { return 0..self.text.len() };
        let byte = |offset: u32| {
            let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.text.len());
            (0..=offset).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
        };
        let (start, end) = (byte(start), byte(stop.saturating_add(1)));
        start..end.max(start + 1).min(self.text.len().max(start + 1))
    }

    /// Where a word stands after the token of a part.
    pub(super) fn word_after(&self, id: u64, word: &str) -> Range<usize> {
        let span = self.span(id);
        match self.text.get(span.start..).and_then(|rest| rest.find(word)) {
            Some(at) => span.start + at..span.start + at + word.len(),
            None => span,
        }
    }

    /// Where a word stands before the token of a part, or in it.
    pub(super) fn word_before(&self, id: u64, word: &str) -> Range<usize> {
        let span = self.span(id);
        match self.text.get(..span.end).and_then(|before| before.rfind(word)) {
            Some(at) => at..at + word.len(),
            None => span,
        }
    }

    pub(super) fn cost(&mut self, steps: usize) {
        self.steps = self.steps.saturating_add(self.times.saturating_mul(steps));
    }

    pub(super) const fn in_loop(&self) -> bool {
        self.times > 1
    }

    pub(super) fn join_texts(&mut self, span: Range<usize>) {
        self.joins += 1;
        if self.in_loop() {
            self.wrong("condition-cost", span, "texts and lists cannot be put together for each entry");
        } else if self.joins > MOST_JOINS {
            let message = format!("a condition puts at most {MOST_JOINS} texts or lists together");
            self.wrong("condition-cost", span, message);
        }
    }

    /// Puts a slot in the place of a part.
    pub(super) fn slot(&mut self, part: &mut Expr, slot: Slot) {
        let number = self.slots.iter().position(|known| *known == slot).unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        });
        *part = Expr::Ident(slot_name(number));
    }

    pub(super) fn local(&self, name: &str) -> Option<&Type> {
        self.locals.iter().rev().find(|local| local.name == name).map(|local| &local.is)
    }

    /// Whether it is one of the names that stand for the request, and nothing else of that name is nearer.
    pub(super) fn global<'e>(&self, part: &'e IdedExpr) -> Option<&'e str> {
        match &part.expr {
            Expr::Ident(name)
                if matches!(name.as_str(), "request" | "client" | "tenant") && self.local(name).is_none() =>
            {
                Some(name)
            }
            _ => None,
        }
    }

    pub(super) fn expression(&mut self, part: &mut IdedExpr) -> Type {
        self.cost(1);
        if self.levels == MOST_LEVELS {
            let span = self.span(part.id);
            let message = format!("a condition has at most {MOST_LEVELS} parts within each other");
            let help = "write it with fewer operators in a row".to_owned();
            return self.wrong_help("condition-cost", span, message, help);
        }
        self.levels += 1;
        let found = self.part(part);
        self.levels -= 1;
        found
    }

    fn part(&mut self, part: &mut IdedExpr) -> Type {
        if let Some(found) = self.reference(part) {
            return found;
        }
        let id = part.id;
        match &mut part.expr {
            Expr::Literal(literal) => self.literal(id, literal),
            Expr::Ident(name) => {
                let name = name.clone();
                self.name(id, &name)
            }
            Expr::Select(select) => self.field(id, select),
            Expr::Call(call) => self.call(id, call),
            Expr::List(list) => {
                let found: Vec<Type> = list.elements.iter_mut().map(|one| self.expression(one)).collect();
                Type::List(Box::new(self.common(found)))
            }
            Expr::Map(map) => {
                let mut found = Vec::new();
                for entry in &mut map.entries {
                    let EntryExpr::MapEntry(entry) = &mut entry.expr else { continue };
                    let at = entry.key.id;
                    if self.expression(&mut entry.key) != Type::Text {
                        let span = self.span(at);
                        self.wrong("condition-type", span, "the keys of a map are strings here");
                    }
                    found.push(self.expression(&mut entry.value));
                }
                Type::Map(Box::new(self.common(found)))
            }
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            Expr::Struct(_) | Expr::Unspecified => {
                let span = self.span(id);
                self.wrong("invalid-condition", span, "this cannot stand in a condition")
            }
        }
    }

    /// What all of them are, or anything.
    fn common(&self, all: Vec<Type>) -> Type {
        let mut all = all.into_iter();
        let Some(first) = all.next() else { return Type::Any };
        all.try_fold(first, Type::join).unwrap_or(Type::Any)
    }

    fn literal(&mut self, id: u64, literal: &LiteralValue) -> Type {
        let help = match literal {
            LiteralValue::Boolean(_) => return Type::Bool,
            LiteralValue::Int(_) => return Type::Int,
            LiteralValue::Double(_) => return Type::Double,
            LiteralValue::String(_) => return Type::Text,
            LiteralValue::UInt(_) => "write the number without `u`",
            LiteralValue::Null => "ask with `has(...)` whether something is there",
            LiteralValue::Bytes(_) => "write a text without `b`",
        };
        let span = self.span(id);
        self.wrong_help("invalid-condition", span, "this cannot stand in a condition", help.to_owned())
    }

    fn name(&mut self, id: u64, name: &str) -> Type {
        if let Some(known) = self.local(name) {
            return known.clone();
        }
        let span = self.word_after(id, name);
        let known = ["request", "client", "tenant"];
        if let Some(whole) = known.into_iter().find(|whole| *whole == name) {
            let example = match whole {
                "request" => "request.method",
                "client" => "client.address",
                _ => "tenant.plan",
            };
            let message = format!("`{name}` alone is no value");
            return self.wrong_help(
                "condition-type",
                span,
                message,
                format!("ask for a part, such as `{example}`"),
            );
        }
        let locals =
            self.locals.iter().map(|local| local.name.as_str()).filter(|name| !name.starts_with('@'));
        let help = suggest::help(name, known.into_iter().chain(locals).collect::<Vec<_>>());
        self.wrong_help("unknown-variable", span, format!("unknown variable `{name}`"), help)
    }

    /// A field of something that is not the request.
    fn field(&mut self, id: u64, select: &mut SelectExpr) -> Type {
        let of = self.expression(&mut select.operand);
        match of {
            Type::Map(value) => {
                if select.test {
                    Type::Bool
                } else {
                    *value
                }
            }
            Type::Any => {
                if select.test {
                    Type::Bool
                } else {
                    Type::Any
                }
            }
            other => {
                let span = self.word_after(id, &select.field);
                let message = format!("{} has no field `{}`", other.describe(), select.field);
                self.wrong("condition-type", span, message)
            }
        }
    }

    /// `all`, `exists`, `exists_one`, `map` and `filter`, as the parser writes them out.
    fn comprehension(&mut self, id: u64, it: &mut ComprehensionExpr) -> Type {
        let span = self.span(id);
        if self.in_loop() {
            let message = "one look through a map or list cannot stand within another";
            return self.wrong("condition-cost", span, message);
        }
        let times = match &it.iter_range.expr {
            Expr::List(list) => list.elements.len().max(2),
            _ => MOST_ENTRIES,
        };
        let literal = matches!(it.iter_range.expr, Expr::List(_));
        // Within the list itself nothing may be looked through either.
        self.times = 2;
        let range = self.expression(&mut it.iter_range);
        self.times = 1;
        let whole = matches!(&it.iter_range.expr, Expr::Ident(name) if name.starts_with('@'));
        let element = match range {
            Type::List(element) if literal => *element,
            Type::Map(_) if whole => Type::Text,
            Type::Any => Type::Any,
            _ => {
                let message = "only `request.headers`, `request.query`, `request.params` and lists that are \
                               written out can be looked through";
                self.wrong("condition-cost", span, message)
            }
        };
        let start = self.expression(&mut it.accu_init);
        self.times = times;
        self.locals.push(Local { name: it.accu_var.clone(), is: start.clone() });
        self.locals.push(Local { name: it.iter_var.clone(), is: element });
        self.truth(&mut it.loop_cond);
        let step = self.expression(&mut it.loop_step);
        self.locals.pop();
        let result = start.join(step).unwrap_or(Type::Any);
        if let Some(local) = self.locals.last_mut() {
            local.is = result;
        }
        self.times = 1;
        let result = self.expression(&mut it.result);
        self.locals.pop();
        result
    }

    /// A part that must be true or false.
    pub(super) fn truth(&mut self, part: &mut IdedExpr) {
        let id = part.id;
        let found = self.expression(part);
        if !found.fits(&Type::Bool) {
            let span = self.span(id);
            self.wrong("condition-type", span, format!("expected true or false, found {}", found.describe()));
        }
    }

    /// What both parts of a choice are.
    pub(super) fn either(&mut self, id: u64, one: Type, other: Type) -> Type {
        let words = (one.describe(), other.describe());
        if let Some(both) = one.join(other) {
            return both;
        }
        let span = self.span(id);
        let message = format!("both results of `? :` must be alike, found {} and {}", words.0, words.1);
        self.wrong("condition-type", span, message)
    }
}

/// The text of a literal.
pub(super) fn text_of(part: &IdedExpr) -> Option<&str> {
    match &part.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// An operator as it is written.
pub(super) fn written(operator: &str) -> &str {
    match operator {
        operators::IN => "in",
        other => other.trim_matches('_'),
    }
}
