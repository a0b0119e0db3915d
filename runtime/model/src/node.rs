//! Machines as they describe themselves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::body;
use crate::export::NfsAbility;
use crate::gpu::{Gpu, GpuDistance, GpuDriver, NumaNode};
use crate::id::NodeName;
use crate::problem::Problem;

/// A machine that runs the daemon, as it registered itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// Unique in the cluster.
    pub name: NodeName,
    /// The address other nodes reach it by.
    pub address: String,
    /// Where people reach its SSH server.
    #[serde(default = "ssh_port_default")]
    pub ssh_port: u16,
    /// Where its daemon answers other daemons, `host:port`; none if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_address: Option<String>,
    /// The hardware address of the interface that wakes it, `aa:bb:cc:dd:ee:ff`, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Whether it is never switched off: a member of etcd runs there, or the operator says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_on: bool,
    /// The size label (`vmSize`), compared without case.
    pub size: String,
    /// What the operator says of its place: `rack`, `switch` and whatever else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Version of its daemon.
    pub version: String,
    /// Changes with every boot; tells a restart of the daemon from one of the machine.
    pub boot_id: String,
    /// Processors that jobs may use.
    pub cpu_cores: u32,
    /// Memory that jobs may use, in bytes.
    pub memory_bytes: u64,
    /// Its GPUs.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
    /// How far each GPU is from each, in their order; empty if there is no telling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_distances: Vec<Vec<GpuDistance>>,
    /// The driver of its GPUs, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_driver: Option<GpuDriver>,
    /// Its NUMA nodes; empty for a machine that has only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa_nodes: Vec<NumaNode>,
    /// The first of the ports that are leased to jobs.
    pub ports_first: u16,
    /// How many ports there are to lease.
    pub ports_count: u16,
    /// The directory that holds scratch and local output of jobs.
    pub work_directory: String,
    /// Whether it can serve files to other nodes; none if an older daemon has not said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nfs: Option<NfsAbility>,
    /// With which versions of NFS it can mount what other nodes serve; none if it mounts nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nfs_client_versions: Vec<String>,
    /// What is in force there to separate jobs, in words (design §1.5).
    pub isolation: Vec<Capability>,
    /// What is wrong with it; empty for a well node.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// When its daemon started.
    pub started_at: Timestamp,
}

/// The port of an SSH server that nobody moved.
pub const SSH_PORT_DEFAULT: u16 = 22;

/// For records of nodes that do not say it.
fn ssh_port_default() -> u16 {
    SSH_PORT_DEFAULT
}

/// One means of isolation or measurement, and whether it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    /// What it is: `memory limit`, `mount namespace`, `NVML`.
    pub name: String,
    /// Whether jobs get it here.
    pub in_force: bool,
    /// How, or why not.
    pub note: String,
}

/// Something wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Machine-readable.
    pub code: String,
    /// A sentence that says what to do.
    pub message: String,
    /// Whether the node may take jobs in spite of it.
    pub blocks_jobs: bool,
    /// Since when.
    pub since: Timestamp,
}

/// The name of the [`Capability`] to start a job's processes from its other nodes.
pub const REMOTE_START: &str = "remote start";

/// The name of the [`Capability`] to run a job's processes in containers.
pub const CONTAINERS: &str = "containers";

impl NodeRecord {
    /// Whether processes of a gang can be started there from its other nodes.
    pub fn starts_remotely(&self) -> bool {
        self.has(REMOTE_START)
    }

    /// Whether jobs with images can run there.
    pub fn runs_containers(&self) -> bool {
        self.has(CONTAINERS)
    }

    fn has(&self, name: &str) -> bool {
        let mut known = self.isolation.iter();
        known.any(|capability| capability.in_force && capability.name == name)
    }

    /// Whether nothing keeps jobs away from it.
    pub fn is_schedulable(&self) -> bool {
        !Condition::any_blocks(&self.conditions)
    }
}

impl Condition {
    /// Whether one of them keeps jobs away from what they are about.
    pub fn any_blocks(conditions: &[Self]) -> bool {
        conditions.iter().any(|condition| condition.blocks_jobs)
    }
}

/// The operator's wish that a node takes no new job: `drains/{node}`, written by the API, gone
/// when the node is to work again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Why, in the operator's words; shown with the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when.
    pub requested_at: Timestamp,
}

/// What the leader has done about a machine's power: `power/{node}`, written by the leader; no
/// record for a machine that nobody switches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePower {
    /// What was done last.
    pub state: PowerState,
    /// When.
    pub since: Timestamp,
    /// Which daemon was told to switch its machine off: the one that started then, as its node's
    /// record says. One that started at another time has come back.
    pub told_daemon_of: Timestamp,
    /// How often the same was tried without success.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Why it did not work, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Whether a machine was switched on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PowerState {
    /// It was told to switch off, and is not lost although it is silent.
    Off,
    /// It was told to switch on and has not come back yet.
    Starting,
    /// It is in use, because it could not be switched off.
    On,
}

/// What an operator says when a node is to take no new job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainRequest {
    /// Why, in the operator's words.
    pub reason: Option<String>,
}

/// The longest reason of a drain, in characters.
const REASON_LENGTH_MAX: usize = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DrainProperties {
    #[serde(default)]
    reason: Option<String>,
}

impl DrainRequest {
    /// Reads and checks a body, which may be empty.
    pub fn parse(request_body: &[u8]) -> Result<Self, Problem> {
        let text = request_body.trim_ascii();
        if text.is_empty() || text == b"null" {
            return Ok(Self::default());
        }
        let members = body::properties(request_body, &[])?;
        let properties: DrainProperties =
            body::typed(serde_json::Value::Object(members), "/properties")?;
        let reason = properties.reason.map(|reason| reason.trim().to_owned());
        let reason = reason.filter(|reason| !reason.is_empty());
        let wrong = |text: &String| {
            text.chars().count() > REASON_LENGTH_MAX || text.chars().any(char::is_control)
        };
        if reason.as_ref().is_some_and(wrong) {
            let message =
                format!("the reason is one line of at most {REASON_LENGTH_MAX} characters");
            return Err(Problem::invalid("/properties/reason", message));
        }
        Ok(Self { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_may_say_why() {
        let reason = |body: &str| DrainRequest::parse(body.as_bytes()).map(|drain| drain.reason);
        for none in [
            "",
            "null",
            r#"{"properties": {}}"#,
            r#"{"properties": {"reason": " "}}"#,
        ] {
            assert_eq!(reason(none).unwrap(), None, "{none}");
        }
        let told = reason(r#"{"properties": {"reason": " new disk "}}"#).unwrap();
        assert_eq!(told.as_deref(), Some("new disk"));
        for bad in [
            "[]".to_owned(),
            r#"{"properties": {"why": "x"}}"#.to_owned(),
            r#"{"properties": {"reason": "a\nb"}}"#.to_owned(),
            format!(r#"{{"properties": {{"reason": "{}"}}}}"#, "x".repeat(501)),
        ] {
            assert!(reason(&bad).is_err(), "{bad}");
        }
    }
}
