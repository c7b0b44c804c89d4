//! Identify alone: a credential's way to its tenant, through a worker's front and through what all workers share.
//!
//!     cargo bench --bench identify                # a minute after the build
//!     cargo bench --bench identify -- --test      # once each: for CI; no times, but allocations
//!
//! `hot` goes round as many credentials as fit into a front with room to spare, `cold` round so many that a front knows
//! next to none of them when they come. At the end a million keys are looked up, for their bytes in memory.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

#[path = "decide/keys.rs"]
mod keys;
#[path = "decide/report.rs"]
mod report;

use std::{hint::black_box, sync::Arc, time::Duration};

use async_trait::async_trait;
use criterion::{BenchmarkId, Criterion};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use keys::{Issuer, api_key};
use plangate::{
    credentials::{Algorithm, Credentials, IssuerSettings, Settings, TokenKeys},
    domain::{
        id::{KeyId, TenantId},
        identity::{ApiKey, KeyHash},
        time::{UnixMillis, Version},
    },
    ports::{Answer, Authenticator, KeyStore, Snapshot, StoreError},
};
use report::{Row, allocations, resident};

// The product's allocator, counted.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounter<mimalloc::MiMalloc> =
    alloc_counter::AllocCounter(mimalloc::MiMalloc);
#[cfg(not(feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounterSystem = alloc_counter::AllocCounterSystem;

const NOW: UnixMillis = UnixMillis(1_750_000_000_000);
const HOT: u32 = 1_024;
const COLD: u32 = 65_536;

fn main() {
    let timed = !std::env::args().any(|argument| argument == "--test");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    // For the time-outs around the look-ups.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let issuer = Issuer::new();
    let credentials = credentials(&issuer);
    let cold = if timed { COLD } else { HOT };
    let (with_keys, with_tokens): (Vec<_>, Vec<_>) =
        (0..cold).map(|number| (key_request(number), token_request(number, &issuer))).unzip();
    let mut rows = Vec::new();
    for (kind, requests) in [("api-key", &with_keys), ("jwt", &with_tokens)] {
        for number in [1, HOT as usize, cold as usize] {
            let requests = &requests[..number];
            let front = credentials.front();
            let allocations = measure(&mut criterion, &mut rows, &format!("front, {kind}"), &front, requests);
            // A few sets may have drawn more credentials than they have places: those few are asked for each time.
            let most = [(1, 0.0), (HOT as usize, 0.05)].iter().find(|(most, _)| number <= *most);
            let most = most.map_or(f64::MAX, |(_, most)| *most);
            assert!(allocations <= most, "{allocations} allocations for one of {number} hot credentials");
            measure(&mut criterion, &mut rows, &format!("shared, {kind}"), &*credentials, requests);
        }
        strip(&mut criterion, &mut rows, kind, &credentials, &requests[0]);
    }
    criterion.final_summary();
    report::print("identify", &rows, timed);
    let known: u32 = if timed { 1_000_000 } else { 1_000 };
    let before = resident();
    (0..known).for_each(|number| identify(&*credentials, &key_request(COLD + number)));
    println!("{} bytes for each of {known} keys", resident().saturating_sub(before) / u64::from(known));
}

fn measure(
    criterion: &mut Criterion,
    rows: &mut Vec<Row>,
    what: &str,
    authenticator: &impl Authenticator,
    requests: &[HeaderMap],
) -> f64 {
    let tenants = u32::try_from(requests.len()).unwrap();
    let mut turn = requests.iter().cycle();
    let mut work = |_| turn.next().into_iter().for_each(|headers| identify(authenticator, headers));
    // Known at first, then in the front, then hot there.
    (0..4 * requests.len()).for_each(&mut work);
    let made = allocations(10_000, &mut work);
    rows.push(Row { what: what.to_owned(), tenants, allocations: made });
    let id = BenchmarkId::new(what, tenants);
    criterion.benchmark_group("identify").bench_function(id, |b| b.iter(|| work(0)));
    made
}

fn strip(
    criterion: &mut Criterion,
    rows: &mut Vec<Row>,
    kind: &str,
    authenticator: &Credentials,
    headers: &HeaderMap,
) {
    // The first time takes the key away; what is measured is that there is nothing (more) to take.
    let (what, mut headers) = (format!("strip, {kind}"), headers.clone());
    let mut work = |_| authenticator.strip(black_box(&mut headers));
    work(0);
    rows.push(Row { what: what.clone(), tenants: 1, allocations: allocations(1000, &mut work) });
    let id = BenchmarkId::new(what, 1);
    criterion.benchmark_group("identify").bench_function(id, |b| b.iter(|| work(0)));
}

fn identify(authenticator: &impl Authenticator, headers: &HeaderMap) {
    match authenticator.identify(black_box(headers), NOW) {
        Answer::Ready(identity) => drop(black_box(identity.unwrap())),
        Answer::Pending(identity) => {
            drop(identity.now_or_never().unwrap().unwrap());
        }
    }
}

fn credentials(issuer: &Issuer) -> Arc<Credentials> {
    let settings = Settings {
        issuers: vec![IssuerSettings {
            issuer: Issuer::NAME.to_owned(),
            audience: Issuer::AUDIENCE.to_owned(),
            algorithms: vec![Algorithm::EdDsa],
            keys: TokenKeys::JwksFile(issuer.key_set.path().to_owned()),
            tenant_claim: "tenant".to_owned(),
            leeway: Duration::from_secs(30),
            cookie: None,
        }],
        cached: 2_000_000,
        ..Settings::default()
    };
    Arc::new(Credentials::new(settings, Arc::new(AnyKey), Arc::default(), [7; 32]).unwrap())
}

/// Knows every key: a tenant for each.
struct AnyKey;

#[async_trait]
impl KeyStore for AnyKey {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        let number = u32::from_le_bytes(*hash.0.first_chunk().unwrap());
        let key = ApiKey {
            id: KeyId::parse(&format!("key_{number:032x}")).unwrap(),
            tenant: TenantId::parse(&format!("tenant-{:07}", number % 10_000_000)).unwrap(),
            name: None,
            expires_at: None,
            imported: true,
            created_at: UnixMillis(0),
        };
        Ok(Snapshot { version: Version(1), value: Some(key) })
    }

    async fn key_by_id(&self, _: &KeyId) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        Ok(Snapshot { version: Version(0), value: None })
    }

    async fn key_secret(&self) -> Result<[u8; 32], StoreError> {
        Ok([7; 32])
    }
}

/// What a browser or a client library sends beside the credential.
fn usual_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::HOST, "api.example.com"),
        (header::USER_AGENT, "example-client/3.1 (linux; x86_64)"),
        (header::ACCEPT, "application/json"),
        (header::ACCEPT_ENCODING, "gzip, br"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

fn key_request(number: u32) -> HeaderMap {
    let mut headers = usual_headers();
    let key = HeaderValue::try_from(api_key(number)).unwrap();
    headers.insert(HeaderName::from_static("x-api-key"), key);
    headers
}

fn token_request(number: u32, issuer: &Issuer) -> HeaderMap {
    let mut headers = usual_headers();
    let token = format!("Bearer {}", issuer.token(&format!("tenant-{number:07}")));
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(token).unwrap());
    headers
}
