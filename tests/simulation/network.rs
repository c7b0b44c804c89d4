//! What lies between the ledgers and the store: every call waits here until the seed says what becomes of it.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::FutureExt;
use plangate::{
    ports::{
        BucketKey, GrantOutcome, GrantRequest, Incarnation, LedgerStore, OthersUsage, Remainder, SlotTotals,
        StoreError,
    },
    store::memory::Memory,
};
use tokio::sync::oneshot;

use super::shadow::Shadow;

#[derive(Clone)]
pub enum Request {
    Grant(Vec<GrantRequest>),
    Flush(Vec<SlotTotals>),
    Remainders(Incarnation, Vec<BucketKey>),
    OpenSlots(Vec<Incarnation>),
    Others(Incarnation, Vec<BucketKey>),
    Recorded(Vec<BucketKey>),
}

/// Short: what tells one from another.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(requests) => requests.iter().try_for_each(|request| {
                let GrantRequest { totals, granted, need, want, .. } = request;
                write!(f, "grant {need} to {want} above {granted}, {} ", Brief(totals))
            }),
            Self::Flush(totals) => totals.iter().try_for_each(|totals| write!(f, "flush {} ", Brief(totals))),
            Self::Remainders(_, buckets) => write!(f, "remainders of {} buckets", buckets.len()),
            Self::OpenSlots(who) => write!(f, "open slots of {} runs", who.len()),
            Self::Recorded(buckets) => write!(f, "use of {} buckets", buckets.len()),
            Self::Others(_, buckets) => write!(f, "others' use of {} buckets", buckets.len()),
        }
    }
}

struct Brief<'a>(&'a SlotTotals);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SlotTotals { slot, used, refunded, sealed, .. } = self.0;
        let run = slot.incarnation.0.as_u128();
        let (bucket, seq, seal) = (&slot.bucket, slot.seq, if *sealed { " sealed" } else { "" });
        let (tenant, meter, window) = (&bucket.tenant, &bucket.meter, bucket.span);
        write!(f, "[{tenant} {meter} {window} {run}/{seq}: {used}-{refunded}{seal}]")
    }
}

#[derive(Debug)]
pub enum Reply {
    Grant(Vec<GrantOutcome>),
    Flush(Vec<u64>),
    Remainders(Vec<Remainder>),
    OpenSlots(Vec<SlotTotals>),
    Others(Vec<OthersUsage>),
    Recorded(Vec<u64>),
}

type Answer = Result<Reply, StoreError>;

/// A call on its way.
pub struct Call {
    pub node: usize,
    pub request: Request,
    tell: oneshot::Sender<Answer>,
}

/// An answer on its way back.
pub struct Return {
    pub node: usize,
    answer: Answer,
    tell: oneshot::Sender<Answer>,
}

#[derive(Default)]
pub struct Network {
    pub calls: Vec<Call>,
    pub returns: Vec<Return>,
    /// Requests that were carried out and will arrive again.
    pub copies: Vec<Request>,
    /// Callers that will never hear anything.
    silent: Vec<oneshot::Sender<Answer>>,
    pub away: bool,
}

/// One node's line to the store.
pub struct Wire {
    pub node: usize,
    pub network: Arc<Mutex<Network>>,
}

impl Wire {
    async fn call(&self, request: Request) -> Answer {
        let (tell, hear) = oneshot::channel();
        self.network.lock().unwrap().calls.push(Call { node: self.node, request, tell });
        hear.await.unwrap_or_else(|_| Err(lost()))
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the connection was lost".into())
}

/// Carries a request out. Everything that the store does in memory it does at once.
pub fn carry_out(store: &Memory, shadow: &mut Shadow, request: &Request) -> Answer {
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("a store in memory does not wait")
    }
    let answer = match request {
        Request::Grant(requests) => at_once(store.grant(requests)).map(Reply::Grant),
        Request::Flush(totals) => at_once(store.flush(totals)).map(Reply::Flush),
        Request::Recorded(buckets) => at_once(store.recorded(buckets)).map(Reply::Recorded),
        Request::Remainders(who, buckets) => at_once(store.remainders(*who, buckets)).map(Reply::Remainders),
        Request::OpenSlots(who) => at_once(store.open_slots(who)).map(Reply::OpenSlots),
        Request::Others(who, buckets) => at_once(store.others(*who, buckets)).map(Reply::Others),
    };
    match (request, &answer) {
        (Request::Grant(requests), Ok(Reply::Grant(outcomes))) => {
            for (request, outcome) in requests.iter().zip(outcomes) {
                shadow.granted(request, outcome);
            }
        }
        (Request::Flush(totals), Ok(_)) => totals.iter().for_each(|totals| shadow.recorded(totals)),
        _ => {}
    }
    answer
}

