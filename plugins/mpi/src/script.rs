//! The script that finds the MPI of the node's image and starts the ranks by it.

use lote_plugin_sdk::shell::quoted;
use lote_plugin_sdk::types::{Allocation, File};

use crate::hosts::{self, Host};
use crate::network;

/// The script, below the job's local scratch folder.
pub const START: &str = "mpi/start";
/// The hosts as Open MPI reads them.
const HOSTS: &str = "mpi/hosts";
/// The hosts as the Hydra launchers read them.
const MACHINES: &str = "mpi/machines";

/// What is the same for every job.
const BODY: &str = include_str!("start.sh");

/// The script of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The job's local scratch folder, without a slash at its end.
    scratch: String,
    processes: u32,
    hosts: Vec<Host>,
    /// What starts processes on other nodes; none where there are none.
    agent: Option<String>,
    /// Where Intel's software is installed: `/opt/intel`, but for tests.
    pub intel_root: String,
    /// The kernel's list of RDMA devices, which stays visible where the devices are not.
    pub rdma_devices: String,
}

impl Script {
    /// The script that starts so many ranks on these hosts. The first is the node that
    /// it runs on.
    pub fn new(
        processes: u32,
        hosts: &[Host],
        agent: Option<&str>,
        allocation: &Allocation,
    ) -> Self {
        Self {
            scratch: allocation.local_scratch.trim_end_matches('/').to_owned(),
            processes,
            hosts: hosts.to_vec(),
            agent: agent.map(str::to_owned),
            intel_root: "/opt/intel".to_owned(),
            rdma_devices: "/sys/class/infiniband".to_owned(),
        }
    }

    /// Its absolute path on the node.
    pub fn path(&self) -> String {
        self.absolute(START)
    }

    /// Itself and what it reads, for the job's first node.
    pub fn files(&self) -> [File; 3] {
        let file = |path: &str, contents, executable| File {
            node: Some(0),
            path: path.to_owned(),
            contents,
            executable,
        };
        [
            file(START, self.text(), true),
            file(HOSTS, hosts::open_mpi(&self.hosts), false),
            file(MACHINES, hosts::hydra(&self.hosts), false),
        ]
    }

    /// The whole script.
    pub fn text(&self) -> String {
        let addresses = self.hosts.iter().map(|host| host.address.as_str());
        let network = network::common(addresses).unwrap_or_default();
        let first = self.hosts.first().map(hosts::without_colons);
        let values = [
            ("processes", self.processes.to_string()),
            ("hosts", self.absolute(HOSTS)),
            ("machines", self.absolute(MACHINES)),
            ("agent", self.agent.clone().unwrap_or_default()),
            ("network", network),
            ("this_host", first.unwrap_or_default().to_owned()),
            ("intel_root", self.intel_root.clone()),
            ("rdma_devices", self.rdma_devices.clone()),
        ];
        let lines = values.map(|(name, value)| format!("{name}={}\n", quoted(&value)));
        BODY.replace("# @settings@\n", &lines.concat())
    }

    fn absolute(&self, path: &str) -> String {
        format!("{}/{path}", self.scratch)
    }
}
