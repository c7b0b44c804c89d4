//! What a case expects, what the policies say, and whether that is the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{
    denial::Denial,
    period::Window,
    units::{Allowance, Units},
};

/// The codes that policies alone can lead to, with their status.
pub(super) const CODES: [(&str, u16); 9] = [
    ("path-ambiguous", 400),
    ("credential-missing", 401),
    ("subscription-inactive", 402),
    ("tenant-suspended", 403),
    ("feature-not-in-plan", 403),
    ("route-not-covered", 404),
    ("condition-failed", 403),
    ("rate-limited", 429),
    ("quota-exhausted", 429),
];

pub(super) fn status(code: &str) -> u16 {
    CODES.iter().find(|(known, _)| *known == code).map_or(0, |(_, status)| *status)
}

/// What a case expects. `None` is not compared.
#[derive(Debug, Clone)]
pub(super) enum Expect {
    Allow {
        charge: Option<BTreeMap<String, Units>>,
        /// Of the tenant's limits those that matter.
        limits: Option<BTreeMap<String, Allowance>>,
    },
    Deny {
        code: &'static str,
        status: Option<u16>,
        meter: Option<String>,
        feature: Option<String>,
        window: Option<Window>,
    },
}

/// What the policies say.
pub(super) enum Outcome {
    Allowed {
        charge: BTreeMap<String, Units>,
        limits: BTreeMap<String, Allowance>,
    },
    /// Refused before the plan was asked; with the reason.
    Refused(&'static str, String),
    Denied(Denial),
    /// The case cannot be decided; says why.
    Impossible(String),
}

/// One field that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which, such as `code` or `charge.requests`.
    pub field: String,
    /// What was expected of it; `None`: that there is no such thing.
    pub expected: Option<String>,
    /// What it is.
    pub got: Option<String>,
}

impl Difference {
    fn new(
        field: impl Into<String>,
        expected: Option<impl std::fmt::Display>,
        got: Option<impl std::fmt::Display>,
    ) -> Self {
        let text = |value: &dyn std::fmt::Display| value.to_string();
        Self {
            field: field.into(),
            expected: expected.as_ref().map(|value| text(value)),
            got: got.as_ref().map(|value| text(value)),
        }
    }
}

impl Outcome {
    const fn decision(&self) -> &'static str {
        match self {
            Self::Allowed { .. } => "allow",
            Self::Refused(..) | Self::Denied(_) => "deny",
            Self::Impossible(_) => "not decided",
        }
    }

    /// `allow`, or the code of the refusal; `None`: it was not decided.
    pub(super) fn word(&self) -> Option<&'static str> {
        if matches!(self, Self::Allowed { .. }) { Some("allow") } else { self.code() }
    }

    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Allowed { .. } | Self::Impossible(_) => None,
            Self::Refused(code, _) => Some(code),
            Self::Denied(denial) => Some(denial.code()),
        }
    }

    fn meter(&self) -> Option<&str> {
        match self {
            Self::Denied(
                Denial::MeterNotInPlan { meter }
                | Denial::RateLimited { meter, .. }
                | Denial::QuotaExhausted { meter, .. }
                | Denial::SpendCapReached { meter, .. },
            ) => Some(meter.as_str()),
            _ => None,
        }
    }

    fn feature(&self) -> Option<&str> {
        match self {
            Self::Denied(Denial::FeatureNotInPlan { feature }) => Some(feature.as_str()),
            _ => None,
        }
    }

    fn window(&self) -> Option<Window> {
        match self {
            Self::Denied(Denial::QuotaExhausted { window, .. }) => Some(*window),
            _ => None,
        }
    }
}

