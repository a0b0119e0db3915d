//! Attributes, in the terms of the protocol and of the kernel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use nfs3_types::nfs3::{
    fattr3, ftype3, nfstime3, sattr3, set_atime, set_gid3, set_mode3, set_mtime, set_size3,
    set_uid3,
};

/// The bits of a mode that the protocol has.
const MODE: u32 = 0o7777;

/// What the kernel is told about a file.
pub(crate) fn of_file(attributes: &fattr3, number: u64, block: u32) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: attributes.size,
        blocks: attributes.used.div_ceil(512),
        atime: time(attributes.atime),
        mtime: time(attributes.mtime),
        ctime: time(attributes.ctime),
        crtime: UNIX_EPOCH,
        kind: kind(attributes.type_),
        perm: u16::try_from(attributes.mode & MODE).unwrap_or_default(),
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: 0,
        blksize: block,
        flags: 0,
    }
}

pub(crate) fn kind(of: ftype3) -> FileType {
    match of {
        ftype3::NF3REG => FileType::RegularFile,
        ftype3::NF3DIR => FileType::Directory,
        ftype3::NF3BLK => FileType::BlockDevice,
        ftype3::NF3CHR => FileType::CharDevice,
        ftype3::NF3LNK => FileType::Symlink,
        ftype3::NF3SOCK => FileType::Socket,
        ftype3::NF3FIFO => FileType::NamedPipe,
    }
}

fn time(time: nfstime3) -> SystemTime {
    UNIX_EPOCH
        + Duration::new(u64::from(time.seconds), 0)
        + Duration::from_nanos(time.nseconds.into())
}

/// The protocol counts seconds since 1970 in 32 bits without a sign; what lies outside becomes the nearest.
fn nfs_time(time: SystemTime) -> nfstime3 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    match u32::try_from(since.as_secs()) {
        Ok(seconds) => nfstime3 {
            seconds,
            nseconds: since.subsec_nanos(),
        },
        Err(_) => nfstime3 {
            seconds: u32::MAX,
            nseconds: 0,
        },
    }
}

/// What a caller wants changed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Changes {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeOrNow>,
    pub(crate) mtime: Option<TimeOrNow>,
}

impl Changes {
    pub(crate) fn mode(mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    pub(crate) fn in_the_protocol(&self) -> sattr3 {
        sattr3 {
            mode: self
                .mode
                .map_or(set_mode3::None, |mode| set_mode3::Some(mode & MODE)),
            uid: self.uid.map_or(set_uid3::None, set_uid3::Some),
            gid: self.gid.map_or(set_gid3::None, set_gid3::Some),
            size: self.size.map_or(set_size3::None, set_size3::Some),
            atime: match self.atime {
                None => set_atime::DONT_CHANGE,
                Some(TimeOrNow::Now) => set_atime::SET_TO_SERVER_TIME,
                Some(TimeOrNow::SpecificTime(time)) => {
                    set_atime::SET_TO_CLIENT_TIME(nfs_time(time))
                }
            },
            mtime: match self.mtime {
                None => set_mtime::DONT_CHANGE,
                Some(TimeOrNow::Now) => set_mtime::SET_TO_SERVER_TIME,
                Some(TimeOrNow::SpecificTime(time)) => {
                    set_mtime::SET_TO_CLIENT_TIME(nfs_time(time))
                }
            },
        }
    }
}

/// What differs as soon as the content does: the kernel's copy of the content is good while it is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    size: u64,
    mtime: nfstime3,
    ctime: nfstime3,
}

impl Version {
    pub(crate) fn of(attributes: &fattr3) -> Self {
        Self {
            size: attributes.size,
            mtime: attributes.mtime,
            ctime: attributes.ctime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_of_the_protocol_become_the_nearest() {
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(nfs_time(before), nfstime3::default());
        let after = UNIX_EPOCH + Duration::from_secs(1 << 33);
        assert_eq!(nfs_time(after).seconds, u32::MAX);
        let within = UNIX_EPOCH + Duration::new(7, 9);
        assert_eq!(time(nfs_time(within)), within);
    }

    #[test]
    fn only_the_wanted_is_changed() {
        let wanted = Changes::mode(0o100_644).in_the_protocol();
        assert_eq!(wanted.mode, set_mode3::Some(0o644));
        assert_eq!(wanted.size, set_size3::None);
        assert!(matches!(wanted.mtime, set_mtime::DONT_CHANGE));
    }
}
