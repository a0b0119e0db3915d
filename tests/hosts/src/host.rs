//! One machine.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lote_tests::{mounts, processes};

use crate::control_group::ControlGroup;
use crate::network::{Namespace, Network};

/// Enters the control groups before `--`, then the network, then becomes the program. A shell
/// does it because it stays one process all the way.
const ENTER: &str = "namespace=$1; shift; \
    while [ \"$1\" != -- ]; do echo $$ > \"$1\" || exit 125; shift; done; shift; \
    exec nsenter --net=\"$namespace\" -- \"$@\"";

/// A machine with an address, a folder as its disk, and control groups of its own. Dropping it
/// ends everything that runs on it.
#[derive(Debug)]
pub struct Host {
    name: String,
    folder: PathBuf,
    // In this order: what runs on the host ends before its network goes.
    group: ControlGroup,
    namespace: Namespace,
}

impl Host {
    /// Adds the host `name` to the network, with its disk below `folder`.
    pub fn create(network: &Network, index: u8, name: &str, folder: &Path) -> Self {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("a folder for the host");
        fs::set_permissions(&folder, Permissions::from_mode(0o711)).expect("its mode");
        Self {
            name: name.to_owned(),
            group: ControlGroup::create(&network.label(), name),
            namespace: network.namespace(index),
            folder,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.namespace.address()
    }

    /// Its disk.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its network.
    pub fn network(&self) -> &Namespace {
        &self.namespace
    }

    /// A program that will run on the host once it is spawned. The child is the program itself.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER, "sh", &self.namespace.file()]);
        command.args(self.group.entrances());
        command.arg("--").arg(program.as_ref());
        command.stdin(Stdio::null());
        command
    }

    /// Spawns a program with its output in `{name}.log` on the host's disk.
    pub(crate) fn spawn(&self, mut command: Command, log_name: &str) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(log_name))
            .expect("a log file");
        command
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("a program starts on the host")
    }

    /// Every process on the host.
    pub fn processes(&self) -> Vec<i32> {
        self.group.processes()
    }

    /// Processes on the host with `marker` in their command line or environment.
    pub fn processes_mentioning(&self, marker: &str) -> Vec<i32> {
        let own = self.processes();
        let mut found = processes::mentioning(marker);
        found.retain(|pid| own.contains(pid));
        found
    }

    /// The power goes: every process ends at once. The disk stays.
    pub fn power_off(&self) {
        self.group.kill();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What served these mounts may be on the host itself.
        self.power_off();
        mounts::remove_below(&self.folder);
    }
}
