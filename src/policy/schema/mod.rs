//! The shapes of the policy files as types: from them come the JSON Schemas for editors, and the keys that the decoder knows.
//!
//! Every map whose keys are known is one `shape!`. The decoder takes its key lists from there, so that a key cannot be known to
//! one and unknown to the other; a test holds the rest (values, patterns, what is required) to the decoder, by all good and
//! broken files there are.
//!
//! ```
//! use plangate::policy::schema::{Kind, of};
//! let plan = of(Kind::Plan);
//! assert_eq!(plan["$schema"], "http://json-schema.org/draft-07/schema#");
//! assert_eq!(plan["additionalProperties"], false);
//! ```

mod addon;
mod case;
mod features;
mod plan;
mod routes;
mod shape;
mod step;
mod stripe;
#[cfg(test)]
mod tests;
mod value;

use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

pub(super) use addon::Addon;
pub(super) use case::{Case, Cases, Expectation, Overrides, Request, Tenant, Used};
pub(super) use features::{Attribute, Declaration, Features, Meter};
pub(super) use plan::{Changes, Grace, Overage, Plan, Price, Quota, Rate, Rollover, Trial};
pub(super) use routes::{ComputedCharge, Defaults, FixedCharge, Header, Reserve, Route, Routes};
pub(super) use step::{After, Grant, PastDue, Step};
pub(super) use stripe::{Sale, Stripe, ToldMeter};

/// A kind of policy files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `features.yaml`.
    Features,
    /// One of `plans/`.
    Plan,
    /// One of `addons/`.
    Addon,
    /// `routes.yaml`.
    Routes,
    /// `stripe.yaml`.
    Stripe,
    /// One of `cases/`.
    Cases,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Features, Self::Plan, Self::Addon, Self::Routes, Self::Stripe, Self::Cases];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Features => "features",
            Self::Plan => "plan",
            Self::Addon => "addon",
            Self::Routes => "routes",
            Self::Stripe => "stripe",
            Self::Cases => "cases",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Which files of a policy folder are of this kind.
    #[must_use]
    pub const fn files(self) -> &'static str {
        match self {
            Self::Features => "features.yaml",
            Self::Plan => "plans/*.yaml",
            Self::Addon => "addons/*.yaml",
            Self::Routes => "routes.yaml",
            Self::Stripe => "stripe.yaml",
            Self::Cases => "cases/*.yaml",
        }
    }
}

/// The JSON Schema of a kind of files, in draft-07: the newest that the language servers of editors validate.
#[must_use]
pub fn of(kind: Kind) -> Value {
    match kind {
        Kind::Features => schema::<Features>(),
        Kind::Plan => schema::<Plan>(),
        Kind::Addon => schema::<Addon>(),
        Kind::Routes => schema::<Routes>(),
        Kind::Stripe => schema::<Stripe>(),
        Kind::Cases => schema::<Cases>(),
    }
}

/// A schema as it is written to a file.
#[must_use]
pub fn text(kind: Kind) -> String {
    let mut value = of(kind);
    value.sort_all_objects();
    format!("{value:#}\n")
}

fn schema<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    RecursiveTransform(tidy).transform(&mut schema);
    schema.to_value()
}

/// Descriptions in one line, and no list of required keys where none is.
fn tidy(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    if schema.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        schema.remove("required");
    }
}
