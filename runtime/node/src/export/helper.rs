//! The process that becomes NFS-Ganesha.
//!
//! Ganesha does not serve version 3 without an `rpcbind` at `/run/rpcbind.sock`. It gets one of
//! its own: in a private name space of mounts `/run` is empty, and an `rpcbind` runs there in a
//! network without interfaces. The two share the socket, no port 111 is opened, and a machine's
//! own `rpcbind` learns nothing.
//!
//! Ganesha takes names such as `/etc` and `../..` from clients as they are. So the root of that
//! name space holds programs, devices, its own files and the exports, and nothing else.
//!
//! The lock of a file passes on to Ganesha with the process: it is the proof that Ganesha lives,
//! and names its process id.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, unmount,
};
use rustix::process::pivot_root;
use serde::{Deserialize, Serialize};

use super::ganesha_config::STATE;

/// The hidden subcommand under which the daemon's executable becomes Ganesha.
pub const NFS_SERVER_SUBCOMMAND: &str = "__nfs-server";

/// The hidden subcommand under which it keeps Ganesha's `rpcbind`.
pub const RPCBIND_SUBCOMMAND: &str = "__nfs-rpcbind";

/// Where Ganesha looks for `rpcbind`; compiled into it.
const RPCBIND_SOCKET: &str = "/run/rpcbind.sock";

/// How long `rpcbind` may take to answer.
const RPCBIND_LIMIT: Duration = Duration::from_secs(10);

/// The server is to survive when a job uses up the memory, and is larger than a shim.
const OOM_SCORE_ADJUSTMENT: &str = "-800";

/// What is to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServerSpec {
    pub(super) ganesha: PathBuf,
    pub(super) rpcbind: Option<PathBuf>,
    pub(super) lock: PathBuf,
    /// An empty directory, where its root is put together.
    pub(super) root: PathBuf,
    /// The directory with a mount for each export.
    pub(super) places: PathBuf,
    /// The directory of its configuration, log and memory.
    pub(super) state: PathBuf,
}

/// Its configuration, in the directory of its state.
pub(super) const CONFIG: &str = "ganesha.conf";

/// Its log, in the same place.
pub(super) const LOG: &str = "ganesha.log";

