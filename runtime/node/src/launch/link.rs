//! The conversation with one spawner: requests out, answers in the same order.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use zeroize::{Zeroize, Zeroizing};

use super::spawner::ANSWER_BYTES;

/// Requests written to the socket together when many wait.
const BATCH_MAX: usize = 32;

/// A specification to send and where the shim's handle is to go.
///
/// Without `Debug`, because the specification may hold secrets.
pub(super) struct Request {
    pub(super) frame: Zeroizing<Vec<u8>>,
    pub(super) reply: Reply,
}

type Reply = oneshot::Sender<io::Result<OwnedFd>>;
/// Who waits for an answer, in the order of the requests.
type Waiting = Mutex<VecDeque<Reply>>;

/// Carries requests until either side is gone. Everything that still waits then
/// learns it, because its sender is dropped here.
pub(super) async fn run(mut stream: UnixStream, requests: mpsc::Receiver<Request>) {
    let (reader, writer) = stream.split();
    let waiting = Waiting::default();
    let result = tokio::select! {
        result = send(writer, requests, &waiting) => result,
        result = receive(reader, &waiting) => result,
    };
    if let Err(error) = result {
        tracing::warn!(%error, "lost the spawner");
    }
}

async fn send(
    mut writer: WriteHalf<'_>,
    mut requests: mpsc::Receiver<Request>,
    waiting: &Waiting,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut bytes = Vec::new();
    while requests.recv_many(&mut batch, BATCH_MAX).await > 0 {
        for request in batch.drain(..) {
            bytes.extend_from_slice(&request.frame);
            lock(waiting).push_back(request.reply);
        }
        let written = writer.write_all(&bytes).await;
        // Empties it, and leaves nothing of it in memory.
        bytes.zeroize();
        written?;
    }
    Ok(())
}

async fn receive(reader: ReadHalf<'_>, waiting: &Waiting) -> io::Result<()> {
    let stream: &UnixStream = reader.as_ref();
    loop {
        let answer = stream
            .async_io(Interest::READABLE, || receive_one(stream))
            .await?;
        let Some(answer) = answer else { return Ok(()) };
        if let Some(reply) = lock(waiting).pop_front() {
            // A launch that was cancelled has nobody listening; its process is
            // found again through its record.
            drop(reply.send(answer));
        }
    }
}

/// One answer: an error number, with the shim's handle attached if it is zero.
/// `None` at the end of the conversation.
fn receive_one(stream: &UnixStream) -> io::Result<Option<io::Result<OwnedFd>>> {
    let mut bytes = [0; ANSWER_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let handle = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
        _ => None,
    });
    let errno = i32::from_le_bytes(bytes);
    Ok(Some(
        handle.ok_or_else(|| io::Error::from_raw_os_error(errno)),
    ))
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, VecDeque<Reply>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
