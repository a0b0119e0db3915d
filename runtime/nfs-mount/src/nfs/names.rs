//! Calls that read or change directories.
//!
//! A call whose answer was lost is sent again, and may find that its first sending was carried out: "exists" or "is not
//! there" is success then, if what is found is what was wanted.

use fuser::Errno;
use nfs3_types::nfs3::{
    CREATE3args, CREATE3resfail, CREATE3resok, LINK3args, LINK3resfail, LINK3resok, LOOKUP3args,
    LOOKUP3resfail, LOOKUP3resok, MKDIR3args, MKDIR3resfail, MKDIR3resok, MKNOD3args,
    MKNOD3resfail, MKNOD3resok, NFS_PROGRAM, Nfs3Option, READDIR3args, READDIR3resfail,
    READDIR3resok, READDIRPLUS3args, READDIRPLUS3resfail, READDIRPLUS3resok, REMOVE3args,
    REMOVE3resfail, REMOVE3resok, RENAME3args, RENAME3resfail, RENAME3resok, RMDIR3args,
    RMDIR3resfail, RMDIR3resok, SYMLINK3args, SYMLINK3resfail, SYMLINK3resok, cookieverf3,
    createhow3, createverf3, diropargs3, filename3, ftype3, mknoddata3, nfs_fh3, nfspath3,
    nfsstat3, post_op_attr, post_op_fh3, sattr3, symlinkdata3,
};
use nfs3_types::xdr_codec::Opaque;

use super::{Found, Nfs};
use crate::attributes::Changes;
use crate::rpc::{Answer, Credential};
use crate::status::errno;

/// What is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum New<'a> {
    /// A file, or the one that is there.
    File,
    /// A file that was not there.
    ExclusiveFile,
    Directory,
    Fifo,
    Socket,
    Symlink(&'a [u8]),
}

/// What the server says of what it made, as far as it says it.
type Made = (post_op_fh3, post_op_attr);

/// An entry of a directory, with the file itself when it was asked for and the server gave it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) fileid: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) found: Option<Found>,
}

/// A page of a directory.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) entries: Vec<Listed>,
    /// Where the next page begins.
    pub(crate) cookie: u64,
    pub(crate) verifier: cookieverf3,
    pub(crate) is_end: bool,
}

fn place<'a>(directory: &nfs_fh3, name: &'a [u8]) -> diropargs3<'a> {
    diropargs3 {
        dir: directory.clone(),
        name: filename3::from(name),
    }
}

