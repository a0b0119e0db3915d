//! What is done for the kernel's requests.
//!
//! * `names` — looks names up, and changes them.
//! * `data` — attributes and content.
//! * `directories` — lists.

mod data;
mod directories;
mod names;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fuser::{Errno, FileAttr, Notifier};
use nfs3_types::nfs3::fattr3;

use crate::attributes;
use crate::directory::Directory;
use crate::inode::{Inode, Inodes, Sequence};
use crate::nfs::{Found, Nfs};
use crate::rpc::Credential;
use crate::write::Writer;

/// How long the kernel believes names and attributes without asking. What another node does is seen so much later, except
/// on opening a file.
pub(crate) const BELIEVED: Duration = Duration::from_secs(1);

/// A mounted export.
pub(crate) struct Mount {
    nfs: Nfs,
    inodes: Inodes,
    sequence: Arc<Sequence>,
    writer: Arc<Writer>,
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    directories: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<Directory>>>>,
    next: AtomicU64,
    notifier: OnceLock<Notifier>,
}

/// An open file. What is read and written is so with the rights of who opened it, whoever does it: the kernel itself
/// writes what was changed in memory.
pub(crate) struct OpenFile {
    inode: Arc<Inode>,
    who: Arc<Credential>,
    may_write: bool,
    /// Opened with `O_SYNC`: a write is over when the server has it on disk.
    is_synchronous: bool,
}

impl Mount {
    pub(crate) fn new(nfs: Nfs, root: &Found) -> Self {
        let sequence = Arc::new(Sequence::default());
        Self {
            inodes: Inodes::new(root),
            writer: Writer::new(nfs.clone(), Arc::clone(&sequence)),
            nfs,
            sequence,
            files: Mutex::default(),
            directories: Mutex::default(),
            next: AtomicU64::new(1),
            notifier: OnceLock::new(),
        }
    }

    /// Gives it the way to tell the kernel something unasked.
    pub(crate) fn set_notifier(&self, notifier: Notifier) {
        // The only other caller would be a second session, which there is not.
        drop(self.notifier.set(notifier));
    }

    pub(crate) fn writer(&self) -> &Arc<Writer> {
        &self.writer
    }

    /// Keeps data going to the server; never ends.
    pub(crate) async fn keep_going(self: Arc<Self>) {
        let writer = Arc::clone(&self.writer);
        writer
            .keep_going(move |inode| self.inodes.arrived(inode))
            .await;
    }

    pub(crate) fn forget(&self, number: u64, times: u64) {
        self.inodes.forget(number, times);
    }

    fn inode(&self, number: u64) -> Result<Arc<Inode>, Errno> {
        self.inodes.get(number).ok_or(Errno::ESTALE)
    }

    fn file(&self, number: u64) -> Result<Arc<OpenFile>, Errno> {
        self.files().get(&number).cloned().ok_or(Errno::EBADF)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn shown(&self, attributes: &fattr3, inode: &Inode) -> FileAttr {
        let block = 1 << self.nfs.limits.write.ilog2();
        attributes::of_file(attributes, inode.number, block)
    }

    /// The attributes as they are with everything that was written here.
    async fn attributes(&self, who: &Credential, inode: &Arc<Inode>) -> Result<fattr3, Errno> {
        self.writer.settle(inode).await;
        self.nfs.getattr(who, &inode.handle).await
    }

    /// Tells the kernel of a file, and counts that. What the server answered is not believed if this mount has changed the
    /// file since it was asked.
    async fn enter(
        &self,
        who: &Credential,
        mut found: Found,
        since: u64,
    ) -> Result<(Arc<Inode>, FileAttr), Errno> {
        if let Some(known) = self.inodes.find(&found)
            && known.outdates(since)
        {
            found.attributes = self.attributes(who, &known).await?;
        }
        let inode = self.inodes.enter(&found);
        let shown = self.shown(&found.attributes, &inode);
        Ok((inode, shown))
    }
}
