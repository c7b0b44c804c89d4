//! A charge of one unit, kept, from memory: by one thread and by two, on the same tenant and on another each.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
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
    let rated = world::rated("rated");
    node.admit(&month);
    node.admit(&rated);
    let read = || (node.now(), node.monotonic());
    let clocks = read();
    one(&mut group, rows, "a quota", || take(&node, &month, clocks).keep());
    one(&mut group, rows, "a quota and a rate", || take(&node, &rated, clocks).keep());
    one(&mut group, rows, "a quota and a rate, and both clocks", || take(&node, &rated, read()).keep());
    // Not before what the rate has seen by now.
    let clocks = read();
    one(&mut group, rows, "a quota and a rate, and how they stand", || {
        let hold = take(&node, &rated, clocks);
        hold.standings_at(clocks.0, clocks.1, |standing| {
            black_box(standing);
        });
        hold.keep();
    });
    group.finish();
    assert!(rows.iter().all(|row| row.allocations < 0.01), "a charge from memory allocates");
}

/// Two threads at the same time against one alone: in the processor's time, so that it matters little who else runs, and the
/// least of many short rounds.
pub fn print_shared(rounds: usize) {
    let node = Node::new(Arc::new(Generous));
    let rights = ["rated", "rated", "other"].map(world::rated);
    // Each is first charged on a thread of its own, as on a worker: what belongs to it comes from that thread's memory.
    for rights in &rights {
        std::thread::scope(|scope| scope.spawn(|| node.admit(rights)).join()).unwrap();
    }
    let clocks = (node.now(), node.monotonic());
    let [a, same, other] = &rights;
    let word = Word::default();
    word.open(u64::MAX);
    let spend = |word: &Word| assert!(matches!(black_box(word).spend(1, true), Spend::Taken { .. }));
    let charge = |rights: &Arc<Rights>| take(&node, rights, clocks).keep();
    println!("\n| two threads | one alone | each of two | ratio |\n|---|--:|--:|--:|");
    print_pair("the word alone", rounds, [&word, &word], spend);
    print_pair("a charge, the same rights", rounds, [a, a], charge);
    print_pair("a charge, the same tenant, rights of its own each", rounds, [a, same], charge);
    print_pair("a charge, a tenant each", rounds, [a, other], charge);
}

fn print_pair<T: Sync>(what: &str, rounds: usize, of: [&T; 2], work: impl Fn(&T) + Sync) {
    let (mut alone, mut both) = (f64::MAX, Vec::new());
    for _ in 0..rounds {
        alone = alone.min(on_threads(&of[..1], &work));
        both.push(on_threads(&of, &work));
    }
    // Where the threads did not run at the same time, they did not meet either: the median of the slower half.
    both.sort_by(f64::total_cmp);
    let both = both[rounds * 3 / 4];
    println!("| {what} | {alone:.1} ns | {both:.1} ns | {:.2} |", both / alone);
}

/// Nanoseconds of processor time that each thread takes for one, where all of them begin at the same time.
fn on_threads<T: Sync>(of: &[&T], work: &(impl Fn(&T) + Sync)) -> f64 {
    const EACH: u32 = 20_000;
    let ready = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let thread = |one: &T| {
            (0..1000).for_each(|_| work(one));
            ready.fetch_add(1, Ordering::SeqCst);
            while ready.load(Ordering::SeqCst) < of.len() {
                std::hint::spin_loop();
            }
            let begun = processor_time();
            (0..EACH).for_each(|_| work(black_box(one)));
            processor_time() - begun
        };
        let threads: Vec<_> = of.iter().map(|one| scope.spawn(move || thread(one))).collect();
        let took = threads.into_iter().map(|thread| thread.join().unwrap());
        took.max().unwrap_or_default().as_secs_f64() * 1e9 / f64::from(EACH)
    })
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn one(group: &mut Group<'_>, rows: &mut Vec<Row>, what: &str, work: impl Fn()) {
    (0..1000).for_each(|_| work());
    rows.push(Row { what: what.to_owned(), tenants: 1, allocations: allocations(10_000, |_| work()) });
    group.bench_function(BenchmarkId::new(what, 1), |b| b.iter(&work));
}

/// The compare-and-swap alone, without the charge around it: `src/ledger/word.rs` itself.
fn measure_the_word(group: &mut Group<'_>, rows: &mut Vec<Row>) {
    let word = Word::default();
    word.open(u64::MAX);
    // A word that is full takes nothing: in the time of a bench none comes near.
    let spend =
        |word: &Word| assert!(matches!(black_box(word).spend(black_box(1), true), Spend::Taken { .. }));
    one(group, rows, "the word alone", || spend(&word));
}
