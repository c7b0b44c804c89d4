//! Revisions of the policies as the database keeps them: which one decides, which one is on trial, and what was before.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    catalog::Digest,
    id::TenantId,
    time::{UnixMillis, Version},
};

/// The texts of a policy folder by name (relative, with `/`), its cases left out: what a catalog is compiled from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyFiles(pub BTreeMap<String, String>);

/// A revision's place in the history, from 1. Each change of what decides is one, a return to earlier policies too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RevisionNumber(pub u64);

impl std::fmt::Display for RevisionNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the database says of the policies. Every node obeys it, whatever is in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deployment {
    /// The version of its last change; 0: there never was one.
    pub version: Version,
    /// The last entry of the history; 0: there is none.
    pub number: RevisionNumber,
    /// The policies that decide; `None`: no revision was ever applied, and each node goes by its folder.
    pub enforced: Option<Digest>,
    /// The policies that are on trial beside them.
    pub candidate: Option<Trial>,
}

/// Policies on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Which.
    pub digest: Digest,
    /// How.
    pub rollout: Rollout,
}

/// How policies are tried before they decide for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// They decide for nobody: what they would have decided otherwise is counted.
    Shadow,
    /// They decide for some tenants.
    Staged(Selection),
}

/// Some of the tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// This share of all, the same tenants each time: those of a smaller share are among those of a larger.
    Share(Share),
    /// Just these.
    Tenants(BTreeSet<TenantId>),
}

/// A share in hundredths of a percent: 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// All.
    pub const WHOLE: u16 = 10_000;

    /// A share of so many hundredths of a percent; `None`: it is nothing, or more than all.
    #[must_use]
    pub const fn new(hundredths: u16) -> Option<Self> {
        if hundredths == 0 || hundredths > Self::WHOLE { None } else { Some(Self(hundredths)) }
    }

    /// In hundredths of a percent.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// `5%`, `0.5%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str, most: usize| text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole, 3) || !digits(part, 2) || number.ends_with('.') {
            return None;
        }
        let part: u16 = format!("{part:0<2}").parse().ok()?;
        Self::new(whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(part)?)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match (part, part % 10) {
            (0, _) => write!(f, "{whole}%"),
            (_, 0) => write!(f, "{whole}.{}%", part / 10),
            _ => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl Selection {
    /// Whether a tenant is one of them.
    #[must_use]
    pub fn has(&self, tenant: &TenantId) -> bool {
        match self {
            Self::Share(share) => place(tenant.as_str()) < u64::from(share.get()),
            Self::Tenants(tenants) => tenants.contains(tenant),
        }
    }
}

/// A tenant's place in 0..10,000, the same on every node and for every revision: FNV-1a (64 bits), then the finalizer of
/// MurmurHash3, as names that differ in one letter are to be far apart.
fn place(tenant: &str) -> u64 {
    let fnv = tenant.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (mixed ^ (mixed >> 33)) % u64::from(Share::WHOLE)
}

/// A change of what decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deploy {
    /// These policies decide for all.
    Enforce(Digest),
    /// These are tried. The same ones may be tried otherwise, others only once these are promoted or discarded.
    Try(Trial),
    /// What is on trial decides for all.
    Promote,
    /// What is on trial is not tried any more.
    Discard,
    /// The policies of an earlier revision decide again, and nothing is on trial; `None`: of the last one with others than
    /// those of now.
    RollBack(Option<RevisionNumber>),
}

impl Deploy {
    /// The word of the history.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Enforce(_) => "apply",
            Self::Try(Trial { rollout: Rollout::Shadow, .. }) => "shadow",
            Self::Try(Trial { rollout: Rollout::Staged(_), .. }) => "stage",
            Self::Promote => "promote",
            Self::Discard => "discard",
            Self::RollBack(_) => "rollback",
        }
    }
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its place.
    pub number: RevisionNumber,
    /// The version of the change feed with which it came.
    pub version: Version,
    /// See [`Deploy::kind`]; `import`: the folder's policies, kept before others were applied for the first time.
    pub kind: String,
    /// What decided from then on.
    pub enforced: Digest,
    /// What was on trial from then on.
    pub candidate: Option<Trial>,
    /// Why, in the words of who made it.
    pub message: Option<String>,
    /// Who made it, as said by themselves.
    pub author: Option<String>,
    /// When.
    pub at: UnixMillis,
}

/// Why what decides was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeployRefused {
    /// Somebody else was faster.
    #[error("revision {now} is in force, not {base}: look at the difference again")]
    Stale {
        /// What the change was made for.
        base: RevisionNumber,
        /// What is in force.
        now: RevisionNumber,
    },
    /// Nothing would change.
    #[error("these policies are in force already")]
    Unchanged,
    /// Other policies are on trial.
    #[error("other policies are on trial: promote or discard them first")]
    OnTrial,
    /// Nothing is on trial.
    #[error("no policies are on trial")]
    NoTrial,
    /// There is no such entry in the history.
    #[error("there is no revision {0}")]
    Unknown(RevisionNumber),
    /// There are no earlier policies.
    #[error("there is no earlier revision with other policies")]
    NoEarlier,
}

