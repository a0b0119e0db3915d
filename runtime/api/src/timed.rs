//! A connection whose client must take what is sent to it.
//!
//! A client that asks for much and reads nothing would keep its connection, and
//! what waits to be sent on it, for as long as it likes. So a write that the
//! system does not take within a time ends the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream whose writes may not get stuck.
pub(crate) struct TimedWrites<S> {
    stream: S,
    /// How long no byte may leave while some wait.
    limit: Duration,
    /// Runs while a write is stuck.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> TimedWrites<S> {
    /// Gives writes to `stream` that limit.
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            stuck: None,
        }
    }

    /// The stream without the limit.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Passes on what became of a write, unless it has been stuck too long.
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stuck = None;
            return write;
        }
        let limit = self.limit;
        let stuck = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stuck.as_mut().poll(context));
        let message = format!("the client has read nothing for {} s", limit.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedWrites<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedWrites<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watched(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(context, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watched(context, shutdown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = TimedWrites::new(ours, LIMIT);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_gets_everything() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = TimedWrites::new(ours, LIMIT * 10);
        let reader = tokio::spawn(async move {
            let mut count = 0;
            let mut buffer = [0; 8];
            while let Ok(read @ 1..) = theirs.read(&mut buffer).await {
                count += read;
                tokio::time::sleep(LIMIT).await;
            }
            count
        });
        // Longer altogether than any one write may take.
        stream.write_all(&[0; 160]).await.unwrap();
        drop(stream);
        assert_eq!(reader.await.unwrap(), 160);
    }

    #[tokio::test]
    async fn rest_between_writes_does_not_count() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut stream = TimedWrites::new(ours, LIMIT);
        stream.write_all(&[1; 16]).await.unwrap();
        tokio::time::sleep(LIMIT * 3).await;
        theirs.read_exact(&mut [0; 16]).await.unwrap();
        stream.write_all(&[2; 16]).await.unwrap();
    }
}