impl Expect {
    /// What differs, field by field; nothing: it is as expected.
    pub(super) fn differences(&self, outcome: &Outcome) -> Vec<Difference> {
        let mut out = Vec::new();
        match (self, outcome) {
            (Self::Allow { charge, limits }, Outcome::Allowed { charge: got, limits: had }) => {
                if let Some(charge) = charge {
                    charges(charge, got, &mut out);
                }
                for (name, limit) in
                    limits.iter().flatten().filter(|(name, limit)| had.get(*name) != Some(limit))
                {
                    out.push(Difference::new(format!("limits.{name}"), Some(limit), had.get(name)));
                }
            }
            (Self::Deny { code, status: wanted, meter, feature, window }, outcome) => {
                let mut compare = |field: &str, wanted: Option<&str>, got: Option<&str>| {
                    if wanted.is_some() && wanted != got {
                        out.push(Difference::new(field, wanted, got));
                    }
                };
                compare("decision", Some("deny"), Some(outcome.decision()));
                compare("code", Some(code), outcome.code());
                let wanted = wanted.map(|wanted| wanted.to_string());
                let got = outcome.code().map(|code| status(code).to_string());
                compare("status", wanted.as_deref(), got.as_deref());
                compare("meter", meter.as_deref(), outcome.meter());
                compare("feature", feature.as_deref(), outcome.feature());
                compare("window", window.map(Window::as_str), outcome.window().map(Window::as_str));
            }
            (Self::Allow { .. }, outcome) => {
                let mut got = |field: &str, wanted: Option<&str>, got: Option<&str>| {
                    if got.is_some() {
                        out.push(Difference::new(field, wanted, got));
                    }
                };
                got("decision", Some("allow"), Some(outcome.decision()));
                got("code", None, outcome.code());
                got("meter", None, outcome.meter());
                got("feature", None, outcome.feature());
                got("window", None, outcome.window().map(Window::as_str));
            }
        }
        out
    }
}

/// A charge of nothing is no charge, on either side.
fn charges(wanted: &BTreeMap<String, Units>, got: &BTreeMap<String, Units>, out: &mut Vec<Difference>) {
    let of = |map: &BTreeMap<String, Units>, name| map.get(name).copied().unwrap_or_default();
    let names: BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
    for name in names {
        if of(wanted, name) != of(got, name) {
            out.push(Difference::new(format!("charge.{name}"), wanted.get(name), got.get(name)));
        }
    }
}

fn map_text(map: &BTreeMap<String, impl std::fmt::Display>) -> String {
    let parts: Vec<String> = map.iter().map(|(name, number)| format!("{name}: {number}")).collect();
    if parts.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", parts.join(", ")) }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allow { charge, limits } => {
                f.write_str("allow")?;
                charge.iter().try_for_each(|charge| write!(f, ", charge {}", map_text(charge)))?;
                limits.iter().try_for_each(|limits| write!(f, ", limits {}", map_text(limits)))
            }
            Self::Deny { code, status, meter, feature, window } => {
                write!(f, "deny {code}")?;
                if let Some(status) = status {
                    write!(f, ", status {status}")?;
                }
                named(f, meter.as_deref(), feature.as_deref(), *window)
            }
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allowed { charge, limits } => {
                write!(f, "allow, charge {}", map_text(charge))?;
                if limits.is_empty() { Ok(()) } else { write!(f, ", limits {}", map_text(limits)) }
            }
            Self::Impossible(why) => f.write_str(why),
            Self::Refused(code, why) => write!(f, "deny {code}, status {} ({why})", status(code)),
            Self::Denied(denial) => {
                write!(f, "deny {}, status {}", denial.code(), status(denial.code()))?;
                named(f, self.meter(), self.feature(), self.window())?;
                write!(f, " ({denial})")
            }
        }
    }
}

fn named(
    f: &mut std::fmt::Formatter<'_>,
    meter: Option<&str>,
    feature: Option<&str>,
    window: Option<Window>,
) -> std::fmt::Result {
    for (what, name) in [("meter", meter), ("feature", feature), ("window", window.map(Window::as_str))] {
        if let Some(name) = name {
            write!(f, ", {what} {name}")?;
        }
    }
    Ok(())
}