impl Deployment {
    /// What decides after a change. `earlier` finds the policies that an earlier revision enforced; `None` asks for the
    /// last one with others than those of now.
    ///
    /// # Errors
    /// [`DeployRefused`]: nothing is changed.
    pub fn after(
        &self,
        change: &Deploy,
        earlier: impl FnOnce(Option<RevisionNumber>) -> Option<Digest>,
    ) -> Result<Self, DeployRefused> {
        let mut next = self.clone();
        match change {
            Deploy::Enforce(digest) => {
                match &self.candidate {
                    Some(trial) if trial.digest != *digest => return Err(DeployRefused::OnTrial),
                    None if self.enforced.as_ref() == Some(digest) => return Err(DeployRefused::Unchanged),
                    _ => {}
                }
                (next.enforced, next.candidate) = (Some(digest.clone()), None);
            }
            Deploy::Try(trial) => {
                match &self.candidate {
                    Some(now) if now.digest != trial.digest => return Err(DeployRefused::OnTrial),
                    Some(now) if now == trial => return Err(DeployRefused::Unchanged),
                    None if self.enforced.as_ref() == Some(&trial.digest) => {
                        return Err(DeployRefused::Unchanged);
                    }
                    _ => {}
                }
                next.candidate = Some(trial.clone());
            }
            Deploy::Promote => {
                let trial = self.candidate.as_ref().ok_or(DeployRefused::NoTrial)?;
                (next.enforced, next.candidate) = (Some(trial.digest.clone()), None);
            }
            Deploy::Discard => {
                next.candidate = self.candidate.as_ref().ok_or(DeployRefused::NoTrial).map(|_| None)?
            }
            Deploy::RollBack(to) => {
                let missing = to.map_or(DeployRefused::NoEarlier, DeployRefused::Unknown);
                let digest = earlier(*to).ok_or(missing)?;
                if self.candidate.is_none() && self.enforced.as_ref() == Some(&digest) {
                    return Err(DeployRefused::Unchanged);
                }
                (next.enforced, next.candidate) = (Some(digest), None);
            }
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest(text.into())
    }

    fn trial(text: &str, rollout: Rollout) -> Trial {
        Trial { digest: digest(text), rollout }
    }

    fn half() -> Rollout {
        Rollout::Staged(Selection::Share(Share::parse("50%").unwrap()))
    }

    #[test]
    fn shares_are_read_and_shown() {
        for (text, hundredths) in
            [("5%", 500), ("100%", 10_000), ("0.5%", 50), ("12.34%", 1234), ("0.01%", 1)]
        {
            let share = Share::parse(text).unwrap();
            assert_eq!((share.get(), share.to_string().as_str()), (hundredths, text));
        }
        for text in
            ["", "%", "5", "0%", "100.01%", "-1%", "+5%", "5.%", ".5%", "1e1%", "5 %", "1.234%", "9999%"]
        {
            assert_eq!(Share::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_share_is_about_so_many_and_a_larger_one_has_them_all() {
        let tenants: Vec<TenantId> =
            (0..20_000).map(|n| TenantId::parse(&format!("tenant-{n}")).unwrap()).collect();
        let chosen = |text: &str| {
            let selection = Selection::Share(Share::parse(text).unwrap());
            tenants.iter().filter(|tenant| selection.has(tenant)).collect::<BTreeSet<_>>()
        };
        let (few, many) = (chosen("5%"), chosen("30%"));
        assert!((800..1200).contains(&few.len()) && (5_600..6_400).contains(&many.len()), "{}", few.len());
        assert!(few.is_subset(&many));
        assert_eq!(chosen("100%").len(), tenants.len());
        let one = Selection::Tenants([tenants[7].clone()].into());
        assert_eq!(tenants.iter().filter(|tenant| one.has(tenant)).count(), 1);
    }

    #[test]
    fn what_may_follow_what() {
        let start = Deployment::default();
        let first = start.after(&Deploy::Enforce(digest("a")), |_| None).unwrap();
        let no = |from: &Deployment, change: Deploy| from.after(&change, |_| None).unwrap_err();
        assert_eq!(no(&first, Deploy::Enforce(digest("a"))), DeployRefused::Unchanged);
        assert_eq!(no(&first, Deploy::Promote), DeployRefused::NoTrial);
        assert_eq!(no(&first, Deploy::Discard), DeployRefused::NoTrial);
        assert_eq!(no(&first, Deploy::RollBack(None)), DeployRefused::NoEarlier);
        assert_eq!(no(&first, Deploy::Try(trial("a", Rollout::Shadow))), DeployRefused::Unchanged);
        let shadow = first.after(&Deploy::Try(trial("b", Rollout::Shadow)), |_| None).unwrap();
        assert_eq!(shadow.enforced, Some(digest("a")));
        assert_eq!(no(&shadow, Deploy::Enforce(digest("c"))), DeployRefused::OnTrial);
        assert_eq!(no(&shadow, Deploy::Try(trial("c", half()))), DeployRefused::OnTrial);
        assert_eq!(no(&shadow, Deploy::Try(trial("b", Rollout::Shadow))), DeployRefused::Unchanged);
        let staged = shadow.after(&Deploy::Try(trial("b", half())), |_| None).unwrap();
        for change in [Deploy::Promote, Deploy::Enforce(digest("b"))] {
            let all = staged.after(&change, |_| None).unwrap();
            assert_eq!((all.enforced, all.candidate), (Some(digest("b")), None));
        }
        assert_eq!(staged.after(&Deploy::Discard, |_| None).unwrap().candidate, None);
        let back = staged.after(&Deploy::RollBack(None), |_| Some(digest("z"))).unwrap();
        assert_eq!((back.enforced, back.candidate), (Some(digest("z")), None));
    }
}
