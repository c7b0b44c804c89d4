//! Text and JSON shapes that several adapters share, and their way into the domain and back.

pub mod attributes;
pub mod audit;
pub mod audit_chain;
pub mod audit_export;
pub mod belongings;
pub mod billing_facts;
pub mod diff;
pub mod duration;
mod fields;
pub mod hex;
pub mod overrides;
pub mod percent;
pub mod plan;
pub mod rollout;
pub mod sample_event;
pub mod signed_message;
pub mod sold;
pub mod statement;
pub mod statement_csv;
pub mod stripe;
pub mod subscription;
pub mod terms;

/// What is wrong with one field of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pointer}`: {detail}")]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901), empty for the whole document.
    pub pointer: String,
    /// What was found and what was expected.
    pub detail: String,
}

impl FieldError {
    /// An error at a pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}
