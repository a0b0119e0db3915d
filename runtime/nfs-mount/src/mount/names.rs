//! Looks names up, and changes them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{Errno, FileAttr};
use rustix::fs::{FileType, OFlags};

use super::Mount;
use crate::caller::Caller;
use crate::inode::{Inode, RemovedName};
use crate::nfs::{Found, New};
use crate::rpc::Credential;

impl Mount {
    pub(crate) async fn lookup(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
    ) -> Result<(Arc<Inode>, FileAttr), Errno> {
        let who = &caller.credential;
        let parent = self.inode(parent)?;
        let since = self.sequence.now();
        let found = self.nfs.lookup(who, &parent.handle, name).await?;
        self.enter(who, found, since).await
    }

    async fn make(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        new: New<'_>,
        mode: u32,
    ) -> Result<(Arc<Inode>, FileAttr), Errno> {
        let who = &caller.credential;
        let parent = self.inode(parent)?;
        let made = self.nfs.make(who, &parent.handle, name, new, mode).await;
        parent.touch(&self.sequence);
        // The file may have been there, with data on its way.
        let since = self.sequence.now();
        self.enter(who, made?, since).await
    }

    pub(crate) async fn mkdir(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
    ) -> Result<(Arc<Inode>, FileAttr), Errno> {
        self.make(caller, parent, name, New::Directory, mode).await
    }

    pub(crate) async fn symlink(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        target: &[u8],
    ) -> Result<(Arc<Inode>, FileAttr), Errno> {
        let new = New::Symlink(target);
        self.make(caller, parent, name, new, 0o777).await
    }

    /// Files, pipes and sockets. A device would be one of the server.
    pub(crate) async fn mknod(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
    ) -> Result<(Arc<Inode>, FileAttr), Errno> {
        let new = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => New::ExclusiveFile,
            FileType::Fifo => New::Fifo,
            FileType::Socket => New::Socket,
            _ => return Err(Errno::EPERM),
        };
        self.make(caller, parent, name, new, mode).await
    }

    /// Creates a file and opens it.
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: OFlags,
    ) -> Result<(Arc<Inode>, FileAttr, u64), Errno> {
        let new = if flags.contains(OFlags::EXCL) {
            New::ExclusiveFile
        } else {
            New::File
        };
        let (inode, mut shown) = self.make(caller, parent, name, new, mode).await?;
        if shown.size > 0 && flags.contains(OFlags::TRUNC) {
            // Another node was quicker to create it; the kernel believes that it is new.
            shown = self.truncate_new(caller, &inode).await?;
        }
        let file = self.opened(&inode, &caller.credential, flags);
        Ok((inode, shown, file))
    }

    pub(crate) async fn link(
        &self,
        caller: &Caller,
        file: u64,
        parent: u64,
        name: &[u8],
    ) -> Result<(Arc<Inode>, FileAttr), Errno> {
        let who = &caller.credential;
        let (file, parent) = (self.inode(file)?, self.inode(parent)?);
        self.writer.settle(&file).await;
        let linked = self.nfs.link(who, &file.handle, &parent.handle, name).await;
        parent.touch(&self.sequence);
        let since = self.sequence.now();
        self.enter(who, linked?, since).await
    }

    pub(crate) async fn unlink(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
    ) -> Result<(), Errno> {
        let who = &caller.credential;
        let parent = self.inode(parent)?;
        if self.set_aside(who, &parent, name).await? {
            return Ok(());
        }
        let outcome = self.nfs.remove(who, &parent.handle, name).await;
        parent.touch(&self.sequence);
        outcome
    }

    pub(crate) async fn rmdir(
        &self,
        caller: &Caller,
        parent: u64,
        name: &[u8],
    ) -> Result<(), Errno> {
        let parent = self.inode(parent)?;
        let outcome = self
            .nfs
            .rmdir(&caller.credential, &parent.handle, name)
            .await;
        parent.touch(&self.sequence);
        outcome
    }

    pub(crate) async fn rename(
        &self,
        caller: &Caller,
        from: (u64, &[u8]),
        to: (u64, &[u8]),
    ) -> Result<(), Errno> {
        let who = &caller.credential;
        let (source, target) = (self.inode(from.0)?, self.inode(to.0)?);
        if from != to {
            self.set_aside(who, &target, to.1).await?;
        }
        let outcome = self
            .nfs
            .rename(who, (&source.handle, from.1), (&target.handle, to.1))
            .await;
        source.touch(&self.sequence);
        target.touch(&self.sequence);
        outcome
    }

    /// A file that is open here must not lose its last name, because the server would forget it: it gets another one until it is
    /// closed. Answers whether that was necessary.
    async fn set_aside(
        &self,
        who: &Arc<Credential>,
        directory: &Arc<Inode>,
        name: &[u8],
    ) -> Result<bool, Errno> {
        let Some(inode) = self.open_behind(who, directory, name).await else {
            return Ok(false);
        };
        let is_aside = inode.removed.lock().is_ok_and(|removed| removed.is_some());
        if is_aside {
            return Err(Errno::EBUSY);
        }
        let aside = format!(".nfs{:016x}{:08x}", inode.number, self.number()).into_bytes();
        let from = (&directory.handle, name);
        let to = (&directory.handle, aside.as_slice());
        let outcome = self.nfs.rename(who, from, to).await;
        directory.touch(&self.sequence);
        outcome?;
        let removed = RemovedName {
            directory: directory.handle.clone(),
            name: aside,
            who: Arc::clone(who),
        };
        if let Ok(mut place) = inode.removed.lock() {
            *place = Some(removed);
        }
        if !inode.is_open() {
            // Closed meanwhile.
            self.remove_aside(&inode).await;
        }
        Ok(true)
    }

    /// The file of a name, if it is open here and has no other name.
    async fn open_behind(
        &self,
        who: &Arc<Credential>,
        directory: &Inode,
        name: &[u8],
    ) -> Option<Arc<Inode>> {
        if self.files().is_empty() {
            return None;
        }
        let found: Found = self.nfs.lookup(who, &directory.handle, name).await.ok()?;
        let inode = self.inodes.find(&found)?;
        (inode.is_open() && found.attributes.nlink == 1).then_some(inode)
    }

    /// Removes the name that a file got instead of being removed.
    pub(super) async fn remove_aside(&self, inode: &Inode) {
        let removed = inode
            .removed
            .lock()
            .ok()
            .and_then(|mut removed| removed.take());
        let Some(removed) = removed else { return };
        // It may be gone already; and who would be told?
        self.nfs
            .remove(&removed.who, &removed.directory, &removed.name)
            .await
            .ok();
    }

    /// One open less.
    pub(crate) async fn release(&self, file: u64) {
        let Some(open) = self.files().remove(&file) else {
            return;
        };
        if open.inode.opens.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.remove_aside(&open.inode).await;
        }
    }
}
