//! Tokens of the admin API: who may do what with them.

use std::fmt;

use super::time::UnixMillis;

/// What a token of the admin API allows. Each allows all that the ones before it do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads, and asks what would be.
    Viewer,
    /// Changes tenants and what belongs to them.
    Operator,
    /// Changes everything: also policies, nodes, webhooks and tokens.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word in calls, answers and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name in the audit log of whoever shows the configured token.
pub const CONFIGURED: &str = "admin";
/// Names that the audit log has for others than tokens.
pub const RESERVED: [&str; 2] = [CONFIGURED, "system"];

/// Whether a text can name a token: as a tenant's id, a lower-case letter or digit, then up to 62 of `a-z`, `0-9`, `.`,
/// `_`, `-`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    super::id::TenantId::parse(text).is_ok()
}

/// A token of the admin API, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Its public id.
    pub id: String,
    /// Its name, which is the actor of what is done with it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Refused from this instant on.
    pub expires_at: Option<UnixMillis>,
    /// When it was last shown, to about a minute.
    pub used_at: Option<UnixMillis>,
}

impl AdminToken {
    /// Whether it is refused by now.
    #[must_use]
    pub fn has_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_words_and_an_order() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert_eq!(Role::parse("Admin"), None);
    }

    #[test]
    fn names() {
        for name in ["a", "ci-1", "0.x_y", &"n".repeat(63)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "A", "-a", "a b", "ä", &"n".repeat(64)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
