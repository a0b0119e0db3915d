//! The process that becomes NFS-Ganesha.
//!
//! Ganesha does not serve version 3 without an `rpcbind` at `/run/rpcbind.sock`. It gets one of
//! its own: in a private name space of mounts `/run` is empty, and an `rpcbind` runs there in a
//! network without interfaces. The two share the socket, no port 111 is opened, and a machine's
//! own `rpcbind` learns nothing.
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
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use serde::{Deserialize, Serialize};

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
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
    pub(super) pid_file: PathBuf,
}

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
    leave_mounts().map_err(step("leave the machine's mounts"))?;
    if let Some(rpcbind) = &spec.rpcbind {
        hide_run().map_err(step("hide /run"))?;
        start_rpcbind(rpcbind)?;
    }
    let error = Command::new(&spec.ganesha)
        .arg("-F")
        .args([Path::new("-f"), &spec.config])
        .args([Path::new("-L"), &spec.log])
        .args([Path::new("-p"), &spec.pid_file])
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

/// Mounts made here stay here; disks that the daemon mounts later are seen.
fn leave_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

fn hide_run() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount(
        c"tmpfs",
        c"/run",
        c"tmpfs",
        flags,
        Some(c"size=1m,mode=0755"),
    )?)
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
