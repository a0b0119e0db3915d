//! What the tests share: a place to work in and a launcher.

use std::future::Future;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lote_node::cgroup::{CgroupLayout, Controller, LayoutSource};
use lote_node::isolation::Identity;
use lote_node::launch::{
    ExitCause, ExitRecord, Launcher, Outcome, ProcessSpec, SPAWNER_SUBCOMMAND, SecretVariables,
    SpawnerCommand,
};
use tempfile::TempDir;

/// Starts a daemon that launches one specification and never ends.
pub const DAEMON_SUBCOMMAND: &str = "__test-daemon";

/// A test of this binary.
pub struct Test {
    pub name: &'static str,
    pub run: fn(),
    needs: Needs,
}

/// What a test cannot do without.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Root,
    Cgroups,
    FrozenDisk,
    /// NFS-Ganesha, and `libnfs` as its client.
    Nfs,
}

/// A test that any user can run.
pub const fn test(name: &'static str, run: fn()) -> Test {
    Test {
        name,
        run,
        needs: Needs::Nothing,
    }
}

/// A test that changes user and mounts.
pub const fn root_test(name: &'static str, run: fn()) -> Test {
    Test {
        name,
        run,
        needs: Needs::Root,
    }
}

/// A test that makes cgroups, as root.
pub const fn cgroup_test(name: &'static str, run: fn()) -> Test {
    Test {
        name,
        run,
        needs: Needs::Cgroups,
    }
}

/// A test of jobs with a file system on a disk of its own, which can be frozen.
pub const fn frozen_disk_test(name: &'static str, run: fn()) -> Test {
    Test {
        name,
        run,
        needs: Needs::FrozenDisk,
    }
}

/// Makes a file system in a file and mounts it.
pub fn mount_disk(image: &Path, root: &Path) -> bool {
    let made = std::fs::File::create(image).and_then(|image| image.set_len(96 << 20));
    made.is_ok()
        && succeeds(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))
        && succeeds(
            Command::new("mount")
                .args(["-o", "loop"])
                .args([image, root]),
        )
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Whether this machine lets us mount a file as a disk, and freeze it.
fn can_freeze() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let directory = directory();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let freeze = |flag| succeeds(Command::new("fsfreeze").arg(flag).arg(&root));
        let mounted = mount_disk(&directory.path().join("disk"), &root);
        let frozen = mounted && freeze("-f") && freeze("-u");
        if mounted {
            succeeds(Command::new("umount").arg("-l").arg(&root));
        }
        frozen
    })
}

/// A test that serves files by NFS, as root.
pub const fn nfs_test(name: &'static str, run: fn()) -> Test {
    Test {
        name,
        run,
        needs: Needs::Nfs,
    }
}

/// Says aloud when a test cannot run here.
pub fn skipped(test: &Test) -> bool {
    let root = nix::unistd::geteuid().is_root();
    let lack = match test.needs {
        Needs::Root | Needs::Cgroups | Needs::FrozenDisk | Needs::Nfs if !root => "needs root",
        Needs::Nfs if !has_nfs() => "needs nfs-ganesha-vfs, rpcbind and libnfs-utils",
        Needs::Cgroups | Needs::FrozenDisk if usable_layout().is_none() => {
            "this machine lets us make no cgroups"
        }
        Needs::FrozenDisk if !can_freeze() => "needs loop devices, ext4, mkfs.ext4 and fsfreeze",
        _ => return false,
    };
    eprintln!("SKIPPED: {}: {lack}", test.name);
    true
}

fn has_nfs() -> bool {
    let programs = ["bin/ganesha.nfsd", "sbin/rpcbind", "bin/nfs-ls"];
    let mut paths = programs.iter().map(|name| Path::new("/usr").join(name));
    paths.all(|path| path.exists())
}

/// Puts the cgroups of this run where no daemon and no other run looks.
pub fn named(layout: CgroupLayout) -> CgroupLayout {
    layout
        .in_directory(&format!("lote-test-{}", std::process::id()))
        .unwrap()
}

