//! Attributes and content.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{AccessFlags, Errno, FileAttr, FopenFlags, INodeNo};
use nfs3_types::nfs3::{
    ACCESS3_EXECUTE, ACCESS3_EXTEND, ACCESS3_LOOKUP, ACCESS3_MODIFY, ACCESS3_READ, FSSTAT3resok,
    fattr3,
};
use rustix::fs::OFlags;

use super::{Mount, OpenFile};
use crate::attributes::{Changes, Version};
use crate::caller::Caller;
use crate::inode::{Inode, ROOT};
use crate::rpc::Credential;

impl Mount {
    pub(crate) async fn getattr(&self, caller: &Caller, number: u64) -> Result<FileAttr, Errno> {
        let inode = self.inode(number)?;
        let attributes = self.attributes(&caller.credential, &inode).await?;
        Ok(self.shown(&attributes, &inode))
    }

    pub(crate) async fn setattr(
        &self,
        caller: &Caller,
        number: u64,
        file: Option<u64>,
        changes: &Changes,
    ) -> Result<FileAttr, Errno> {
        let inode = self.inode(number)?;
        let file = file.and_then(|file| self.file(file).ok());
        let who = match &file {
            // `ftruncate` needs no right but that of the open file.
            Some(file) if changes.size.is_some() => &file.who,
            _ => &caller.credential,
        };
        if changes.size.is_some() {
            // What is kept here of the part that is cut off must not be sent again.
            self.writer.make_durable(&inode).await;
        } else {
            // A write that arrives later would change the time again.
            self.writer.settle(&inode).await;
        }
        let attributes = self.nfs.setattr(who, &inode.handle, changes).await;
        inode.touch(&self.sequence);
        Ok(self.shown(&attributes?, &inode))
    }

    pub(super) async fn truncate_new(
        &self,
        caller: &Caller,
        inode: &Arc<Inode>,
    ) -> Result<FileAttr, Errno> {
        let changes = Changes {
            size: Some(0),
            ..Changes::default()
        };
        let outcome = self.setattr(caller, inode.number, None, &changes).await;
        if outcome.is_err() {
            // The kernel is not told of it.
            self.forget(inode.number, 1);
        }
        outcome
    }

    pub(crate) async fn readlink(&self, caller: &Caller, number: u64) -> Result<Vec<u8>, Errno> {
        let inode = self.inode(number)?;
        self.nfs.readlink(&caller.credential, &inode.handle).await
    }

    pub(crate) async fn access(
        &self,
        caller: &Caller,
        number: u64,
        mask: AccessFlags,
    ) -> Result<(), Errno> {
        let inode = self.inode(number)?;
        let who = &caller.credential;
        let every =
            ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_LOOKUP | ACCESS3_EXECUTE;
        let (granted, _) = self.nfs.access(who, &inode.handle, every).await?;
        let needed = [
            (AccessFlags::R_OK, ACCESS3_READ),
            (AccessFlags::W_OK, ACCESS3_MODIFY | ACCESS3_EXTEND),
            (AccessFlags::X_OK, ACCESS3_LOOKUP | ACCESS3_EXECUTE),
        ];
        let is_granted = needed
            .into_iter()
            .all(|(flag, bits)| !mask.contains(flag) || granted & bits != 0);
        if is_granted {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// Opens a file: asks the server whether it may be, and how it is now. The kernel keeps its copy of the content only if
    /// nothing has changed since that was made.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        number: u64,
        flags: OFlags,
    ) -> Result<(u64, FopenFlags), Errno> {
        let inode = self.inode(number)?;
        let who = &caller.credential;
        self.writer.settle(&inode).await;
        let wanted = ACCESS3_READ | ACCESS3_EXECUTE | ACCESS3_MODIFY | ACCESS3_EXTEND;
        let (granted, attributes) = self.nfs.access(who, &inode.handle, wanted).await?;
        let mode = flags & OFlags::RWMODE;
        // Programs may be executed without being readable.
        let may_read = granted & (ACCESS3_READ | ACCESS3_EXECUTE) != 0;
        let may_write = granted & (ACCESS3_MODIFY | ACCESS3_EXTEND) != 0;
        if (mode != OFlags::WRONLY && !may_read) || (mode != OFlags::RDONLY && !may_write) {
            return Err(Errno::EACCES);
        }
        let cache = self.cache(&inode, &attributes);
        Ok((self.opened(&inode, who, flags), cache))
    }

    fn cache(&self, inode: &Inode, attributes: &fattr3) -> FopenFlags {
        let version = Version::of(attributes);
        let Ok(mut cached) = inode.cached.lock() else {
            return FopenFlags::empty();
        };
        if *cached == Some(version) {
            return FopenFlags::FOPEN_KEEP_CACHE;
        }
        *cached = Some(version);
        // The kernel drops the content by itself then, but would believe the old size for another second.
        if let Some(notifier) = self.notifier.get() {
            drop(notifier.inval_inode(INodeNo(inode.number), -1, 0));
        }
        FopenFlags::empty()
    }

    pub(super) fn opened(&self, inode: &Arc<Inode>, who: &Arc<Credential>, flags: OFlags) -> u64 {
        let number = self.number();
        inode.opens.fetch_add(1, Ordering::SeqCst);
        let file = OpenFile {
            inode: Arc::clone(inode),
            who: Arc::clone(who),
            may_write: flags & OFlags::RWMODE != OFlags::RDONLY,
            is_synchronous: flags.intersects(OFlags::SYNC | OFlags::DSYNC),
        };
        self.files().insert(number, Arc::new(file));
        number
    }

    pub(crate) async fn read(&self, file: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let file = self.file(file)?;
        // The end of the file that the server knows is only true when it has everything.
        self.writer.settle(&file.inode).await;
        let read = self
            .nfs
            .read(&file.who, &file.inode.handle, offset, size)
            .await?;
        Ok(read.data)
    }

    pub(crate) async fn write(&self, file: u64, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let file = self.file(file)?;
        self.writer
            .write(&file.inode, &file.who, offset, data)
            .await?;
        if file.is_synchronous {
            self.writer.flush(&file.inode).await?;
        }
        Ok(())
    }

    /// On closing and on `fsync`: everything is on the server's disk, or what went wrong is told.
    pub(crate) async fn flush(&self, file: u64) -> Result<(), Errno> {
        let file = self.file(file)?;
        if file.may_write {
            self.writer.flush(&file.inode).await?;
        }
        Ok(())
    }

    pub(crate) async fn statfs(&self, caller: &Caller) -> Result<FSSTAT3resok, Errno> {
        let root = self.inode(ROOT)?;
        self.nfs.fsstat(&caller.credential, &root.handle).await
    }
}
