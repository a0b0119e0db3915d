//! Sends, commits, waits, and bounds the memory of all files together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::Errno;
use nfs3_types::nfs3::stable_how;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pending::ToSend;
use crate::inode::{Inode, Sequence};
use crate::nfs::Nfs;
use crate::rpc::Credential;

/// What all files together may hold in memory, in bytes; who writes more waits.
const MEMORY: usize = 128 << 20;

/// What one file may have in the server's memory before it is told to write it to disk.
const UNSTABLE: usize = 32 << 20;

/// How long small writes may wait for more.
const TICK: Duration = Duration::from_millis(100);

/// After so many ticks without a write a file is made durable.
const IDLE_TICKS: u32 = 20;

/// Writes of one mount.
pub(crate) struct Writer {
    nfs: Nfs,
    sequence: Arc<Sequence>,
    memory: Arc<Semaphore>,
    /// Files whose data is not durable, by address, with the ticks since the last write.
    busy: Mutex<HashMap<usize, (Arc<Inode>, u32)>>,
}

impl Writer {
    pub(crate) fn new(nfs: Nfs, sequence: Arc<Sequence>) -> Arc<Self> {
        Arc::new(Self {
            nfs,
            sequence,
            memory: Arc::new(Semaphore::new(MEMORY)),
            busy: Mutex::default(),
        })
    }

    /// Takes data; it is on its way when this returns, and not there.
    ///
    /// # Errors
    ///
    /// What went wrong with earlier data of the file.
    pub(crate) async fn write(
        self: &Arc<Self>,
        inode: &Arc<Inode>,
        who: &Arc<Credential>,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Errno> {
        let memory = self.memory(data.len()).await?;
        let largest = self.nfs.limits.write as usize;
        inode
            .pending()
            .put(offset, data, who, Some(memory), largest)?;
        inode.touch(&self.sequence);
        let key = Arc::as_ptr(inode).addr();
        self.busy().insert(key, (Arc::clone(inode), 0));
        self.send(inode, false);
        Ok(())
    }

    async fn memory(self: &Arc<Self>, bytes: usize) -> Result<OwnedSemaphorePermit, Errno> {
        let bytes = u32::try_from(bytes).map_err(|_| Errno::EINVAL)?;
        let memory = Arc::clone(&self.memory);
        if let Ok(permit) = memory.try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        // All of it is in use, maybe by files that nobody writes to any more.
        let busy: Vec<Arc<Inode>> = self
            .busy()
            .values()
            .map(|(inode, _)| Arc::clone(inode))
            .collect();
        for inode in busy {
            let writer = Arc::clone(self);
            tokio::spawn(async move { writer.make_durable(&inode).await });
        }
        let memory = Arc::clone(&self.memory);
        memory
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| Errno::EIO)
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashMap<usize, (Arc<Inode>, u32)>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what may be sent.
    fn send(self: &Arc<Self>, inode: &Arc<Inode>, all: bool) {
        loop {
            let next = inode
                .pending()
                .next_to_send(self.nfs.limits.write as usize, all);
            let Some(next) = next else { return };
            let (writer, inode) = (Arc::clone(self), Arc::clone(inode));
            tokio::spawn(async move { writer.send_one(&inode, next).await });
        }
    }

    async fn send_one(self: &Arc<Self>, inode: &Arc<Inode>, next: ToSend) {
        let ToSend { piece, is_all } = next;
        let stable = if is_all {
            stable_how::FILE_SYNC
        } else {
            stable_how::UNSTABLE
        };
        let outcome = self
            .nfs
            .write(&piece.who, &inode.handle, piece.offset, &piece.data, stable)
            .await;
        let unstable = {
            let mut pending = inode.pending();
            pending.sent(piece, outcome);
            pending.unstable_bytes()
        };
        inode.touch(&self.sequence);
        self.send(inode, false);
        inode.progressed.notify_waiters();
        if unstable >= UNSTABLE {
            self.commit(inode).await;
        }
    }

    /// Waits until the server knows everything that was written, so that what it says of the file is true.
    pub(crate) async fn settle(self: &Arc<Self>, inode: &Arc<Inode>) {
        loop {
            let progress = inode.progressed.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if !inode.pending().is_behind() {
                return;
            }
            self.send(inode, true);
            progress.await;
        }
    }

    /// Waits until everything is on the server's disk.
    ///
    /// # Errors
    ///
    /// What went wrong since this was asked the last time.
    pub(crate) async fn flush(self: &Arc<Self>, inode: &Arc<Inode>) -> Result<(), Errno> {
        self.make_durable(inode).await;
        inode.pending().take_error()
    }

    /// Waits until everything is on the server's disk; what goes wrong is told later.
    pub(crate) async fn make_durable(self: &Arc<Self>, inode: &Arc<Inode>) {
        while !inode.pending().is_durable() {
            self.settle(inode).await;
            self.commit(inode).await;
        }
    }

    async fn commit(self: &Arc<Self>, inode: &Arc<Inode>) {
        let _one_at_a_time = inode.committing.lock().await;
        let Some(what) = inode.pending().to_commit() else {
            return;
        };
        let outcome = self.nfs.commit(&what.who, &inode.handle).await;
        inode.pending().committed(&what, outcome);
        self.send(inode, false);
    }

    /// Whether nothing waits for the server's disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.busy()
            .values()
            .all(|(inode, _)| inode.pending().is_durable())
    }

    /// Makes everything durable.
    pub(crate) async fn flush_all(self: &Arc<Self>) {
        let busy: Vec<Arc<Inode>> = self
            .busy()
            .values()
            .map(|(inode, _)| Arc::clone(inode))
            .collect();
        for inode in busy {
            self.make_durable(&inode).await;
        }
    }

    /// Sends small writes that no more has come to, makes idle files durable, and calls `done` for those that are.
    pub(crate) async fn keep_going(self: Arc<Self>, done: impl Fn(&Arc<Inode>)) {
        loop {
            tokio::time::sleep(TICK).await;
            for inode in self.tick() {
                done(&inode);
            }
        }
    }

    fn tick(self: &Arc<Self>) -> Vec<Arc<Inode>> {
        let mut idle = Vec::new();
        let mut durable = Vec::new();
        self.busy().retain(|_, (inode, ticks)| {
            if inode.pending().is_durable() {
                durable.push(Arc::clone(inode));
                return false;
            }
            *ticks += 1;
            idle.push((Arc::clone(inode), *ticks));
            true
        });
        for (inode, ticks) in idle {
            self.send(&inode, true);
            if ticks == IDLE_TICKS {
                let writer = Arc::clone(self);
                tokio::spawn(async move { writer.make_durable(&inode).await });
            }
        }
        durable
    }
}
