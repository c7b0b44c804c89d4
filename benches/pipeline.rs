//! The stages around the decision: the whole stack over ports that answer from memory. See `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

#[path = "pipeline/ports.rs"]
mod ports;
#[path = "decide/report.rs"]
#[allow(dead_code, reason = "the decision's bench also reports memory")]
mod report;

use std::{convert::Infallible, future::Ready, hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion};
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use plangate::{
    clock::{Clock, ManualClock, SystemClock},
    domain::time::UnixMillis,
    pipeline::{
        Stack,
        request::{ForwardError, Forwardable, Inbound},
    },
};
use ports::{Kind, Ports};
use report::{Row, allocations};
use tower::{Layer, Service};

// The product's allocator, counted.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounter<mimalloc::MiMalloc> =
    alloc_counter::AllocCounter(mimalloc::MiMalloc);
#[cfg(not(feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounterSystem = alloc_counter::AllocCounterSystem;

type Body = Empty<Bytes>;
type Upstream = fn(Forwardable<Body>) -> Ready<Result<Response<Body>, ForwardError>>;
type Whole = Stack<Ports, Ports, Ports, Ports, tower::util::ServiceFn<Upstream>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--loop") {
        return run(&arguments[at + 1], arguments[at + 2].parse().unwrap());
    }
    let timed = !arguments.iter().any(|argument| argument == "--test");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let mut rows = Vec::new();
    let mut group = criterion.benchmark_group("pipeline");
    for kind in Kind::ALL {
        let mut stack = stack(kind, Arc::new(SystemClock::default()));
        let prepared = request(kind);
        assert_eq!(answer(&mut stack, prepared()).status(), kind.status(), "{}", kind.name());
        // Not the first time: what is made once is no part of a request.
        (0..1000).for_each(|_| drop(answer(&mut stack, prepared())));
        let mut inbound: Vec<_> = (0..1000).map(|_| prepared()).collect();
        let count = |_| drop(black_box(answer(&mut stack, inbound.pop().unwrap())));
        rows.push(Row { what: kind.name().to_owned(), tenants: 1, allocations: allocations(1000, count) });
        group.bench_function(BenchmarkId::new(kind.name(), 1), |b| {
            b.iter_batched(&prepared, |request| answer(&mut stack, request), BatchSize::SmallInput);
        });
    }
    group.finish();
    criterion.final_summary();
    report::print("pipeline", &rows, timed);
    println!("size of the whole future: {} bytes", future_size());
}

/// The same request so many times and nothing else, to count instructions. Under valgrind the machine's clocks are out of
/// reach, so this one's stands still.
fn run(kind: &str, rounds: usize) {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
    let clock = ManualClock::at(UnixMillis(1_800_000_000_000));
    let (mut stack, prepared) = (stack(kind, clock), request(kind));
    (0..rounds).for_each(|_| drop(black_box(answer(&mut stack, prepared()))));
}

fn stack(kind: Kind, clock: Arc<dyn Clock>) -> Whole {
    ports::gateway(kind, clock).layer(tower::service_fn(at_once as Upstream))
}

fn future_size() -> usize {
    let clock = Arc::new(SystemClock::default());
    size_of_val(&stack(Kind::Forwarded, clock).call(request(Kind::Forwarded)()))
}

#[inline(never)]
fn answer(stack: &mut Whole, inbound: Inbound<Body>) -> Response<<Whole as Answers>::Body> {
    match stack.call(inbound).now_or_never().unwrap() {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Names the body that the stack answers with.
trait Answers: Service<Inbound<Body>, Error = Infallible> {
    type Body;
}

impl<S, R> Answers for S
where
    S: Service<Inbound<Body>, Response = Response<R>, Error = Infallible>,
{
    type Body = R;
}

/// What a client library sends, with a key or without.
fn request(kind: Kind) -> impl Fn() -> Inbound<Body> {
    let mut prepared = Request::get(kind.path())
        .header("host", "api.example.com")
        .header("user-agent", "example-client/3.1 (linux; x86_64)")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, br");
    if kind != Kind::Unidentified {
        prepared = prepared.header(ports::KEY, "pgk_0192f0c17f1e7d3a9b1e2f3c4d5e6f70");
    }
    let prepared = prepared.body(Empty::new()).unwrap();
    move || prepared.clone().into()
}

/// An upstream in no time.
fn at_once(_: Forwardable<Body>) -> Ready<Result<Response<Body>, ForwardError>> {
    std::future::ready(Ok(Response::new(Empty::new())))
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Forwarded, Self::Exhausted, Self::TooFast, Self::Unidentified, Self::Public];

    const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Exhausted => "quota-exhausted",
            Self::TooFast => "rate-limited",
            Self::Unidentified => "credential-missing",
            Self::Public => "public",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Public => "/healthz",
            _ => "/v1/messages/0192f0c1-7f1e-7d3a-9b1e-2f3c4d5e6f70",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Forwarded | Self::Public => StatusCode::OK,
            Self::Exhausted | Self::TooFast => StatusCode::TOO_MANY_REQUESTS,
            Self::Unidentified => StatusCode::UNAUTHORIZED,
        }
    }
}
