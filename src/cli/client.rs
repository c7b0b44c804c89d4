//! The client of the admin API that the commands share.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use super::{Failure, output::Format};
use crate::wire::percent;

const CONNECT_TIME: Duration = Duration::from_secs(5);
const CALL_TIME: Duration = Duration::from_secs(30);
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
const TOKEN: &str = "PLANGATE_ADMIN_TOKEN";

/// Where the admin API is, and how to show what it says.
#[derive(Debug, Args)]
pub struct Connection {
    /// The admin API's address; its token is taken from PLANGATE_ADMIN_TOKEN
    #[arg(long, value_name = "URL", env = "PLANGATE_ADMIN_URL", default_value = "http://127.0.0.1:8081")]
    admin: String,
    /// How to print; by default a table on a terminal, plain columns elsewhere
    #[arg(long, value_enum, value_name = "FORM")]
    pub(super) output: Option<Format>,
}

/// What all writes take.
#[derive(Debug, Args)]
pub struct WriteOptions {
    /// Do not wait until the change is in force on every node
    #[arg(long)]
    no_wait: bool,
    /// Makes a repetition of this very command harmless
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    body: Option<Value>,
    idempotency_key: Option<String>,
}

impl<'a> Call<'a> {
    /// A call of `path`, whose segments are given as they are and encoded here.
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().fold(String::new(), |mut path, segment| {
            path.push('/');
            percent::encode(segment, &mut path);
            path
        });
        Self { method, path, query: Vec::new(), body: None, idempotency_key: None }
    }

    pub(super) fn query(mut self, name: &'a str, value: Option<String>) -> Self {
        self.query.extend(value.map(|value| (name, value)));
        self
    }

    pub(super) fn write(mut self, options: &WriteOptions, body: Value) -> Self {
        self.body = Some(body);
        self.idempotency_key.clone_from(&options.idempotency_key);
        self.query("wait", options.no_wait.then(|| "none".to_owned()))
    }

    /// With a key that makes a repetition harmless.
    pub(super) fn idempotent(mut self, key: Option<String>) -> Self {
        self.idempotency_key = key;
        self
    }

    /// With a body, without the options of a command.
    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn target(&self) -> String {
        let query = percent::pairs(self.query.iter().map(|(name, value)| (*name, value.as_str())));
        if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) }
    }
}

fn token() -> Result<HeaderValue, Failure> {
    let token = std::env::var(TOKEN).unwrap_or_default();
    if token.is_empty() {
        return Err(Failure::Usage(format!("{TOKEN} is not set: export the server's admin token in it")));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::Usage(format!("{TOKEN} holds characters that no header can carry")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn http_client() -> HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(CONNECT_TIME));
    let builder = HttpsConnectorBuilder::new();
    // A machine without certificates of its own still knows the public authorities.
    let builder =
        builder.with_native_roots().unwrap_or_else(|_| HttpsConnectorBuilder::new().with_webpki_roots());
    let connector = builder.https_or_http().enable_http1().wrap_connector(http);
    HttpClient::builder(TokioExecutor::new()).build(connector)
}

impl Connection {
    /// To an admin API on this machine.
    pub(super) fn to(address: std::net::SocketAddr) -> Self {
        Self::at(format!("http://{address}"))
    }

    /// To an admin API at this address.
    pub(super) const fn at(admin: String) -> Self {
        Self { admin, output: None }
    }

    fn base(&self) -> Result<&str, Failure> {
        let wrong = || {
            Failure::Usage(format!(
                "`{}` is not an address of an admin API: expected http://HOST:PORT or https://HOST",
                self.admin
            ))
        };
        let uri: Uri = self.admin.parse().map_err(|_| wrong())?;
        let plain = uri.path_and_query().is_none_or(|target| target == "/");
        let with_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        match uri.scheme_str() {
            Some("http" | "https") if plain && !with_user => Ok(self.admin.trim_end_matches('/')),
            _ => Err(wrong()),
        }
    }

    /// Carries a call out and returns the answer's JSON.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Value, Failure> {
        self.call_as(call, token()?).await
    }

    /// The same for a call that may take its time.
    pub(super) async fn call_within(&self, call: Call<'_>, within: Duration) -> Result<Value, Failure> {
        self.exchange(call, token()?, within).await
    }

    pub(super) async fn call_as(&self, call: Call<'_>, token: HeaderValue) -> Result<Value, Failure> {
        self.exchange(call, token, CALL_TIME).await
    }

    async fn exchange(&self, call: Call<'_>, token: HeaderValue, within: Duration) -> Result<Value, Failure> {
        let base = self.base()?;
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{base}{}", call.target()))
            .header(header::AUTHORIZATION, token)
            .header(header::ACCEPT, "application/json");
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let body = call.body.map(|body| body.to_string());
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|_| Failure::Usage("the idempotency key must be visible ASCII characters".to_owned()))?;
        let (status, bytes) = tokio::time::timeout(within, exchange(request))
            .await
            .map_err(|_| {
                Failure::Unreachable(format!(
                    "{base} did not answer within {} s: the change, if any, may have been made; ask before repeating it",
                    within.as_secs()
                ))
            })?
            .map_err(|reason| self.unreachable(base, &reason))?;
        read(base, status, &bytes)
    }

    fn unreachable(&self, base: &str, reason: &str) -> Failure {
        Failure::Unreachable(format!(
            "could not reach {base}: {reason}\nis `plangate serve` running there? --admin or PLANGATE_ADMIN_URL say where"
        ))
    }
}

