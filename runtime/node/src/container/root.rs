//! The root of a job on this node: an image below, what the job changes above it, and the user
//! name space of its processes. All of them share it, and it ends with the job.
//!
//! `containers/{attempt}` holds what is changed and what the next daemon must know;
//! `mounts/{attempt}/container`, in memory, what is mounted.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, mkdirat, openat2,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_bind,
    move_mount, open_tree, unmount,
};
use serde::{Deserialize, Serialize};

use super::images::Held;
use super::{ContainerError, ids, namespace, nvidia};
use crate::directories::{self, cannot};
use crate::isolation::{ContainerRoot, Identity, map_ids};
use crate::mount::{MOUNTS, open_area, resolved};

/// What the next daemon must know, in the directory of an attempt.
const STATE: &str = "state.json";

/// The longest `passwd` of an image that is read.
const PASSWD_MAX: u64 = 1 << 20;

/// Where root is at home if its image does not say so.
const HOME: &str = "/root";

/// The root of a job's processes on this node, and what its image says of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRoot {
    /// The whole name of the image.
    pub(crate) image: String,
    pub(crate) root: ContainerRoot,
    /// Under which key its files are kept.
    pub(crate) key: Option<String>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) working_directory: Option<String>,
    /// What of the machine is shown, read-only, and where.
    pub(crate) shown: Vec<(PathBuf, PathBuf)>,
    /// Directories that are searched after others, by the variable that names those.
    pub(crate) searched: Vec<(String, String)>,
    /// The shell of its command lines.
    pub(crate) shell: String,
    pub(crate) home: String,
}

/// Where the root of an attempt is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// On disk.
    directory: PathBuf,
    /// The directory of all mounts of the attempt.
    area: PathBuf,
    /// In memory.
    mounts: PathBuf,
}

impl Place {
    pub(crate) fn new(data_directory: &Path, attempt: &str) -> Self {
        let area = resolved(data_directory).join(MOUNTS).join(attempt);
        Self {
            directory: data_directory.join("containers").join(attempt),
            mounts: area.join("container"),
            area,
        }
    }

    /// The directory in memory, which only root can look into; blocks.
    pub(crate) fn open(&self, gid: u32) -> Result<&Path, ContainerError> {
        let opened = open_area(&self.area, gid);
        let opened = opened.and_then(|()| directories::with_mode(&self.mounts, 0o700));
        opened.map_err(failed("make", &self.mounts))?;
        Ok(&self.mounts)
    }

    fn root(&self) -> PathBuf {
        self.mounts.join("root")
    }

    fn lower(&self) -> PathBuf {
        self.mounts.join("lower")
    }

    fn user_namespace(&self) -> PathBuf {
        self.mounts.join("user")
    }

    /// Mounts the root of a job; blocks. What an earlier daemon had begun is removed first.
    pub(crate) fn make(
        &self,
        image: &str,
        held: &Held,
        identity: Identity,
        has_gpus: bool,
    ) -> Result<JobRoot, ContainerError> {
        self.remove()
            .map_err(failed("remove what is left in", &self.directory))?;
        self.open(identity.gid)?;
        self.mount(&held.files, identity)?;
        let root = ContainerRoot {
            path: self.root(),
            user_namespace: self.user_namespace(),
            owner: identity,
        };
        let (shell, home) = Inside::new(&root)?.prepared()?;
        let shown = shown(has_gpus);
        let made = JobRoot {
            image: image.to_owned(),
            root,
            key: held.key.clone(),
            variables: held.config.variables(),
            working_directory: held.config.working_directory(),
            searched: nvidia::search_paths(&shown),
            shown,
            shell,
            home,
        };
        let noted = || -> io::Result<()> {
            let draft = self.directory.join("state.new");
            fs::write(&draft, serde_json::to_vec(&made)?)?;
            fs::rename(draft, self.directory.join(STATE))
        };
        noted().map_err(failed("write to", &self.directory))?;
        Ok(made)
    }

