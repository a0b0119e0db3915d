//! An open directory: the entries that the server has given so far.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::Errno;
use nfs3_types::nfs3::{cookieverf3, nfsstat3};

use crate::inode::{Inode, Sequence};
use crate::nfs::{Listed, Nfs};
use crate::rpc::Credential;
use crate::status::errno;

/// How often a directory that changes all the time is begun anew without finding anything new.
const RESTARTS: u32 = 32;

/// An entry, with when it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) listed: Listed,
    /// The point of the mount's sequence before it was asked for.
    pub(crate) since: u64,
    at: Instant,
}

impl Entry {
    /// Whether what the server said of the file is still as good as asking again.
    pub(crate) fn is_fresh(&self, directory: &Inode, believed: Duration) -> bool {
        self.at.elapsed() < believed && !directory.outdates(self.since)
    }
}

/// The kernel's position in a directory is a number of an entry here, not the server's cookie: when the directory changes
/// the server may forget its cookies (`rm -r` does that to itself), and the reading begins anew without what was given already.
pub(crate) struct Directory {
    pub(crate) inode: Arc<Inode>,
    who: Arc<Credential>,
    entries: Vec<Entry>,
    cookie: u64,
    verifier: cookieverf3,
    is_end: bool,
    /// The names of all entries, once the reading has begun anew.
    names: Option<HashSet<Vec<u8>>>,
    restarts: u32,
}

impl Directory {
    pub(crate) fn new(inode: Arc<Inode>, who: Arc<Credential>) -> Self {
        Self {
            inode,
            who,
            entries: Vec::new(),
            cookie: 0,
            verifier: cookieverf3::default(),
            is_end: false,
            names: None,
            restarts: 0,
        }
    }

    /// `rewinddir`: what is there now.
    pub(crate) fn rewind(&mut self) {
        *self = Self::new(Arc::clone(&self.inode), Arc::clone(&self.who));
    }

    pub(crate) fn is_fetched(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The entry at a position; `None` behind the last.
    ///
    /// # Errors
    ///
    /// The server's; `EIO` when the directory changes faster than it can be read.
    pub(crate) async fn entry(
        &mut self,
        nfs: &Nfs,
        sequence: &Sequence,
        position: usize,
    ) -> Result<Option<&Entry>, Errno> {
        while self.entries.len() <= position && !self.is_end {
            self.fetch(nfs, sequence).await?;
        }
        Ok(self.entries.get(position))
    }

    /// The next page. With the files even when only names are asked for: a name alone comes without its type, which
    /// programs rely on.
    async fn fetch(&mut self, nfs: &Nfs, sequence: &Sequence) -> Result<(), Errno> {
        let since = sequence.now();
        let at = Instant::now();
        let (who, handle) = (&self.who, &self.inode.handle);
        let mut page = nfs
            .readdirplus(who, handle, self.cookie, self.verifier)
            .await?;
        if matches!(page, Err(nfsstat3::NFS3ERR_NOTSUPP)) {
            page = nfs.readdir(who, handle, self.cookie, self.verifier).await?;
        }
        let page = match page {
            Ok(page) => page,
            Err(nfsstat3::NFS3ERR_BAD_COOKIE | nfsstat3::NFS3ERR_NOT_SYNC) => {
                return self.begin_anew();
            }
            Err(status) => return Err(errno(status)),
        };
        if page.entries.is_empty() && !page.is_end {
            return Err(Errno::EIO);
        }
        self.cookie = page.cookie;
        self.verifier = page.verifier;
        self.is_end = page.is_end;
        for listed in page.entries {
            if let Some(names) = &mut self.names {
                if !names.insert(listed.name.clone()) {
                    continue;
                }
                self.restarts = 0;
            }
            self.entries.push(Entry { listed, since, at });
        }
        Ok(())
    }

    fn begin_anew(&mut self) -> Result<(), Errno> {
        self.restarts += 1;
        if self.restarts > RESTARTS {
            return Err(Errno::EIO);
        }
        self.cookie = 0;
        self.verifier = cookieverf3::default();
        let given = self.entries.iter().map(|entry| entry.listed.name.clone());
        self.names.get_or_insert_with(|| given.collect());
        Ok(())
    }
}
