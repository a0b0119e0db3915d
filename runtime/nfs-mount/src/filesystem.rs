//! Takes the kernel's requests, each into a task of its own, so that none waits for another.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};
use rustix::fs::OFlags;
use tokio::runtime::Handle;

use crate::attributes::Changes;
use crate::caller::Callers;
use crate::mount::{BELIEVED, Mount};

/// The largest write, in bytes: what the kernel's FUSE can do without its limit being raised.
const LARGEST_WRITE: u32 = 1 << 20;

/// Requests that the kernel makes ahead.
const IN_BACKGROUND: u16 = 64;

/// The unit of sizes in `statfs`, in bytes.
const BLOCK: u32 = 4096;

/// The longest name, in bytes: what Linux's file systems have.
const NAME: u32 = 255;

/// The mount, as fuser calls it.
pub(crate) struct NfsFilesystem {
    mount: Arc<Mount>,
    callers: Callers,
    runtime: Handle,
}

impl NfsFilesystem {
    pub(crate) fn new(mount: Arc<Mount>, runtime: Handle) -> Self {
        Self {
            mount,
            callers: Callers::default(),
            runtime,
        }
    }
}

fn flags(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags.cast_unsigned())
}

/// Starts a task for a request; `$answer` answers what the work gives, and errors go to the caller.
macro_rules! answer {
    ($self:ident, $request:ident, $reply:ident, |$mount:ident, $caller:ident| $work:expr, |$value:pat_param| $answer:expr) => {{
        let $mount = Arc::clone(&$self.mount);
        let $caller = $self.callers.of($request);
        $self.runtime.spawn(async move {
            match $caller.waits_for($work).await {
                Ok($value) => $answer,
                Err(error) => $reply.error(error),
            }
        });
    }};
}

impl Filesystem for NfsFilesystem {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Wishes: an older kernel does less at once, and nothing else.
        for wish in [
            InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            // The server takes the set-user-id bit away from a file that is written to.
            InitFlags::FUSE_HANDLE_KILLPRIV,
        ] {
            config.add_capabilities(wish).ok();
        }
        config.set_max_write(LARGEST_WRITE).ok();
        config.set_max_background(IN_BACKGROUND).ok();
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.lookup(&caller, parent.0, &name),
            |(inode, shown)| reply.entry(&BELIEVED, &shown, Generation(inode.generation))
        );
    }

    fn forget(&self, _request: &Request, ino: INodeNo, nlookup: u64) {
        self.mount.forget(ino.0, nlookup);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.getattr(&caller, ino.0),
            |shown| reply.attr(&BELIEVED, &shown)
        );
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        };
        let file = fh.map(|file| file.0);
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.setattr(&caller, ino.0, file, &changes),
            |shown| reply.attr(&BELIEVED, &shown)
        );
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.readlink(&caller, ino.0),
            |target| reply.data(&target)
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let name = name.as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.mknod(&caller, parent.0, &name, mode),
            |(inode, shown)| reply.entry(&BELIEVED, &shown, Generation(inode.generation))
        );
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let name = name.as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.mkdir(&caller, parent.0, &name, mode),
            |(inode, shown)| reply.entry(&BELIEVED, &shown, Generation(inode.generation))
        );
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.unlink(&caller, parent.0, &name),
            |()| reply.ok()
        );
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.rmdir(&caller, parent.0, &name),
            |()| reply.ok()
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let name = link_name.as_bytes().to_vec();
        let target = target.as_os_str().as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.symlink(&caller, parent.0, &name, &target),
            |(inode, shown)| reply.entry(&BELIEVED, &shown, Generation(inode.generation))
        );
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            // The protocol has no such renames; the kernel's client answers the same.
            return reply.error(Errno::EINVAL);
        }
        let (name, newname) = (name.as_bytes().to_vec(), newname.as_bytes().to_vec());
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.rename(&caller, (parent.0, &name), (newparent.0, &newname)),
            |()| reply.ok()
        );
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let name = newname.as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.link(&caller, ino.0, newparent.0, &name),
            |(inode, shown)| reply.entry(&BELIEVED, &shown, Generation(inode.generation))
        );
    }

    fn open(&self, request: &Request, ino: INodeNo, wanted: OpenFlags, reply: ReplyOpen) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.open(&caller, ino.0, flags(wanted.0)),
            |(file, cache)| reply.opened(FileHandle(file), cache)
        );
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        wanted: i32,
        reply: ReplyCreate,
    ) {
        let name = name.as_bytes().to_vec();
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.create(&caller, parent.0, &name, mode, flags(wanted)),
            |(inode, shown, file)| reply.created(
                &BELIEVED,
                &shown,
                Generation(inode.generation),
                FileHandle(file),
                FopenFlags::empty(),
            )
        );
    }

    fn read(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.read(fh.0, offset, size),
            |data| reply.data(&data)
        );
    }

    fn write(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_vec();
        // The kernel asked for 1 MiB at most.
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.write(fh.0, offset, &data),
            |()| reply.written(size)
        );
    }

    fn flush(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.flush(fh.0),
            |()| reply.ok()
        );
    }

    fn fsync(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.flush(fh.0),
            |()| reply.ok()
        );
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // Nobody waits for it, so nobody can be interrupted.
        let mount = Arc::clone(&self.mount);
        self.runtime.spawn(async move {
            mount.release(fh.0).await;
            reply.ok();
        });
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.mount.opendir(&self.callers.of(request), ino.0) {
            Ok(directory) => reply.opened(FileHandle(directory), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.readdir(&caller, fh.0, offset, &mut reply),
            |()| reply.ok()
        );
    }

    fn readdirplus(
        &self,
        request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.readdirplus(&caller, fh.0, offset, &mut reply),
            |told| {
                // Counted from here on: the kernel may forget before the next line of ours.
                told.sent();
                reply.ok();
            }
        );
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.mount.releasedir(fh.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        // A server answers a change of a directory when it is durable.
        reply.ok();
    }

    fn statfs(&self, request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let blocks = |bytes: u64| bytes / u64::from(BLOCK);
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.statfs(&caller),
            |space| reply.statfs(
                blocks(space.tbytes),
                blocks(space.fbytes),
                blocks(space.abytes),
                space.tfiles,
                space.afiles,
                BLOCK,
                NAME,
                BLOCK,
            )
        );
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        answer!(
            self,
            request,
            reply,
            |mount, caller| mount.access(&caller, ino.0, mask),
            |()| reply.ok()
        );
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        // Version 3 has no such call. The C library writes zeros where a program insists.
        reply.error(Errno::EOPNOTSUPP);
    }
}
