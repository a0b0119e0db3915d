//! What a handler did not read of a request's body.
//!
//! A connection whose request was not read to its end is closed after the
//! answer, and nothing in the answer says so: the client's next request on it
//! breaks. A body without content counts too, when its last chunk arrives a
//! moment after the head. So the rest is read and thrown away before the answer
//! leaves, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;

/// How long the rest of a body may take.
const REST_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a rest is read. Past that the client gets a broken connection
/// rather than the answer, because reading on costs us more than it is worth.
const REST_BYTES_MAX: usize = 256 << 20;

/// The way back of a body that was handed out.
pub(crate) struct Leftover(oneshot::Receiver<Body>);

/// The same body for a handler, and where it comes back from there.
pub(crate) fn lend(body: Body) -> (Body, Leftover) {
    let (back, leftover) = oneshot::channel();
    let lent = Lent(Some((body, back)));
    (Body::new(lent), Leftover(leftover))
}

impl Leftover {
    /// Reads what the handler left, once it has dropped the body.
    pub(crate) async fn drain(mut self) {
        if let Ok(body) = self.0.try_recv() {
            let _ = tokio::time::timeout(REST_TIMEOUT, discard(body)).await;
        }
    }
}

async fn discard(mut body: Body) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > REST_BYTES_MAX {
            return;
        }
    }
}

/// A body that goes back when it is dropped.
struct Lent(Option<(Body, oneshot::Sender<Body>)>);

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.0 {
            Some((body, _)) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map(|(body, _)| body.size_hint())
            .unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((body, back)) = self.0.take() {
            // Nobody waits for it when the connection has gone away.
            let _ = back.send(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counted(reads: &Arc<AtomicUsize>) -> Body {
        let reads = Arc::clone(reads);
        Body::from_stream(futures_util::stream::unfold(0, move |chunk| {
            reads.fetch_add(1, Ordering::Relaxed);
            let next = (chunk < 3).then(|| (Ok::<_, std::io::Error>("chunk"), chunk + 1));
            std::future::ready(next)
        }))
    }

    #[tokio::test]
    async fn what_a_handler_left_is_read_to_the_end() {
        let reads = Arc::new(AtomicUsize::new(0));
        let (mut lent, leftover) = lend(counted(&reads));
        assert!(lent.frame().await.unwrap().unwrap().is_data());
        drop(lent);
        leftover.drain().await;
        assert_eq!(reads.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_body_that_is_still_read_is_left_alone() {
        let reads = Arc::new(AtomicUsize::new(0));
        let (lent, leftover) = lend(counted(&reads));
        leftover.drain().await;
        assert_eq!(reads.load(Ordering::Relaxed), 0);
        drop(lent);
    }
}
