//! Hosts with daemons, and the etcd cluster that they share.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lote_tests::client::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::HostDaemon;
use crate::etcd::{self, Member};
use crate::host::Host;
use crate::network::Network;

/// The administrator's token of every lab.
pub const TOKEN: &str = "lote_lab_0123456789abcdef0123456789abcdef";

/// The addresses of etcd members begin here, those of daemons at 1.
const FIRST_MEMBER: u8 = 201;

/// Where the disks of hosts are.
const DISK: &str = "/srv";

/// Who has this machine's processors: many labs of this process, or one that needs all of them.
static PROCESSORS: RwLock<()> = RwLock::new(());

/// A lab's part in [`PROCESSORS`].
#[derive(Debug)]
enum Turn {
    Shared(#[expect(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
}

impl Turn {
    /// A test that failed has left nothing behind that others would mind.
    fn wait(alone: bool) -> Self {
        if alone {
            Self::Alone(PROCESSORS.write().unwrap_or_else(PoisonError::into_inner))
        } else {
            Self::Shared(PROCESSORS.read().unwrap_or_else(PoisonError::into_inner))
        }
    }
}

/// What a lab consists of.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// How many hosts with daemons.
    pub hosts: u8,
    /// How many etcd members, each on a host of its own.
    pub members: u8,
    /// Below which folder the members keep their data.
    pub members_data: PathBuf,
    /// Whether no other lab of this process is there at the same time.
    pub alone: bool,
    /// Further options of every daemon.
    pub arguments: Vec<String>,
    /// Whether every daemon sees its data under the same path, as on real machines.
    pub same_paths: bool,
}

impl LabOptions {
    /// So many hosts, and three etcd members. These keep their data in memory: no test takes a
    /// machine's power away, so nothing has to reach the disk that all labs share.
    pub fn hosts(hosts: u8) -> Self {
        Self {
            hosts,
            members: 3,
            members_data: "/dev/shm".into(),
            alone: false,
            arguments: Vec::new(),
            same_paths: false,
        }
    }

    /// Waits until no other lab is there, and keeps others waiting: for jobs that take so much of
    /// the processors that the store of another lab would lose its leader.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// With etcd members that write to the disk, for measurements.
    #[must_use]
    pub fn with_members_on_disk(mut self) -> Self {
        self.members_data = DISK.into();
        self
    }

    /// With every daemon's data under one path, each in a mount namespace of its own.
    #[must_use]
    pub fn with_same_paths(mut self) -> Self {
        self.same_paths = true;
        self
    }

    /// With further options for every daemon.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        let owned = arguments.iter().map(|&argument| argument.to_owned());
        self.arguments.extend(owned);
        self
    }
}

/// A site. Dropping it ends and removes all of it.
#[derive(Debug)]
pub struct Lab {
    // In this order: daemons go before what they need.
    /// The hosts with daemons: `h1`, `h2`, …
    pub daemons: Vec<HostDaemon>,
    /// The etcd members: `e1`, `e2`, …
    pub members: Vec<Member>,
    network: Network,
    folder: TempDir,
    same_paths: bool,
    _turn: Turn,
}

impl Lab {
    /// Builds a site and waits until every daemon is ready.
    pub fn start(options: &LabOptions) -> Self {
        let turn = Turn::wait(options.alone);
        let network = Network::create();
        // Not below /tmp or /var/tmp, of which jobs have their own.
        let folder = tempfile::Builder::new()
            .prefix("lote-hosts-")
            .tempdir_in(DISK)
            .expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("its mode");
        let member = |index: u8| {
            let name = format!("e{}", index + 1);
            Host::create(&network, FIRST_MEMBER + index, &name, folder.path())
        };
        let hosts = (0..options.members).map(member).collect();
        let members = etcd::start(hosts, &options.members_data);
        let mut lab = Self {
            daemons: Vec::new(),
            members,
            network,
            folder,
            same_paths: options.same_paths,
            _turn: turn,
        };
        if options.hosts > 0 {
            lab.found(&options.arguments);
        }
        let token = (options.hosts > 1).then(|| lab.join_token(&json!({})));
        for _ in 1..options.hosts {
            let mut daemon = lab.bare_host(options.arguments.clone());
            daemon.join(&lab.daemons[0].url(), token.as_deref().unwrap_or_default());
            daemon.start();
            lab.daemons.push(daemon);
        }
        for daemon in &mut lab.daemons {
            daemon.wait_until_ready();
        }
        lab
    }

    /// Starts the first host, which makes the cluster that the others join.
    fn found(&mut self, arguments: &[String]) {
        let mut options = self.etcd_options();
        options.extend(arguments.iter().cloned());
        let mut first = self.bare_host(options);
        first.start();
        first.wait_until_ready();
        self.daemons.push(first);
    }

    /// What a daemon is given that uses the lab's etcd without having joined.
    pub fn etcd_options(&self) -> Vec<String> {
        let endpoints = etcd::endpoints(&self.members);
        ["--store", "etcd", "--etcd", &endpoints]
            .map(str::to_owned)
            .into()
    }

    /// A token to join with, made by the first host; `properties` may say more of it.
    pub fn join_token(&self, properties: &Value) -> String {
        let mut properties = properties.clone();
        properties["role"] = json!("node");
        let body = json!({"properties": properties});
        let answer = self.client().send("POST", "/v1/tokens", Some(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
        let token = answer.json["properties"]["token"].as_str();
        token.expect("a token").to_owned()
    }

    /// Adds a machine with a daemon that knows nothing of the lab but the network; it is
    /// neither started nor in [`Lab::daemons`].
    pub fn bare_host(&self, arguments: Vec<String>) -> HostDaemon {
        let index = u8::try_from(self.daemons.len() + 1).expect("few hosts");
        let name = format!("h{index}");
        let host = Host::create(&self.network, index, &name, self.folder.path());
        let mut daemon = HostDaemon::new(host, arguments, TOKEN);
        if self.same_paths {
            daemon.show_disk_at(self.folder.path().join("disk"));
        }
        daemon
    }

    /// A client of the first host.
    pub fn client(&self) -> Client {
        self.daemons.first().expect("a lab has a daemon").client()
    }

    /// The folder below which every host has its disk: what a shared file system would be.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
