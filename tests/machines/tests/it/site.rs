//! Three machines: one with the store and the files, two that work.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lote_tests::daemon::binary;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::image::Image;
use crate::machine::{Boot, Machine, Plan, empty_disk};
use crate::network::Network;
use crate::samba::Samba;

/// Longer than anything takes that a machine does, which software plays on a host with little time
/// for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(8);

/// Between two questions: an encrypted connection is work for a machine that software plays.
const PAUSE: Duration = Duration::from_secs(2);

/// The machine with the store and the files.
pub(crate) const HEAD: &str = "head";

/// The cluster of the workers.
pub(crate) const CLUSTER: &str = "workers";

/// The file server.
pub(crate) const FILES: &str = "nfs";

/// The operator's storage table, beside the kernel of each worker.
const STORAGE_TABLE: &str = "lote.storage";

/// What systemd says when it kills a daemon that gives no sign of life.
pub(crate) const WATCHDOG: &str = "lote.service: Watchdog timeout";

/// How many disks each worker has for a file server of its own.
const EMPTY_DISKS: usize = 2;

/// What is added to the kernel's command line here. The console tells what happens; what the
/// kernel does against the faults of processors costs time that nobody needs here.
pub(crate) const HERE: &str =
    "systemd.show_status=no systemd.journald.forward_to_console=1 mitigations=off";

/// The machines and what they need. Dropping it removes all of it.
pub(crate) struct Site {
    pub(crate) head: Machine,
    pub(crate) workers: Vec<Machine>,
    pub(crate) image: Image,
    pub(crate) network: Network,
    authority: Authority,
    token: String,
    join_token: String,
    started: Instant,
    folder: TempDir,
}

