//! Between hyper and the stack: each request is judged, each answer is followed to its end.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::http::{Request, Response};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{Service, ServiceExt, util::Oneshot};

use super::{answer::Answer, head};
use crate::http::{conversation::Conversation, probe, server_body::ServerBody, settings::Settings};
use crate::pipeline::{
    language::Language,
    request::{Client, Inbound},
};

/// The service of one client connection.
pub(super) struct Door<S> {
    pub stack: S,
    pub settings: Arc<Settings>,
    pub conversation: Rc<Conversation>,
    pub client: Client,
}

impl<S, RB> hyper::service::Service<Request<Incoming>> for Door<S>
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible> + Clone,
{
    type Response = Response<Answer<RB>>;
    type Error = Infallible;
    type Future = Serving<S, RB>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let conversation = Rc::clone(&self.conversation);
        conversation.request_starts();
        let refusal = head::refusal(&request, self.settings.caps.request_head);
        if refusal.is_none() && probe::is_asked(&request, &self.settings) {
            let answer = probe::answer(&(self.settings.readiness)());
            let answer = answer.map(|body| Answer::own(body, Rc::clone(&conversation)));
            return Serving { state: State::Probe { answer: Some(answer) }, conversation };
        }
        let language = Language::asked(request.headers());
        let request = request.map(|body| ServerBody::http2(body, &conversation));
        let inbound = Inbound { request, client: self.client, refusal, language };
        Serving { state: State::Stack { future: self.stack.clone().oneshot(inbound) }, conversation }
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
        conversation: Rc<Conversation>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, RB>
    where
        S: Service<Inbound<ServerBody>>,
    {
        Stack { #[pin] future: Oneshot<S, Inbound<ServerBody>> },
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
        let response = match this.state.project() {
            StateProjection::Stack { future } => {
                let Ok(response) = ready!(future.poll(cx));
                response.map(|body| Answer::stack(body, Rc::clone(this.conversation)))
            }
            StateProjection::Probe { answer } => match answer.take() {
                Some(response) => response,
                None => return Poll::Pending,
            },
        };
        this.conversation.answer_begins();
        Poll::Ready(Ok(response))
    }
}
