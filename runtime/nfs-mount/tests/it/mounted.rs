//! A mount, made by the program as the node makes it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::until;
use lote_tests::ganesha::Server;

pub(crate) struct Mounted {
    folder: TempDir,
    program: Child,
}

fn command(server: &Server, more: &[&str], mountpoint: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nfs-mount"));
    command
        .args(["--server", "127.0.0.1"])
        .args(["--port", &server.port.to_string()])
        .args(["--mount-port", &server.mount_port.to_string()])
        .arg("--export")
        .arg(server.data())
        .args(more)
        .arg(mountpoint)
        .stdin(Stdio::null());
    command
}

impl Mounted {
    pub(crate) fn new(server: &Server) -> Self {
        Self::with(server, &[])
    }

    pub(crate) fn with(server: &Server, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut program = command(server, more, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(program.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        line.clear();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "", "standard output is closed after that");
        Self { folder, program }
    }

    /// An attempt that fails.
    pub(crate) fn refused(server: &Server, more: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let output = command(server, more, folder.path()).output().unwrap();
        assert!(!output.status.success());
        output
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let path = self.folder.path().to_str().unwrap();
        mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(path))
    }

    /// Resident memory of the program, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse().unwrap()
    }

    pub(crate) fn terminate(&self) {
        let id = Pid::from_raw(i32::try_from(self.program.id()).unwrap());
        kill(id, Signal::SIGTERM).unwrap();
    }

    /// Waits for the end of the program.
    pub(crate) fn end(&mut self) -> ExitStatus {
        until("the mount's program ends", || {
            self.program.try_wait().unwrap().is_some()
        });
        self.program.wait().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.program.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.terminate();
            // It may wait for a server that a failed test has left killed.
            let start = std::time::Instant::now();
            while self.program.try_wait().is_ok_and(|ended| ended.is_none()) {
                if start.elapsed().as_secs() > 15 {
                    drop(self.program.kill());
                    drop(self.program.wait());
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}
