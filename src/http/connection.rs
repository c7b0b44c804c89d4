//! One client connection from its accept: which version of HTTP it speaks, and who serves that.

use std::{convert::Infallible, net::SocketAddr, rc::Rc, time::Duration};

use ::http::Response;
use ::http_body::Body;
use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tower::Service;

use super::{
    BoxError,
    conversation::{Conversation, Protocol},
    gauge::Permit,
    http1::{self, Client1},
    http2::{self, Client2},
    server_body::ServerBody,
    worker::Worker,
};
use crate::{
    clock::coarse_millis,
    pipeline::request::{Client, Inbound},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A connection that has sent nothing when the worker stops may still send its request for so long.
const LAST_CALL: Duration = Duration::from_millis(100);

/// What a connection is served with.
pub(super) struct Accepted<S> {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub permit: Permit,
    pub stack: S,
    pub worker: Rc<Worker>,
}

/// Serves the connection until either side ends it.
pub(super) async fn serve<S, RB>(accepted: Accepted<S>)
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible> + Clone + 'static,
    RB: Body<Data = Bytes> + 'static,
    RB::Error: Into<BoxError>,
{
    let Accepted { mut stream, peer, permit, stack, worker } = accepted;
    let opened = coarse_millis();
    let timeouts = worker.settings.timeouts;
    let mut inbox = worker.memory.take_inbox();
    let sniffed = tokio::select! {
        biased;
        sniffed = tokio::time::timeout(timeouts.request_head, sniff(&mut stream, &mut inbox)) => sniffed,
        () = last_call(&worker) => return,
    };
    let Ok(Ok(Some(protocol))) = sniffed else { return };
    let conversation = Rc::new(Conversation::new(opened, protocol));
    if protocol == Protocol::Http1 && !inbox.is_empty() {
        conversation.head_begins();
    }
    let address = peer.ip().to_canonical();
    let client = Client { address: Some(address), trusted: worker.settings.trusts(address) };
    match protocol {
        Protocol::Http1 => {
            http1::serve(Client1 { stream, inbox, client, permit, conversation, worker }, stack).await;
        }
        Protocol::Http2 => {
            // Boxed, as the far rarer kind would make the task of the other larger.
            let client = Client2 { stream, inbox, client, permit, conversation, worker };
            Box::pin(http2::serve(client, stack)).await;
        }
    }
}

async fn last_call(worker: &Worker) {
    worker.tasks.stopping.cancelled().await;
    tokio::time::sleep(LAST_CALL).await;
}

/// Tells HTTP/2 by its preface; `None` if the client leaves before it is clear.
async fn sniff(stream: &mut TcpStream, inbox: &mut BytesMut) -> std::io::Result<Option<Protocol>> {
    loop {
        let count = stream.read_buf(inbox).await?;
        let common = inbox.len().min(PREFACE.len());
        if inbox[..common] != PREFACE[..common] {
            return Ok(Some(Protocol::Http1));
        }
        if common == PREFACE.len() {
            return Ok(Some(Protocol::Http2));
        }
        if count == 0 {
            return Ok(None);
        }
    }
}