/// The innermost cause says what happened; the outer ones only that it did.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

async fn exchange(request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
    let response = http_client().request(request).await.map_err(|error| cause(&error))?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(|error| cause(error.as_ref()))?;
    Ok((parts.status, body.to_bytes()))
}

fn read(base: &str, status: StatusCode, bytes: &[u8]) -> Result<Value, Failure> {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    match value {
        Some(value) if status.is_success() => Ok(value),
        Some(problem) if problem.get("code").is_some() => Err(Failure::Refused(explain(status, &problem))),
        _ => Err(Failure::Refused(format!(
            "{base} answered {status}, not as an admin API does: is it the right address?"
        ))),
    }
}

/// A problem document as a person reads it.
fn explain(status: StatusCode, problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut lines = vec![format!("{} ({} {})", text("detail"), status.as_u16(), text("code"))];
    let errors = problem.get("errors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if errors.len() > 1 {
        lines.extend(errors.iter().map(|error| {
            let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            format!("  {}{}: {}", part("pointer"), part("parameter"), part("detail"))
        }));
    }
    let next = match text("code") {
        "credential-invalid" => {
            "PLANGATE_ADMIN_TOKEN must be the token that the server was started with, or one of `plangate token create`"
        }
        "token-not-found" | "name-taken" => "`plangate token list` shows the tokens",
        "tenant-not-found" => "`plangate tenant list` shows the tenants, `plangate tenant put` makes one",
        "subscription-not-found" => "`plangate subscription put` puts a tenant on a plan",
        "state-forbids" | "nothing-to-undo" => {
            "`plangate subscription show` says where it is in its life, and what is scheduled"
        }
        "trial-used" => "`--trial-again` lets the tenant try it once more",
        "grant-not-found" => "`plangate grant list` shows a tenant's grants",
        "addon-not-found" => "`plangate addon list TENANT` shows a tenant's add-ons",
        "webhook-not-found" => "`plangate webhooks list` shows the webhooks",
        "delivery-not-found" => "`plangate webhooks deliveries ID` shows what it was told",
        "webhook-disabled" => "`plangate webhooks update ID --enable` has it told again",
        "billing-not-found" => "`plangate billing link TENANT CUSTOMER` links it with one",
        "event-not-found" => "`plangate billing events` lists them",
        "key-not-found" => "`plangate key list` shows a tenant's keys",
        "revision-stale" => "`plangate policy diff` shows what would change now",
        "trial-running" => "`plangate policy apply --promote` or `--discard` ends it",
        "no-trial" => "`plangate policy apply DIR --shadow` or `--tenants 5%` begins one",
        "revision-not-found" | "no-earlier-revision" => "`plangate policy history` shows the revisions",
        "policies-invalid" => "`plangate policy check DIR` shows them in their lines",
        "refusal-not-found" => {
            "`plangate explain --recent` lists what a node remembers; --admin says which node is asked"
        }
        "internal" => "the server's log has more, under this request id:",
        _ => "",
    };
    if !next.is_empty() {
        lines.push(next.to_owned());
    }
    if status.is_server_error() {
        lines.push(format!("request id {}", text("request_id")));
    }
    lines.join("\n")
}
