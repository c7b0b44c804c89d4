//! Tokens of the admin API: made as API keys are, with a beginning of their own.

use std::fmt;

use super::secret::{NoRandomness, has_form, random};

/// How every token begins.
const PREFIX: &str = "pga_";

/// A token of the admin API in the clear: `pga_`, 30 random letters and digits (178 bits), and six for a checksum.
///
/// It is shown once and not kept. It has no `Display`, so that it gets into no log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminTokenSecret(String);

impl AdminTokenSecret {
    /// A new token.
    ///
    /// # Errors
    /// [`NoRandomness`], when the system's source fails.
    pub fn generate() -> Result<Self, NoRandomness> {
        random(PREFIX).map(Self)
    }

    /// The token itself, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether a text can be a token of ours at all: its length, its letters and its checksum.
    #[must_use]
    pub fn is_well_formed(text: &[u8]) -> bool {
        has_form(text, PREFIX)
    }
}

impl fmt::Debug for AdminTokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminTokenSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::ApiKeySecret;

    #[test]
    fn a_token_is_well_formed_and_no_key() {
        let token = AdminTokenSecret::generate().unwrap();
        assert_eq!((token.reveal().len(), &token.reveal()[..4]), (40, "pga_"));
        assert!(AdminTokenSecret::is_well_formed(token.reveal().as_bytes()));
        assert_ne!(token, AdminTokenSecret::generate().unwrap());
        let key = ApiKeySecret::generate().unwrap();
        assert!(!AdminTokenSecret::is_well_formed(key.reveal().as_bytes()));
        assert!(!AdminTokenSecret::is_well_formed(key.reveal().replacen("pgk_", "pga_", 1).as_bytes()));
        assert_eq!(format!("{token:?}"), "AdminTokenSecret(..)");
    }
}
