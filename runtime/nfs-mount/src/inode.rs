//! The files that the kernel knows, by its numbers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nfs3_types::nfs3::nfs_fh3;
use tokio::sync::Notify;

use crate::attributes::Version;
use crate::nfs::Found;
use crate::write::Pending;

/// The kernel's number of the mounted directory.
pub(crate) const ROOT: u64 = 1;

/// Counts the changes that this mount makes, so that an answer of the server can be told from an older one.
#[derive(Debug, Default)]
pub(crate) struct Sequence(AtomicU64);

impl Sequence {
    /// What has happened until now.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// A file of the server.
pub(crate) struct Inode {
    /// The kernel's number.
    pub(crate) number: u64,
    pub(crate) handle: nfs_fh3,
    /// Differs between files that had the same number one after another.
    pub(crate) generation: u64,
    /// When this mount changed it the last time, data or names.
    changed: AtomicU64,
    /// What the kernel's copy of the content was made from.
    pub(crate) cached: Mutex<Option<Version>>,
    pending: Mutex<Pending>,
    /// Something that was on its way has arrived.
    pub(crate) progressed: Notify,
    pub(crate) committing: tokio::sync::Mutex<()>,
    /// How often it is open here.
    pub(crate) opens: AtomicU32,
    /// The name that it has got instead of being removed, because it was open.
    pub(crate) removed: Mutex<Option<RemovedName>>,
}

/// A name that is to be removed when nobody has the file open any more.
#[derive(Clone)]
pub(crate) struct RemovedName {
    pub(crate) directory: nfs_fh3,
    pub(crate) name: Vec<u8>,
    pub(crate) who: Arc<crate::rpc::Credential>,
}

impl Inode {
    fn new(number: u64, handle: nfs_fh3, generation: u64) -> Self {
        Self {
            number,
            handle,
            generation,
            changed: AtomicU64::new(0),
            cached: Mutex::default(),
            pending: Mutex::default(),
            progressed: Notify::new(),
            committing: tokio::sync::Mutex::default(),
            opens: AtomicU32::new(0),
            removed: Mutex::default(),
        }
    }

    pub(crate) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change made here.
    pub(crate) fn touch(&self, sequence: &Sequence) {
        self.changed.store(sequence.next(), Ordering::SeqCst);
    }

    /// Whether an answer to a call that was made at a point of the sequence may miss what was done here.
    pub(crate) fn outdates(&self, since: u64) -> bool {
        self.pending().is_behind() || self.changed.load(Ordering::SeqCst) > since
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opens.load(Ordering::SeqCst) > 0
    }
}

struct Entry {
    inode: Arc<Inode>,
    /// How often the kernel was told of it and has not forgotten it.
    lookups: u64,
}

/// The table.
pub(crate) struct Inodes {
    /// The server's number of the mounted directory.
    root: u64,
    known: Mutex<HashMap<u64, Entry>>,
}

impl Inodes {
    /// A table with the mounted directory, which the kernel never forgets.
    pub(crate) fn new(root: &Found) -> Self {
        let inodes = Self {
            root: root.attributes.fileid,
            known: Mutex::default(),
        };
        inodes.enter(root);
        inodes
    }