impl Network {
    /// The request arrives; its answer is on its way.
    pub fn accept(&mut self, at: usize, store: &Memory, shadow: &mut Shadow, again: bool) {
        let Call { node, request, tell } = self.calls.remove(at);
        let answer = carry_out(store, shadow, &request);
        self.returns.push(Return { node, answer, tell });
        self.copies.extend(again.then_some(request));
    }

    pub fn answer(&mut self, at: usize) -> usize {
        let Return { node, answer, tell } = self.returns.remove(at);
        // Who is gone or has given up hears nothing.
        let _ = tell.send(answer);
        node
    }

    /// The request does not arrive, or its answer does not; the caller hears of it, or waits in vain.
    pub fn lose_call(&mut self, at: usize, silently: bool) -> usize {
        let Call { node, tell, .. } = self.calls.remove(at);
        self.break_off(tell, silently);
        node
    }

    pub fn lose_return(&mut self, at: usize, silently: bool) -> usize {
        let Return { node, tell, .. } = self.returns.remove(at);
        self.break_off(tell, silently);
        node
    }

    /// Reports are acknowledged by a primary that loses them with all that it did last. (Only of open words: that an
    /// acknowledged return lasts is what the promises take for granted.)
    pub fn forget_reports(&mut self) {
        let open = |call: &mut Call| match &call.request {
            Request::Flush(totals) => totals.iter().all(|totals| !totals.sealed),
            _ => false,
        };
        for call in self.calls.extract_if(.., open) {
            // What it had said is lost with it.
            let used =
                if let Request::Flush(totals) = &call.request { vec![0; totals.len()] } else { vec![] };
            let _ = call.tell.send(Ok(Reply::Flush(used)));
        }
        self.copies.clear();
    }

    fn break_off(&mut self, tell: oneshot::Sender<Answer>, silently: bool) {
        if silently {
            self.silent.push(tell);
        } else {
            let _ = tell.send(Err(lost()));
        }
    }
}

/// A line that nothing happens on, but that its next answer may be lost: for what a process does before it serves.
pub struct Direct {
    pub store: Arc<Memory>,
    pub shadow: Arc<Mutex<Shadow>>,
    pub lose_an_answer: AtomicBool,
}

impl Direct {
    fn call(&self, request: &Request) -> Answer {
        let answer = carry_out(&self.store, &mut self.shadow.lock().unwrap(), request);
        if self.lose_an_answer.swap(false, Ordering::Relaxed) { Err(lost()) } else { answer }
    }
}

fn mismatch<T>() -> Result<T, StoreError> {
    Err(StoreError::Corrupt("another call's answer".into()))
}

/// Both are the same to a ledger.
macro_rules! is_a_store {
    ($line:ident, |$self:ident, $request:ident| $call:expr) => {
        #[async_trait]
        impl LedgerStore for $line {
            async fn grant(&$self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
                let $request = Request::Grant(requests.to_vec());
                match $call? {
                    Reply::Grant(outcomes) => Ok(outcomes),
                    _ => mismatch(),
                }
            }

            async fn flush(&$self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
                let $request = Request::Flush(totals.to_vec());
                match $call? {
                    Reply::Flush(used) => Ok(used),
                    _ => mismatch(),
                }
            }

            async fn recorded(&$self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
                let $request = Request::Recorded(buckets.to_vec());
                match $call? {
                    Reply::Recorded(used) => Ok(used),
                    _ => mismatch(),
                }
            }

            async fn remainders(
                &$self,
                who: Incarnation,
                buckets: &[BucketKey],
            ) -> Result<Vec<Remainder>, StoreError> {
                let $request = Request::Remainders(who, buckets.to_vec());
                match $call? {
                    Reply::Remainders(remainders) => Ok(remainders),
                    _ => mismatch(),
                }
            }

            async fn open_slots(&$self, who: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
                let $request = Request::OpenSlots(who.to_vec());
                match $call? {
                    Reply::OpenSlots(slots) => Ok(slots),
                    _ => mismatch(),
                }
            }

            async fn others(
                &$self,
                who: Incarnation,
                buckets: &[BucketKey],
            ) -> Result<Vec<OthersUsage>, StoreError> {
                let $request = Request::Others(who, buckets.to_vec());
                match $call? {
                    Reply::Others(others) => Ok(others),
                    _ => mismatch(),
                }
            }
        }
    };
}

is_a_store!(Wire, |self, request| self.call(request).await);
is_a_store!(Direct, |self, request| self.call(&request));
