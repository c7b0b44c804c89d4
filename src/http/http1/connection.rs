//! A client's HTTP/1 connection from its first request to its last.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use ::http::{Method, Request, Response, Version};
use ::http_body::Body;
use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tower::Service;

use super::{
    answer_head::Asked,
    answering::{Answering, Ended},
    request_body::RequestBody,
    switch::{Switch, Switched},
    wire::{Next, Wire},
};
use crate::{
    http::{
        BoxError,
        conversation::Conversation,
        gauge::Permit,
        head::Head,
        headers, probe,
        server_body::ServerBody,
        watch::Watch,
        worker::{News, Phase, Worker},
    },
    pipeline::{
        language::Language,
        request::{Client, HeadRefusal, Inbound},
    },
};

/// A client that speaks HTTP/1.
pub(in crate::http) struct Client1 {
    pub stream: TcpStream,
    /// What was read of it already.
    pub inbox: BytesMut,
    pub client: Client,
    pub permit: Permit,
    pub conversation: Rc<Conversation>,
    pub worker: Rc<Worker>,
}

/// Serves one request after the other until either side ends it.
pub(in crate::http) async fn serve<S, RB>(client: Client1, mut stack: S)
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible>,
    RB: Body<Data = Bytes>,
    RB::Error: Into<BoxError>,
{
    let Client1 { stream, inbox, client, permit, conversation, worker } = client;
    let wire = Wire::new(stream, inbox, Rc::clone(&conversation), Rc::clone(&worker));
    let wire = Rc::new(RefCell::new(wire));
    let news = worker.news();
    let mut connection = Connection { wire, client, conversation, watch: Watch::default(), worker, news };
    match connection.run(&mut stack).await {
        Over::Close => connection.close().await,
        Over::Switch(give) => {
            if let Ok(wire) = Rc::try_unwrap(connection.wire) {
                let wire = wire.into_inner();
                // Whoever waits for it may have gone; then it just closes.
                let _ = give.send(Switched::new(wire.stream, wire.inbox, Some(permit)));
            }
        }
        Over::Gone => {}
    }
}

pub(super) struct Connection {
    pub wire: Rc<RefCell<Wire>>,
    client: Client,
    pub conversation: Rc<Conversation>,
    watch: Watch,
    pub worker: Rc<Worker>,
    news: News,
}

/// How a connection ends.
enum Over {
    /// In order.
    Close,
    /// Another protocol follows.
    Switch(tokio::sync::oneshot::Sender<Switched>),
    /// It broke off, its time is up, or the worker's is.
    Gone,
}

/// The connection is to be dropped.
pub(super) struct Gone;

impl From<io::Error> for Gone {
    fn from(error: io::Error) -> Self {
        tracing::debug!(%error, "a client connection broke off");
        Self
    }
}

impl Connection {
    /// Waits for something of the connection, as long as there is time.
    pub async fn wait<T>(
        &mut self,
        mut poll: impl FnMut(&mut Context<'_>, &RefCell<Wire>) -> Poll<T>,
    ) -> Result<T, Gone> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = poll(cx, &self.wire) {
                return Poll::Ready(Ok(done));
            }
            if self.news.hear(cx) == Phase::Cut {
                return Poll::Ready(Err(Gone));
            }
            let deadline = self.conversation.deadline(&self.worker.settings.timeouts);
            let Some(deadline) = deadline else { return Poll::Pending };
            self.watch.poll_elapsed(cx, deadline, true).map(|()| Err(Gone))
        })
        .await
    }

    async fn close(&mut self) {
        let mut left = None;
        // Whether the client took the end in good time makes no difference.
        let _ = self.wait(|cx, wire| wire.borrow_mut().poll_close(cx, &mut left)).await;
    }

    async fn run<S, RB>(&mut self, stack: &mut S) -> Over
    where
        S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible>,
        RB: Body<Data = Bytes>,
        RB::Error: Into<BoxError>,
    {
        loop {
            let answered = match self.next().await {
                Ok(Next::Head(head)) => self.exchange(stack, head).await,
                Ok(Next::Refused { refusal, of_head, language }) => {
                    self.refuse(stack, refusal, of_head, language).await
                }
                Ok(Next::End) => return Over::Close,
                Err(Gone) => return Over::Gone,
            };
            match answered {
                Ok(Ended::Kept) => {}
                Ok(Ended::Last) => return Over::Close,
                Ok(Ended::Switched(give)) => return Over::Switch(give),
                Err(Gone) => return Over::Gone,
            }
        }
    }

    async fn next(&mut self) -> Result<Next, Gone> {
        let worker = Rc::clone(&self.worker);
        let next = self.wait(|cx, wire| {
            let mut wire = wire.borrow_mut();
            match wire.poll_head(cx) {
                // Nobody waits for an answer: the connection ends with the worker's work.
                Poll::Pending if worker.is_stopping() && wire.inbox.is_empty() => Poll::Ready(Ok(Next::End)),
                next => next,
            }
        });
        Ok(next.await??)
    }

    async fn refuse<S, RB>(
        &mut self,
        stack: &mut S,
        refusal: HeadRefusal,
        of_head: bool,
        language: Language,
    ) -> Result<Ended, Gone>
    where
        S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible>,
        RB: Body<Data = Bytes>,
        RB::Error: Into<BoxError>,
    {
        let mut request = Request::new(ServerBody::http1(RequestBody::none(), &self.conversation));
        if of_head {
            *request.method_mut() = Method::HEAD;
        }
        let asked = Asked::of(request.method(), Version::HTTP_11, request.headers());
        let answering = Answering { asked, keep: false, switch: None };
        let inbound = Inbound { request, client: self.client, refusal: Some(refusal), language };
        self.answer(stack, inbound, answering).await
    }

    async fn exchange<S, RB>(&mut self, stack: &mut S, head: Box<Head>) -> Result<Ended, Gone>
    where
        S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible>,
        RB: Body<Data = Bytes>,
        RB::Error: Into<BoxError>,
    {
        let Head { mut parts, keep, language, .. } = *head;
        let asked = Asked::of(&parts.method, parts.version, &parts.headers);
        let mut switch = None;
        if headers::wants_websocket(&parts) {
            let (give, take) = Switch::new();
            parts.extensions.insert(take);
            switch = Some(give);
        }
        let body = ServerBody::http1(RequestBody::of(&self.wire), &self.conversation);
        let request = Request::from_parts(parts, body);
        let answering = Answering { asked, keep, switch };
        if probe::is_asked(&request, &self.worker.settings) {
            let answer = probe::answer(&(self.worker.settings.readiness)());
            drop(request);
            return self.write(answer, answering).await;
        }
        let inbound = Inbound { request, client: self.client, refusal: None, language };
        self.answer(stack, inbound, answering).await
    }

    /// Has the stack answer, and writes that.
    async fn answer<S, RB>(
        &mut self,
        stack: &mut S,
        inbound: Inbound<ServerBody>,
        answering: Answering,
    ) -> Result<Ended, Gone>
    where
        S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible>,
        RB: Body<Data = Bytes>,
        RB::Error: Into<BoxError>,
    {
        // A stack is always ready: what is too much is refused by an answer.
        let response = {
            let mut coming = pin!(stack.call(inbound));
            let answered = self.wait(|cx, wire| match coming.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                // Whether the client is still there.
                Poll::Pending => wire.borrow_mut().poll_ahead(cx).map(Err),
            });
            answered.await??
        };
        self.write(response, answering).await
    }
}
