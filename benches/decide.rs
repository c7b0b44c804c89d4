//! The decision alone: from a parsed request to the grant, with the real parts in memory. See `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

#[path = "decide/keys.rs"]
mod keys;
#[path = "decide/report.rs"]
mod report;
#[path = "decide/world.rs"]
mod world;

use std::{convert::Infallible, future::Ready, hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use plangate::{
    clock::SystemClock,
    credentials::KeyHasher,
    domain::{decision::decide, path::canonicalise, time::Monotonic},
    pipeline::request::{ForwardError, Forwardable, Inbound},
    ports::Policies,
};
use report::{Row, allocations};
use tower::{Layer, Service};
use world::{Active, AtRest, PATH, SAMPLE, World, operation};

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
    let sizes: &[u32] = if timed { &[1, 1_000, 1_000_000] } else { &[1, 32] };
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut tables = [Table::new("", 1_000), Table::new(", all in turn", SAMPLE)];
    for tenants in sizes.iter().copied() {
        let world = World::new(tenants, Arc::new(SystemClock::default()));
        let AtRest { credentials, directory } = world.know();
        println!(
            "{tenants} known: {credentials} bytes each for the key, {directory} for the rights (goal: 300)"
        );
        let mut active = 0;
        for table in &mut tables {
            if active == table.most.min(tenants) {
                continue; // the same once more
            }
            active = table.most.min(tenants);
            let some = world.activate(active);
            println!("{tenants} known, {active} active: {} bytes more each", some.bytes);
            measure_decisions(&mut criterion, (&world, &some), tenants, table);
            measure_parts(&mut criterion, (&world, &some), tenants, table);
        }
    }
    criterion.final_summary();
    for table in &tables {
        report::print(&table.decision, &table.decisions, timed);
        report::print(&table.part, &table.parts, timed);
    }
    if !timed {
        // So few credentials that a worker has a place for each.
        check(&tables[0].decisions);
        check(&tables[0].parts);
    }
}

/// What may allocate how often at most, once a tenant is active: nothing may.
const MOST: [(&str, f64); 5] =
    [("resolve", 0.0), ("decide", 0.0), ("identify, resolve, decide", 0.0), ("api-key", 0.0), ("jwt", 0.0)];

/// Fails where something allocates more than it may.
fn check(rows: &[Row]) {
    for row in rows {
        if let Some((what, most)) = MOST.iter().find(|(what, _)| *what == row.what) {
            assert!(row.allocations <= *most, "`{what}` allocates {} times on average", row.allocations);
        }
    }
}

/// The rows of a number of active tenants.
struct Table {
    decision: String,
    part: String,
    most: u32,
    decisions: Vec<Row>,
    parts: Vec<Row>,
}

impl Table {
    fn new(how: &str, most: u32) -> Self {
        let (decision, part) = (format!("decision{how}"), format!("part{how}"));
        Self { decision, part, most, decisions: Vec::new(), parts: Vec::new() }
    }
}

fn measure_decisions(
    criterion: &mut Criterion,
    (world, active): (&World, &Active),
    tenants: u32,
    table: &mut Table,
) {
    let mut group = criterion.benchmark_group(&table.decision);
    let rows = &mut table.decisions;
    for (what, requests) in [("api-key", &active.with_keys), ("jwt", &active.with_tokens)] {
        let mut turn = Turns::over(requests);
        let mut work = |_| drop(black_box(world.decide(turn.next())));
        bench(&mut group, rows, (what, tenants), &mut work);
    }
    let stack = world.gateway.layer(tower::service_fn(at_once));
    for (what, requests) in [("stack, api-key", &active.with_keys), ("stack, jwt", &active.with_tokens)] {
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
fn measure_parts(
    criterion: &mut Criterion,
    (world, active): (&World, &Active),
    tenants: u32,
    table: &mut Table,
) {
    let mut group = criterion.benchmark_group(&table.part);
    let rows = &mut table.parts;
    let catalog = world.gateway.policies.catalog();
    let now = world.gateway.clock.now();
    let started = || world.gateway.clock.monotonic();
    let hasher = KeyHasher::new(&[7; 32]);
    let key = active.with_keys[0]["x-api-key"].as_bytes();
    let identities: Vec<_> = active.with_keys.iter().map(|headers| world.identify(headers, now)).collect();
    let resolve = |identity| world.resolve(identity, &catalog, started());
    let rights: Vec<_> = identities.iter().map(resolve).collect();
    let mut keys = Turns::over(&active.with_keys);
    let mut tokens = Turns::over(&active.with_tokens);
    let mut known = Turns::over(&identities);
    let mut entitled = Turns::over(&rights);
    let mut compiled = Turns::over(&rights);
    let mut both = Turns::over(&active.with_keys);
    let operation = operation(&catalog);
    let mut part = |what, work: &mut dyn FnMut(usize)| bench(&mut group, rows, (what, tenants), work);
    part("two clocks", &mut |_| {
        black_box((world.gateway.clock.now(), world.gateway.clock.monotonic()));
    });
    part("catalog", &mut |_| drop(black_box(world.gateway.policies.catalog())));
    part("path", &mut |_| drop(black_box(canonicalise(black_box(PATH)).unwrap())));
    part("route", &mut |_| {
        black_box(catalog.routes.find(black_box("GET"), black_box(PATH)).unwrap());
    });
    part("hash of a key", &mut |_| {
        black_box(hasher.hash(black_box(key)));
    });
    part("identify, api-key", &mut |_| drop(black_box(world.identify(keys.next(), now))));
    part("identify, jwt", &mut |_| drop(black_box(world.identify(tokens.next(), now))));
    // One for all rounds, as one request reads the clock once for all its steps; renewed while the node stays fresh.
    let mut at = Turned::new(started);
    part("resolve", &mut |_| drop(black_box(world.resolve(known.next(), &catalog, at.next()))));
    part("decide", &mut |_| {
        black_box(decide(entitled.next(), Some(black_box(operation)))).unwrap();
    });
    part("identify, resolve, decide", &mut |_| {
        drop(black_box(world.entitle(both.next(), &catalog, operation, (now, at.next()))));
    });
    part("charge", &mut |_| black_box(world.charge(compiled.next(), operation, now)).keep());
    group.finish();
}

/// A clock that is read every hundredth time.
struct Turned<F> {
    read: F,
    at: Monotonic,
    rounds: u32,
}

impl<F: Fn() -> Monotonic> Turned<F> {
    fn new(read: F) -> Self {
        Self { at: read(), read, rounds: 0 }
    }

    fn next(&mut self) -> Monotonic {
        self.rounds += 1;
        if self.rounds.is_multiple_of(100) {
            self.at = (self.read)();
        }
        self.at
    }
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
