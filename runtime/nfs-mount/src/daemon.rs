//! Mounts, says so, waits for the end.

use std::error::Error as _;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::fs::{major, minor};
use rustix::mount::{UnmountFlags, unmount};
use rustix::stdio::dup2_stdout;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::filesystem::NfsFilesystem;
use crate::mount::Mount;
use crate::nfs::{self, ConnectError, Found, Nfs};
use crate::options::Options;

/// How long after the end data may take to reach the server's disk.
const LAST_DATA: Duration = Duration::from_mins(1);

/// How long after the unmount those who still have files open are served.
const LAST_USERS: Duration = Duration::from_secs(10);

/// How much the kernel reads ahead of a sequential reader, in KiB: a few of its largest requests. FUSE begins with 128.
const READ_AHEAD: u32 = 4096;

/// What ends the program with an error.
#[derive(Debug, Error)]
enum MountError {
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the NFS server did not answer within {0} seconds")]
    NoAnswer(u64),
    #[error("cannot mount on {mountpoint}")]
    Mount {
        mountpoint: PathBuf,
        source: io::Error,
    },
    #[error(
        "some of what was written did not reach the NFS server within {0} seconds after the unmount, and is lost"
    )]
    DataLost(u64),
}

/// Mounts as the command line says, and serves the mount until it is unmounted or `SIGTERM` comes.
///
/// `mounted` on standard output says that the mount is there and answers; standard output is closed then. What goes
/// wrong stands on standard error.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::read(arguments) {
        Ok(options) => options,
        Err(error) => {
            // Nothing can be done about a closed terminal.
            drop(error.print());
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), MountError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(
            std::thread::available_parallelism()
                .map_or(2, usize::from)
                .min(4),
        )
        .enable_all()
        .build()
        .map_err(MountError::Start)?;
    let outcome = runtime.block_on(serve(options));
    // A call that waits for an absent server must not hold the program.
    runtime.shutdown_background();
    outcome
}

async fn serve(options: &Options) -> Result<(), MountError> {
    let mut end = End::new().map_err(MountError::Start)?;
    let (nfs, root) = connect(options).await?;
    let mount = Arc::new(Mount::new(nfs, &root));
    tokio::spawn(Arc::clone(&mount).keep_going());
    let cannot_mount = |source| MountError::Mount {
        mountpoint: options.mountpoint.clone(),
        source,
    };
    let session = mounted(options, &mount).map_err(cannot_mount)?;
    mount.set_notifier(session.notifier());
    let (over, mut unmounted) = oneshot::channel();
    std::thread::spawn(move || {
        if let Err(error) = session.run() {
            eprintln!("the kernel's FUSE ended with an error: {error}");
        }
        // If nobody listens the program is ending.
        over.send(()).ok();
    });
    let mountpoint = options.mountpoint.clone();
    let answers = tokio::task::spawn_blocking(move || first_answer(&mountpoint));
    if let Ok(Err(error)) = answers.await {
        detach(&options.mountpoint);
        return Err(cannot_mount(error));
    }
    say_mounted().map_err(MountError::Start)?;
    tokio::select! {
        _ = &mut unmounted => {}
        () = end.comes() => {
            detach(&options.mountpoint);
            // Who still has a file open is served for a while.
            let wait = tokio::time::timeout(LAST_USERS, &mut unmounted);
            drop(wait.await);
        }
    }
    let last = tokio::time::timeout(LAST_DATA, mount.writer().flush_all()).await;
    if last.is_err() && !mount.writer().is_durable() {
        return Err(MountError::DataLost(LAST_DATA.as_secs()));
    }
    Ok(())
}

async fn connect(options: &Options) -> Result<(Nfs, Found), MountError> {
    let connected = tokio::time::timeout(options.timeout(), nfs::connect(options)).await;
    let connected = connected.map_err(|_| MountError::NoAnswer(options.timeout))?;
    Ok(connected?)
}

fn mounted(options: &Options, mount: &Arc<Mount>) -> io::Result<Session<NfsFilesystem>> {
    let mut config = Config::default();
    // Of everybody: the kernel checks modes, and the server checks again.
    config.acl = SessionACL::All;
    config.mount_options = vec![
        MountOption::FSName(options.source()),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
    ];
    if options.read_only {
        config.mount_options.push(MountOption::RO);
    }
    let runtime = tokio::runtime::Handle::current();
    let filesystem = NfsFilesystem::new(Arc::clone(mount), runtime);
    Session::new(filesystem, &options.mountpoint, &config)
}

/// Asks through the kernel, and lets it read further ahead.
fn first_answer(mountpoint: &Path) -> io::Result<()> {
    let device = fs::metadata(mountpoint)?.dev();
    let setting = format!(
        "/sys/class/bdi/{}:{}/read_ahead_kb",
        major(device),
        minor(device)
    );
    // Slower, and no worse, where it cannot be set.
    drop(fs::write(setting, READ_AHEAD.to_string()));
    Ok(())
}

fn say_mounted() -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(b"mounted\n")?;
    stdout.flush()?;
    let null: File = OpenOptions::new().write(true).open("/dev/null")?;
    dup2_stdout(null)?;
    Ok(())
}

/// Takes the mount away from where it is, though somebody may use it.
fn detach(mountpoint: &Path) {
    // It may be gone already.
    if let Err(error) = unmount(mountpoint, UnmountFlags::DETACH)
        && error != rustix::io::Errno::INVAL
    {
        eprintln!("cannot unmount {}: {error}", mountpoint.display());
    }
}

/// Signals that end the mount. That of a closed terminal does not: the mount outlives who started it.
struct End {
    terminate: Signal,
    interrupt: Signal,
    _hangup: Signal,
}

impl End {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn comes(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
