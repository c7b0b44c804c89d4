//! The listening sockets, one a worker, and the loop that accepts from one of them.

use std::{convert::Infallible, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use ::http::Response;
use ::http_body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use super::{
    BoxError,
    connection::{self, Accepted},
    gauge::Permit,
    overload,
    server_body::ServerBody,
    settings::Settings,
    tasks::Tasks,
    worker::Worker,
};
use crate::pipeline::request::Inbound;

const BACKLOG: i32 = 1024;
/// Connections beyond the cap that are being told so, per worker; more are closed at once.
const MAX_REFUSING: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Binds one listening socket for each worker to the same address; the kernel spreads connections over them. With port
/// 0 all get the port that the first was given.
///
/// # Errors
/// Whatever the system says of the address.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let first = bind_one(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bind_one(address)?);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Runs one worker: accepts connections and serves them through the stack until `tasks` are told to stop, then waits
/// for the requests under way, `timeouts.drain` at most. To be run inside a `LocalSet`.
///
/// # Errors
/// If the listener cannot be used; what happens to single connections is no error.
pub async fn serve<S, RB>(
    listener: std::net::TcpListener,
    stack: S,
    settings: Arc<Settings>,
    tasks: Tasks,
) -> io::Result<()>
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible> + Clone + 'static,
    RB: Body<Data = Bytes> + 'static,
    RB::Error: Into<BoxError>,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let refusing = Arc::default();
    let worker = Worker::new(Arc::clone(&settings), tasks.clone());
    let admit = |stream: TcpStream, peer| {
        let _ = stream.set_nodelay(true);
        let Some(permit) = Permit::take(&settings.connections, settings.caps.connections) else {
            if let Some(permit) = Permit::take(&refusing, MAX_REFUSING) {
                tasks.clients.spawn_local(async move {
                    let _permit = permit;
                    overload::refuse(stream).await;
                });
            }
            return;
        };
        let accepted = Accepted { stream, peer, permit, stack: stack.clone(), worker: Rc::clone(&worker) };
        tasks.clients.spawn_local(connection::serve(accepted));
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = tasks.stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                admit(stream, peer);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: the ones in use must be given back first.
                tracing::warn!(%error, "cannot accept connections at the moment");
                tokio::select! {
                    () = tasks.stopping.cancelled() => break,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            }
        }
    }
    // Who is in the queue already believes to be connected.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        admit(stream, peer);
    }
    drop(listener);
    tasks.drain(settings.timeouts.drain).await;
    Ok(())
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_the_port() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|p| *p == ports[0] && *p != 0));
    }
}
