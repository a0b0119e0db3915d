//! Starts, kills and restarts the built binary in a folder of its own.

use std::fs::{File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::client::Client;
use crate::{PATIENCE, mounts, processes, wait_for};

/// A daemon under test. Dropping it ends it and everything it started.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    folder: TempDir,
    host: String,
    port: u16,
    arguments: Vec<String>,
    wrapper: Vec<String>,
}

/// Whom a daemon that is not root runs as in the tests.
const NOBODY: u32 = 65_534;

/// The built binary: `LOTE_BINARY`, or beside the running program.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LOTE_BINARY") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a program knows its own path");
    let candidates = own
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("lote"));
    candidates.into_iter().find(|path| path.is_file()).expect(
        "the binary `lote` is built beside the tests; run `cargo build --release -p lote` first",
    )
}

impl Daemon {
    /// A daemon with the given further arguments, ready to answer.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_wrapped(&[], arguments)
    }

    /// The same, run by another program such as `setpriv`, which makes it nobody.
    pub fn start_wrapped(wrapper: &[&str], arguments: &[&str]) -> Self {
        let owner = (!wrapper.is_empty()).then_some(NOBODY);
        Self::start_anywhere("127.0.0.1", owner, wrapper, arguments)
    }

    /// The same, run by a program that prepares something and becomes the daemon.
    pub fn start_prepared(wrapper: &[&str], arguments: &[&str]) -> Self {
        Self::start_anywhere("127.0.0.1", None, wrapper, arguments)
    }

    /// The same, listening on an address that includes loopback.
    pub fn start_listening(host: &str, arguments: &[&str]) -> Self {
        Self::start_anywhere(host, None, &[], arguments)
    }

    fn start_anywhere(
        host: &str,
        owner: Option<u32>,
        wrapper: &[&str],
        arguments: &[&str],
    ) -> Self {
        // Below /var/tmp because a folder that a job's user may pass through is
        // needed, whoever runs the tests.
        let folder = tempfile::Builder::new()
            .prefix("lote-test-")
            .tempdir_in("/var/tmp")
            .expect("a folder");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("its mode");
        if owner.is_some() {
            let data = folder.path().join("data");
            std::fs::create_dir(&data).expect("a data folder");
            std::os::unix::fs::chown(&data, owner, owner).expect("its owner");
        }
        let port = free_port();
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let (mut arguments, wrapper) = (owned(arguments), owned(wrapper));
        // Several daemons serve files here at once.
        for option in ["--nfs-port", "--nfs-mount-port"] {
            arguments.extend([option.to_owned(), free_port().to_string()]);
        }
        let listen = format!("{host}:{port}");
        let child = spawn(folder.path(), &listen, &arguments, &wrapper);
        let mut daemon = Self {
            child,
            folder,
            host: host.to_owned(),
            port,
            arguments,
            wrapper,
        };
        daemon.wait_until_ready();
        daemon
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(self.url())
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        let scheme = if self.is_encrypted() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Whether it serves HTTPS.
    fn is_encrypted(&self) -> bool {
        let is_tls = |argument: &String| argument == "--tls" || argument == "--tls-cert";
        self.arguments.iter().any(is_tls)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// SIGKILL, as a crash would end it.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let child = &mut self.child;
        wait_for("the daemon to stop", PATIENCE, || {
            child.try_wait().ok().flatten()
        });
    }

    /// Removes what is in its data folder, but for some files. It must not run.
    pub fn empty_data_but(&self, kept: &[&str]) {
        for entry in std::fs::read_dir(self.data()).expect("its data folder") {
            let path = entry.expect("an entry of it").path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| kept.contains(&name)) {
                continue;
            }
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.expect("it can be removed");
        }
    }

    /// Starts it again with the same data, without waiting for it.
    pub fn start_again(&mut self) {
        self.child = spawn(
            self.folder.path(),
            &format!("{}:{}", self.host, self.port),
            &self.arguments,
            &self.wrapper,
        );
    }

    /// Starts it again with the same data.
    pub fn restart(&mut self) {
        self.start_again();
        self.wait_until_ready();
    }

    /// Waits until it answers.
    pub fn wait_until_ready(&mut self) {
        // One that serves HTTPS answers plain HTTP as well, if only to say so.
        let client = Client::new(format!("http://127.0.0.1:{}", self.port));
        let ready = if self.is_encrypted() { 400 } else { 200 };
        let start = std::time::Instant::now();
        loop {
            let answer = client.try_send("GET", "/readyz", None);
            if answer.is_some_and(|answer| answer.status == ready) {
                return;
            }
            let ended = self.child.try_wait().ok().flatten();
            assert!(
                ended.is_none(),
                "the daemon ended: {ended:?}\n{}",
                self.log()
            );
            assert!(
                start.elapsed() < PATIENCE,
                "the daemon is not ready\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs the command line client against it.
    pub fn lote(&self, arguments: &[&str]) -> std::process::Output {
        self.lote_command(arguments)
            .output()
            .expect("the client runs")
    }

    /// The command line client against it, to be started.
    pub fn lote_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            // `lote run` starts jobs in the current directory, which must be one that
            // they can see: a checkout below /tmp is not.
            .current_dir("/")
            .env("LOTE_URL", self.url())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn signal(&self, signal: Signal) {
        processes::signal(&self.child, signal).expect("it can be signalled");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

fn spawn(folder: &Path, listen: &str, arguments: &[String], wrapper: &[String]) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("a log file");
    let mut line = wrapper.to_vec();
    line.push(binary().to_string_lossy().into_owned());
    Command::new(&line[0])
        .args(&line[1..])
        .arg("node")
        .args(["--listen", listen, "--name", &node_name(listen)])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be cloned"))
        .stderr(log)
        .spawn()
        .expect("the daemon starts")
}

/// Distinct for daemons that run at the same time.
fn node_name(listen: &str) -> String {
    let port = listen.rsplit(':').next().unwrap_or_default();
    format!("node-{port}")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Jobs outlive the daemon, so what the test left running is ended here.
        let marker = self.data().to_string_lossy().into_owned();
        self.child.kill().ok();
        self.child.wait().ok();
        processes::kill_all_mentioning(&marker);
        // It knows the folder by another name.
        processes::kill_of_pid_file(&self.data().join("nfs/ganesha.pid"), "ganesha.nfsd");
        // What was mounted for jobs as well, or the folder cannot go.
        mounts::remove_below(self.folder.path());
        if std::thread::panicking() {
            eprintln!("--- log of the daemon ---\n{}", self.log());
        }
    }
}
