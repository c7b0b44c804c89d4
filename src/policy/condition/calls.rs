//! Operators and functions: which there are, and the types that they take and give.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr, LiteralValue, operators},
};
use ipnet::IpNet;

use super::{
    Mistake,
    check::{Checker, text_of, written},
    eval, pattern,
    types::Type,
};
use crate::policy::suggest;

/// What is called on a value, or with it.
const FUNCTIONS: [&str; 24] = [
    "bool",
    "contains",
    "double",
    "duration",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "inCidr",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "all",
    "exists",
    "has",
];
/// Looks that compile a pattern cost so much more than others.
const PATTERN_STEPS: usize = 40;

impl Checker<'_> {
    pub(super) fn call(&mut self, id: u64, call: &mut CallExpr) -> Type {
        let name = call.func_name.clone();
        match (name.as_str(), call.args.len(), call.target.is_some()) {
            (operators::CONDITIONAL, 3, false) => {
                self.truth(&mut call.args[0]);
                let one = self.expression(&mut call.args[1]);
                let other = self.expression(&mut call.args[2]);
                self.either(id, one, other)
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, 2, false) => {
                call.args.iter_mut().for_each(|part| self.truth(part));
                Type::Bool
            }
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, 1, false) => {
                self.truth(&mut call.args[0]);
                Type::Bool
            }
            (operators::NEGATE, 1, false) => {
                let found = self.expression(&mut call.args[0]);
                if found.is_number() {
                    return found;
                }
                let message = format!("`-` needs a number, found {}", found.describe());
                let span = self.span(id);
                self.wrong("condition-type", span, message)
            }
            (operator, 2, false) if operator.starts_with('_') || operator.starts_with('@') => {
                self.binary(id, operator, &mut call.args)
            }
            _ => self.function(id, &name, call),
        }
    }

    fn binary(&mut self, id: u64, operator: &str, args: &mut [IdedExpr]) -> Type {
        let [left, right] = args else { return Type::Any };
        if matches!(operator, operators::EQUALS | operators::NOT_EQUALS | operators::IN) {
            self.warn_of_values(left, right);
        }
        let accumulates = matches!(&left.expr, Expr::Ident(name) if name.starts_with("@result"));
        let (one, other) = (self.expression(left), self.expression(right));
        let span = self.span(id);
        let words = (one.describe(), other.describe());
        let unfit = |checker: &mut Self| {
            let help = match (&one, &other) {
                (Type::Int, Type::Double) | (Type::Double, Type::Int) => {
                    Some("write `double(...)` around the int, or `int(...)` around the double".to_owned())
                }
                (Type::Text, Type::Int) | (Type::Int, Type::Text) => {
                    Some("write `int(...)` around the string".to_owned())
                }
                _ => None,
            };
            let message = format!("`{}` cannot have {} and {}", written(operator), words.0, words.1);
            checker.wrong_help("condition-type", span.clone(), message, help)
        };
        match operator {
            operators::EQUALS | operators::NOT_EQUALS => {
                if one.fits(&other) || one.is_number() && other.is_number() {
                    Type::Bool
                } else {
                    unfit(self)
                }
            }
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
                let ordered = !matches!(one, Type::List(_) | Type::Map(_)) && one.fits(&other);
                if ordered || one.is_number() && other.is_number() { Type::Bool } else { unfit(self) }
            }
            operators::IN => match &other {
                Type::List(of) if one.fits(of) || one.is_number() && of.is_number() => Type::Bool,
                Type::Map(_) if one.fits(&Type::Text) => Type::Bool,
                Type::Any => Type::Bool,
                _ => unfit(self),
            },
            operators::INDEX => match &other {
                _ if one == Type::Any => Type::Any,
                Type::Text | Type::Any if matches!(one, Type::Map(_)) => element(&one),
                Type::Int | Type::Any if matches!(one, Type::List(_)) => element(&one),
                _ => unfit(self),
            },
            operators::ADD => {
                let number = |of: &Type| matches!(of, Type::Int | Type::Double);
                let joins = match (&one, &other) {
                    (Type::Text | Type::List(_), _) | (_, Type::Text | Type::List(_)) => true,
                    (Type::Any, other) | (other, Type::Any) => !number(other),
                    _ => false,
                };
                if joins && !accumulates {
                    self.join_texts(span.clone());
                }
                self.sum(operator, &one, &other).unwrap_or_else(|| unfit(self))
            }
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
                self.sum(operator, &one, &other).unwrap_or_else(|| unfit(self))
            }
            _ => self.wrong("invalid-condition", span, "this cannot stand in a condition"),
        }
    }

    /// The type of a calculation; `None`: there is none with such parts.
    fn sum(&self, operator: &str, one: &Type, other: &Type) -> Option<Type> {
        use Type::{Any, Double, Duration, Int, List, Text, Timestamp};
        Some(match (operator, one, other) {
            (_, Any, Any) => Any,
            (operators::MODULO, Int | Any, Int | Any) => Int,
            (operators::MODULO, ..) => return None,
            (_, Int, Int | Any) | (_, Any, Int) => Int,
            (_, Double, Double | Any) | (_, Any, Double) => Double,
            (operators::ADD, Text, Text | Any) | (operators::ADD, Any, Text) => Text,
            (operators::ADD, List(_), List(_)) => match one.fits(other) {
                true => one.clone(),
                false => List(Box::new(Any)),
            },
            (operators::ADD, Timestamp, Duration) | (operators::ADD, Duration, Timestamp) => Timestamp,
            (operators::SUBSTRACT, Timestamp, Duration) => Timestamp,
            (operators::SUBSTRACT, Timestamp, Timestamp) => Duration,
            (operators::ADD | operators::SUBSTRACT, Duration, Duration) => Duration,
            _ => return None,
        })
    }

    fn function(&mut self, id: u64, name: &str, call: &mut CallExpr) -> Type {
        let span = self.word_before(id, name);
        if !FUNCTIONS.contains(&name) {
            let help = suggest::nearest(name, FUNCTIONS).map(|near| format!("did you mean `{near}`?"));
            for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                self.expression(part);
            }
            let message = format!("unknown function `{name}`");
            return self.wrong_help("unknown-function", span, message, help);
        }
        let literal = call.args.last().and_then(text_of).map(str::to_owned);
        let member = call.target.is_some();
        let mut found: Vec<Type> = Vec::new();
        for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            found.push(self.expression(part));
        }
        let signature = |expected: &str| {
            let given: Vec<&str> = found.iter().map(Type::describe).collect();
            let given = if given.is_empty() { "nothing".to_owned() } else { given.join(" and ") };
            Mistake::new("condition-type", span.clone(), format!("`{name}` needs {expected}, found {given}"))
        };
        let texts = |count: usize| found.len() == count && found.iter().all(|one| one.fits(&Type::Text));
        let mistake = match name {
            "size" => match found.as_slice() {
                [Type::Text | Type::List(_) | Type::Map(_) | Type::Any] => return Type::Int,
                _ => signature("one string, list or map"),
            },
            "startsWith" | "endsWith" | "contains" if member && texts(2) => return Type::Bool,
            "startsWith" | "endsWith" | "contains" => {
                signature("a string before its dot and one in its brackets")
            }
            "matches" if texts(2) => return self.matches(call, literal.as_deref(), span),
            "matches" => signature("two strings"),
            "inCidr" if texts(2) => match literal.as_deref().map(str::parse::<IpNet>) {
                None | Some(Ok(_)) => return Type::Bool,
                Some(Err(_)) => {
                    let text = literal.unwrap_or_default();
                    let message = format!("`{text}` is no network: expected one such as `10.0.0.0/8`");
                    let help = text.parse::<std::net::IpAddr>().is_ok();
                    let help = help.then(|| {
                        format!(
                            "write `{text}/{}` for this one address",
                            if text.contains(':') { 128 } else { 32 }
                        )
                    });
                    let at = call.args.last().map_or(id, |part| part.id);
                    Mistake::new("invalid-condition", self.span(at), message).help(help)
                }
            },
            "inCidr" => signature("an address and a network"),
            "int" | "double" | "string" | "bool" if !member => match convert(name, &found) {
                Some(to) => return to,
                None => signature(match name {
                    "string" => "one string, number, bool or timestamp",
                    "bool" => "one string or bool",
                    "int" => "one string, number or timestamp",
                    _ => "one string or number",
                }),
            },
            "timestamp" | "duration" if !member && texts(1) => {
                return self.instant(id, name, call, literal.is_some());
            }
            "timestamp" | "duration" => signature("one string"),
            _ if name.starts_with("get") => return self.calendar(id, name, call, &found),
            _ => signature("other arguments"),
        };
        self.mistake(mistake);
        Type::Any
    }

    fn matches(&mut self, call: &mut CallExpr, literal: Option<&str>, span: std::ops::Range<usize>) -> Type {
        self.cost(PATTERN_STEPS);
        let Some(part) = call.args.last_mut() else { return Type::Bool };
        let Some(text) = literal else {
            let message = "the pattern of `matches` is written out, as a literal";
            return self.wrong("condition-cost", span, message);
        };
        let at = self.span(part.id);
        match pattern::read(text) {
            Err(why) => return self.wrong("invalid-condition", at, why),
            Ok(read) => part.expr = Expr::Literal(LiteralValue::String(read.into())),
        }
        let empty = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(String::new().into())) };
        let try_it = CallExpr {
            func_name: "matches".to_owned(),
            target: Some(Box::new(empty)),
            args: vec![part.clone()],
        };
        if !eval::evaluates(&IdedExpr { id: 0, expr: Expr::Call(try_it) }) {
            return self.wrong("invalid-condition", at, "this is no regular expression");
        }
        Type::Bool
    }

    /// `timestamp("...")`, `duration("...")`: where it is written out it is tried at once.
    fn instant(&mut self, id: u64, name: &str, call: &CallExpr, literal: bool) -> Type {
        let to = if name == "timestamp" { Type::Timestamp } else { Type::Duration };
        if literal && !eval::evaluates(&IdedExpr { id: 0, expr: Expr::Call(call.clone()) }) {
            let span = self.span(call.args.first().map_or(id, |part| part.id));
            let message = match to {
                Type::Timestamp => "expected an instant such as `2026-04-01T00:00:00Z`",
                _ => "expected a duration such as `1h30m` or `90s`",
            };
            self.wrong("invalid-condition", span, message);
        }
        to
    }

    /// `request.time.getHours("Europe/Berlin")` and the like.
    fn calendar(&mut self, id: u64, name: &str, call: &CallExpr, found: &[Type]) -> Type {
        let span = self.word_before(id, name);
        match found {
            [Type::Timestamp | Type::Any] if call.target.is_some() => return Type::Int,
            [Type::Timestamp | Type::Any, Type::Text] if call.target.is_some() => {}
            _ => {
                let message = format!("`{name}` needs a timestamp before its dot, and at most a time zone");
                return self.wrong("condition-type", span, message);
            }
        }
        let zone = &call.args[0];
        let at = self.span(zone.id);
        if text_of(zone).is_none() {
            return self.wrong("condition-cost", at, "a time zone is written out, as a literal");
        }
        let zero = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(0.into())) };
        let then = CallExpr { func_name: "timestamp".to_owned(), target: None, args: vec![zero] };
        let then = IdedExpr { id: 0, expr: Expr::Call(then) };
        let try_it =
            CallExpr { func_name: name.to_owned(), target: Some(Box::new(then)), args: vec![zone.clone()] };
        if !eval::evaluates(&IdedExpr { id: 0, expr: Expr::Call(try_it) }) {
            return self.wrong("invalid-condition", at, "expected a time zone such as `Europe/Berlin`");
        }
        Type::Int
    }
}

/// What a map or list holds.
fn element(of: &Type) -> Type {
    match of {
        Type::List(element) | Type::Map(element) => (**element).clone(),
        _ => Type::Any,
    }
}

/// The type of a conversion; `None`: there is none of such a value.
fn convert(name: &str, found: &[Type]) -> Option<Type> {
    let [from] = found else { return None };
    let (to, fits) = match name {
        "int" => (Type::Int, matches!(from, Type::Text | Type::Int | Type::Double | Type::Timestamp)),
        "double" => (Type::Double, matches!(from, Type::Text | Type::Int | Type::Double)),
        "bool" => (Type::Bool, matches!(from, Type::Text | Type::Bool)),
        _ => (Type::Text, !matches!(from, Type::List(_) | Type::Map(_))),
    };
    (fits || *from == Type::Any).then_some(to)
}
