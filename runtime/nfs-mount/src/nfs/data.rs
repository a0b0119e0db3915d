//! Calls on one file.

use bytes::Bytes;
use fuser::Errno;
use nfs3_types::nfs3::{
    ACCESS3args, ACCESS3resfail, ACCESS3resok, COMMIT3args, COMMIT3resfail, COMMIT3resok,
    FSSTAT3args, FSSTAT3resfail, FSSTAT3resok, GETATTR3args, GETATTR3resok, NFS_PROGRAM,
    Nfs3Option, READ3args, READ3resfail, READ3resok, READLINK3args, READLINK3resfail,
    READLINK3resok, SETATTR3args, SETATTR3resfail, SETATTR3resok, WRITE3args, WRITE3resfail,
    WRITE3resok, fattr3, nfs_fh3, stable_how, writeverf3,
};
use nfs3_types::xdr_codec::{Opaque, Void};

use super::Nfs;
use crate::attributes::Changes;
use crate::rpc::Credential;

/// What was read, and whether it ends at the end of the file.
pub(crate) struct ReadData {
    pub(crate) data: Vec<u8>,
    pub(crate) is_end: bool,
}

/// What became of written data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is on the server's disk.
    Durable,
    /// It is in the memory of the server that has this verifier; another verifier means that it may be gone.
    Unstable(writeverf3),
}

impl Nfs {
    /// The attributes of a file.
    pub(crate) async fn getattr(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
    ) -> Result<fattr3, Errno> {
        let arguments = GETATTR3args {
            object: handle.clone(),
        };
        let answer = self
            .pool
            .call::<_, GETATTR3resok, Void>(who, NFS_PROGRAM::NFSPROC3_GETATTR, &arguments)
            .await?;
        Ok(answer.or_errno()?.obj_attributes)
    }

    /// Changes attributes.
    pub(crate) async fn setattr(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
        changes: &Changes,
    ) -> Result<fattr3, Errno> {
        let arguments = SETATTR3args {
            object: handle.clone(),
            new_attributes: changes.in_the_protocol(),
            guard: Nfs3Option::None,
        };
        let answer = self
            .pool
            .call::<_, SETATTR3resok, SETATTR3resfail>(
                who,
                NFS_PROGRAM::NFSPROC3_SETATTR,
                &arguments,
            )
            .await?;
        match answer.or_errno()?.obj_wcc.after {
            Nfs3Option::Some(attributes) => Ok(attributes),
            Nfs3Option::None => self.getattr(who, handle).await,
        }
    }

    /// Which of the asked accesses the server grants, and the attributes as they are now.
    pub(crate) async fn access(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
        wanted: u32,
    ) -> Result<(u32, fattr3), Errno> {
        let arguments = ACCESS3args {
            object: handle.clone(),
            access: wanted,
        };
        let answer = self
            .pool
            .call::<_, ACCESS3resok, ACCESS3resfail>(who, NFS_PROGRAM::NFSPROC3_ACCESS, &arguments)
            .await?
            .or_errno()?;
        let attributes = match answer.obj_attributes {
            Nfs3Option::Some(attributes) => attributes,
            Nfs3Option::None => self.getattr(who, handle).await?,
        };
        Ok((answer.access, attributes))
    }

    /// The target of a symbolic link.
    pub(crate) async fn readlink(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
    ) -> Result<Vec<u8>, Errno> {
        let arguments = READLINK3args {
            symlink: handle.clone(),
        };
        let answer = self
            .pool
            .call::<_, READLINK3resok<'static>, READLINK3resfail>(
                who,
                NFS_PROGRAM::NFSPROC3_READLINK,
                &arguments,
            )
            .await?;
        Ok(answer.or_errno()?.data.0.into_owned())
    }

    /// Reads until there is as much as asked for, or the end.
    pub(crate) async fn read(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
        offset: u64,
        size: u32,
    ) -> Result<ReadData, Errno> {
        let mut read = self.read_once(who, handle, offset, size).await?;
        while !read.is_end {
            let has = u32::try_from(read.data.len()).map_err(|_| Errno::EIO)?;
            if has >= size {
                break;
            }
            let more = self
                .read_once(who, handle, offset + u64::from(has), size - has)
                .await?;
            if more.data.is_empty() && !more.is_end {
                return Err(Errno::EIO);
            }
            read.data.extend_from_slice(&more.data);
            read.is_end = more.is_end;
        }
        read.data.truncate(size as usize);
        Ok(read)
    }

    async fn read_once(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
        offset: u64,
        size: u32,
    ) -> Result<ReadData, Errno> {
        let arguments = READ3args {
            file: handle.clone(),
            offset,
            count: size.min(self.limits.read),
        };
        let answer = self
            .pool
            .call::<_, READ3resok<'static>, READ3resfail>(
                who,
                NFS_PROGRAM::NFSPROC3_READ,
                &arguments,
            )
            .await?
            .or_errno()?;
        Ok(ReadData {
            data: answer.data.into_owned(),
            is_end: answer.eof,
        })
    }

    /// Writes all of the data.
    pub(crate) async fn write(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
        offset: u64,
        data: &Bytes,
        stable: stable_how,
    ) -> Result<Written, Errno> {
        let mut done = 0;
        let mut outcome = Written::Durable;
        while done < data.len() {
            let end = data.len().min(done + self.limits.write as usize);
            let part = &data[done..end];
            let arguments = WRITE3args {
                file: handle.clone(),
                offset: offset + done as u64,
                count: u32::try_from(part.len()).map_err(|_| Errno::EIO)?,
                stable,
                data: Opaque::borrowed(part),
            };
            let answer = self
                .pool
                .call::<_, WRITE3resok, WRITE3resfail>(who, NFS_PROGRAM::NFSPROC3_WRITE, &arguments)
                .await?
                .or_errno()?;
            if answer.count == 0 {
                return Err(Errno::EIO);
            }
            done += answer.count as usize;
            // Of several verifiers the first: if a later part has another one, all is sent again.
            if answer.committed == stable_how::UNSTABLE && outcome == Written::Durable {
                outcome = Written::Unstable(answer.verf);
            }
        }
        Ok(outcome)
    }

    /// Makes durable what was written; the verifier tells whether it was still there.
    pub(crate) async fn commit(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
    ) -> Result<writeverf3, Errno> {
        let arguments = COMMIT3args {
            file: handle.clone(),
            offset: 0,
            count: 0,
        };
        let answer = self
            .pool
            .call::<_, COMMIT3resok, COMMIT3resfail>(who, NFS_PROGRAM::NFSPROC3_COMMIT, &arguments)
            .await?;
        Ok(answer.or_errno()?.verf)
    }

    /// Space and inodes of the export.
    pub(crate) async fn fsstat(
        &self,
        who: &Credential,
        handle: &nfs_fh3,
    ) -> Result<FSSTAT3resok, Errno> {
        let arguments = FSSTAT3args {
            fsroot: handle.clone(),
        };
        let answer = self
            .pool
            .call::<_, FSSTAT3resok, FSSTAT3resfail>(who, NFS_PROGRAM::NFSPROC3_FSSTAT, &arguments)
            .await?;
        answer.or_errno()
    }
}