    /// The kernel's number for a server's. The mounted directory is 1 for the kernel; a file that is 1 for the server gets the
    /// number that this leaves free.
    pub(crate) fn number(&self, fileid: u64) -> u64 {
        match fileid {
            id if id == self.root => ROOT,
            ROOT => self.root,
            id => id,
        }
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Inode>> {
        let known = self.known();
        known.get(&number).map(|entry| Arc::clone(&entry.inode))
    }

    /// The file, if the kernel knows it.
    pub(crate) fn find(&self, found: &Found) -> Option<Arc<Inode>> {
        let inode = self.get(self.number(found.attributes.fileid))?;
        (inode.handle == found.handle).then_some(inode)
    }

    /// Counts that the kernel is told of a file.
    pub(crate) fn enter(&self, found: &Found) -> Arc<Inode> {
        let number = self.number(found.attributes.fileid);
        let mut known = self.known();
        if let Some(entry) = known.get_mut(&number) {
            entry.lookups += 1;
            if entry.inode.handle != found.handle {
                // Another file has got the number of one that is gone. The kernel counts by number, so do we.
                let generation = entry.inode.generation + 1;
                entry.inode = Arc::new(Inode::new(number, found.handle.clone(), generation));
            }
            return Arc::clone(&entry.inode);
        }
        let inode = Arc::new(Inode::new(number, found.handle.clone(), 0));
        let entry = Entry {
            inode: Arc::clone(&inode),
            lookups: 1,
        };
        known.insert(number, entry);
        inode
    }

    /// The kernel has forgotten a file so many times. One with data on its way is kept until that has arrived.
    pub(crate) fn forget(&self, number: u64, times: u64) {
        if number == ROOT {
            return;
        }
        let mut known = self.known();
        if let Some(entry) = known.get_mut(&number) {
            entry.lookups = entry.lookups.saturating_sub(times);
            if entry.lookups == 0 && entry.inode.pending().is_durable() {
                known.remove(&number);
            }
        }
    }

    /// Lets go of a file that was kept only for its data.
    pub(crate) fn arrived(&self, inode: &Inode) {
        self.forget(inode.number, 0);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use nfs3_types::nfs3::{fattr3, ftype3, nfstime3, specdata3};
    use nfs3_types::xdr_codec::Opaque;

    use super::*;

    pub(crate) fn found(fileid: u64, handle: &'static [u8]) -> Found {
        Found {
            handle: nfs_fh3 {
                data: Opaque::borrowed(handle),
            },
            attributes: fattr3 {
                type_: ftype3::NF3REG,
                mode: 0o644,
                nlink: 1,
                uid: 0,
                gid: 0,
                size: 0,
                used: 0,
                rdev: specdata3::default(),
                fsid: 1,
                fileid,
                atime: nfstime3::default(),
                mtime: nfstime3::default(),
                ctime: nfstime3::default(),
            },
        }
    }

    #[test]
    fn a_file_is_known_until_it_is_forgotten_as_often_as_told() {
        let inodes = Inodes::new(&found(128, b"root"));
        inodes.enter(&found(7, b"a"));
        inodes.enter(&found(7, b"a"));
        inodes.forget(7, 1);
        assert!(inodes.find(&found(7, b"a")).is_some());
        inodes.forget(7, 1);
        assert!(inodes.get(7).is_none());
        inodes.forget(ROOT, 5);
        assert!(inodes.get(ROOT).is_some());
    }

    #[test]
    fn numbers_do_not_collide_with_the_root() {
        let inodes = Inodes::new(&found(128, b"root"));
        assert_eq!(inodes.number(128), ROOT);
        assert_eq!(inodes.number(1), 128);
        assert_eq!(inodes.number(2), 2);
    }

    #[test]
    fn a_reused_number_is_another_file() {
        let inodes = Inodes::new(&found(128, b"root"));
        let old = inodes.enter(&found(7, b"old"));
        let new = inodes.enter(&found(7, b"new"));
        assert_ne!(old.generation, new.generation);
        assert!(inodes.find(&found(7, b"old")).is_none());
        // The kernel forgets both under one number.
        inodes.forget(7, 2);
        assert!(inodes.get(7).is_none());
    }

    #[test]
    fn an_answer_from_before_a_change_is_outdated() {
        let sequence = Sequence::default();
        let inodes = Inodes::new(&found(128, b"root"));
        let file = inodes.enter(&found(7, b"a"));
        let before = sequence.now();
        assert!(!file.outdates(before));
        file.touch(&sequence);
        assert!(file.outdates(before));
        assert!(!file.outdates(sequence.now()));
    }
}
