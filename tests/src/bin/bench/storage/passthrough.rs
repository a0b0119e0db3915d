//! The crate `nfs3_server` over a directory: no more than the benchmark needs, and that as quick as it can be. Open files
//! are kept, as the other server keeps them.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lote_tests::{PATIENCE, wait_for};
use nfs3_server::nfs3_types::nfs3::{
    createverf3, fattr3, filename3, ftype3, nfspath3, nfsstat3, nfstime3, sattr3, set_mode3,
    set_size3, specdata3, stable_how,
};
use nfs3_server::tcp::{NFSTcp, NFSTcpListener};
use nfs3_server::vfs::{
    DirEntryPlus, FileHandleU64, NextResult, NfsFileSystem, NfsReadFileSystem, ReadDirPlusIterator,
};
use tokio::task::spawn_blocking;

/// The first argument that makes the benchmark such a server.
pub(crate) const SUBCOMMAND: &str = "__passthrough";

/// The server in a process of its own.
pub(super) struct Passthrough {
    program: Child,
    pub(super) port: u16,
}

impl Passthrough {
    pub(super) fn start(data: &Path) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .unwrap_or_else(|error| panic!("loopback has no free port: {error}"))
            .port();
        let own = std::env::current_exe()
            .unwrap_or_else(|error| panic!("this program has no path: {error}"));
        let program = Command::new(own)
            .arg(SUBCOMMAND)
            .arg(data)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("the second server does not start: {error}"));
        wait_for("the second server", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { program, port }
    }

    pub(super) fn process(&self) -> u32 {
        self.program.id()
    }
}

impl Drop for Passthrough {
    fn drop(&mut self) {
        drop(self.program.kill());
        drop(self.program.wait());
    }
}

