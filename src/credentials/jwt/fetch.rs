//! Fetches a set of keys over HTTP: bounded in time and size, without following redirects.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::ClientConfig;

/// The most that a document of keys may have.
pub(super) const DOCUMENT: usize = 1024 * 1024;

/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the connection may take, within that.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Another status than 200, also a redirect: keys are only taken from where the operator said.
    #[error("the answer was {0}, expected 200")]
    Status(StatusCode),
    /// Too much.
    #[error("the document has more than 1 MiB")]
    TooLong,
    /// Nothing in time.
    #[error("no complete answer within 10 s")]
    Late,
    /// No answer at all, or it broke off.
    #[error("{0}")]
    Transport(String),
}

/// Fetches documents.
pub(super) struct Fetcher(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

/// The roots of trust of the machine, or those of the browsers where the machine has none.
pub(super) fn usual_tls() -> Result<ClientConfig, String> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(_) => builder.with_webpki_roots().with_no_client_auth(),
    };
    Ok(config)
}

/// Checks that keys can be fetched from a URL.
pub(super) fn parse_url(text: &str) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "expected a URL such as `https://id.example/jwks.json`")?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err("expected a URL that begins with `https://` or `http://`");
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err("user names and passwords are not sent"),
        Some(authority) if !authority.host().is_empty() => Ok(uri),
        _ => Err("the host is missing"),
    }
}

impl Fetcher {
    pub(super) fn new(tls: ClientConfig) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        // Fetches are minutes apart: a kept connection would only be found broken.
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    /// The document behind `url`.
    pub(super) async fn get(&self, url: &Uri) -> Result<Bytes, FetchError> {
        tokio::time::timeout(PATIENCE, self.get_patiently(url)).await.unwrap_or(Err(FetchError::Late))
    }

    async fn get_patiently(&self, url: &Uri) -> Result<Bytes, FetchError> {
        let request = Request::get(url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("plangate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Transport(error.to_string()))?;
        let response = self.0.request(request).await.map_err(|error| FetchError::Transport(chain(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        match Limited::new(response.into_body(), DOCUMENT).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLong),
            Err(error) => Err(FetchError::Transport(chain(error.as_ref()))),
        }
    }
}

/// An error and its causes in one line: the outermost alone says only that it could not connect.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_with_a_host_are_taken() {
        assert!(parse_url("https://id.example/jwks?x=1").is_ok());
        assert!(parse_url("http://127.0.0.1:1/jwks").is_ok());
        for url in [
            "",
            "jwks.json",
            "/jwks",
            "ftp://id.example/",
            "file:///etc/passwd",
            "https://",
            "https://a:b@c/",
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_usual_roots_are_there() {
        assert!(usual_tls().is_ok());
    }
}
