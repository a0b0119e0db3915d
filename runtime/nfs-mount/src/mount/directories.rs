//! Lists directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::{BELIEVED, Mount};
use crate::attributes::kind;
use crate::caller::Caller;
use crate::directory::{Directory, Entry};
use crate::inode::Inodes;
use crate::nfs::Found;

impl Mount {
    pub(crate) fn opendir(&self, caller: &Caller, number: u64) -> Result<u64, Errno> {
        let inode = self.inode(number)?;
        let directory = Directory::new(inode, Arc::clone(&caller.credential));
        let number = self.number();
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, Arc::new(tokio::sync::Mutex::new(directory)));
        Ok(number)
    }

    pub(crate) fn releasedir(&self, directory: u64) {
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&directory);
    }

    fn directory(&self, number: u64) -> Result<Arc<tokio::sync::Mutex<Directory>>, Errno> {
        let directories = self
            .directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        directories.get(&number).cloned().ok_or(Errno::EBADF)
    }

    /// Fills the answer with names from a position on.
    pub(crate) async fn readdir(
        &self,
        caller: &Caller,
        directory: u64,
        position: u64,
        reply: &mut ReplyDirectory,
    ) -> Result<(), Errno> {
        let directory = self.directory(directory)?;
        let mut directory = directory.lock().await;
        let mut index = Self::start(&mut directory, position)?;
        while let Some(entry) = self.entry(&mut directory, index).await? {
            index += 1;
            // A file does not change its type.
            let Some(found) = self.file_of(caller, &directory, &entry, true).await? else {
                continue;
            };
            let number = INodeNo(self.inodes.number(found.attributes.fileid));
            let kind = kind(found.attributes.type_);
            let name = OsStr::from_bytes(&entry.listed.name);
            if reply.add(number, index as u64, kind, name) {
                break;
            }
        }
        Ok(())
    }

    /// Fills the answer with names and files from a position on.
    pub(crate) async fn readdirplus(
        &self,
        caller: &Caller,
        directory: u64,
        position: u64,
        reply: &mut ReplyDirectoryPlus,
    ) -> Result<Told<'_>, Errno> {
        let directory = self.directory(directory)?;
        let mut directory = directory.lock().await;
        let mut index = Self::start(&mut directory, position)?;
        let mut told = Told::new(&self.inodes);
        while let Some(entry) = self.entry(&mut directory, index).await? {
            index += 1;
            let name = OsStr::from_bytes(&entry.listed.name);
            if name == "." || name == ".." {
                // The kernel takes but the number of these, and does not count them.
                let number = self.inodes.number(entry.listed.fileid);
                let shown = only_number(number);
                let full = reply.add(
                    INodeNo(number),
                    index as u64,
                    name,
                    &Duration::ZERO,
                    &shown,
                    Generation(0),
                );
                if full {
                    break;
                }
                continue;
            }
            let Some(found) = self.file_of(caller, &directory, &entry, false).await? else {
                continue;
            };
            let (inode, shown) = self.enter(&caller.credential, found, entry.since).await?;
            told.numbers.push(inode.number);
            let generation = Generation(inode.generation);
            let full = reply.add(
                INodeNo(inode.number),
                index as u64,
                name,
                &BELIEVED,
                &shown,
                generation,
            );
            if full {
                told.numbers.pop();
                self.inodes.forget(inode.number, 1);
                break;
            }
        }
        Ok(told)
    }

    fn start(directory: &mut Directory, position: u64) -> Result<usize, Errno> {
        if position == 0 && directory.is_fetched() {
            directory.rewind();
        }
        usize::try_from(position).map_err(|_| Errno::EINVAL)
    }

    async fn entry(&self, directory: &mut Directory, index: usize) -> Result<Option<Entry>, Errno> {
        let entry = directory.entry(&self.nfs, &self.sequence, index).await?;
        Ok(entry.cloned())
    }

    /// The file of an entry, asked for again if the server did not say or too long ago; `None` if it is gone.
    async fn file_of(
        &self,
        caller: &Caller,
        directory: &Directory,
        entry: &Entry,
        may_be_old: bool,
    ) -> Result<Option<Found>, Errno> {
        if let Some(found) = &entry.listed.found
            && (may_be_old || entry.is_fresh(&directory.inode, BELIEVED))
        {
            return Ok(Some(found.clone()));
        }
        let handle = &directory.inode.handle;
        let name = &entry.listed.name;
        match self.nfs.lookup(&caller.credential, handle, name).await {
            Err(Errno::ENOENT) => Ok(None),
            found => found.map(Some),
        }
    }
}

/// Files that the kernel is about to be told of: forgotten again if the answer is never sent.
pub(crate) struct Told<'a> {
    inodes: &'a Inodes,
    numbers: Vec<u64>,
}

impl<'a> Told<'a> {
    fn new(inodes: &'a Inodes) -> Self {
        Self {
            inodes,
            numbers: Vec::new(),
        }
    }

    /// The answer is sent.
    pub(crate) fn sent(mut self) {
        self.numbers.clear();
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        for &number in &self.numbers {
            self.inodes.forget(number, 1);
        }
    }
}

fn only_number(number: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}