impl Site {
    /// Boots the machines and has them join; gives up with their consoles.
    pub(crate) fn start() -> Self {
        let started = Instant::now();
        let image = Image::find();
        let folder = tempfile::Builder::new()
            .prefix("lote-machines-")
            .tempdir_in("/var/tmp")
            .expect("a folder");
        let network = Network::create(folder.path());
        let authority = Authority::create(folder.path().join("authority"));
        let address = network.address(11);
        for (name, extension) in [
            ("etcd", format!("subjectAltName=IP:127.0.0.1,IP:{address}")),
            ("api", format!("subjectAltName=IP:{address}")),
            ("lote", "extendedKeyUsage=clientAuth".to_owned()),
        ] {
            authority.sign(name, &extension);
        }
        let token = format!("{}{}", random(), random());
        let disk = folder.path().join("head.disk");
        let files = head_files(&folder, &image, &authority, &network, &token);
        image.disk_with(&disk, &files);
        let head = Plan {
            name: HEAD,
            index: 11,
            boot: Boot::Uefi,
            disk: Some(disk),
            empty_disks: 0,
            memory_mib: 2048,
            processors: 2,
        };
        let head = Machine::start(head, &network, folder.path());
        let mut site = Self {
            head,
            workers: Vec::new(),
            image,
            network,
            authority,
            token,
            join_token: String::new(),
            started,
            folder,
        };
        site.log("the machine with the store and the files is on, by UEFI");
        let invited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| site.invite()));
        if let Err(panic) = invited {
            site.print_consoles();
            std::panic::resume_unwind(panic);
        }
        site
    }

    /// Waits for the API, and switches the workers on with a token to join with.
    fn invite(&mut self) {
        self.until("the API to answer", |site| {
            site.lote(&["node", "status"]).ok()
        });
        self.log("the API answers");
        let arguments = ["token", "create", "--node", "--uses", "10", "-o", "json"];
        let made = self.json(&arguments);
        let secret = made["properties"]["token"].as_str().expect("a token");
        secret.clone_into(&mut self.join_token);
        for (name, index) in [("w1", 1), ("w2", 2)] {
            let disk = self.folder.path().join(format!("{name}.disk"));
            let table = self.file("storage.toml", &Samba::table(&self.network));
            self.image
                .disk_with(&disk, &[(PathBuf::from(table), STORAGE_TABLE)]);
            let plan = Plan {
                name,
                index,
                boot: Boot::Direct {
                    kernel: self.image.file("network/vmlinuz"),
                    initrd: self.image.file("network/initrd"),
                    words: format!(
                        "{} {HERE} {} {} lote.storage-table=/run/lote/boot/{STORAGE_TABLE}",
                        self.image.options(),
                        self.words(name),
                        export_disks()
                    ),
                },
                disk: Some(disk),
                empty_disks: EMPTY_DISKS,
                memory_mib: 1536,
                processors: 1,
            };
            let worker = Machine::start(plan, &self.network, self.folder.path());
            self.workers.push(worker);
        }
        self.log("two workers are on");
    }

    /// What a worker is told on the kernel's command line.
    pub(crate) fn words(&self, name: &str) -> String {
        format!(
            "lote_network={} lote.join=https://{}:8471 lote.token={} lote.name={name} \
             lote.listen=0.0.0.0:8471 lote.tls lote.allow-mount-commands",
            self.network.cluster(),
            self.head.address,
            self.join_token,
        )
    }

    /// The same in the daemon's file.
    pub(crate) fn options(&self, name: &str) -> String {
        format!(
            "join = 'https://{}:8471'\nname = '{name}'\nlisten = '0.0.0.0:8471'\ntls = true\n",
            self.head.address,
        )
    }

    /// What a machine shows to join.
    pub(crate) fn join_token(&self) -> &str {
        &self.join_token
    }

    /// Makes a cluster of two nodes of this size, and waits for them.
    pub(crate) fn create_cluster(&mut self, name: &str, size: &str) {
        let create = ["cluster", "create", name, "--size", size, "--target", "2"];
        self.ask(&create);
        self.until(&format!("the cluster {name} to have its nodes"), |site| {
            let cluster = site.look(&["cluster", "show", name, "-o", "json"])?;
            (cluster["properties"]["currentNodeCount"] == 2).then_some(())
        });
        self.log(&format!("the cluster {name} has two nodes"));
    }

    /// The first step: all are there, with a cluster of the workers and a file server.
    pub(crate) fn assert_complete(&mut self) {
        for name in ["w1", "w2"] {
            self.until(&format!("{name} to join"), |site| {
                site.node(name).filter(is_ready)
            });
            self.log(&format!("{name} has joined"));
        }
        self.create_cluster(CLUSTER, "cpu");
        self.create_file_server(FILES, HEAD, &json!({"node": HEAD}));
    }

    /// Makes a file server on a node of this size; `place` says on which, and where there.
    pub(crate) fn create_file_server(&mut self, name: &str, size: &str, place: &Value) {
        let body = self.file(
            &format!("{name}.json"),
            &json!({"properties": {
                "vmSize": size,
                "sshConfiguration": {"userAccountSettings": {"adminUserName": "op"}},
                "dataDisks": {"diskSizeInGB": 1, "diskCount": 1, "storageAccountType": "Standard_LRS"},
                "lote": place,
            }})
            .to_string(),
        );
        self.ask(&["file-server", "create", name, "-f", &body]);
        self.until(&format!("the file server {name} to be ready"), |site| {
            let server = site.look(&["file-server", "show", name, "-o", "json"])?;
            let state = &server["properties"]["provisioningState"];
            assert_ne!(state, "failed", "{server:#}");
            (state == "succeeded").then_some(())
        });
        self.log(&format!("the file server {name} is ready"));
    }

    /// A node as the API shows it.
    pub(crate) fn node(&self, name: &str) -> Option<Value> {
        let listed = self.look(&["node", "list", "-o", "json"])?;
        let mut nodes = listed.as_array()?.iter();
        nodes
            .find(|node| node["name"] == name)
            .map(|node| node["properties"].clone())
    }

    /// The command line as somebody outside of the cluster uses it; what it printed, or its error.
    pub(crate) fn lote(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(binary())
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .env("LOTE_URL", format!("https://{}:8471", self.head.address))
            .env("LOTE_CA_FILE", self.authority.file("ca.pem"))
            .env("LOTE_TOKEN", &self.token)
            .output()
            .expect("lote can be run");
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The same where it must work.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        self.lote(arguments)
            .unwrap_or_else(|error| panic!("lote {arguments:?}: {error}"))
    }

    /// The same where JSON is asked for.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ask(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The same where the API may be away, or does not know it yet.
    pub(crate) fn look(&self, arguments: &[&str]) -> Option<Value> {
        serde_json::from_str(&self.lote(arguments).ok()?).ok()
    }

    /// A file with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    /// Where files of this test may lie.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Waits until `condition` gives something.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut condition: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = condition(self) {
                return found;
            }
            self.head.assert_on();
            self.workers.iter_mut().for_each(Machine::assert_on);
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Tells the time since the beginning, and what happened.
    pub(crate) fn log(&self, what: &str) {
        eprintln!("[{:4} s] {what}", self.started.elapsed().as_secs());
    }

    /// What the machines said.
    pub(crate) fn print_consoles(&self) {
        for machine in std::iter::once(&self.head).chain(&self.workers) {
            let console = machine.console();
            let lines: Vec<&str> = console.lines().collect();
            let last = &lines[lines.len().saturating_sub(400)..];
            eprintln!("=== the console of {}\n{}", machine.name, last.join("\n"));
        }
    }
}

