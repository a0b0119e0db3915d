//! Remote starts inside a gang, as far as the way between daemons goes: a connection becomes a
//! channel whose messages nobody here reads.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HOST, UPGRADE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::node::NodeRecord;
use lote_store::get_json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::client::{CONNECT_TIMEOUT, HEAD_TIMEOUT, Silent, connect};
use super::door::FromNode;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::timed::TimedWrites;

/// Where other daemons ask for a channel.
pub(super) const PATH: &str = "/peer/v1/remote-starts";

/// What the connection becomes; the version is that of the messages' frames.
const PROTOCOL: HeaderValue = HeaderValue::from_static("lote-remote-start/1");

/// A connection between two daemons that has become a channel.
pub trait PeerStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> PeerStream for T {}

/// What is done with the channels that other daemons open; the node's part of the daemon has it.
pub trait RemoteStartDoor: Send + Sync {
    /// Serves a channel to its end. `from` is the node whose certificate was shown.
    fn serve(
        &self,
        from: NodeName,
        stream: Box<dyn PeerStream>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Makes the connection a channel. It is served apart from HTTP, until it ends or the daemon does.
pub(super) async fn open(
    Extension(FromNode(node)): Extension<FromNode>,
    Extension(door): Extension<Arc<dyn RemoteStartDoor>>,
    mut request: Request,
) -> Response {
    let asked = request.headers().get(UPGRADE) == Some(&PROTOCOL);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let Some(upgrade) = upgrade.filter(|_| asked) else {
        let message = "remote starts need a connection that can be upgraded";
        return ApiError::new(StatusCode::UPGRADE_REQUIRED, "PeerRefused", message).into_response();
    };
    tokio::spawn(async move {
        match upgrade.await.map_err(io::Error::other).and_then(unwrapped) {
            Ok(stream) => door.serve(node, stream).await,
            Err(error) => tracing::debug!(%node, "no channel for a remote start: {error}"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(UPGRADE, PROTOCOL);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// The connection without the limit on writes: who reads the output of a command may take its
/// time.
fn unwrapped(upgraded: Upgraded) -> io::Result<Box<dyn PeerStream>> {
    type Served = TokioIo<TimedWrites<TlsStream<TcpStream>>>;
    match upgraded.downcast::<Served>() {
        Ok(Parts { io, read_buf, .. }) if read_buf.is_empty() => {
            Ok(Box::new(io.into_inner().into_inner()))
        }
        // The other side waits for the answer before it says more.
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(upgraded) => Ok(Box::new(TokioIo::new(upgraded))),
    }
}

/// Asks the daemon of a node for a channel. The error ends a sentence about the node.
pub async fn open_channel(
    state: &ApiState,
    node: &NodeName,
) -> Result<Box<dyn PeerStream>, String> {
    let credentials = state.config.peers.as_ref();
    let credentials = credentials.ok_or("cannot be reached: this daemon knows no others")?;
    let record = get_json::<NodeRecord>(state.store(), &key::node(node)).await;
    let record = record.map_err(|error| format!("cannot be looked up: {error}"))?;
    let record = record.ok_or("is not in the cluster any more")?.value;
    let address = record.peer_address.ok_or("answers no other daemons")?;
    let channel = async {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect(credentials, node, &address));
        let stream = stream.await.map_err(|_| slow(&address))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let mut request = axum::http::Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = axum::http::Uri::from_static(PATH);
        let headers = request.headers_mut();
        headers.insert(HOST, address.parse().map_err(|_| Silent::Name)?);
        headers.insert(UPGRADE, PROTOCOL);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        let answer = tokio::time::timeout(HEAD_TIMEOUT, sender.send_request(request));
        let answer = answer.await.map_err(|_| slow(&address))??;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Silent::Refused);
        }
        Ok::<_, Silent>(hyper::upgrade::on(answer).await?)
    };
    let upgraded = channel
        .await
        .map_err(|silent| format!("cannot be reached: {silent}"))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

fn slow(address: &str) -> Silent {
    Silent::Slow {
        address: address.to_owned(),
        limit: HEAD_TIMEOUT,
    }
}
