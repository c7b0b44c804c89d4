//! The upstream's answer on its way back: framed as it will be sent, its connection returned when it ends.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::http::{
    HeaderValue, Method, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
    response,
};
use ::http_body::{Body, Frame, SizeHint};
use bytes::Bytes;
use hyper::{body::Incoming, client::conn::http1::SendRequest};

use super::{
    headers,
    pool::Pool,
    sending::{Sending, Sent},
};

/// The body of an upstream's answer; `B` is the body of the request.
pub struct ProxyBody<B: 'static> {
    incoming: Incoming,
    lease: Option<Lease<B>>,
}

/// A connection that is in use, and what must be over before it can be kept.
pub(super) struct Lease<B: 'static> {
    pub connection: SendRequest<Sending<B>>,
    pub pool: Rc<Pool<Sending<B>>>,
    pub sent: Rc<Sent>,
}

impl<B: 'static> Lease<B> {
    /// The answer is over. Where the request is not, the connection goes on sending it and then closes.
    fn give_back(self) {
        if self.sent.is_whole() {
            self.pool.put(self.connection);
        }
    }
}

impl<B: 'static> ProxyBody<B> {
    pub(super) fn new(incoming: Incoming, lease: Option<Lease<B>>) -> Self {
        let mut body = Self { incoming, lease };
        body.release_at_end();
        body
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl<B: 'static> Body for ProxyBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) if frame.is_data() => self.release_at_end(),
            Some(Err(_)) => self.lease = None,
            _ => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Makes the head of an upstream's answer fit for the client: one hop's headers are gone, and the length is said as the
/// body was understood, so that both sides see the same end.
pub(super) fn clean(response: Response<Incoming>, method: &Method) -> (response::Parts, Incoming) {
    let (mut parts, body) = response.into_parts();
    let chunked = parts.headers.contains_key(TRANSFER_ENCODING);
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    headers::remove_hop_by_hop(&mut parts.headers);
    if switching {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let bodiless = switching || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if chunked || bodiless {
        parts.headers.remove(CONTENT_LENGTH);
    } else if let Some(said) = parts.headers.get(CONTENT_LENGTH) {
        let understood = if *method == Method::HEAD { length_of(said) } else { body.size_hint().exact() };
        match understood {
            Some(length) => drop(parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
            None => drop(parts.headers.remove(CONTENT_LENGTH)),
        }
    }
    parts.version = Version::HTTP_11;
    (parts, body)
}

fn length_of(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
