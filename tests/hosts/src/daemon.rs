//! A Lote daemon on a host.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use lote_tests::client::Client;
use lote_tests::daemon::binary;
use lote_tests::{PATIENCE, processes, wait_for};
use nix::sys::signal::Signal;

use crate::host::Host;

/// Where every daemon serves its API.
const PORT: u16 = 8471;

/// Shows the first folder at the second for as long as it runs.
const HOLD_DISK: &str = "mount --bind \"$1\" \"$2\" && exec sleep infinity";

/// A daemon, running or not, and the machine under it.
#[derive(Debug)]
pub struct HostDaemon {
    /// The machine.
    pub host: Host,
    child: Option<Child>,
    arguments: Vec<String>,
    token: String,
    joining: Option<Joining>,
    /// Where the daemon sees the host's disk, if not where it is.
    disk: Option<PathBuf>,
    /// Keeps the mounts of the host for which that is so, from one daemon to the next.
    mounts_holder: Option<Child>,
}

/// How a daemon becomes a member.
#[derive(Debug)]
struct Joining {
    url: String,
    token: String,
}

impl HostDaemon {
    /// Prepares a daemon with these options beside its name, addresses and folders. Requests need
    /// `token`. It is not started yet.
    pub fn new(host: Host, arguments: Vec<String>, token: &str) -> Self {
        let file = host.folder().join("tokens");
        fs::write(&file, format!("test {token}\n")).expect("a token file");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("its mode");
        let data = host.folder().join("data");
        fs::create_dir_all(&data).expect("a data folder");
        fs::set_permissions(&data, Permissions::from_mode(0o711)).expect("its mode");
        Self {
            host,
            child: None,
            arguments,
            token: token.to_owned(),
            joining: None,
            disk: None,
            mounts_holder: None,
        }
    }

    /// Has it see the host's disk at `path` from its next start on. Others do not see it there.
    pub fn show_disk_at(&mut self, path: PathBuf) {
        fs::create_dir_all(&path).expect("a folder to show the disk at");
        fs::set_permissions(&path, Permissions::from_mode(0o711)).expect("its mode");
        self.disk = Some(path);
    }

    /// The mount namespace in which the host's disk is where the daemon sees it; a new one after
    /// the power was off. None if the daemon sees the disk where it is.
    fn mount_namespace(&mut self) -> Option<String> {
        let disk = self.disk.clone()?;
        if !processes::is_running(self.mounts_holder.as_mut()) {
            let mut command = self.host.command("unshare");
            command.args([
                "--mount",
                "--propagation",
                "slave",
                "sh",
                "-c",
                HOLD_DISK,
                "sh",
            ]);
            command.arg(self.host.folder()).arg(&disk);
            self.mounts_holder = Some(self.host.spawn(command, "mounts.log"));
        }
        let holder = self.mounts_holder.as_ref().map_or(0, Child::id);
        let seen = disk.join("tokens");
        let seen = format!("/proc/{holder}/root{}", seen.display());
        wait_for("the disk to be shown", PATIENCE, || {
            fs::exists(&seen).is_ok_and(|is| is).then_some(())
        });
        Some(format!("/proc/{holder}/ns/mnt"))
    }

    /// Has it join, at its next start, the cluster of the daemon at `url`.
    pub fn join(&mut self, url: &str, token: &str) {
        self.joining = Some(Joining {
            url: url.to_owned(),
            token: token.to_owned(),
        });
    }

    /// Its name as a node, which is its host's.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Where it keeps everything.
    pub fn data(&self) -> PathBuf {
        self.host.folder().join("data")
    }

    /// What its jobs and itself know that place as.
    pub fn seen_data(&self) -> PathBuf {
        self.disk
            .as_ref()
            .map_or_else(|| self.data(), |disk| disk.join("data"))
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        let scheme = if self.is_encrypted() { "https" } else { "http" };
        format!("{scheme}://{}:{PORT}", self.host.address())
    }

    /// Whether it serves HTTPS.
    fn is_encrypted(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "--tls")
    }

    /// The token of its administrator.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// An administrator's client of it.
    pub fn client(&self) -> Client {
        Client::new(self.url()).with_token(&self.token)
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.host.folder().join("daemon.log")).unwrap_or_default()
    }

    /// Starts it, for the first time or again; does not wait.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name());
        let mounts = self.mount_namespace();
        let host = &self.host;
        let mut command = match &mounts {
            Some(mounts) => {
                let mut command = host.command("nsenter");
                command.arg(format!("--mount={mounts}")).arg("--");
                command.arg(binary());
                command
            }
            None => host.command(binary()),
        };
        command.arg("node");
        command.args(["--name", host.name(), "--address", host.address()]);
        command.args(["--listen", &format!("{}:{PORT}", host.address())]);
        command.arg("--data-dir").arg(self.seen_data());
        command
            .arg("--token-file")
            .arg(host.folder().join("tokens"));
        command.arg("--insecure-http").args(&self.arguments);
        // Once: what it has joined, it finds again.
        if let Some(joining) = self.joining.take() {
            command.args(["--join", &joining.url]);
            command.env("LOTE_JOIN_TOKEN", joining.token);
        }
        self.child = Some(self.host.spawn(command, "daemon.log"));
    }

    /// Waits until it answers that it is ready.
    pub fn wait_until_ready(&mut self) {
        // One that serves HTTPS answers plain HTTP as well, if only to say so.
        let client = Client::new(format!("http://{}:{PORT}", self.host.address()));
        let ready = if self.is_encrypted() { 400 } else { 200 };
        let start = Instant::now();
        loop {
            let answer = client.try_send("GET", "/readyz", None);
            if answer.is_some_and(|answer| answer.status == ready) {
                return;
            }
            assert!(
                self.is_running(),
                "the daemon on {} ended\n{}",
                self.name(),
                self.log()
            );
            assert!(
                start.elapsed() < PATIENCE,
                "the daemon on {} is not ready\n{}",
                self.name(),
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Waits until it has given up, and returns the last line of its log.
    pub fn wait_until_refused(&mut self) -> String {
        self.wait_for_end();
        let log = self.log();
        log.lines().last().unwrap_or_default().to_owned()
    }

    /// Its process id, if it was started.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        processes::is_running(self.child.as_mut())
    }

    /// SIGKILL; jobs go on.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_for_end();
    }

    /// SIGTERM, and waits; jobs go on.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.wait_for_end();
    }

    /// Stops it in the middle of whatever it does, as an overloaded machine might.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// The machine loses its power: the daemon, its shims and all jobs end at once.
    pub fn power_off(&mut self) {
        self.host.power_off();
        self.wait_for_end();
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            processes::signal(child, signal).expect("it can be signalled");
        }
    }

    fn wait_for_end(&mut self) {
        if let Some(mut child) = self.child.take() {
            wait_for("the daemon to end", PATIENCE, || {
                child.try_wait().ok().flatten()
            });
        }
    }

    /// Runs the command line client against it.
    pub fn lote(&self, arguments: &[&str]) -> Output {
        let mut command = self.lote_command(arguments);
        command.output().expect("the client runs")
    }

    /// The command line client against it, to be started.
    pub fn lote_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir("/")
            .env("LOTE_URL", self.url())
            .env("LOTE_TOKEN", &self.token)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for HostDaemon {
    fn drop(&mut self) {
        self.host.power_off();
        for mut child in [self.child.take(), self.mounts_holder.take()]
            .into_iter()
            .flatten()
        {
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name(), self.log());
        }
    }
}
