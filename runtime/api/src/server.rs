//! Connections: accepting, limits, shutdown.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::janitor;
use crate::routes::router;
use crate::state::ApiState;
use crate::timed::TimedWrites;

/// How long a client may take to send the head of a request; also how long a
/// connection may be idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

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
    tokio::select! {
        () = shutdown => {}
        () = accept(&listener, &router, &state.stopping, &connections) => {}
    }
    drop(listener);
    state.stopping.cancel();
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
    let _ = janitor.await;
    Ok(())
}

/// Connections never take more than half of the files that the daemon may open:
/// it needs others for its store and for what is read on those connections.
fn connections_max() -> usize {
    let open_files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    usize::try_from(open_files / 2).map_or(CONNECTIONS_MAX, |half| half.min(CONNECTIONS_MAX))
}

async fn accept(
    listener: &TcpListener,
    router: &Router,
    stopping: &CancellationToken,
    connections: &TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(connections_max()));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), stopping.clone());
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

async fn connection(stream: TcpStream, router: Router, stopping: CancellationToken) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let stream = TimedWrites::new(stream, WRITE_TIMEOUT);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
}