impl Nfs {
    /// The file of a name.
    pub(crate) async fn lookup(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Result<Found, Errno> {
        let arguments = LOOKUP3args {
            what: place(directory, name),
        };
        let answer = self
            .pool
            .call::<_, LOOKUP3resok, LOOKUP3resfail>(who, NFS_PROGRAM::NFSPROC3_LOOKUP, &arguments)
            .await?
            .or_errno()?;
        self.complete(who, answer.object, answer.obj_attributes)
            .await
    }

    async fn complete(
        &self,
        who: &Credential,
        handle: nfs_fh3,
        attributes: post_op_attr,
    ) -> Result<Found, Errno> {
        let attributes = match attributes {
            Nfs3Option::Some(attributes) => attributes,
            Nfs3Option::None => self.getattr(who, &handle).await?,
        };
        Ok(Found { handle, attributes })
    }

    /// Makes something new.
    pub(crate) async fn make(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
        new: New<'_>,
        mode: u32,
    ) -> Result<Found, Errno> {
        let attributes = Changes::mode(mode).in_the_protocol();
        let answer = match new {
            New::ExclusiveFile => {
                return self.create_exclusively(who, directory, name, mode).await;
            }
            New::File => {
                let how = createhow3::UNCHECKED(attributes);
                self.create(who, directory, name, how).await?
            }
            New::Directory => self.mkdir(who, directory, name, attributes).await?,
            New::Symlink(target) => self.symlink(who, directory, name, target).await?,
            New::Fifo => {
                let what = mknoddata3::NF3FIFO(attributes);
                self.mknod(who, directory, name, what).await?
            }
            New::Socket => {
                let what = mknoddata3::NF3SOCK(attributes);
                self.mknod(who, directory, name, what).await?
            }
        };
        self.made(who, directory, name, new, answer).await
    }

    /// Creates a file that nobody else has created: the server remembers the verifier with the file, so that a repeated call
    /// finds its own. It has no place for attributes meanwhile; they follow.
    async fn create_exclusively(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
        mode: u32,
    ) -> Result<Found, Errno> {
        let verifier = createverf3(fastrand::u64(..).to_be_bytes());
        let how = createhow3::EXCLUSIVE(verifier);
        let answer = self.create(who, directory, name, how).await?;
        if matches!(answer.result, Err(nfsstat3::NFS3ERR_NOTSUPP)) {
            let how = createhow3::GUARDED(Changes::mode(mode).in_the_protocol());
            let answer = self.create(who, directory, name, how).await?;
            return self
                .made(who, directory, name, New::ExclusiveFile, answer)
                .await;
        }
        let exists = matches!(answer.result, Err(nfsstat3::NFS3ERR_EXIST));
        if exists {
            return Err(Errno::EEXIST);
        }
        let mut found = self
            .made(who, directory, name, New::ExclusiveFile, answer)
            .await?;
        let changes = Changes {
            mode: Some(mode),
            atime: Some(fuser::TimeOrNow::Now),
            mtime: Some(fuser::TimeOrNow::Now),
            ..Changes::default()
        };
        found.attributes = self.setattr(who, &found.handle, &changes).await?;
        Ok(found)
    }

    async fn made(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
        new: New<'_>,
        answer: Answer<Made>,
    ) -> Result<Found, Errno> {
        match answer.result {
            Ok((Nfs3Option::Some(handle), attributes)) => {
                self.complete(who, handle, attributes).await
            }
            Ok((Nfs3Option::None, _)) => self.lookup(who, directory, name).await,
            Err(nfsstat3::NFS3ERR_EXIST) if answer.repeated => {
                let found = self.lookup(who, directory, name).await?;
                if self.is_wanted(who, &found, new).await? {
                    Ok(found)
                } else {
                    Err(Errno::EEXIST)
                }
            }
            Err(status) => Err(errno(status)),
        }
    }

    /// Whether what is there can be what a lost call made.
    async fn is_wanted(
        &self,
        who: &Credential,
        found: &Found,
        new: New<'_>,
    ) -> Result<bool, Errno> {
        let is_a = found.attributes.type_;
        Ok(match new {
            New::File | New::ExclusiveFile => is_a == ftype3::NF3REG,
            New::Directory => is_a == ftype3::NF3DIR,
            New::Fifo => is_a == ftype3::NF3FIFO,
            New::Socket => is_a == ftype3::NF3SOCK,
            New::Symlink(target) => {
                is_a == ftype3::NF3LNK && self.readlink(who, &found.handle).await? == target
            }
        })
    }

    async fn create(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
        how: createhow3,
    ) -> Result<Answer<Made>, Errno> {
        let arguments = CREATE3args {
            where_: place(directory, name),
            how,
        };
        let answer = self
            .pool
            .call::<_, CREATE3resok, CREATE3resfail>(who, NFS_PROGRAM::NFSPROC3_CREATE, &arguments)
            .await?;
        Ok(answer.map(|made| (made.obj, made.obj_attributes)))
    }

    async fn mkdir(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
        attributes: sattr3,
    ) -> Result<Answer<Made>, Errno> {
        let arguments = MKDIR3args {
            where_: place(directory, name),
            attributes,
        };
        let answer = self
            .pool
            .call::<_, MKDIR3resok, MKDIR3resfail>(who, NFS_PROGRAM::NFSPROC3_MKDIR, &arguments)
            .await?;
        Ok(answer.map(|made| (made.obj, made.obj_attributes)))
    }

    async fn symlink(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
        target: &[u8],
    ) -> Result<Answer<Made>, Errno> {
        let arguments = SYMLINK3args {
            where_: place(directory, name),
            symlink: symlinkdata3 {
                symlink_attributes: Changes::mode(0o777).in_the_protocol(),
                symlink_data: nfspath3(Opaque::borrowed(target)),
            },
        };
        let answer = self
            .pool
            .call::<_, SYMLINK3resok, SYMLINK3resfail>(
                who,
                NFS_PROGRAM::NFSPROC3_SYMLINK,
                &arguments,
            )
            .await?;
        Ok(answer.map(|made| (made.obj, made.obj_attributes)))
    }

    async fn mknod(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
        what: mknoddata3,
    ) -> Result<Answer<Made>, Errno> {
        let arguments = MKNOD3args {
            where_: place(directory, name),
            what,
        };
        let answer = self
            .pool
            .call::<_, MKNOD3resok, MKNOD3resfail>(who, NFS_PROGRAM::NFSPROC3_MKNOD, &arguments)
            .await?;
        Ok(answer.map(|made| (made.obj, made.obj_attributes)))
    }

    /// Removes a name of anything but a directory.
    pub(crate) async fn remove(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Result<(), Errno> {
        let arguments = REMOVE3args {
            object: place(directory, name),
        };
        let answer = self
            .pool
            .call::<_, REMOVE3resok, REMOVE3resfail>(who, NFS_PROGRAM::NFSPROC3_REMOVE, &arguments)
            .await?;
        gone(answer.result.map(drop), answer.repeated)
    }

    /// Removes an empty directory.
    pub(crate) async fn rmdir(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Result<(), Errno> {
        let arguments = RMDIR3args {
            object: place(directory, name),
        };
        let answer = self
            .pool
            .call::<_, RMDIR3resok, RMDIR3resfail>(who, NFS_PROGRAM::NFSPROC3_RMDIR, &arguments)
            .await?;
        gone(answer.result.map(drop), answer.repeated)
    }

    /// Gives a file another name, in the place of what has it.
    pub(crate) async fn rename(
        &self,
        who: &Credential,
        from: (&nfs_fh3, &[u8]),
        to: (&nfs_fh3, &[u8]),
    ) -> Result<(), Errno> {
        let arguments = RENAME3args {
            from: place(from.0, from.1),
            to: place(to.0, to.1),
        };
        let answer = self
            .pool
            .call::<_, RENAME3resok, RENAME3resfail>(who, NFS_PROGRAM::NFSPROC3_RENAME, &arguments)
            .await?;
        match answer.result {
            // Gone from where it was: it is renamed if it is where it was to be.
            Err(nfsstat3::NFS3ERR_NOENT) if answer.repeated => {
                self.lookup(who, to.0, to.1).await.map(drop)
            }
            other => other.map(drop).map_err(errno),
        }
    }

    /// Gives a file one more name.
    pub(crate) async fn link(
        &self,
        who: &Credential,
        file: &nfs_fh3,
        directory: &nfs_fh3,
        name: &[u8],
    ) -> Result<Found, Errno> {
        let arguments = LINK3args {
            file: file.clone(),
            link: place(directory, name),
        };
        let answer = self
            .pool
            .call::<_, LINK3resok, LINK3resfail>(who, NFS_PROGRAM::NFSPROC3_LINK, &arguments)
            .await?;
        match answer.result {
            Ok(linked) => {
                self.complete(who, file.clone(), linked.file_attributes)
                    .await
            }
            Err(nfsstat3::NFS3ERR_EXIST) if answer.repeated => {
                let found = self.lookup(who, directory, name).await?;
                if found.handle == *file {
                    Ok(found)
                } else {
                    Err(Errno::EEXIST)
                }
            }
            Err(status) => Err(errno(status)),
        }
    }

    /// A page of names.
    ///
    /// # Errors
    ///
    /// As an answer: `NFS3ERR_BAD_COOKIE` when the directory has changed since the last page.
    pub(crate) async fn readdir(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        cookie: u64,
        verifier: cookieverf3,
    ) -> Result<Result<Listing, nfsstat3>, Errno> {
        let arguments = READDIR3args {
            dir: directory.clone(),
            cookie,
            cookieverf: verifier,
            count: self.limits.directory,
        };
        let answer = self
            .pool
            .call::<_, READDIR3resok<'static>, READDIR3resfail>(
                who,
                NFS_PROGRAM::NFSPROC3_READDIR,
                &arguments,
            )
            .await?;
        Ok(answer.result.map(|page| {
            let listed = page.reply.entries.into_inner().into_iter().map(|entry| {
                let listed = Listed {
                    fileid: entry.fileid,
                    name: entry.name.0.into_owned(),
                    found: None,
                };
                (entry.cookie, listed)
            });
            listing(cookie, page.cookieverf, page.reply.eof, listed)
        }))
    }

    /// A page of names with the files.
    ///
    /// # Errors
    ///
    /// See [`Nfs::readdir`].
    pub(crate) async fn readdirplus(
        &self,
        who: &Credential,
        directory: &nfs_fh3,
        cookie: u64,
        verifier: cookieverf3,
    ) -> Result<Result<Listing, nfsstat3>, Errno> {
        let arguments = READDIRPLUS3args {
            dir: directory.clone(),
            cookie,
            cookieverf: verifier,
            dircount: self.limits.directory,
            maxcount: self.limits.directory,
        };
        let answer = self
            .pool
            .call::<_, READDIRPLUS3resok<'static>, READDIRPLUS3resfail>(
                who,
                NFS_PROGRAM::NFSPROC3_READDIRPLUS,
                &arguments,
            )
            .await?;
        Ok(answer.result.map(|page| {
            let listed = page.reply.entries.into_inner().into_iter().map(|entry| {
                let listed = Listed {
                    fileid: entry.fileid,
                    name: entry.name.0.into_owned(),
                    found: found(entry.name_handle, entry.name_attributes),
                };
                (entry.cookie, listed)
            });
            listing(cookie, page.cookieverf, page.reply.eof, listed)
        }))
    }
}

/// A page of entries with their cookies, after `cookie`.
fn listing(
    cookie: u64,
    verifier: cookieverf3,
    is_end: bool,
    listed: impl Iterator<Item = (u64, Listed)>,
) -> Listing {
    let (cookies, entries): (Vec<u64>, Vec<Listed>) = listed.unzip();
    Listing {
        cookie: cookies.last().copied().unwrap_or(cookie),
        entries,
        verifier,
        is_end,
    }
}

fn found(handle: post_op_fh3, attributes: post_op_attr) -> Option<Found> {
    match (handle, attributes) {
        (Nfs3Option::Some(handle), Nfs3Option::Some(attributes)) => {
            Some(Found { handle, attributes })
        }
        _ => None,
    }
}

fn gone(result: Result<(), nfsstat3>, repeated: bool) -> Result<(), Errno> {
    match result {
        Err(nfsstat3::NFS3ERR_NOENT) if repeated => Ok(()),
        other => other.map_err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_gone_after_a_repeated_call_was_removed_by_the_first() {
        let gone_already = Err(nfsstat3::NFS3ERR_NOENT);
        assert_eq!(gone(gone_already, true), Ok(()));
        assert_eq!(gone(gone_already, false), Err(Errno::ENOENT));
        let full = Err(nfsstat3::NFS3ERR_NOTEMPTY);
        assert_eq!(gone(full, true), Err(Errno::ENOTEMPTY));
    }
}
