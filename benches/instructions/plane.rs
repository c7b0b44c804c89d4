//! The data plane as a node has it: one worker thread with a runtime, a listener, the stack and the proxy.

use std::{
    convert::Infallible,
    future::ready,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Empty;
use plangate::{
    http::{Proxy, Settings, Tasks, bind, serve},
    pipeline::request::{ForwardError, Forwardable},
};
use tokio::{runtime, task::LocalSet};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use super::world::{PATH, World};

/// One worker, and the socket of the upstream that it asks.
pub struct Plane {
    pub address: SocketAddr,
    pub upstream: TcpListener,
    stop: CancellationToken,
    worker: thread::JoinHandle<()>,
}

impl Plane {
    pub fn start(world: &World) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().pop().unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = Settings::new(format!("http://{}", upstream.local_addr().unwrap()).parse().unwrap());
        let stop = CancellationToken::new();
        let (gateway, stopping) = (world.gateway.clone(), stop.clone());
        let worker = thread::spawn(move || {
            let tasks = Tasks::new(&stopping);
            let stack = |proxy| gateway.layer(proxy);
            work(async {
                let proxy = Proxy::new(&settings, &tasks).unwrap();
                serve(listener, stack(proxy), Arc::new(settings), tasks).await.unwrap();
            });
        });
        Self { address, upstream, stop, worker }
    }

    pub fn finish(self) {
        self.stop.cancel();
        self.worker.join().unwrap();
    }
}

/// What is done in here is counted: all that a worker's thread does.
#[inline(never)]
fn work(serving: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, serving);
}

/// Uses up a tenant's units, so that the next request is refused from memory.
pub fn exhaust(world: &World, headers: &HeaderMap) {
    let upstream =
        |_: Forwardable<Empty<Bytes>>| ready(Ok::<_, ForwardError>(Response::new(Empty::<Bytes>::new())));
    let mut stack = world.gateway.layer(tower::service_fn(upstream));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..100 {
        let mut request = Request::get(PATH).body(Empty::new()).unwrap();
        *request.headers_mut() = headers.clone();
        let answer = runtime.block_on(stack.call(request.into()));
        let answer = answer.unwrap_or_else(|never: Infallible| match never {});
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            return;
        }
    }
    panic!("never refused");
}