    fn mount(&self, files: &Path, identity: Identity) -> Result<(), ContainerError> {
        let namespace = namespace::make(&ids::mapping(identity));
        let namespace = namespace.map_err(failed("make a user name space for", &self.mounts))?;
        let held = self.user_namespace();
        let hold = || -> io::Result<()> {
            fs::write(&held, "")?;
            let own = format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(&namespace)
            );
            Ok(mount_bind(own, &held)?)
        };
        hold().map_err(failed("hold a user name space at", &held))?;
        let lower = self.lower();
        let map = || -> io::Result<()> {
            directories::with_mode(&lower, 0o700)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = open_tree(CWD, files, flags)?;
            map_ids(&tree, &namespace)?;
            attach(&tree, &lower)
        };
        map().map_err(failed(
            "show an image with the ids of the job's user from",
            files,
        ))?;
        let mode = fs::metadata(files).map_or(0o755, |metadata| metadata.mode() & 0o777);
        let (upper, work) = (self.directory.join("upper"), self.directory.join("work"));
        let root = self.root();
        let overlay = || -> io::Result<()> {
            directories::private(&self.directory)?;
            directories::with_mode(&upper, mode)?;
            chown(&upper, Some(identity.uid), Some(identity.gid))?;
            directories::with_mode(&work, 0o700)?;
            directories::with_mode(&root, 0o700)?;
            let tree = overlay(&lower, &upper, &work)?;
            attach(&tree, &root)?;
            // The root has its own hold on it.
            Ok(unmount(
                &lower,
                UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
            )?)
        };
        overlay().map_err(failed("mount the root of a container at", &root))
    }

    /// Unmounts and removes all of it; blocks. That nothing is there is no error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for point in [self.root(), self.lower(), self.user_namespace()] {
            while_mounted(&point)?;
        }
        // The rest of the attempt's directory goes with its other mounts.
        for directory in [&self.mounts, &self.directory] {
            directories::remove(directory)?;
        }
        Ok(())
    }
}

/// What of the machine a container sees: how names are found, and the driver of its GPUs.
fn shown(has_gpus: bool) -> Vec<(PathBuf, PathBuf)> {
    let files = ["/etc/hosts", "/etc/resolv.conf"].map(PathBuf::from);
    let files = files.into_iter().filter(|path| path.is_file());
    let mut shown: Vec<_> = files.map(|path| (path.clone(), path)).collect();
    if has_gpus {
        shown.extend(nvidia::shown());
    }
    shown
}

