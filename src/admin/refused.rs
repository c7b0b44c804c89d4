//! Why a change was not made, as the problem that its caller is told.

use super::problem::{Code, OTHER_REQUEST, Problem};
use crate::{
    domain::{command::Change, lifecycle::Refused},
    ports::ExecuteError,
};

/// The problem, with the place of what was wrong in the call that asked for the change.
pub(super) fn explain(error: ExecuteError, change: &Change) -> Problem {
    let text = error.to_string();
    match error {
        ExecuteError::NoTenant(id) => {
            Problem::new(Code::TenantNotFound, format!("there is no tenant `{id}`"))
        }
        ExecuteError::NoKey(..) => Problem::new(Code::KeyNotFound, text),
        ExecuteError::KeyTaken => Problem::field(Code::KeyTaken, "/import", text),
        ExecuteError::IdempotencyConflict => Problem::new(Code::IdempotencyConflict, OTHER_REQUEST),
        ExecuteError::Refused(refused) => by_state(&refused, text, change),
        ExecuteError::Store(error) => error.into(),
    }
}

fn by_state(refused: &Refused, text: String, change: &Change) -> Problem {
    match refused {
        Refused::State { .. } => Problem::new(Code::StateForbids, text),
        Refused::NothingToUndo => Problem::new(Code::NothingToUndo, text),
        Refused::TriedBefore(_) => Problem::new(Code::TrialUsed, text),
        Refused::TooManyGrants => Problem::new(Code::GrantsFull, text),
        Refused::NoGrant(_) => {
            Problem::new(Code::GrantNotFound, format!("{text}: `GET .../grants` lists the tenant's grants"))
        }
        Refused::NoAddon(_) => {
            Problem::new(Code::AddonNotFound, format!("{text}: `GET .../addons` lists those it has"))
        }
        Refused::Passed(_) => match change {
            Change::Cancel(_) | Change::Detach { .. } => {
                Problem::of_parameter(Code::ValueImpossible, "at", text)
            }
            Change::Grant(_) => Problem::field(Code::ValueImpossible, "/expires_at", text),
            _ => Problem::field(Code::ValueImpossible, "/at", text),
        },
    }
}
