//! The decision alone: from a parsed request to the grant, with the real parts in memory. See `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

#[path = "decide/keys.rs"]
mod keys;
#[path = "decide/report.rs"]
mod report;
#[path = "decide/world.rs"]
mod world;

use std::{convert::Infallible, future::Ready, hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use plangate::{
    credentials::KeyHasher,
    domain::path::canonicalise,
    pipeline::request::{ForwardError, Forwardable, Inbound},
    ports::Policies,
};
use report::{Row, allocations, resident};
use tower::{Layer, Service};
use world::{PATH, World, operation};

// The product's allocator, counted.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounter<mimalloc::MiMalloc> =
    alloc_counter::AllocCounter(mimalloc::MiMalloc);
#[cfg(not(feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounterSystem = alloc_counter::AllocCounterSystem;

type Body = Empty<Bytes>;

fn main() {
    let timed = !std::env::args().any(|argument| argument == "--test");
    let sizes: &[u32] = if timed { &[1, 10_000, 1_000_000] } else { &[1, 100] };
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let (mut decisions, mut parts) = (Vec::new(), Vec::new());
    for tenants in sizes {
        let before = resident();
        let world = World::new(*tenants);
        let grown = resident().saturating_sub(before);
        println!("{tenants} tenants known: {} bytes each", grown / u64::from(*tenants));
        measure_decisions(&mut criterion, &world, *tenants, &mut decisions);
        measure_parts(&mut criterion, &world, *tenants, &mut parts);
    }
    criterion.final_summary();
    report::print("decision", &decisions, timed);
    report::print("part", &parts, timed);
}

fn measure_decisions(criterion: &mut Criterion, world: &World, tenants: u32, rows: &mut Vec<Row>) {
    let mut group = criterion.benchmark_group("decision");
    for (what, requests) in [("api-key", &world.with_keys), ("jwt", &world.with_tokens)] {
        let mut turn = Turns::over(requests);
        let mut work = |_| drop(black_box(world.decide(turn.next())));
        bench(&mut group, rows, (what, tenants), &mut work);
    }
    let stack = world.gateway.layer(tower::service_fn(at_once));
    for (what, requests) in [("stack, api-key", &world.with_keys), ("stack, jwt", &world.with_tokens)] {
        let mut turn = Turns::over(requests);
        let whole = |request| {
            let answer = stack.clone().call(request).now_or_never();
            answer.unwrap().unwrap_or_else(|never: Infallible| match never {})
        };
        let prepare = |_| (0..1000).map(|n| request(&requests[n % requests.len()])).collect::<Vec<_>>();
        let [warm_up, counted] = [0, 1].map(prepare);
        warm_up.into_iter().for_each(|request| assert_eq!(whole(request).status(), 200));
        let mut counted = counted.into_iter();
        let allocations = allocations(1000, |_| drop(counted.next().map(whole)));
        rows.push(Row { what: what.to_owned(), tenants, allocations });
        group.bench_function(BenchmarkId::new(what, tenants), |b| {
            b.iter_batched(|| request(turn.next()), whole, BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// Where a decision's time goes.
fn measure_parts(criterion: &mut Criterion, world: &World, tenants: u32, rows: &mut Vec<Row>) {
    let mut group = criterion.benchmark_group("part");
    let (catalog, now) = (world.gateway.policies.catalog(), world.gateway.clock.now());
    let hasher = KeyHasher::new(&[7; 32]);
    let key = world.with_keys[0]["x-api-key"].as_bytes();
    let identities: Vec<_> = world.with_keys.iter().map(|headers| world.identify(headers, now)).collect();
    let rights: Vec<_> = identities.iter().map(|identity| world.resolve(identity, &catalog)).collect();
    let mut keys = Turns::over(&world.with_keys);
    let mut tokens = Turns::over(&world.with_tokens);
    let mut known = Turns::over(&identities);
    let mut compiled = Turns::over(&rights);
    let route = |_| {
        let path = canonicalise(black_box(PATH)).unwrap();
        black_box(catalog.routes.find("GET", &path).unwrap());
    };
    bench(&mut group, rows, ("two clocks", tenants), &mut |_| {
        black_box((world.gateway.clock.now(), world.gateway.clock.monotonic()));
    });
    bench(&mut group, rows, ("path and route", tenants), &mut { route });
    bench(&mut group, rows, ("hash of a key", tenants), &mut |_| {
        black_box(hasher.hash(black_box(key)));
    });
    bench(&mut group, rows, ("identify, api-key", tenants), &mut |_| {
        black_box(world.identify(keys.next(), now));
    });
    bench(&mut group, rows, ("identify, jwt", tenants), &mut |_| {
        black_box(world.identify(tokens.next(), now));
    });
    bench(&mut group, rows, ("resolve", tenants), &mut |_| {
        black_box(world.resolve(known.next(), &catalog));
    });
    bench(&mut group, rows, ("charge", tenants), &mut |_| {
        black_box(world.charge(compiled.next(), operation(&catalog), now)).keep();
    });
    group.finish();
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    rows: &mut Vec<Row>,
    (what, tenants): (&str, u32),
    work: &mut dyn FnMut(usize),
) {
    // Not the first time: what is made once is no part of a decision.
    (0..1000).for_each(&mut *work);
    rows.push(Row { what: what.to_owned(), tenants, allocations: allocations(10_000, &mut *work) });
    group.bench_function(BenchmarkId::new(what, tenants), |b| b.iter(|| work(0)));
}

/// One after the other, round and round.
struct Turns<'a, T> {
    all: &'a [T],
    at: usize,
}

impl<'a, T> Turns<'a, T> {
    fn over(all: &'a [T]) -> Self {
        Self { all, at: 0 }
    }

    fn next(&mut self) -> &'a T {
        self.at = if self.at + 1 < self.all.len() { self.at + 1 } else { 0 };
        &self.all[self.at]
    }
}

fn request(headers: &HeaderMap) -> Inbound<Body> {
    let mut request = Request::get(PATH).body(Empty::new()).unwrap();
    *request.headers_mut() = headers.clone();
    request.into()
}

/// An upstream in no time.
fn at_once(_: Forwardable<Body>) -> Ready<Result<Response<Body>, ForwardError>> {
    std::future::ready(Ok(Response::new(Empty::new())))
}
