//! The members of an etcd cluster, Debian's `etcd-server`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use lote_tests::{PATIENCE, processes, wait_for};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::host::Host;

/// Where Debian puts the server.
const PROGRAM: &str = "/usr/bin/etcd";

/// A member on a host of its own, running or not.
#[derive(Debug)]
pub struct Member {
    /// The machine.
    pub host: Host,
    child: Option<Child>,
    peers: String,
    data: TempDir,
}

/// Starts a cluster with a member on each host, whose data lies below `data`, and waits until each
/// takes requests.
pub fn start(hosts: Vec<Host>, data: &Path) -> Vec<Member> {
    let peers: Vec<String> = hosts
        .iter()
        .map(|host| format!("{}=http://{}:2380", host.name(), host.address()))
        .collect();
    let peers = peers.join(",");
    let member = |host| Member {
        host,
        child: None,
        peers: peers.clone(),
        data: tempfile::Builder::new()
            .prefix("lote-hosts-etcd-")
            .tempdir_in(data)
            .expect("a data folder"),
    };
    let mut members: Vec<Member> = hosts.into_iter().map(member).collect();
    for member in &mut members {
        member.start();
    }
    for member in &members {
        member.wait_until_healthy();
    }
    members
}

/// What the daemons are given as `--etcd`.
pub fn endpoints(members: &[Member]) -> String {
    let endpoints: Vec<String> = members.iter().map(Member::endpoint).collect();
    endpoints.join(",")
}

impl Member {
    /// Where clients reach it.
    pub fn endpoint(&self) -> String {
        format!("http://{}:2379", self.host.address())
    }

    /// Starts it, for the first time or again; does not wait.
    pub fn start(&mut self) {
        let host = &self.host;
        let own = format!("http://{}:2380", host.address());
        let clients = self.endpoint();
        let mut command = host.command(PROGRAM);
        command.args(["--name", host.name()]);
        command.arg("--data-dir").arg(self.data.path());
        command.args(["--listen-peer-urls", &own]);
        command.args(["--initial-advertise-peer-urls", &own]);
        command.args(["--listen-client-urls", &clients]);
        command.args(["--advertise-client-urls", &clients]);
        command.args(["--initial-cluster", &self.peers]);
        command.args(["--initial-cluster-token", "lote-test"]);
        // As docs/operating.md says it should be run.
        command.args(["--auto-compaction-retention", "1h"]);
        command.args(["--logger", "zap", "--log-level", "warn"]);
        self.child = Some(self.host.spawn(command, "etcd.log"));
    }

    /// Whether its process is there.
    pub fn is_running(&mut self) -> bool {
        processes::is_running(self.child.as_mut())
    }

    /// Whether it can write, which needs a majority.
    pub fn is_healthy(&self) -> bool {
        Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint(), "--command-timeout=2s"])
            .args(["endpoint", "health"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Waits until it takes requests.
    pub fn wait_until_healthy(&self) {
        let what = format!("etcd member {} to be healthy", self.host.name());
        wait_for(&what, PATIENCE, || self.is_healthy().then_some(()));
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// SIGTERM, and waits.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.child.take() {
            processes::signal(&child, signal).ok();
            child.wait().expect("it can be waited for");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