/// The machine's cgroups, with all controllers, ready for jobs.
pub fn usable_layout() -> Option<CgroupLayout> {
    let layout = named(CgroupLayout::detect(&LayoutSource::host().ok()?).ok()?);
    let needed = [Controller::Cpu, Controller::Memory, Controller::Pids];
    let complete = needed.into_iter().all(|controller| layout.has(controller));
    let is_ready = complete && layout.prepare().is_ok();
    is_ready.then(|| layout.with_device_filter())
}

/// The place of one test.
pub struct Place {
    pub directory: TempDir,
    pub launcher: Launcher,
}

/// Runs a test with a launcher and a directory of its own. No test takes long, so
/// one that does has hung.
pub fn in_place<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limit = Duration::from_mins(1);
    runtime.block_on(async {
        let place = Place {
            directory: directory(),
            launcher: Launcher::start(spawner()).unwrap(),
        };
        tokio::time::timeout(limit, test(place))
            .await
            .expect("the test hangs");
    });
}

pub fn spawner() -> SpawnerCommand {
    let program = std::env::current_exe().unwrap();
    SpawnerCommand {
        program,
        arguments: vec![SPAWNER_SUBCOMMAND.into()],
    }
}

/// A directory below `/tmp` that other users can pass through.
pub fn directory() -> TempDir {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o711)).unwrap();
    directory
}

/// A user that no other test uses.
pub fn new_user() -> Identity {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = 700_000 + std::process::id() % 100_000 * 100 + NEXT.fetch_add(1, Ordering::Relaxed);
    Identity { uid: id, gid: id }
}

impl Place {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A directory owned by `user` and closed to others.
    pub fn owned(&self, name: &str, user: Identity) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        path
    }

    /// A shell script without isolation; output in `stdout` and `stderr`.
    pub fn shell(&self, script: &str) -> ProcessSpec {
        ProcessSpec {
            record: self.path("records/run"),
            title: "test".into(),
            argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
            env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            secret_env: SecretVariables::default(),
            working_directory: self.directory.path().into(),
            stdout: self.path("stdout"),
            stderr: self.path("stderr"),
            execution_log: None,
            piped: false,
            stdin: None,
            spooled: false,
            directories: Vec::new(),
            identity: None,
            cgroup_procs: Vec::new(),
            mounts: None,
            resource_limits: Vec::new(),
            umask: 0o022,
            fence: None,
            oom_score_adjustment: 100,
        }
    }

    /// The same as a user of its own, in a directory `home` of its own.
    pub fn user_shell(&self, script: &str) -> ProcessSpec {
        let user = new_user();
        let home = self.owned("home", user);
        ProcessSpec {
            identity: Some(user),
            stdout: home.join("stdout"),
            stderr: home.join("stderr"),
            working_directory: home,
            ..self.shell(script)
        }
    }

    /// Launches and waits for the exit record.
    pub async fn run(&self, spec: &ProcessSpec) -> ExitRecord {
        let process = self.launcher.launch(spec).await.unwrap();
        exit(process.wait().await.unwrap())
    }

    /// Runs to success and gives what was printed.
    pub async fn output(&self, spec: &ProcessSpec) -> String {
        let exit = self.run(spec).await;
        let errors = std::fs::read_to_string(&spec.stderr).unwrap_or_default();
        assert_eq!(exit.cause, ExitCause::Exited(0), "{errors}");
        std::fs::read_to_string(&spec.stdout).unwrap()
    }
}

pub fn exit(outcome: Outcome) -> ExitRecord {
    match outcome {
        Outcome::Ended(exit) => exit,
        other => panic!("not ended: {other:?}"),
    }
}

/// Waits until something is there, looking often; the limit of the test ends it.
pub async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The contents of a file as soon as it has a whole line.
pub async fn line_in(path: &Path) -> String {
    until(|| {
        std::fs::read_to_string(path)
            .ok()
            .filter(|text| text.ends_with('\n'))
    })
    .await
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state
        .rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// The children of a process, zombies included.
pub fn children(pid: u32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Launches the specification in the file that is the second argument, says so,
/// and waits to be killed.
pub fn daemon_main() -> ExitCode {
    let file = std::env::args().nth(2).unwrap();
    let spec: ProcessSpec = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let launcher = Launcher::start(spawner()).unwrap();
        let process = launcher.launch(&spec).await.unwrap();
        println!("launched");
        std::io::stdout().flush().unwrap();
        process.wait().await.unwrap();
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}
