//! Connections: accepting, limits, shutdown.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::archive;
use crate::auth::seats;
use crate::janitor;
use crate::routes::router;
use crate::server_files;
use crate::state::ApiState;
use crate::timed::TimedWrites;

/// How long a client may take nothing of an answer that waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The most a request's head may take, in bytes. The longest part is a
/// download link, whose token is limited to a quarter of this.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most headers a request may have.
const HEADERS_MAX: usize = 128;

/// The most connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 8_192;

/// How long running requests may take once the daemon stops.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How long to wait when the system cannot give us a connection, because file
/// descriptors ran out, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whom a connection comes from; in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves until `shutdown` is done, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let _ = state.address.set(listener.local_addr()?);
    let connections = TaskTracker::new();
    let router = router(state.clone());
    let janitor = tokio::spawn(janitor::run(state.clone()));
    let archive = tokio::spawn(archive::run(state.clone()));
    let seats = tokio::spawn(seats::run(state.clone()));
    let stale = tokio::spawn(server_files::stale::run(state.clone()));
    let connect =
        |stream, address| connection(stream, Peer(address), router.clone(), state.clone());
    tokio::select! {
        () = shutdown => {}
        () = accept(&listener, &connections, connections_max(), connect) => {}
    }
    drop(listener);
    state.stopping.cancel();
    finish(&connections).await;
    let _ = tokio::join!(janitor, archive, seats, stale);
    Ok(())
}

/// Lets open connections end, for a while.
pub(crate) async fn finish(connections: &TaskTracker) {
    connections.close();
    if tokio::time::timeout(SHUTDOWN_GRACE, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            "{} connections were still open at the end",
            connections.len()
        );
    }
}

/// Has the kernel notice within a minute that the other side is gone without a
/// word: a stream that is followed may be silent for days.
pub(crate) fn notice_silence(stream: &TcpStream) {
    let set = || -> nix::Result<()> {
        setsockopt(stream, sockopt::KeepAlive, &true)?;
        setsockopt(stream, sockopt::TcpKeepIdle, &20)?;
        setsockopt(stream, sockopt::TcpKeepInterval, &10)?;
        setsockopt(stream, sockopt::TcpKeepCount, &3)
    };
    if let Err(error) = set() {
        tracing::debug!("a connection is not watched for silence: {error}");
    }
}

/// Connections never take more than half of the files that the daemon may open:
/// it needs others for its store and for what is read on those connections.
fn connections_max() -> usize {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(open_files / 2).map_or(CONNECTIONS_MAX, |half| half.min(CONNECTIONS_MAX))
}

/// Hands connections to `connect`, at most `connections_max` at once, for ever.
pub(crate) async fn accept<C>(
    listener: &TcpListener,
    connections: &TaskTracker,
    connections_max: usize,
    connect: impl Fn(TcpStream, SocketAddr) -> C,
) where
    C: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(connections_max));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connection = connect(stream, peer);
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: Peer, router: Router, state: ApiState) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &state.config.tls else {
        return requests(stream, peer, router, &state).await;
    };
    let encrypted = tokio::select! {
        encrypted = tls.accept(stream) => encrypted,
        () = state.stopping.cancelled() => return,
    };
    match encrypted {
        Ok(stream) => requests(stream, peer, router, &state).await,
        Err(error) => tracing::debug!("no encrypted connection came about: {error}"),
    }
}

pub(crate) async fn requests(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    router: Router,
    state: &ApiState,
) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let stream = TimedWrites::new(stream, WRITE_TIMEOUT);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(state.config.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = state.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
}
