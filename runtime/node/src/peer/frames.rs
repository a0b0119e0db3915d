//! Messages on channels.

use std::io::{self, ErrorKind};

use lote_rsh::protocol::{HEAD_BYTES, Kind, Malformed, frame, head};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// What a message carries; may be an environment.
pub(super) type Payload = Zeroizing<Vec<u8>>;

/// The next message; `None` when the other side has ended the conversation. Must not be cancelled.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(Kind, Payload)>> {
    let mut first = [0; HEAD_BYTES];
    if stream.read(&mut first[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut first[1..]).await?;
    let (kind, length) = head(first)?;
    let mut payload = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut payload).await?;
    Ok(Some((kind, payload)))
}

/// The next message, which must be of this kind.
pub(super) async fn expect(
    stream: &mut (impl AsyncRead + Unpin),
    kind: Kind,
) -> io::Result<Payload> {
    match read(stream).await? {
        Some((found, payload)) if found == kind => Ok(payload),
        Some(_) => Err(Malformed.into()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes a message and sends it on its way.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    payload: &[u8],
) -> io::Result<()> {
    let bytes = Zeroizing::new(frame(kind, payload));
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// The last message of a conversation: why there is nothing, or nothing for now.
pub(super) async fn refuse(stream: &mut (impl AsyncWrite + Unpin), kind: Kind, reason: &str) {
    // Who has gone meanwhile needs no answer.
    if write(stream, kind, reason.as_bytes()).await.is_ok() {
        stream.shutdown().await.ok();
    }
}