impl Drop for Site {
    /// Says how often a machine was too slow for the daemon's watchdog, which is once at most here.
    fn drop(&mut self) {
        for machine in std::iter::once(&self.head).chain(&self.workers) {
            let kills = machine.console().matches(WATCHDOG).count();
            self.log(&format!("{}: {kills} daemons hung", machine.name));
        }
    }
}

/// The disks that workers have set aside for file servers.
pub(crate) fn disks() -> Vec<String> {
    (0..EMPTY_DISKS).map(empty_disk).collect()
}

/// The same for the kernel's command line.
fn export_disks() -> String {
    let words = disks().into_iter();
    let words: Vec<String> = words
        .map(|disk| format!("lote.export-disk={disk}"))
        .collect();
    words.join(" ")
}

/// Whether it takes jobs.
pub(crate) fn is_ready(node: &Value) -> bool {
    node["state"] == "ready"
}

/// What lies beside the kernel of the machine with the store.
fn head_files(
    folder: &TempDir,
    image: &Image,
    authority: &Authority,
    network: &Network,
    token: &str,
) -> Vec<(PathBuf, &'static str)> {
    let address = network.address(11);
    let texts = [
        ("loader/entries/lote.conf", image.boot_entry_with(HERE)),
        (
            "loader/loader.conf",
            "timeout 0\ndefault lote.conf\n".to_owned(),
        ),
        ("lote.network", network.cluster()),
        ("lote.tokens", format!("operator {token}\n")),
        ("lote.toml", head_options(&address)),
        ("etcd/etcd.conf", etcd_options(&address)),
    ];
    let mut files = Vec::new();
    for (target, text) in texts {
        let source = folder.path().join(target.replace('/', "-"));
        fs::write(&source, text).expect("a file");
        fs::set_permissions(&source, Permissions::from_mode(0o600)).expect("its mode");
        files.push((source, target));
    }
    for (name, target) in [
        ("ca.pem", "etcd/ca.pem"),
        ("etcd.pem", "etcd/server.pem"),
        ("etcd.key", "etcd/server.key"),
        ("lote.pem", "etcd/client.pem"),
        ("lote.key", "etcd/client.key"),
        ("api.pem", "lote.pem"),
        ("api.key", "lote.key"),
    ] {
        files.push((authority.file(name), target));
    }
    files
}

/// The daemon's options, as docs/deploying.md has them.
fn head_options(address: &str) -> String {
    format!(
        "name = '{HEAD}'\nsize = '{HEAD}'\naddress = '{address}'\nlisten = '0.0.0.0:8471'\n\
         store = 'etcd'\netcd = ['https://{address}:2379']\n\
         etcd-ca = '/run/lote/etcd/ca.pem'\netcd-cert = '/run/lote/etcd/client.pem'\n\
         etcd-key = '/run/lote/etcd/client.key'\n\
         tls-cert = '/run/lote/boot/lote.pem'\ntls-key = '/run/lote/boot/lote.key'\n\
         token-file = '/run/lote/boot/lote.tokens'\n"
    )
}

/// The member's options.
fn etcd_options(address: &str) -> String {
    let files = "CERT_FILE=/run/lote/etcd/server.pem KEY_FILE=/run/lote/etcd/server.key \
         TRUSTED_CA_FILE=/run/lote/etcd/ca.pem CLIENT_CERT_AUTH=true \
         AUTO_COMPACTION_RETENTION=1h NAME=e1";
    let urls = format!(
        "INITIAL_CLUSTER=e1=https://{address}:2380 INITIAL_ADVERTISE_PEER_URLS=https://{address}:2380 \
         LISTEN_PEER_URLS=https://{address}:2380 LISTEN_CLIENT_URLS=https://{address}:2379 \
         ADVERTISE_CLIENT_URLS=https://{address}:2379 PEER_CERT_FILE=/run/lote/etcd/server.pem \
         PEER_KEY_FILE=/run/lote/etcd/server.key PEER_CLIENT_CERT_AUTH=true \
         PEER_TRUSTED_CA_FILE=/run/lote/etcd/ca.pem"
    );
    let all = format!("{files} {urls}");
    let lines = all.split_whitespace().map(|word| format!("ETCD_{word}\n"));
    lines.collect()
}

/// Nothing that could be guessed, of 36 letters and digits.
fn random() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel's");
    text.trim().to_owned()
}
