//! The registry as this process reads it: one reader, however many calls wait, and what it has watched of each node.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex as Lock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use crate::{
    clock::Clock,
    domain::time::{Monotonic, UnixMillis},
    ports::{Incarnation, NodeRow, NodeStore},
};

/// Between two readings, from the beginning of one to that of the next.
const APART: Duration = Duration::from_millis(10);
/// A reading that takes longer counts as failed.
const READING_LIMIT: Duration = Duration::from_millis(500);

/// The registered nodes at one moment.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) nodes: Vec<Watched>,
}

/// A registered node.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) row: NodeRow,
    /// For so long, at least, its heartbeat stood still under the eyes of this process, by this process's own clock.
    pub(super) still: Duration,
}

/// Reads the registry for all who wait. Nobody waits: nothing is read.
///
/// Whoever holds the lock reads; those behind take what was read. A reader whose caller leaves is followed by the next.
pub(super) struct Roster {
    store: Arc<dyn NodeStore>,
    clock: Arc<dyn Clock>,
    begun: AtomicU64,
    reader: Mutex<Reader>,
    latest: Lock<Option<Arc<Reading>>>,
}

#[derive(Default)]
struct Reader {
    /// When the latest reading was begun.
    sent: Option<Monotonic>,
    /// The latest that was ended, and what it brought; nothing: it failed.
    number: u64,
    brought: Option<Arc<Reading>>,
    /// Each node's latest heartbeat, and since when it is known.
    beats: HashMap<Incarnation, (UnixMillis, Monotonic)>,
}

impl Roster {
    pub(super) fn new(store: Arc<dyn NodeStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, begun: AtomicU64::new(0), reader: Mutex::default(), latest: Lock::default() }
    }

    /// The number of the latest reading that was begun. One that is begun from now on has a higher one.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// The latest good reading, however old.
    pub(super) fn latest(&self) -> Option<Arc<Reading>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A reading with a higher number, and its number: one that somebody else has made meanwhile, or a new one.
    pub(super) async fn after(&self, number: u64) -> (u64, Option<Arc<Reading>>) {
        let mut reader = self.reader.lock().await;
        if reader.number > number {
            return (reader.number, reader.brought.clone());
        }
        if let Some(sent) = reader.sent {
            tokio::time::sleep(APART.saturating_sub(self.clock.monotonic().since(sent))).await;
        }
        let sent = self.clock.monotonic();
        reader.sent = Some(sent);
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let read = tokio::time::timeout(READING_LIMIT, self.store.nodes()).await;
        reader.brought = match read {
            Ok(Ok(rows)) => Some(Arc::new(reader.watch(rows, sent, self.clock.monotonic()))),
            Ok(Err(_)) | Err(_) => None,
        };
        reader.number = number;
        if reader.brought.is_some() {
            self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&reader.brought);
        }
        (number, reader.brought.clone())
    }
}

impl Reader {
    /// Notes heartbeats. A heartbeat is known since the answer with it came; that it is still the latest was so, at the
    /// earliest, when the question was sent.
    fn watch(&mut self, rows: Vec<NodeRow>, sent: Monotonic, answered: Monotonic) -> Reading {
        let mut beats = HashMap::with_capacity(rows.len());
        let watched = |row: NodeRow| {
            let since = match self.beats.get(&row.incarnation) {
                Some((beat, since)) if *beat == row.beat => *since,
                _ => answered,
            };
            beats.insert(row.incarnation, (row.beat, since));
            Watched { still: sent.since(since), row }
        };
        let nodes = rows.into_iter().map(watched).collect();
        self.beats = beats;
        Reading { nodes }
    }
}
