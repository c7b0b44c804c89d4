//! What a case expects, what the policies say, and whether that is the same.

use std::collections::BTreeMap;

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
    /// Refused before the plan was asked.
    Refused(&'static str),
    Denied(Denial),
    /// The case cannot be decided; says why.
    Impossible(String),
}

impl Outcome {
    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Allowed { .. } | Self::Impossible(_) => None,
            Self::Refused(code) => Some(code),
            Self::Denied(denial) => Some(denial.code()),
        }
    }

    fn meter(&self) -> Option<&str> {
        match self {
            Self::Denied(
                Denial::MeterNotInPlan { meter }
                | Denial::RateLimited { meter, .. }
                | Denial::QuotaExhausted { meter, .. },
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
    pub(super) fn fits(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Allow { charge, limits }, Outcome::Allowed { charge: got, limits: had }) => {
                // A charge of nothing is no charge, on either side.
                charge.as_ref().is_none_or(|charge| {
                    charge.iter().filter(|(_, units)| **units > Units::ZERO).eq(got.iter())
                }) && limits.iter().flatten().all(|(name, limit)| had.get(name) == Some(limit))
            }
            (Self::Deny { code, status: wanted, meter, feature, window }, outcome) => {
                outcome.code() == Some(*code)
                    && wanted.is_none_or(|wanted| wanted == status(code))
                    && meter.as_deref().is_none_or(|meter| outcome.meter() == Some(meter))
                    && feature.as_deref().is_none_or(|feature| outcome.feature() == Some(feature))
                    && window.is_none_or(|window| outcome.window() == Some(window))
            }
            _ => false,
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
            Self::Refused(code) => write!(f, "deny {code}, status {}", status(code)),
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
