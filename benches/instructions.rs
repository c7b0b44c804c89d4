//! The same work so many times, for `scripts/instructions` to count the instructions of. See `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

#[path = "decide/keys.rs"]
mod keys;
#[path = "instructions/peers.rs"]
mod peers;
#[path = "instructions/plane.rs"]
mod plane;
#[path = "decide/report.rs"]
#[allow(dead_code, reason = "the decision's bench reports more")]
mod report;
#[path = "decide/world.rs"]
#[allow(dead_code, reason = "the decision's bench asks for more")]
mod world;

use std::hint::black_box;

use http::HeaderMap;
use peers::Peers;
use plane::Plane;
use plangate::{clock::ManualClock, domain::time::UnixMillis};
use world::{SPENT, World};

// The product's allocator.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests go round so many tenants.
const TENANTS: u32 = 100;
/// What is made once, or grows in the beginning, is no part of a request.
const WARM_UP: usize = 3 * TENANTS as usize;
const DECISIONS: usize = 2_000;
const REQUESTS: usize = 500;

fn main() {
    // `cargo bench` means something else; and nothing is counted unless the script counts it.
    let counted = std::env::args().any(|argument| argument == "--counted");
    let (decisions, requests) = if counted { (DECISIONS, REQUESTS) } else { (1, 1) };
    // It stands still, so that rates do not fill up and nothing expires between two runs.
    let world = World::new(TENANTS, ManualClock::at(UnixMillis(1_800_000_000_000)));
    world.know();
    let active = world.activate(TENANTS);
    plane::exhaust(&world, &world::key_request(SPENT));

    for (what, headers) in [("decision-api-key", &active.with_keys), ("decision-jwt", &active.with_tokens)] {
        phase(what, decisions, |rounds| decide(&world, headers, rounds));
    }
    let plane = Plane::start(&world);
    let mut peers = Peers::new(&plane);
    for (what, headers) in [("forwarded-api-key", &active.with_keys), ("forwarded-jwt", &active.with_tokens)]
    {
        let sent: Vec<_> = headers.iter().map(peers::text).collect();
        phase(what, requests, |rounds| (0..rounds).for_each(|n| peers.forwarded(&sent[n % sent.len()])));
    }
    let refused = peers::text(&world::key_request(SPENT));
    phase("refused", requests, |rounds| (0..rounds).for_each(|_| peers.refused(&refused)));
    plane.finish();
}

/// Does a kind of work some times for a start, then so many times between two marks.
fn phase(what: &str, rounds: usize, mut work: impl FnMut(usize)) {
    work(WARM_UP);
    mark();
    work(rounds);
    mark();
    println!("{what} {rounds}");
}

/// The counter writes down what it has counted, and begins anew, whenever this is called.
#[inline(never)]
fn mark() {
    black_box(());
}

/// What is done in here is counted.
#[inline(never)]
fn decide(world: &World, requests: &[HeaderMap], rounds: usize) {
    for n in 0..rounds {
        drop(black_box(world.decide(black_box(&requests[n % requests.len()]))));
    }
}
