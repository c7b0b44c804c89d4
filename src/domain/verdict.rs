//! How a request was decided, in the words of figures: let in, or refused with a code and what it is about.

use std::{borrow::Cow, fmt};

use super::denial::Denial;

/// A decision, without its numbers: two requests that were decided for the same reason have equal ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verdict {
    code: Cow<'static, str>,
    about: Option<(About, String)>,
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum About {
    Feature,
    Meter,
}

impl About {
    const fn word(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Meter => "meter",
        }
    }
}

impl Verdict {
    /// Let in.
    pub const ALLOW: Self = Self { code: Cow::Borrowed("allow"), about: None };
    /// Nobody knows whether it would be let in, as it would first have to say who asks.
    pub const IDENTITY_NEEDED: Self = Self { code: Cow::Borrowed("identity-needed"), about: None };

    /// Refused with this problem code.
    #[must_use]
    pub const fn refused(code: &'static str) -> Self {
        Self { code: Cow::Borrowed(code), about: None }
    }

    /// `allow`, `identity-needed`, or the problem code of the refusal.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The feature that was missing.
    #[must_use]
    pub fn feature(&self) -> Option<&str> {
        self.about.as_ref().filter(|(about, _)| *about == About::Feature).map(|(_, name)| name.as_str())
    }

    /// The meter that refused.
    #[must_use]
    pub fn meter(&self) -> Option<&str> {
        self.about.as_ref().filter(|(about, _)| *about == About::Meter).map(|(_, name)| name.as_str())
    }

    /// The same without what it is about.
    #[must_use]
    pub fn in_short(&self) -> Self {
        Self { code: self.code.clone(), about: None }
    }

    /// Whether it is a refusal for sure.
    #[must_use]
    pub fn refuses(&self) -> bool {
        *self != Self::ALLOW && *self != Self::IDENTITY_NEEDED
    }

    /// Reads what [`fmt::Display`] writes; `None`: it cannot have written this.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_word = |word: &str| !word.is_empty() && !word.contains([' ', ':']);
        let Some((code, about)) = text.split_once(' ') else {
            return is_word(text).then(|| Self { code: text.to_owned().into(), about: None });
        };
        let (word, name) = about.split_once(':')?;
        let about = [About::Feature, About::Meter].into_iter().find(|about| about.word() == word)?;
        (is_word(code) && is_word(name))
            .then(|| Self { code: code.to_owned().into(), about: Some((about, name.to_owned())) })
    }
}

/// `allow`, `tenant-suspended`, `feature-not-in-plan feature:export`, `quota-exhausted meter:requests`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        match &self.about {
            Some((about, name)) => write!(f, " {}:{name}", about.word()),
            None => Ok(()),
        }
    }
}

impl From<&Denial> for Verdict {
    fn from(denial: &Denial) -> Self {
        let about = match denial {
            Denial::TenantSuspended
            | Denial::SubscriptionInactive(_)
            | Denial::RouteNotCovered
            | Denial::ConditionFailed { .. } => None,
            Denial::FeatureNotInPlan { feature } => Some((About::Feature, feature.to_string())),
            Denial::MeterNotInPlan { meter }
            | Denial::RateLimited { meter, .. }
            | Denial::QuotaExhausted { meter, .. }
            | Denial::SpendCapReached { meter, .. } => Some((About::Meter, meter.to_string())),
        };
        Self { code: Cow::Borrowed(denial.code()), about }
    }
}

impl Denial {
    /// Whether both refuse for the same reason, whatever their numbers: as their verdicts are equal, found out without
    /// making these.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::FeatureNotInPlan { feature: a }, Self::FeatureNotInPlan { feature: b }) => a == b,
            (
                Self::MeterNotInPlan { meter: a }
                | Self::RateLimited { meter: a, .. }
                | Self::QuotaExhausted { meter: a, .. }
                | Self::SpendCapReached { meter: a, .. },
                Self::MeterNotInPlan { meter: b }
                | Self::RateLimited { meter: b, .. }
                | Self::QuotaExhausted { meter: b, .. }
                | Self::SpendCapReached { meter: b, .. },
            ) => a == b && self.code() == other.code(),
            (Self::FeatureNotInPlan { .. }, _) | (_, Self::FeatureNotInPlan { .. }) => false,
            _ => self.code() == other.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        id::{FeatureId, MeterId},
        transitions::State,
    };

    fn denials() -> Vec<Denial> {
        let meter = |id| MeterId::parse(id).unwrap();
        let feature = |id| FeatureId::parse(id).unwrap();
        vec![
            Denial::TenantSuspended,
            Denial::SubscriptionInactive(State::None),
            Denial::RouteNotCovered,
            Denial::FeatureNotInPlan { feature: feature("export") },
            Denial::FeatureNotInPlan { feature: feature("requests") },
            Denial::MeterNotInPlan { meter: meter("requests") },
            Denial::MeterNotInPlan { meter: meter("export") },
        ]
    }

    #[test]
    fn a_verdict_is_read_as_it_is_written() {
        let mut all: Vec<Verdict> = denials().iter().map(Verdict::from).collect();
        all.extend([Verdict::ALLOW, Verdict::IDENTITY_NEEDED, Verdict::refused("credential-missing")]);
        for verdict in &all {
            assert_eq!(Verdict::parse(&verdict.to_string()).as_ref(), Some(verdict));
            assert_eq!(verdict.refuses(), !["allow", "identity-needed"].contains(&verdict.code()));
        }
        let lacks = Verdict::parse("feature-not-in-plan feature:export").unwrap();
        assert_eq!(
            (lacks.code(), lacks.feature(), lacks.meter()),
            ("feature-not-in-plan", Some("export"), None)
        );
        assert_eq!(lacks.in_short(), Verdict::refused("feature-not-in-plan"));
        for text in ["", " ", "a ", "a b", "a plan:b", "a meter:", " meter:b", "a meter:b c", "a:b"] {
            assert_eq!(Verdict::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn denials_are_alike_where_their_verdicts_are_equal() {
        for a in &denials() {
            for b in &denials() {
                assert_eq!(a.is_like(b), Verdict::from(a) == Verdict::from(b), "{a:?} {b:?}");
            }
        }
        assert!(
            Denial::SubscriptionInactive(State::None).is_like(&Denial::SubscriptionInactive(State::Paused))
        );
    }
}
