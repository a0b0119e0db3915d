//! Bytes on their way to a client.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::Stream;
use tokio::sync::mpsc::Receiver;

use super::blocking;

/// How much of a file is in memory at once for each client.
const CHUNK_BYTES: u64 = 256 * 1024;

/// What a task sends, as a stream.
pub(crate) fn receiver_stream<T>(receiver: Receiver<T>) -> impl Stream<Item = T> {
    futures_util::stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    })
}

/// Reads up to one chunk at `offset`; empty at the end of the file.
pub(crate) async fn read_chunk(file: &Arc<File>, offset: u64, at_most: u64) -> io::Result<Bytes> {
    let file = file.clone();
    let length = usize::try_from(at_most.min(CHUNK_BYTES)).unwrap_or(usize::MAX);
    blocking(move || {
        let mut chunk = vec![0; length];
        let count = file.read_at(&mut chunk, offset)?;
        chunk.truncate(count);
        Ok(Bytes::from(chunk))
    })
    .await
}

/// The bytes from `first` on, `length` of them, chunk by chunk. If the file has
/// become shorter the body breaks off, so that the client does not take it for
/// complete.
pub(crate) fn file_body(file: File, first: u64, length: u64) -> Body {
    let start = (Arc::new(file), first, length);
    Body::from_stream(futures_util::stream::try_unfold(
        start,
        async |(file, offset, rest)| {
            if rest == 0 {
                return Ok(None);
            }
            let chunk = read_chunk(&file, offset, rest).await?;
            if chunk.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let count = chunk.len() as u64;
            Ok(Some((chunk, (file, offset + count, rest - count))))
        },
    ))
}
