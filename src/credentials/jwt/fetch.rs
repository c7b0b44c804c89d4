//! Fetches a set of keys over HTTP: bounded in time and size, without following redirects.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
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
    #[error("no complete answer in time")]
    Late,
    /// No answer at all, or it broke off.
    #[error("{0}")]
    Transport(String),
}

/// Fetches documents.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    patience: Duration,
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
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { client, patience: PATIENCE }
    }

    /// The document behind `url`.
    pub(super) async fn get(&self, url: &Uri) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.patience, self.get_patiently(url)).await.unwrap_or(Err(FetchError::Late))
    }

    async fn get_patiently(&self, url: &Uri) -> Result<Bytes, FetchError> {
        let request = Request::get(url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("plangate/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| FetchError::Transport(error.to_string()))?;
        let response =
            self.client.request(request).await.map_err(|error| FetchError::Transport(chain(&error)))?;
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
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::credentials::tests::server::{Reply, Server};

    fn fetcher() -> Fetcher {
        Fetcher::new(crate::tls::usual().unwrap())
    }

    async fn get(reply: Reply) -> Result<Bytes, FetchError> {
        let server = Server::start(reply).await;
        fetcher().get(&server.url().parse().unwrap()).await
    }

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

    #[tokio::test]
    async fn a_document_is_fetched() {
        assert_eq!(get(Reply::Document("{}".into())).await.unwrap(), "{}");
    }

    #[tokio::test]
    async fn only_200_counts_and_redirects_are_not_followed() {
        assert!(matches!(get(Reply::Status(404)).await, Err(FetchError::Status(status)) if status == 404));
        let server = Server::start(Reply::Document("{}".into())).await;
        let redirect = get(Reply::Redirect(server.url())).await;
        assert!(matches!(redirect, Err(FetchError::Status(status)) if status == 302));
        assert_eq!(server.fetches(), 0);
    }

    #[tokio::test]
    async fn a_long_document_is_cut_off() {
        assert_eq!(get(Reply::Document("x".repeat(DOCUMENT))).await.unwrap().len(), DOCUMENT);
        let long = get(Reply::Document("x".repeat(DOCUMENT + 1))).await;
        assert!(matches!(long, Err(FetchError::TooLong)));
        let endless = get(Reply::Endless).await;
        assert!(matches!(endless, Err(FetchError::TooLong)), "{endless:?}");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_silent_provider() {
        let server = Server::start(Reply::Silence).await;
        let mut fetcher = fetcher();
        fetcher.patience = Duration::from_millis(20);
        assert!(matches!(fetcher.get(&server.url().parse().unwrap()).await, Err(FetchError::Late)));
    }

    #[tokio::test]
    async fn a_refused_connection_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = fetcher().get(&url.parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn https_is_verified() {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = issued.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri =
            format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
        let server = async {
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
                let _ = stream.shutdown().await;
            }
        };
        let client = async {
            let error = fetcher().get(&url).await.unwrap_err();
            assert!(error.to_string().contains("certificate"), "{error}");
            let mut roots = rustls::RootCertStore::empty();
            roots.add(certificate).unwrap();
            let tls = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            assert_eq!(Fetcher::new(tls).get(&url).await.unwrap(), "{}");
        };
        tokio::join!(server, client);
    }
}
