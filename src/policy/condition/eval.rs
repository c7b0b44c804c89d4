//! Evaluates what was checked: slots filled from the request, the rest by the `cel` interpreter.

use std::{
    cell::OnceCell,
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Value,
    common::{
        types::{self, CelBool, CelInt, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use ipnet::IpNet;

use super::slot::Slot;
use crate::domain::{
    condition::{Amount, ConditionError, Predicate, RequestFacts},
    uncountable::Miscalculation,
    units::Units,
};

/// How a slot is named where a variable is expected: nothing that is written can have such a name.
const SLOT: char = '@';

/// The name of a slot.
pub(super) fn slot_name(number: usize) -> String {
    format!("{SLOT}{number}")
}

fn slot_number(name: &str) -> Option<usize> {
    name.strip_prefix(SLOT)?.parse().ok()
}

/// A checked expression.
pub(super) struct Program {
    expression: IdedExpr,
    slots: Box<[Slot]>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("slots", &self.slots).finish_non_exhaustive()
    }
}

thread_local! {
    /// Each thread has its own, so that none counts references in another's cache.
    static ENVIRONMENT: OnceCell<Arc<Env>> = const { OnceCell::new() };
}

/// The functions there are.
pub(super) fn environment() -> Arc<Env> {
    let known = ENVIRONMENT.try_with(|known| Arc::clone(known.get_or_init(|| Arc::new(make()))));
    known.unwrap_or_else(|_| Arc::new(make()))
}

fn make() -> Env {
    let mut env = Env::default().with_optional_support(false).with_stdlib();
    let text = || types::STRING_TYPE.to_owned();
    // Neither name is declared before, so that neither can be refused.
    let _ = env.add_overload("inCidr", "in_cidr", vec![text(), text()], in_cidr);
    let _ = env.add_member_overload("inCidr", "address_in_cidr", text(), vec![text()], in_cidr);
    env
}

fn in_cidr<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |place: usize| args.get(place)?.as_ref().downcast_ref::<CelString<'_>>().map(CelString::inner);
    let within = || {
        let address: IpAddr = text(0)?.trim().parse().ok()?;
        let network: IpNet = text(1)?.parse().ok()?;
        Some(network.contains(&address.to_canonical()))
    };
    let within = within().ok_or_else(|| ExecutionError::function_error("inCidr", "no address"))?;
    Ok(CowVal::owned(CelBool::from(within)))
}

/// The slots of one request.
struct Filling<'f, 'r> {
    slots: &'f [Slot],
    facts: &'f RequestFacts<'r>,
    /// The first slot that could not be filled, and why.
    trouble: OnceLock<(usize, ConditionError)>,
}

impl VariableResolver for Filling<'_, '_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let number = slot_number(variable)?;
        match self.slots.get(number)?.find(self.facts) {
            Ok(value) => Some(value),
            Err(why) => {
                let _ = self.trouble.set((number, why));
                None
            }
        }
    }
}

impl Program {
    pub(super) fn new(expression: IdedExpr, slots: Vec<Slot>) -> Self {
        Self { expression, slots: slots.into() }
    }

    /// What it comes to, as `take` reads it; where that reads nothing, `otherwise` is wrong.
    fn run<T>(
        &self,
        facts: &RequestFacts<'_>,
        take: fn(&dyn Val) -> Option<T>,
        otherwise: Miscalculation,
    ) -> Result<T, ConditionError> {
        let filling = Filling { slots: &self.slots, facts, trouble: OnceLock::new() };
        let mut context = Context::with_env(environment());
        context.set_variable_resolver(&filling);
        match Value::resolve_val(&self.expression, &context) {
            Ok(value) => take(value.as_ref()).ok_or(ConditionError::Failed(otherwise)),
            Err(error) => Err(self.failure(&error, filling.trouble.get())),
        }
    }

    /// In words that say nothing of what the request says.
    fn failure(&self, error: &ExecutionError, trouble: Option<&(usize, ConditionError)>) -> ConditionError {
        if let ExecutionError::UndeclaredReference(name) = error
            && let Some(slot) = slot_number(name)
        {
            return match trouble {
                Some((number, why)) if *number == slot => why.clone(),
                _ => {
                    let written = self.slots.get(slot).map(Slot::written);
                    ConditionError::Missing(written.unwrap_or_default())
                }
            };
        }
        ConditionError::Failed(uncountable(error))
    }
}

/// What went wrong, without the values with which it did.
fn uncountable(error: &ExecutionError) -> Miscalculation {
    match error {
        ExecutionError::FunctionError { function, .. } => match function.as_str() {
            "int" => Miscalculation::Int,
            "double" => Miscalculation::Double,
            "bool" => Miscalculation::Bool,
            "timestamp" => Miscalculation::Timestamp,
            "duration" => Miscalculation::Duration,
            "inCidr" => Miscalculation::Address,
            _ => Miscalculation::Arguments,
        },
        ExecutionError::Overflow(..) => Miscalculation::Overflow,
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            Miscalculation::DivisionByZero
        }
        ExecutionError::NoSuchKey(_) => Miscalculation::NoSuchKey,
        ExecutionError::IndexOutOfBounds(_) => Miscalculation::NoSuchPlace,
        ExecutionError::DuplicateKey(_) => Miscalculation::KeyTwice,
        ExecutionError::UndeclaredReference(_) => Miscalculation::UnknownName,
        _ => Miscalculation::OtherKind,
    }
}

impl Predicate for Program {
    fn holds(&self, facts: &RequestFacts<'_>) -> Result<bool, ConditionError> {
        let truth = |value: &dyn Val| value.downcast_ref::<CelBool>().map(|value| *value.inner());
        self.run(facts, truth, Miscalculation::NoTruth)
    }
}

impl Amount for Program {
    fn units(&self, facts: &RequestFacts<'_>) -> Result<Units, ConditionError> {
        let number = |value: &dyn Val| value.downcast_ref::<CelInt>().map(|value| *value.inner());
        let number = self.run(facts, number, Miscalculation::NoWholeNumber)?;
        let units = u64::try_from(number).ok().and_then(|number| Units::new(number).ok());
        units.ok_or(ConditionError::OutOfRange)
    }
}

/// Whether a call of literals alone can be evaluated.
pub(super) fn evaluates(expression: &IdedExpr) -> bool {
    let context = Context::with_env(environment());
    Value::resolve_val(expression, &context).is_ok()
}
