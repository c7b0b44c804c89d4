//! Names of things: each kind of id is its own type, so a plan can never be passed for a tenant.

use std::{fmt, sync::Arc};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is not {} {kind} id: expected {expected}", if kind.starts_with('a') { "an" } else { "a" })]
pub struct InvalidId {
    /// What the id was to name: `tenant`, `plan`, ...
    pub kind: &'static str,
    /// The text as it was given, cut to 80 characters.
    pub input: String,
    /// The shape that was expected.
    pub expected: &'static str,
}

const POLICY_SHAPE: &str = "a lower-case letter, then up to 62 of a-z, 0-9, `_`, `.`, `-`";
const METER_SHAPE: &str = "a lower-case letter, then up to 62 of a-z, 0-9, `_`";
const TENANT_SHAPE: &str = "a lower-case letter or digit, then up to 62 of a-z, 0-9, `.`, `_`, `-`";

fn fits(text: &str, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes.first(), Some(b) if first(*b)) && bytes.len() <= 63 && bytes[1..].iter().all(|b| rest(*b))
}

fn is_policy(text: &str) -> bool {
    fits(
        text,
        |b| b.is_ascii_lowercase(),
        |b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'),
    )
}

fn is_meter(text: &str) -> bool {
    is_policy(text) && !text.contains(['.', '-'])
}

fn is_tenant(text: &str) -> bool {
    fits(
        text,
        |b| b.is_ascii_lowercase() || b.is_ascii_digit(),
        |b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'),
    )
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $shape:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it as an id.
            ///
            /// # Errors
            /// [`InvalidId`] names the text and the shape that was expected.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if $check(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(InvalidId {
                        kind: $kind,
                        input: text.chars().take(80).collect(),
                        expected: $shape,
                    })
                }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}

id!(
    /// Who pays.
    TenantId, "tenant", is_tenant, TENANT_SHAPE
);
id!(
    /// What is sold by the month.
    PlanId, "plan", is_policy, POLICY_SHAPE
);
id!(
    /// An on/off right.
    FeatureId, "feature", is_policy, POLICY_SHAPE
);
id!(
    /// A fixed number, such as seats.
    LimitId, "limit", is_policy, POLICY_SHAPE
);
id!(
    /// A thing counted. Without `.` and `-`, so that it can be part of a header item's name.
    MeterId, "meter", is_meter, METER_SHAPE
);
id!(
    /// What is sold beside a plan.
    AddonId, "add-on", is_policy, POLICY_SHAPE
);
id!(
    /// A grant of extra units.
    GrantId, "grant", is_policy, POLICY_SHAPE
);
id!(
    /// An API key's public name (never the key).
    KeyId, "key", is_policy, POLICY_SHAPE
);
id!(
    /// An endpoint that facts are told to.
    WebhookId, "webhook", is_policy, POLICY_SHAPE
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert!(PlanId::parse("basic.v2-eu_1").is_ok());
        assert!(PlanId::parse("1basic").is_err());
        assert!(PlanId::parse("").is_err());
        assert!(PlanId::parse("Basic").is_err());
        assert!(PlanId::parse(&"a".repeat(63)).is_ok());
        assert!(PlanId::parse(&"a".repeat(64)).is_err());
        assert!(MeterId::parse("ai_tokens").is_ok());
        assert!(MeterId::parse("ai.tokens").is_err());
        assert!(MeterId::parse("ai-tokens").is_err());
        assert!(TenantId::parse("0acme").is_ok());
        assert!(TenantId::parse("-acme").is_err());
        assert!(TenantId::parse("acme/other").is_err());
    }

    #[test]
    fn the_error_shows_the_input() {
        let error = TenantId::parse("A b").unwrap_err();
        assert!(error.to_string().starts_with("`A b` is not a tenant id"));
    }
}
