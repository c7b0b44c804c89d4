//! Between hyper and the stack: each request gets its client and its refusal, each answer is followed to its end.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::http::{HeaderValue, Request, Response, StatusCode, header::CONNECTION};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;

use super::{
    answer::Answer,
    conversation::{Conversation, Protocol},
    http2, probe,
    server_body::ServerBody,
    settings::Settings,
};
use crate::pipeline::request::{Client, Inbound};

/// The service of one client connection.
pub(super) struct Door<S> {
    /// The connection's own, and always ready: to clone it for each request would count all that its stages share.
    pub stack: RefCell<S>,
    pub settings: Arc<Settings>,
    pub conversation: Arc<Conversation>,
    pub client: Client,
    /// Requests so far.
    pub count: Cell<u64>,
}

impl<S, RB> hyper::service::Service<Request<Incoming>> for Door<S>
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible> + Clone,
{
    type Response = Response<Answer<RB>>;
    type Error = Infallible;
    type Future = Serving<S, RB>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let conversation = Arc::clone(&self.conversation);
        self.count.set(self.count.get() + 1);
        let refusal = match conversation.protocol {
            Protocol::Http1 => conversation.refusal_of(self.count.get()),
            Protocol::Http2 => {
                conversation.request_starts(true);
                http2::refusal(&request, self.settings.caps.request_head)
            }
        };
        if refusal.is_none() && probe::is_asked(&request, &self.settings) {
            let answer = probe::answer(&(self.settings.readiness)());
            let answer = answer.map(|body| Answer::own(body, Arc::clone(&conversation)));
            return Serving { state: State::Probe { answer: Some(answer) }, conversation };
        }
        let request = request.map(|body| ServerBody::new(body, &conversation));
        let inbound = Inbound { request, client: self.client, refusal };
        Serving { state: State::Stack { future: self.stack.borrow_mut().call(inbound) }, conversation }
    }
}

pin_project! {
    /// The answer to one request, to come.
    pub(super) struct Serving<S, RB>
    where
        S: Service<Inbound<ServerBody>>,
    {
        #[pin]
        state: State<S, RB>,
        conversation: Arc<Conversation>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, RB>
    where
        S: Service<Inbound<ServerBody>>,
    {
        Stack { #[pin] future: S::Future },
        Probe { answer: Option<Response<Answer<RB>>> },
    }
}

impl<S, RB> Future for Serving<S, RB>
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible>,
{
    type Output = Result<Response<Answer<RB>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.state.project() {
            StateProjection::Stack { future } => {
                let Ok(response) = ready!(future.poll(cx));
                response.map(|body| Answer::stack(body, Arc::clone(this.conversation)))
            }
            StateProjection::Probe { answer } => match answer.take() {
                Some(response) => response,
                None => return Poll::Pending,
            },
        };
        this.conversation.answer_begins();
        if this.conversation.protocol == Protocol::Http1 {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                this.conversation.switches();
            } else if this.conversation.must_close() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        Poll::Ready(Ok(response))
    }
}
