//! A connection on its way to another protocol: the client's side of a WebSocket.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{net::TcpStream, sync::oneshot};

use crate::http::preread::Preread;

/// Goes along with a request that asks for another protocol; whoever answers it with a switch gets the connection.
#[derive(Clone)]
pub(in crate::http) struct Switch(Arc<Mutex<Option<oneshot::Receiver<Switched>>>>);

impl Switch {
    /// A switch, and where the connection is to be handed in.
    pub(super) fn new() -> (oneshot::Sender<Switched>, Self) {
        let (give, take) = oneshot::channel();
        (give, Self(Arc::new(Mutex::new(Some(take)))))
    }

    /// Waits for the connection; an error where the answer was no switch after all.
    pub(in crate::http) async fn connection(self) -> io::Result<Preread<TcpStream>> {
        let take = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || io::Error::other("the client's connection did not switch");
        take.ok_or_else(gone)?.await.map_err(|_| gone())
    }
}

/// A client's connection that speaks another protocol now.
pub(super) type Switched = Preread<TcpStream>;