/// Unmounts what is there, however often. Lazily: nothing of the job runs any more, and what is
/// left holds it for a moment only.
fn while_mounted(point: &Path) -> io::Result<()> {
    loop {
        match unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ContainerError {
    cannot(action, path)
}

fn attach(tree: &OwnedFd, place: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(tree, c"", CWD, place, flags)?)
}

/// An overlay that nobody else sees yet. What is written is not synced, because it is gone when
/// the machine is.
fn overlay(lower: &Path, upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let system = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&system, "source", "lote")?;
    fsconfig_set_string(&system, "lowerdir", escaped(lower)?)?;
    fsconfig_set_string(&system, "upperdir", upper)?;
    fsconfig_set_string(&system, "workdir", work)?;
    fsconfig_set_flag(&system, "volatile")?;
    fsconfig_create(&system)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(&system, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// The lower directories are a list.
fn escaped(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(text.replace('\\', "\\\\").replace(':', "\\:"))
}

/// A root that its job has not seen yet. It is an image's: links in it are followed only inside.
struct Inside<'a> {
    top: OwnedFd,
    root: &'a ContainerRoot,
}

impl<'a> Inside<'a> {
    fn new(root: &'a ContainerRoot) -> Result<Self, ContainerError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(&root.path, flags, Mode::empty());
        let top = top.map_err(cannot::<_, ContainerError>("open", &root.path))?;
        Ok(Self { top, root })
    }

    fn open(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::from_raw_mode(0o644)
        } else {
            Mode::empty()
        };
        openat2(&self.top, path, flags | OFlags::CLOEXEC, mode, resolve)
    }

    /// The shell, and where root is at home; makes what an image may lack.
    fn prepared(&self) -> Result<(String, String), ContainerError> {
        let is_program = |path: &&str| {
            let found = self.open(path, OFlags::PATH).and_then(rustix::fs::fstat);
            found.is_ok_and(|found| {
                FileType::from_raw_mode(found.st_mode).is_file() && found.st_mode & 0o111 != 0
            })
        };
        let shell = ["/bin/bash", "/usr/bin/bash", "/bin/sh"]
            .into_iter()
            .find(is_program);
        let shell = shell.ok_or(ContainerError::NoShell)?;
        let failed = || failed("prepare", &self.root.path);
        let home = match self.home().map_err(failed())? {
            Some(home) => home,
            None => HOME.to_owned(),
        };
        if home == HOME {
            self.directory("root", 0o700).map_err(failed())?;
        }
        Ok((shell.to_owned(), home))
    }

    /// Where `passwd` has root at home. An image without one gets one.
    fn home(&self) -> io::Result<Option<String>> {
        match self.open("etc/passwd", OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => {
                let mut text = String::new();
                let file = fs::File::from(file);
                if !file.metadata()?.is_file() {
                    return Ok(None);
                }
                // What is no text names nobody.
                file.take(PASSWD_MAX).read_to_string(&mut text).ok();
                Ok(home_of_root(&text))
            }
            Err(Errno::NOENT) => {
                self.directory("etc", 0o755)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let mut file = match self.open("etc/passwd", flags) {
                    // A link that leads nowhere stays what it is.
                    Err(Errno::EXIST) => return Ok(None),
                    file => fs::File::from(file?),
                };
                self.hand_over("etc/passwd")?;
                file.write_all(b"root:x:0:0:root:/root:/bin/sh\n")?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn directory(&self, name: &str, mode: u32) -> io::Result<()> {
        match mkdirat(&self.top, name, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(self.hand_over(name)?),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn hand_over(&self, name: &str) -> rustix::io::Result<()> {
        let Identity { uid, gid } = self.root.owner;
        let made = self.open(name, OFlags::PATH | OFlags::NOFOLLOW)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        chownat(made, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
    }
}

/// The home of the user 0.
fn home_of_root(passwd: &str) -> Option<String> {
    let mut lines = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let root = lines.find(|fields| fields.get(2) == Some(&"0"))?;
    let home = root.get(5)?;
    home.starts_with('/').then(|| (*home).to_owned())
}

/// The root that an earlier daemon has made for an attempt, if it is still mounted.
pub(crate) fn remembered(data_directory: &Path, attempt: &str) -> Option<JobRoot> {
    let place = Place::new(data_directory, attempt);
    let text = fs::read(place.directory.join(STATE)).ok()?;
    let known: JobRoot = serde_json::from_slice(&text).ok()?;
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev()).ok();
    let is_mounted = device(&place.root()).is_some_and(|own| Some(own) != device(&place.mounts));
    is_mounted.then_some(known)
}

/// Removes the root of an attempt; blocks.
pub(crate) fn leave(data_directory: &Path, attempt: &str) -> io::Result<()> {
    one_at_a_time(|| Place::new(data_directory, attempt).remove())
}

/// Making and removing roots cannot be interrupted: whoever removes one waits for whoever makes it
/// although nobody wants it any more.
pub(crate) fn one_at_a_time<T>(work: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// The attempts that have something of a root here.
pub(crate) fn strays(data_directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(data_directory.join("containers"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The keys of the images that roots of jobs are made of.
pub(super) fn used_images(data_directory: &Path) -> Vec<String> {
    let key = |attempt: String| {
        let path = data_directory.join("containers").join(attempt).join(STATE);
        let known: JobRoot = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        known.key
    };
    strays(data_directory).into_iter().filter_map(key).collect()
}

/// Mounts a root without an image and unmounts it again.
pub(super) fn probe(data_directory: &Path, identity: Identity) -> Result<(), ContainerError> {
    let directory = data_directory.join("containers");
    directories::private(&directory).map_err(failed("make", &directory))?;
    let attempt = format!("probe-{}", std::process::id());
    let place = Place::new(data_directory, &attempt);
    let image = place.directory.join("image");
    directories::private(&image).map_err(failed("make", &image))?;
    fs::set_permissions(&image, Permissions::from_mode(0o755)).ok();
    let mounted = place
        .open(identity.gid)
        .and_then(|_| place.mount(&image, identity));
    let removed = place.remove();
    crate::mount::close_area(&place.area);
    mounted?;
    removed.map_err(failed("remove", &place.directory))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// As if an attempt had a root of this image.
    pub(in crate::container) fn note(data_directory: &Path, attempt: &str, key: &str) {
        let place = Place::new(data_directory, attempt);
        fs::create_dir_all(&place.directory).unwrap();
        let identity = Identity { uid: 7, gid: 7 };
        let root = JobRoot {
            image: "i".into(),
            root: ContainerRoot {
                path: place.root(),
                user_namespace: place.user_namespace(),
                owner: identity,
            },
            key: Some(key.into()),
            variables: Vec::new(),
            working_directory: None,
            shown: Vec::new(),
            searched: Vec::new(),
            shell: "/bin/sh".into(),
            home: HOME.into(),
        };
        let text = serde_json::to_vec(&root).unwrap();
        fs::write(place.directory.join(STATE), text).unwrap();
    }

    #[test]
    fn the_home_of_root_is_the_images() {
        let passwd = "bin:x:1:1::/:/bin/sh\nroot:x:0:0:root:/var/root:/bin/sh\n";
        assert_eq!(home_of_root(passwd).as_deref(), Some("/var/root"));
        assert_eq!(home_of_root("root:x:0:0\n"), None);
        assert_eq!(home_of_root("root:x:0:0::relative:\n"), None);
    }

    #[test]
    fn a_path_is_no_list_of_layers() {
        assert_eq!(escaped(Path::new("/a:b\\c")).unwrap(), "/a\\:b\\\\c");
    }

    #[test]
    fn what_is_not_mounted_any_more_is_not_remembered() {
        let data = tempfile::tempdir().unwrap();
        note(data.path(), "j.1", "k");
        assert_eq!(remembered(data.path(), "j.1"), None);
        assert_eq!(used_images(data.path()), ["k"]);
        leave(data.path(), "j.1").unwrap();
        assert!(strays(data.path()).is_empty());
        leave(data.path(), "j.1").unwrap();
    }
}
