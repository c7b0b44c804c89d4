//! A charge of one unit, kept, from memory: by one thread and by two, on the same tenant and on another each.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, measurement::WallTime};
use plangate::{
    domain::{
        rights::Rights,
        time::{Monotonic, UnixMillis},
    },
    ports::{Answer, ChargeError, Hold, Ledger},
};

use super::{
    report::{Row, allocations},
    word::{Spend, Word},
    world::{self, Generous, Node, TENANT_LIMIT},
};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// With both clocks read before.
fn take(node: &Node, rights: &Arc<Rights>, (now, at): (UnixMillis, Monotonic)) -> Hold {
    held(node.ledger.charge_at(rights, &world::ONE, now, at))
}

fn held(answer: Answer<Hold, ChargeError>) -> Hold {
    match answer {
        Answer::Ready(hold) => hold.unwrap(),
        Answer::Pending(_) => panic!("not in memory"),
    }
}

/// All of it.
pub fn measure(criterion: &mut Criterion, rows: &mut Vec<Row>) {
    let mut group = criterion.benchmark_group("spend");
    measure_the_word(&mut group, rows);
    let node = Node::new(Arc::new(Generous));
    let month = world::rights("acme", TENANT_LIMIT);
    let rated = ["rated", "rated", "other"].map(world::rated);
    node.admit(&month);
    rated.iter().for_each(|rights| node.admit(rights));
    let [a, same, other] = &rated;
    let read = || (node.now(), node.monotonic());
    let clocks = read();
    one(&mut group, rows, "a quota", || take(&node, &month, clocks).keep());
    one(&mut group, rows, "a quota and a rate", || take(&node, a, clocks).keep());
    one(&mut group, rows, "a quota and a rate, and both clocks", || take(&node, a, read()).keep());
    one(&mut group, rows, "a quota and a rate, and how they stand", || {
        let hold = take(&node, a, clocks);
        hold.standings_at(clocks.0, clocks.1, |standing| {
            black_box(standing);
        });
        hold.keep();
    });
    let charge = |rights: &Arc<Rights>| take(&node, rights, clocks).keep();
    two(&mut group, rows, "2 threads, the same rights", [a, a], charge);
    two(&mut group, rows, "2 threads, the same tenant", [a, same], charge);
    two(&mut group, rows, "2 threads, a tenant each", [a, other], charge);
    group.finish();
    let free = rows.iter().all(|row| row.allocations < 0.01);
    assert!(free, "a charge from memory allocates");
}

fn one(group: &mut Group<'_>, rows: &mut Vec<Row>, what: &str, work: impl Fn()) {
    (0..1000).for_each(|_| work());
    rows.push(Row { what: what.to_owned(), tenants: 1, allocations: allocations(10_000, |_| work()) });
    group.bench_function(BenchmarkId::new(what, 1), |b| b.iter(&work));
}

/// Each thread with what is its own.
fn two<T: Sync>(
    group: &mut Group<'_>,
    rows: &mut Vec<Row>,
    what: &str,
    of: [&T; 2],
    work: impl Fn(&T) + Sync,
) {
    rows.push(Row { what: what.to_owned(), tenants: 1, allocations: allocations(10_000, |_| work(of[0])) });
    group.bench_function(BenchmarkId::new(what, 1), |b| {
        b.iter_custom(|rounds| on_two_threads(of, |one| (0..rounds).for_each(|_| work(black_box(one)))));
    });
}

/// The compare-and-swap alone, without the charge around it: `src/ledger/word.rs` itself.
fn measure_the_word(group: &mut Group<'_>, rows: &mut Vec<Row>) {
    let word = Word::default();
    word.open(u64::MAX);
    // A word that is full takes nothing: in the time of a bench none comes near.
    let spend =
        |word: &Word| assert!(matches!(black_box(word).spend(black_box(1), true), Spend::Taken { .. }));
    one(group, rows, "the word alone", || spend(&word));
    two(group, rows, "the word alone, 2 threads", [&word, &word], spend);
}

/// How long two threads take that do the same at the same time.
fn on_two_threads<T: Sync>(of: [&T; 2], work: impl Fn(&T) + Sync) -> Duration {
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        let threads = of.map(|one| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(one);
            })
        });
        start.wait();
        #[allow(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
        let begun = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        begun.elapsed()
    })
}
