//! NFS-Ganesha as a process that outlives the daemon.
//!
//! It is found again by the lock that it holds (see [`helper`](super::helper)). A change of the
//! exports is written into its configuration, and it is told to read that again, which interrupts
//! nobody; it is restarted only when it died, or when its address or ports change. Its clients
//! wait meanwhile and go on, because file handles stay the same.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{
    Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

use super::ganesha_config::{self, Core, ServedExport};
use super::helper::{CONFIG, LOG, NFS_SERVER_SUBCOMMAND, ServerSpec};
use super::places::Places;
use super::probe::{self, Answer};
use crate::command::SYSTEM_PATH;
use crate::descriptor;
use crate::directories::{self, PathError, cannot};
use crate::launch::tail;

/// The file whose lock proves its life, in its directory.
const LOCK: &str = "ganesha.lock";

/// How long it may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long a change of the exports may take to be in force.
const RELOAD_LIMIT: Duration = Duration::from_secs(5);

/// How long it may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Pause before it is started again, doubled with every failure, up to a minute.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// After so long it counts as having started well.
const SETTLED: Duration = Duration::from_secs(30);

/// Its log is cut when it is longer.
const LOG_BYTES_MAX: u64 = 4 << 20;

/// How much of the end of the log an error shows.
const LOG_SHOWN_BYTES: u64 = 1_500;

/// Ganesha does not serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum GaneshaError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("cannot start the NFS server")]
    Start(#[source] io::Error),
    #[error("cannot watch or signal the NFS server")]
    Signal(#[source] io::Error),
    #[error("NFS-Ganesha ended as soon as it was started; its log says why")]
    Ended { log: String },
    #[error("NFS-Ganesha does not answer at {address}; its log may say why")]
    Silent { address: SocketAddr, log: String },
    #[error("NFS-Ganesha still serves what it should no more; its log may say why")]
    StillServed { log: String },
    #[error(
        "NFS-Ganesha does not stay up and is started again in {} s; its log may say why",
        pause.as_secs()
    )]
    BackingOff { pause: Duration, log: String },
    #[error("NFS-Ganesha does not take this export; its log may say why")]
    Refused { log: String },
}

impl GaneshaError {
    /// The end of the server's log, if that helps.
    pub(super) fn log(&self) -> &str {
        match self {
            Self::Ended { log }
            | Self::Silent { log, .. }
            | Self::StillServed { log }
            | Self::BackingOff { log, .. }
            | Self::Refused { log } => log,
            Self::Path(_) | Self::Start(_) | Self::Signal(_) => "",
        }
    }
}

/// Its files.
#[derive(Clone, Debug)]
struct Paths {
    config: PathBuf,
    log: PathBuf,
    lock: PathBuf,
    recovery: PathBuf,
    /// What it is given of the exports.
    places: PathBuf,
    /// Its root.
    root: PathBuf,
}

impl Paths {
    fn below(directory: &Path) -> Self {
        Self {
            config: directory.join(CONFIG),
            log: directory.join(LOG),
            lock: directory.join(LOCK),
            recovery: directory.join("recovery"),
            places: directory.join("exports"),
            root: directory.join("root"),
        }
    }
}

/// The programs that it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) ganesha: PathBuf,
    pub(super) rpcbind: Option<PathBuf>,
}

/// The one Ganesha of this node.
#[derive(Debug)]
pub(super) struct Ganesha {
    /// The directory of its files, as the kernel names it in its table of mounts.
    directory: PathBuf,
    paths: Paths,
    /// The executable with the hidden subcommand.
    executable: PathBuf,
    running: Option<Running>,
    /// Whether the running one may not have read what the file says.
    is_stale: bool,
    /// What it was told to serve no more, until that is seen.
    leaving: Vec<PathBuf>,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Running {
    handle: AsyncFd<OwnedFd>,
    /// Since when this daemon knows it.
    since: Instant,
}

impl Ganesha {
    /// Makes its directory, and finds one that an earlier daemon started.
    pub(super) fn open(directory: &Path, executable: PathBuf) -> Result<Self, GaneshaError> {
        directories::private(directory).map_err(file_error("make", directory))?;
        let directory = std::fs::canonicalize(directory).map_err(file_error("find", directory))?;
        let directory = &directory;
        let paths = Paths::below(directory);
        for path in [directory, &paths.recovery, &paths.places, &paths.root] {
            directories::private(path).map_err(file_error("make", path))?;
        }
        let mut server = Self {
            directory: directory.clone(),
            paths,
            executable,
            running: None,
            is_stale: true,
            leaving: Vec::new(),
            failures: 0,
            not_before: None,
        };
        server.running = server.find()?;
        Ok(server)
    }

