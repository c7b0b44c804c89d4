//! The data plane over real sockets: raw clients, a raw upstream, and a stack that only forwards.

mod bodies;
mod framing;
mod http2;
mod lifecycle;
mod upgrade;
mod upstream;

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ::http::{HeaderValue, Response};
use bytes::Bytes;
use http_body_util::{Either, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{Proxy, ProxyBody, ServerBody, Settings, Tasks, bind, serve};
use crate::pipeline::request::{ForwardError, Forwardable, HeadRefusal, Inbound};

const PATIENCE: Duration = Duration::from_secs(5);

type Reply = Response<Either<ProxyBody, Full<Bytes>>>;

/// A gateway of one worker before an upstream.
struct Gateway {
    address: SocketAddr,
    settings: Arc<Settings>,
    shutdown: CancellationToken,
    worker: RefCell<Option<tokio::task::JoinHandle<std::io::Result<()>>>>,
}

/// Runs a test on one thread, as a worker does.
fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { tokio::time::timeout(PATIENCE * 4, test).await.unwrap() })
}

fn own(status: u16, text: String) -> Reply {
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status.try_into().unwrap();
    response
}

async fn answer(inbound: Inbound<ServerBody>, proxy: Proxy<ServerBody>) -> Result<Reply, Infallible> {
    let Inbound { request, client, refusal, .. } = inbound;
    match refusal {
        Some(HeadRefusal::TooLarge) => return Ok(own(431, "too large".into())),
        Some(HeadRefusal::Malformed(why)) => return Ok(own(400, format!("malformed: {why}"))),
        Some(HeadRefusal::AmbiguousPath(why)) => return Ok(own(400, format!("ambiguous: {why}"))),
        None => {}
    }
    if request.uri().path().starts_with("/refused") {
        return Ok(own(403, "refused".into()));
    }
    let request_id = HeaderValue::from_static("test-id");
    let forwardable =
        Forwardable { request, request_id, client, subject: None, foreign_key: false, admission: None };
    Ok(match proxy.oneshot(forwardable).await {
        Ok(response) => response.map(Either::Left),
        Err(error @ ForwardError::Timeout { .. }) => own(504, format!("{error:?}")),
        Err(ForwardError::ClientBody) => own(400, "client body".into()),
        Err(error) => own(502, format!("{error:?}")),
    })
}

impl Gateway {
    fn before(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {})
    }

    fn with(upstream: SocketAddr, adjust: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(format!("http://{upstream}").parse().unwrap());
        settings.timeouts.response_head = PATIENCE;
        settings.timeouts.drain = Duration::from_secs(2);
        adjust(&mut settings);
        let shutdown = CancellationToken::new();
        let tasks = Tasks::new(&shutdown);
        let proxy = Proxy::new(&settings, &tasks).unwrap();
        Self::over(proxy, settings, shutdown, tasks)
    }

    fn over(proxy: Proxy<ServerBody>, settings: Settings, shutdown: CancellationToken, tasks: Tasks) -> Self {
        let settings = Arc::new(settings);
        let stack = tower::service_fn(move |inbound| answer(inbound, proxy.clone()));
        let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let worker = serve(listener, stack, Arc::clone(&settings), tasks);
        let worker = RefCell::new(Some(TaskTracker::new().spawn_local(worker)));
        Self { address, settings, shutdown, worker }
    }

    async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), got: Vec::new() }
    }

    /// Sends the bytes and reads until the gateway closes.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }

    async fn stopped(&self) {
        let worker = self.worker.borrow_mut().take().unwrap();
        worker.await.unwrap().unwrap();
    }
}

/// A client that writes and reads bytes.
struct Client {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until the text has come; all up to its end, which is then forgotten.
    async fn until(&mut self, text: &str) -> String {
        let reading = async {
            loop {
                if let Some(at) = find(&self.got, text.as_bytes()) {
                    let taken: Vec<u8> = self.got.drain(..at + text.len()).collect();
                    return String::from_utf8_lossy(&taken).into_owned();
                }
                let mut piece = [0; 4096];
                let count = self.stream.read(&mut piece).await.unwrap();
                assert!(count > 0, "closed before {text:?}: {:?}", String::from_utf8_lossy(&self.got));
                self.got.extend_from_slice(&piece[..count]);
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("no {text:?}"))
    }

    /// Reads until the other side closes.
    async fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.got);
        let reading = self.stream.read_to_end(&mut rest);
        tokio::time::timeout(PATIENCE, reading).await.expect("not closed").unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// An upstream that is scripted connection by connection.
struct Upstream {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    /// Whole requests, as [`Upstream::echo`] reads them.
    requests: Rc<RefCell<Vec<String>>>,
}

impl Upstream {
    async fn scripted<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Client) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        let tracker = TaskTracker::new();
        tracker.clone().spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.set(count.get() + 1);
                tracker.spawn_local(script(count.get(), Client { stream, got: Vec::new() }));
            }
        });
        Self { address, connections, requests: Rc::default() }
    }

    /// Answers each request with 200 and its first line.
    async fn echo() -> Self {
        let requests: Rc<RefCell<Vec<String>>> = Rc::default();
        let seen = Rc::clone(&requests);
        let upstream = Self::scripted(move |_, mut connection| {
            let seen = Rc::clone(&seen);
            async move {
                while let Some(request) = connection.request().await {
                    let line = request.lines().next().unwrap().to_owned();
                    let head = line.starts_with("HEAD");
                    seen.borrow_mut().push(request);
                    let body = if head { "" } else { &line };
                    let length = line.len();
                    connection
                        .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
                        .await;
                }
            }
        })
        .await;
        Self { requests, ..upstream }
    }

    fn seen(&self) -> Vec<String> {
        self.requests.borrow().clone()
    }
}

impl Client {
    /// Reads one whole request, chunks and all, as an upstream; `None` at the end.
    async fn request(&mut self) -> Option<String> {
        while find(&self.got, b"\r\n\r\n").is_none() {
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
            self.got.extend_from_slice(&piece[..count]);
        }
        let mut request = self.until("\r\n\r\n").await;
        let lower = request.to_ascii_lowercase();
        if lower.contains("\r\ntransfer-encoding: chunked\r\n") {
            loop {
                let line = self.until("\r\n").await;
                let size = line.split([';', '\r']).next().unwrap().trim();
                let size = usize::from_str_radix(size, 16).unwrap();
                request += &line;
                if size == 0 {
                    break;
                }
                request += &self.exactly(size + 2).await?;
            }
            while !request.ends_with("\r\n\r\n") {
                request += &self.until("\r\n").await;
            }
        } else if let Some((_, rest)) = lower.split_once("\r\ncontent-length: ") {
            let length = rest.lines().next().unwrap().parse().unwrap();
            request += &self.exactly(length).await?;
        }
        Some(request)
    }
}

impl Client {
    /// Reads so many bytes; `None` if the end comes first.
    async fn exactly(&mut self, length: usize) -> Option<String> {
        while self.got.len() < length {
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
            self.got.extend_from_slice(&piece[..count]);
        }
        let bytes: Vec<u8> = self.got.drain(..length).collect();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn statuses(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.")
        .filter_map(|(at, _)| text.get(at + 9..at + 12))
        .filter(|s| s.bytes().all(|b| b.is_ascii_digit()))
        .collect()
}
