//! The authenticator as a whole.