    /// The process that holds the lock.
    fn find(&self) -> Result<Option<Running>, GaneshaError> {
        let file = match File::open(&self.paths.lock) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(file_error("open", &self.paths.lock))?,
        };
        let signal = |errno: rustix::io::Errno| GaneshaError::Signal(errno.into());
        let Some(pid) = holder(&file).map_err(signal)? else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            opened => opened.map_err(signal)?,
        };
        // Only if it still holds the lock is the handle that of the same process.
        if holder(&file).map_err(signal)? != Some(pid) {
            return Ok(None);
        }
        Running::watch(handle).map(Some)
    }

    /// Whether it runs.
    pub(super) fn is_up(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| !running.has_ended())
    }

    /// Returns when the running one has ended; never if there is none.
    pub(super) async fn ended(&self) {
        match &self.running {
            Some(running) => running.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Brings about that these are served, and nothing else. Returns which are not.
    pub(super) async fn serve(
        &mut self,
        programs: &Programs,
        core: &Core,
        exports: &[ServedExport],
    ) -> Result<Vec<u16>, GaneshaError> {
        self.notice_end();
        self.bound_log();
        let exports: Vec<ServedExport> = exports
            .iter()
            .map(|export| with_ourselves(export, core.bind))
            .collect();
        let old = std::fs::read_to_string(&self.paths.config).unwrap_or_default();
        if !ganesha_config::is_for(&old, core) {
            self.stop().await?;
        }
        let new = ganesha_config::render(core, &exports);
        let directory = self.paths.places.clone();
        let places = Places::new(&directory);
        let is_new_place = places.share()?;
        if is_new_place {
            // What is mounted there from now on is seen only by who starts later.
            self.stop().await?;
        }
        for export in &exports {
            places.show(export.number, &export.path)?;
        }
        if new != old {
            self.leaving.extend(removed(&old, &new));
            let path = &self.paths.config;
            lote_vault::file::replace(path, new.as_bytes(), 0o600)
                .map_err(file_error("write", path))?;
            self.is_stale = true;
        }
        let address = probe_address(core);
        match &self.running {
            None => self.start(programs, address).await?,
            Some(running) if self.is_stale => running.signal(Signal::HUP)?,
            Some(_) => return Ok(Vec::new()),
        }
        // Above what is served there are directories to look through.
        let is_above = |path: &PathBuf| exports.iter().any(|export| export.path.starts_with(path));
        self.leaving.retain(|path| !is_above(path));
        let missing = self.wait_until_served(address, &exports).await?;
        self.leaving.clear();
        self.is_stale = !missing.is_empty();
        places.keep_only(&exports)?;
        Ok(missing)
    }

    /// What the log says at its end.
    pub(super) fn log_end(&self) -> String {
        let end = tail(&self.paths.log, LOG_SHOWN_BYTES, None).unwrap_or_default();
        end.trim_end().to_owned()
    }

    fn notice_end(&mut self) {
        if self.running.as_ref().is_some_and(Running::has_ended) {
            let since = self.running.take().map(|running| running.since);
            tracing::warn!("NFS-Ganesha has ended; starting it again");
            if since.is_some_and(|since| since.elapsed() > SETTLED) {
                self.failures = 0;
            } else {
                self.failed();
            }
        }
    }

    fn failed(&mut self) {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failures.min(6));
        self.failures += 1;
        // The first time at once: clients wait.
        self.not_before = (self.failures > 1).then(|| Instant::now() + pause.min(PAUSE_MAX));
    }

    async fn start(
        &mut self,
        programs: &Programs,
        address: SocketAddr,
    ) -> Result<(), GaneshaError> {
        let pause = self
            .not_before
            .map(|at| at.saturating_duration_since(Instant::now()))
            .unwrap_or_default();
        if !pause.is_zero() {
            let log = self.log_end();
            return Err(GaneshaError::BackingOff { pause, log });
        }
        let started = self.try_start(programs, address).await;
        if started.is_err() {
            self.failed();
        }
        started
    }

    async fn try_start(
        &mut self,
        programs: &Programs,
        address: SocketAddr,
    ) -> Result<(), GaneshaError> {
        let spec = ServerSpec {
            ganesha: programs.ganesha.clone(),
            rpcbind: programs.rpcbind.clone(),
            lock: self.paths.lock.clone(),
            root: self.paths.root.clone(),
            places: self.paths.places.clone(),
            state: self.directory.clone(),
        };
        let spec =
            serde_json::to_string(&spec).map_err(|error| GaneshaError::Start(error.into()))?;
        let log = self.open_log()?;
        let errors = log.try_clone().map_err(GaneshaError::Start)?;
        let child = Command::new(&self.executable)
            .args([NFS_SERVER_SUBCOMMAND, &spec])
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(GaneshaError::Start)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid
            .and_then(Pid::from_raw)
            .ok_or_else(|| self.ended_early())?;
        // Our child that nobody has waited for: the number is its own.
        let handle = pidfd_open(pid, PidfdFlags::empty())
            .map_err(|errno| GaneshaError::Signal(errno.into()))?;
        self.running = Some(Running::watch(handle)?);
        // Tokio reaps it if it ends while this daemon runs.
        drop(child);
        self.is_stale = false;
        self.wait_until_up(address).await?;
        tracing::info!(%address, "NFS-Ganesha serves");
        Ok(())
    }

    fn ended_early(&self) -> GaneshaError {
        GaneshaError::Ended {
            log: self.log_end(),
        }
    }

    async fn wait_until_up(&mut self, address: SocketAddr) -> Result<(), GaneshaError> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if self.running.as_ref().is_none_or(Running::has_ended) {
                self.running = None;
                return Err(self.ended_early());
            }
            if probe::ask(address, Path::new("/")).await.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.log_end();
                self.stop().await?;
                return Err(GaneshaError::Silent { address, log });
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Waits until every export can be mounted, and no removed one. Returns those that cannot.
    async fn wait_until_served(
        &self,
        address: SocketAddr,
        exports: &[ServedExport],
    ) -> Result<Vec<u16>, GaneshaError> {
        let deadline = Instant::now() + RELOAD_LIMIT;
        loop {
            let (mut missing, mut left, mut answers) = (Vec::new(), false, false);
            for export in exports {
                let answer = probe::ask(address, &export.path).await;
                answers |= answer.is_ok();
                if !matches!(answer, Ok(Answer::Served)) {
                    missing.push(export.number);
                }
            }
            for path in &self.leaving {
                left |= !matches!(probe::ask(address, path).await, Ok(Answer::Absent));
            }
            if missing.is_empty() && !left {
                return Ok(missing);
            }
            if self.running.as_ref().is_none_or(Running::has_ended) {
                return Err(self.ended_early());
            }
            if Instant::now() > deadline {
                let log = self.log_end();
                return match (answers, left) {
                    (false, _) => Err(GaneshaError::Silent { address, log }),
                    (true, true) => Err(GaneshaError::StillServed { log }),
                    (true, false) => Ok(missing),
                };
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Serves nothing any more.
    pub(super) async fn serve_nothing(&mut self) -> Result<(), GaneshaError> {
        self.stop().await?;
        Ok(Places::new(&self.paths.places).remove()?)
    }

    /// Ends the running one, if there is one.
    async fn stop(&mut self) -> Result<(), GaneshaError> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        running.signal(Signal::TERM)?;
        if tokio::time::timeout(STOP_LIMIT, running.ended())
            .await
            .is_err()
        {
            tracing::warn!("NFS-Ganesha does not end by itself; killing it");
            running.signal(Signal::KILL)?;
            running.ended().await;
        }
        tracing::info!("NFS-Ganesha is stopped");
        Ok(())
    }

    fn open_log(&self) -> Result<File, GaneshaError> {
        let path = &self.paths.log;
        let mut options = OpenOptions::new();
        let opened = options.append(true).create(true).mode(0o600).open(path);
        opened.map_err(file_error("open", path))
    }

    /// Ganesha appends to its log for ever, so the daemon cuts it.
    fn bound_log(&self) {
        let path = &self.paths.log;
        let is_long = path.metadata().is_ok_and(|log| log.len() > LOG_BYTES_MAX);
        if is_long && let Err(error) = cut(path) {
            tracing::warn!(%error, path = %path.display(), "cannot cut the log of the NFS server");
        }
    }
}

impl Running {
    fn watch(handle: OwnedFd) -> Result<Self, GaneshaError> {
        let handle = descriptor::watch(handle, Interest::READABLE).map_err(GaneshaError::Signal)?;
        Ok(Self {
            handle,
            since: Instant::now(),
        })
    }

    async fn ended(&self) {
        // The handle of a process is readable once it has ended, and stays so. An error would
        // mean that it cannot be watched: then it counts as ended, and its lock is looked at.
        self.handle.readable().await.map(drop).ok();
    }

    fn has_ended(&self) -> bool {
        // Signal 0 of `kill` is not offered; poll without waiting is.
        let mut poll = [rustix::event::PollFd::new(
            self.handle.get_ref(),
            rustix::event::PollFlags::IN,
        )];
        let now = rustix::event::Timespec::default();
        rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|count| count > 0)
    }

    fn signal(&self, signal: Signal) -> Result<(), GaneshaError> {
        match pidfd_send_signal(self.handle.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(GaneshaError::Signal(errno.into())),
        }
    }
}

/// This machine is a client of every export, because it asks whether they are served.
fn with_ourselves(export: &ServedExport, bind: IpAddr) -> ServedExport {
    let mut export = export.clone();
    export.clients.push(own_address(bind));
    export.clients.sort_unstable();
    export.clients.dedup();
    export
}

/// Where this machine reaches the server, and from where.
fn own_address(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn probe_address(core: &Core) -> SocketAddr {
    SocketAddr::new(own_address(core.bind), core.nfs_port)
}

/// Directories that the old file exports and the new one does not.
fn removed(old: &str, new: &str) -> Vec<PathBuf> {
    let paths = ganesha_config::exported(old);
    let gone = paths.filter(|path| !ganesha_config::has_export(new, path));
    gone.map(Path::to_owned).collect()
}

/// The versions that it speaks, newest first.
pub(super) fn versions(has_version_3: bool) -> Vec<String> {
    let all = ["4.2", "4.1", "4.0", "3"].into_iter();
    let spoken = all.filter(|version| *version != "3" || has_version_3);
    spoken.map(str::to_owned).collect()
}

/// Whether the one whose files are in this directory runs.
pub(super) fn is_running(directory: &Path) -> bool {
    let lock = File::open(directory.join(LOCK));
    lock.is_ok_and(|lock| holder(&lock).is_ok_and(|holder| holder.is_some()))
}

/// The process that holds the lock of a file.
fn holder(file: &File) -> rustix::io::Result<Option<Pid>> {
    let probe = Flock::from(FlockType::WriteLock);
    Ok(fcntl_getlk(file, &probe)?.and_then(|lock| lock.pid))
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GaneshaError {
    cannot(action, path)
}

/// Keeps the end of a log in a second file and empties the first, which its writer goes on
/// appending to.
fn cut(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX)))?;
    let old = path.with_extension("log.1");
    let mut options = OpenOptions::new();
    let mut copy = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(old)?;
    io::copy(&mut (&mut file).take(LOG_BYTES_MAX), &mut copy)?;
    copy.flush()?;
    file.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_cut_under_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ganesha.log");
        let mut writer = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        writer.write_all(b"before\n").unwrap();
        cut(&path).unwrap();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        let old = folder.path().join("ganesha.log.1");
        assert_eq!(std::fs::read_to_string(old).unwrap(), "before\n");
    }

    #[test]
    fn a_lock_tells_who_lives() {
        let folder = tempfile::tempdir().unwrap();
        let server = Ganesha {
            directory: folder.path().to_owned(),
            paths: Paths::below(folder.path()),
            executable: "/bin/false".into(),
            running: None,
            is_stale: true,
            leaving: Vec::new(),
            failures: 0,
            not_before: None,
        };
        assert!(server.find().unwrap().is_none());
        std::fs::write(&server.paths.lock, "").unwrap();
        assert!(server.find().unwrap().is_none());
    }
}
