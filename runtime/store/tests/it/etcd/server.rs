//! Real members of etcd, on free ports of the loopback, with data in a temporary folder.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lote_store::{EtcdOptions, EtcdStore, Store};
use tempfile::TempDir;

use super::certificates::Certificates;
use crate::PATIENCE;

const PROGRAM: &str = "/usr/bin/etcd";

/// One member. Dropping it kills it.
pub(crate) struct Member {
    name: String,
    folder: PathBuf,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

/// Members that know each other.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    certificates: Option<Certificates>,
    further: Vec<String>,
    _folder: TempDir,
}

impl Cluster {
    /// Starts so many members without certificates and waits until they have a leader.
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, None, &[]).await
    }

    pub(crate) async fn start_with(
        count: usize,
        certificates: Option<Certificates>,
        further: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(certificates) = &certificates {
            certificates.write_to(folder.path());
        }
        let ports = free_ports(2 * count);
        let members = (0..count).map(|index| Member {
            name: format!("m{index}"),
            folder: folder.path().to_owned(),
            client_port: ports[2 * index],
            peer_port: ports[2 * index + 1],
            process: None,
        });
        let mut cluster = Self {
            members: members.collect(),
            certificates,
            further: further.iter().map(|&text| text.to_owned()).collect(),
            _folder: folder,
        };
        for index in 0..count {
            cluster.restart(index);
        }
        cluster.wait_until_ready().await;
        cluster
    }

    /// Starts a member that was not started, or was killed.
    pub(crate) fn restart(&mut self, index: usize) {
        let peers: Vec<_> = self
            .members
            .iter()
            .map(|member| format!("{}=http://127.0.0.1:{}", member.name, member.peer_port))
            .collect();
        let scheme = self.scheme();
        let member = &mut self.members[index];
        assert!(member.process.is_none(), "{} runs", member.name);
        let client_url = format!("{scheme}://127.0.0.1:{}", member.client_port);
        let peer_url = format!("http://127.0.0.1:{}", member.peer_port);
        let data = member.folder.join(&member.name);
        let log = std::fs::File::create(member.folder.join(format!("{}.log", member.name)));
        let log = log.unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(["--name", &member.name, "--data-dir"])
            .arg(data)
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &peers.join(",")])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(&self.further)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if self.certificates.is_some() {
            let path = |name: &str| member.folder.join(name);
            command
                .arg("--cert-file")
                .arg(path("server.pem"))
                .arg("--key-file")
                .arg(path("server.key"))
                .arg("--trusted-ca-file")
                .arg(path("ca.pem"))
                .arg("--client-cert-auth");
        }
        let process = command.spawn().unwrap_or_else(|error| {
            panic!(
                "cannot start {PROGRAM} ({error}): install it with `apt-get install etcd-server`"
            )
        });
        member.process = Some(process);
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        let scheme = self.scheme();
        let url = |member: &Member| format!("{scheme}://127.0.0.1:{}", member.client_port);
        self.members.iter().map(url).collect()
    }

    fn scheme(&self) -> &'static str {
        match self.certificates {
            Some(_) => "https",
            None => "http",
        }
    }

    pub(crate) fn options(&self) -> EtcdOptions {
        EtcdOptions {
            tls: self.certificates.as_ref().map(Certificates::for_client),
            ..EtcdOptions::plain(self.endpoints())
        }
    }

    pub(crate) async fn store(&self) -> EtcdStore {
        EtcdStore::open(&self.options()).await.unwrap()
    }

    async fn wait_until_ready(&self) {
        let store = self.store().await;
        let start = Instant::now();
        while let Err(error) = store.revision().await {
            assert!(
                start.elapsed() < PATIENCE,
                "etcd does not come up: {error:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Member {
    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it where it is; its connections stay open.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that nobody listened on a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    listeners.iter().map(port).collect()
}
