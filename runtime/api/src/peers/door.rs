//! The listener for other daemons.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use lote_model::id::NodeName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::credentials::{PeerCredentials, node_of};
use super::operations;
use super::remote::RemoteStartDoor;
use crate::server::{self, Peer};
use crate::state::ApiState;

/// How long a peer may take until a connection is encrypted.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 2_048;

/// The node whose certificate a connection showed; in the extensions of its requests.
#[derive(Clone, Debug)]
pub(super) struct FromNode(pub(super) NodeName);

/// Serves other daemons until `shutdown` is done, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    credentials: PeerCredentials,
    starts: Arc<dyn RemoteStartDoor>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    let router = operations::router(state.clone(), starts);
    let connect = |stream, address| {
        connection(
            stream,
            address,
            router.clone(),
            credentials.clone(),
            state.clone(),
        )
    };
    tokio::select! {
        () = shutdown => {}
        () = server::accept(&listener, &connections, CONNECTIONS_MAX, connect) => {}
    }
    drop(listener);
    state.stopping.cancel();
    server::finish(&connections).await;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    credentials: PeerCredentials,
    state: ApiState,
) {
    let _ = stream.set_nodelay(true);
    server::notice_silence(&stream);
    let accepted = tokio::time::timeout(
        HANDSHAKE_TIMEOUT,
        TlsAcceptor::from(credentials.server.clone()).accept(stream),
    );
    let accepted = tokio::select! {
        accepted = accepted => accepted,
        () = state.stopping.cancelled() => return,
    };
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, "no peer: {error}"),
        Err(_) => return tracing::debug!(%address, "no peer: the handshake took too long"),
    };
    let Some(node) = shown_by(&stream) else {
        return tracing::warn!(%address, "a certificate of this cluster names no node");
    };
    let router = router.layer(axum::Extension(FromNode(node)));
    server::requests(stream, Peer(address), router, &state).await;
}

fn shown_by(stream: &TlsStream<TcpStream>) -> Option<NodeName> {
    let (_, connection) = stream.get_ref();
    node_of(connection.peer_certificates()?.first()?)
}