/// Serves a directory on a port of loopback until it is killed.
pub(crate) fn serve(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let (Some(folder), Some(port)) = (arguments.next(), arguments.next()) else {
        return ExitCode::FAILURE;
    };
    let serving = async {
        let address = format!("127.0.0.1:{port}");
        let listener = NFSTcpListener::bind(&address, Directory::new(Path::new(&folder))?).await?;
        listener.handle_forever().await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(serving)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is known of a file: where it is, and the file itself once it was read or written.
#[derive(Clone)]
struct Known {
    path: PathBuf,
    file: Option<Arc<File>>,
}

/// A directory; files are known by their inode numbers.
struct Directory {
    root: u64,
    known: Mutex<HashMap<u64, Known>>,
}

fn status(error: &io::Error) -> nfsstat3 {
    match error.kind() {
        io::ErrorKind::NotFound => nfsstat3::NFS3ERR_NOENT,
        io::ErrorKind::AlreadyExists => nfsstat3::NFS3ERR_EXIST,
        io::ErrorKind::PermissionDenied => nfsstat3::NFS3ERR_ACCES,
        io::ErrorKind::StorageFull => nfsstat3::NFS3ERR_NOSPC,
        io::ErrorKind::DirectoryNotEmpty => nfsstat3::NFS3ERR_NOTEMPTY,
        _ => nfsstat3::NFS3ERR_IO,
    }
}

fn time(seconds: i64, nanoseconds: i64) -> nfstime3 {
    nfstime3 {
        seconds: u32::try_from(seconds).unwrap_or_default(),
        nseconds: u32::try_from(nanoseconds).unwrap_or_default(),
    }
}

fn attributes(of: &Metadata) -> fattr3 {
    let type_ = if of.is_dir() {
        ftype3::NF3DIR
    } else if of.is_symlink() {
        ftype3::NF3LNK
    } else {
        ftype3::NF3REG
    };
    fattr3 {
        type_,
        mode: of.mode() & 0o7777,
        nlink: u32::try_from(of.nlink()).unwrap_or(u32::MAX),
        uid: of.uid(),
        gid: of.gid(),
        size: of.len(),
        used: of.blocks() * 512,
        rdev: specdata3::default(),
        fsid: of.dev(),
        fileid: of.ino(),
        atime: time(of.atime(), of.atime_nsec()),
        mtime: time(of.mtime(), of.mtime_nsec()),
        ctime: time(of.ctime(), of.ctime_nsec()),
    }
}

/// Work with the disk, away from the threads that speak with clients.
async fn work<T: Send + 'static>(
    what: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, nfsstat3> {
    match spawn_blocking(what).await {
        Ok(outcome) => outcome.map_err(|error| status(&error)),
        Err(_) => Err(nfsstat3::NFS3ERR_SERVERFAULT),
    }
}

impl Directory {
    fn new(folder: &Path) -> io::Result<Self> {
        let root = folder.metadata()?.ino();
        let known = Known {
            path: folder.to_owned(),
            file: None,
        };
        Ok(Self {
            root,
            known: Mutex::new(HashMap::from([(root, known)])),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, handle: FileHandleU64) -> Result<PathBuf, nfsstat3> {
        let known = self.known();
        let known = known.get(&handle.as_u64());
        Ok(known.ok_or(nfsstat3::NFS3ERR_STALE)?.path.clone())
    }

    fn child(&self, directory: FileHandleU64, name: &filename3<'_>) -> Result<PathBuf, nfsstat3> {
        let name = std::ffi::OsStr::from_bytes(name.as_ref());
        Ok(self.path(directory)?.join(name))
    }

    fn remember(&self, path: PathBuf, found: &Metadata) -> FileHandleU64 {
        let known = Known { path, file: None };
        self.known().insert(found.ino(), known);
        FileHandleU64::new(found.ino())
    }

    async fn file(&self, handle: FileHandleU64) -> Result<Arc<File>, nfsstat3> {
        let known = self.known().get(&handle.as_u64()).cloned();
        let known = known.ok_or(nfsstat3::NFS3ERR_STALE)?;
        if let Some(file) = known.file {
            return Ok(file);
        }
        let path = known.path;
        let open = move || OpenOptions::new().read(true).write(true).open(path);
        let file = Arc::new(work(open).await?);
        if let Some(known) = self.known().get_mut(&handle.as_u64()) {
            known.file = Some(Arc::clone(&file));
        }
        Ok(file)
    }
}

/// A page of a directory that was read at once.
struct Entries(std::vec::IntoIter<DirEntryPlus<FileHandleU64>>);

impl ReadDirPlusIterator<FileHandleU64> for Entries {
    async fn next(&mut self) -> NextResult<DirEntryPlus<FileHandleU64>> {
        self.0.next().map_or(NextResult::Eof, NextResult::Ok)
    }
}

/// Names and attributes from a position on; a client asks for as many as fit into its page, which is far fewer.
fn entries(path: &Path, after: u64) -> io::Result<Vec<(PathBuf, Metadata, u64)>> {
    const PAGE: usize = 1_000;
    let mut listed = Vec::new();
    let skip = usize::try_from(after).unwrap_or(usize::MAX);
    for (entry, position) in std::fs::read_dir(path)?.zip(1..).skip(skip).take(PAGE) {
        let entry = entry?;
        listed.push((entry.path(), entry.metadata()?, position));
    }
    Ok(listed)
}

impl NfsReadFileSystem for Directory {
    type Handle = FileHandleU64;

    fn root_dir(&self) -> FileHandleU64 {
        FileHandleU64::new(self.root)
    }

    async fn lookup(
        &self,
        dirid: &FileHandleU64,
        filename: &filename3<'_>,
    ) -> Result<FileHandleU64, nfsstat3> {
        let path = self.child(*dirid, filename)?;
        let looked_at = path.clone();
        let found = work(move || looked_at.symlink_metadata()).await?;
        if self.known().contains_key(&found.ino()) {
            return Ok(FileHandleU64::new(found.ino()));
        }
        Ok(self.remember(path, &found))
    }

    async fn getattr(&self, id: &FileHandleU64) -> Result<fattr3, nfsstat3> {
        let known = self.known().get(&id.as_u64()).cloned();
        let known = known.ok_or(nfsstat3::NFS3ERR_STALE)?;
        let found = work(move || match known.file {
            Some(file) => file.metadata(),
            None => known.path.symlink_metadata(),
        });
        Ok(attributes(&found.await?))
    }

    async fn read(
        &self,
        id: &FileHandleU64,
        offset: u64,
        count: u32,
    ) -> Result<(Vec<u8>, bool), nfsstat3> {
        let file = self.file(*id).await?;
        work(move || {
            let mut data = vec![0; count as usize];
            let read = file.read_at(&mut data, offset)?;
            data.truncate(read);
            let is_end = offset + read as u64 >= file.metadata()?.len();
            Ok((data, is_end))
        })
        .await
    }

    async fn readdirplus(
        &self,
        dirid: &FileHandleU64,
        cookie: u64,
    ) -> Result<impl ReadDirPlusIterator<FileHandleU64>, nfsstat3> {
        let path = self.path(*dirid)?;
        let listed = work(move || entries(&path, cookie)).await?;
        let mut page = Vec::with_capacity(listed.len());
        for (path, found, position) in listed {
            let name = path.file_name().map(|name| name.as_bytes().to_vec());
            page.push(DirEntryPlus {
                fileid: found.ino(),
                name: filename3::from(name.unwrap_or_default()),
                cookie: position,
                name_attributes: Some(attributes(&found)),
                name_handle: Some(self.remember(path, &found)),
            });
        }
        Ok(Entries(page.into_iter()))
    }

    async fn readlink(&self, id: &FileHandleU64) -> Result<nfspath3<'_>, nfsstat3> {
        let path = self.path(*id)?;
        let target = work(move || path.read_link()).await?;
        Ok(nfspath3::from(target.as_os_str().as_bytes().to_vec()))
    }
}

impl NfsFileSystem for Directory {
    async fn setattr(&self, id: &FileHandleU64, setattr: sattr3) -> Result<fattr3, nfsstat3> {
        if let set_size3::Some(size) = setattr.size {
            let file = self.file(*id).await?;
            work(move || file.set_len(size)).await?;
        }
        self.getattr(id).await
    }

    async fn write(
        &self,
        id: &FileHandleU64,
        offset: u64,
        data: &[u8],
        stable: stable_how,
    ) -> Result<(fattr3, stable_how), nfsstat3> {
        let file = self.file(*id).await?;
        let data = data.to_vec();
        let written = work(move || {
            file.write_all_at(&data, offset)?;
            if stable != stable_how::UNSTABLE {
                file.sync_data()?;
            }
            file.metadata()
        });
        Ok((attributes(&written.await?), stable))
    }

    async fn create(
        &self,
        dirid: &FileHandleU64,
        filename: &filename3<'_>,
        attr: sattr3,
    ) -> Result<(FileHandleU64, fattr3), nfsstat3> {
        let path = self.child(*dirid, filename)?;
        let mode = match attr.mode {
            set_mode3::Some(mode) => mode,
            set_mode3::None => 0o644,
        };
        let made = path.clone();
        let made = move || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(mode)
                .open(made)?;
            let found = file.metadata()?;
            Ok((file, found))
        };
        let (file, found) = work(made).await?;
        let known = Known {
            path,
            file: Some(Arc::new(file)),
        };
        self.known().insert(found.ino(), known);
        Ok((FileHandleU64::new(found.ino()), attributes(&found)))
    }

    async fn create_exclusive(
        &self,
        _dirid: &FileHandleU64,
        _filename: &filename3<'_>,
        _createverf: createverf3,
    ) -> Result<FileHandleU64, nfsstat3> {
        Err(nfsstat3::NFS3ERR_NOTSUPP)
    }

    async fn mkdir(
        &self,
        dirid: &FileHandleU64,
        dirname: &filename3<'_>,
    ) -> Result<(FileHandleU64, fattr3), nfsstat3> {
        let path = self.child(*dirid, dirname)?;
        let made = path.clone();
        let found = work(move || {
            std::fs::create_dir(&made)?;
            made.metadata()
        });
        let found = found.await?;
        Ok((self.remember(path, &found), attributes(&found)))
    }

    async fn remove(
        &self,
        dirid: &FileHandleU64,
        filename: &filename3<'_>,
    ) -> Result<(), nfsstat3> {
        let path = self.child(*dirid, filename)?;
        let removed = work(move || {
            let number = path.symlink_metadata()?.ino();
            std::fs::remove_file(path)?;
            Ok(number)
        });
        let number = removed.await?;
        self.known().remove(&number);
        Ok(())
    }

    async fn rename<'a>(
        &self,
        from_dirid: &FileHandleU64,
        from_filename: &filename3<'a>,
        to_dirid: &FileHandleU64,
        to_filename: &filename3<'a>,
    ) -> Result<(), nfsstat3> {
        let from = self.child(*from_dirid, from_filename)?;
        let to = self.child(*to_dirid, to_filename)?;
        work(move || std::fs::rename(from, to)).await
    }

    async fn symlink<'a>(
        &self,
        _dirid: &FileHandleU64,
        _linkname: &filename3<'a>,
        _symlink: &nfspath3<'a>,
        _attr: &sattr3,
    ) -> Result<(FileHandleU64, fattr3), nfsstat3> {
        Err(nfsstat3::NFS3ERR_NOTSUPP)
    }

    async fn commit(&self, id: &FileHandleU64, _offset: u64, _count: u32) -> Result<(), nfsstat3> {
        let file = self.file(*id).await?;
        work(move || file.sync_data()).await
    }
}
