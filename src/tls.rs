//! Whom this gateway believes when it connects to somebody over TLS.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::{ClientConfig, ConfigBuilder, Error, WantsVerifier};

/// The authorities that the machine trusts, or those of the browsers where it has none. Reads many files.
///
/// # Errors
/// TLS cannot be set up at all.
pub(crate) fn usual() -> Result<ClientConfig, Error> {
    Ok(match plain()?.with_native_roots() {
        Ok(trusting) => trusting.with_no_client_auth(),
        Err(_) => of_browsers()?,
    })
}

/// The authorities of the browsers alone.
///
/// # Errors
/// As above.
pub(crate) fn of_browsers() -> Result<ClientConfig, Error> {
    Ok(plain()?.with_webpki_roots().with_no_client_auth())
}

fn plain() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}
