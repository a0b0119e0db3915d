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

/// A daemon, running or not, and the machine under it.
#[derive(Debug)]
pub struct HostDaemon {
    /// The machine.
    pub host: Host,
    child: Option<Child>,
    arguments: Vec<String>,
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
        }
    }

    /// Gives it a file in its data folder, as an operator would copy one.
    pub fn put_secret(&self, name: &str, content: &[u8]) {
        let file = self.data().join(name);
        fs::write(&file, content).expect("a file in the data folder");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("its mode");
    }

    /// Its name as a node, which is its host's.
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Where it keeps everything.
    pub fn data(&self) -> PathBuf {
        self.host.folder().join("data")
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://{}:{PORT}", self.host.address())
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
        let host = &self.host;
        let mut command = host.command(binary());
        command.arg("node");
        command.args(["--name", host.name(), "--address", host.address()]);
        command.args(["--listen", &format!("{}:{PORT}", host.address())]);
        command.arg("--data-dir").arg(self.data());
        command
            .arg("--token-file")
            .arg(host.folder().join("tokens"));
        command.arg("--insecure-http").args(&self.arguments);
        self.child = Some(self.host.spawn(command, "daemon.log"));
    }

    /// Waits until it answers that it is ready.
    pub fn wait_until_ready(&mut self) {
        let client = self.client();
        let start = Instant::now();
        loop {
            let answer = client.try_send("GET", "/readyz", None);
            if answer.is_some_and(|answer| answer.status == 200) {
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
        Command::new(binary())
            .args(arguments)
            .current_dir("/")
            .env("LOTE_URL", self.url())
            .env("LOTE_TOKEN", &self.token)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("the client runs")
    }
}

impl Drop for HostDaemon {
    fn drop(&mut self) {
        self.host.power_off();
        if let Some(mut child) = self.child.take() {
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name(), self.log());
        }
    }
}