#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error("the specification cannot be read")]
    Specification(#[from] serde_json::Error),
    #[error("there is no specification")]
    NoSpecification,
    #[error("cannot {0}")]
    Step(&'static str, #[source] io::Error),
}

fn step<E: Into<io::Error>>(name: &'static str) -> impl FnOnce(E) -> HelperError {
    move |error| HelperError::Step(name, error.into())
}

/// Becomes Ganesha. To be called first thing in `main`, before any thread exists; the second
/// argument is the specification.
pub fn nfs_server_main() -> ExitCode {
    let Err(error) = become_server();
    failure(&error)
}

/// Keeps an `rpcbind`, whose path is the second argument, for as long as its parent lives.
pub fn rpcbind_main() -> ExitCode {
    match keep_rpcbind() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// What is said here stands in the server's log.
fn failure(error: &HelperError) -> ExitCode {
    eprintln!(
        "lote: cannot start the NFS server: {}",
        lote_model::problem::explain(error)
    );
    ExitCode::FAILURE
}

fn become_server() -> Result<Infallible, HelperError> {
    let argument = std::env::args()
        .nth(2)
        .ok_or(HelperError::NoSpecification)?;
    let spec: ServerSpec = serde_json::from_str(&argument)?;
    // A session of its own: it outlives the daemon and hears none of its signals.
    nix::unistd::setsid().ok();
    // "Read the exports again" may come before Ganesha listens: it waits until then.
    let reload: SigSet = [Signal::SIGHUP].into_iter().collect();
    reload.thread_block().map_err(step("hold back SIGHUP"))?;
    std::env::set_current_dir("/").map_err(step("enter /"))?;
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJUSTMENT).ok();
    take_lock(&spec.lock)?;
    enter_root(&spec).map_err(step("make a root for the server"))?;
    if let Some(rpcbind) = &spec.rpcbind {
        start_rpcbind(rpcbind)?;
    }
    let state = Path::new(STATE);
    let error = Command::new(&spec.ganesha)
        .arg("-F")
        .args([Path::new("-f"), &state.join(CONFIG)])
        .args([Path::new("-L"), &state.join(LOG)])
        .args([Path::new("-p"), &state.join("ganesha.pid")])
        .exec();
    Err(HelperError::Step("execute ganesha.nfsd", error))
}

/// Takes the lock that Ganesha inherits. Somebody else's means that a server runs already.
fn take_lock(path: &Path) -> Result<(), HelperError> {
    let mut options = File::options();
    let file = options.create(true).truncate(false).write(true).open(path);
    let file = file.map_err(step("open the lock of the server"))?;
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(step("take the lock of the server, which another one has"))?;
    fcntl_setfd(&file, FdFlags::empty()).map_err(step("pass the lock on"))?;
    // Closing any descriptor of the file would give the lock up.
    std::mem::forget(file);
    Ok(())
}

/// Directories of the system that programs are in.
const SYSTEM: [&str; 8] = [
    "usr", "lib", "lib64", "lib32", "libx32", "bin", "sbin", "opt",
];

/// Files of `/etc` that Ganesha, `rpcbind` and their libraries read. Copies, so that the file
/// system of `/etc` is not there.
const SETTINGS: [&str; 9] = [
    "group",
    "hosts",
    "ld.so.cache",
    "localtime",
    "netconfig",
    "nsswitch.conf",
    "passwd",
    "protocols",
    "services",
];

/// Moves into a root with programs, devices, the server's own files and the exports, and nothing
/// else of this machine. Mounts that the daemon makes among the exports later show up in it.
fn enter_root(spec: &ServerSpec) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags)?;
    let root = &spec.root;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount(c"tmpfs", root, c"tmpfs", flags, Some(c"size=16m,mode=0755"))?;
    for name in SYSTEM {
        show_system(Path::new("/"), root, name)?;
    }
    for name in ["etc", "run", "tmp", "var/lib/nfs", "root"] {
        std::fs::create_dir_all(root.join(name))?;
    }
    let links = [("/run", "var/run"), ("/proc/self/mounts", "etc/mtab")];
    for (target, name) in links {
        std::os::unix::fs::symlink(target, root.join(name))?;
    }
    for name in SETTINGS {
        let (source, copy) = (Path::new("/etc").join(name), root.join("etc").join(name));
        match std::fs::copy(source, copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let shown = [
        (Path::new("/proc"), "proc"),
        (Path::new("/dev"), "dev"),
        (&spec.places, "exports"),
    ];
    for (source, name) in shown {
        let target = root.join(name);
        std::fs::create_dir(&target)?;
        mount_bind_recursive(source, &target)?;
    }
    let state = root.join("state");
    std::fs::create_dir(&state)?;
    mount_bind(&spec.state, &state)?;
    std::env::set_current_dir(root)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

/// A directory of the system as it is here: a link, or what is in it.
fn show_system(old: &Path, new: &Path, name: &str) -> io::Result<()> {
    let (source, target) = (old.join(name), new.join(name));
    match std::fs::symlink_metadata(&source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_symlink() => {
            std::os::unix::fs::symlink(std::fs::read_link(&source)?, target)
        }
        Ok(_) => {
            std::fs::create_dir(&target)?;
            Ok(mount_bind_recursive(&source, &target)?)
        }
    }
}

/// Starts `rpcbind` and waits until it answers.
fn start_rpcbind(program: &Path) -> Result<(), HelperError> {
    let mut child = Command::new("/proc/self/exe")
        .arg(RPCBIND_SUBCOMMAND)
        .arg(program)
        .stdin(Stdio::null())
        .spawn()
        .map_err(step("start rpcbind"))?;
    let deadline = Instant::now() + RPCBIND_LIMIT;
    // The socket is the only thing that it makes here.
    while let Err(error) = UnixStream::connect(RPCBIND_SOCKET) {
        if let Ok(Some(status)) = child.try_wait() {
            let ended = io::Error::other(format!("it ended with {status}"));
            return Err(HelperError::Step("start rpcbind", ended));
        }
        if Instant::now() > deadline {
            return Err(HelperError::Step("reach rpcbind", error));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Runs `rpcbind` for as long as Ganesha, its parent, lives. Not by a parent-death signal of its
/// own, because it changes its user, and the kernel forgets the signal then.
fn keep_rpcbind() -> Result<(), HelperError> {
    let program = std::env::args_os().nth(2);
    let program = program.ok_or(HelperError::NoSpecification)?;
    let awaited: SigSet = [Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    awaited.thread_block().map_err(step("hold back signals"))?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(step("tie rpcbind to the server"))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(step("leave the network"))?;
    let child = Command::new(&program)
        .arg("-f")
        .stdin(Stdio::null())
        .spawn();
    let mut child = child.map_err(step("execute rpcbind"))?;
    loop {
        match awaited.wait().map_err(step("wait for signals"))? {
            Signal::SIGTERM => break,
            _ => {
                if let Some(status) = child.try_wait().map_err(step("wait for rpcbind"))? {
                    let ended = io::Error::other(format!("it ended with {status}"));
                    return Err(HelperError::Step("keep rpcbind", ended));
                }
            }
        }
    }
    // It has inherited what is held back here, so that a gentler signal would not arrive.
    child.kill().map_err(step("end rpcbind"))?;
    child.wait().map(drop).map_err(step("wait for rpcbind"))
}
