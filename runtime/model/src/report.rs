//! From the nodes to the leader: how each part of a job fares.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::accounting::Account;
use crate::id::{JobUid, NodeName};
use crate::job::{DirectoryLocation, ErrorRecord};

/// How one node's part of a job fares: `reports/{job uid}/{node}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The job.
    pub uid: JobUid,
    /// The reporting node.
    pub node: NodeName,
    /// Which start of the job this is about.
    pub attempt: u32,
    /// The node's position in the gang.
    pub rank: u32,
    /// How far it is.
    pub phase: ReportPhase,
    /// Where the job's directories are on this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<DirectoryLocation>,
    /// When the phase was reached.
    pub at: Timestamp,
}

/// How far a node is with its part of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "name"
)]
pub enum ReportPhase {
    /// It is not prepared yet, and what it does takes a while.
    Preparing {
        /// What it does, in words.
        doing: String,
    },
    /// Mounts, directories and the preparation command are done.
    Prepared,
    /// The processes have been started.
    Running,
    /// All primary processes of this node have ended well; supporting ones may
    /// still run, because primaries of other nodes do.
    PrimariesDone {
        /// The exit code to report if all goes well: 0.
        exit_code: i32,
    },
    /// Nothing of the job is left on the node.
    Ended {
        /// How it ended here.
        outcome: Outcome,
        /// What it used here.
        account: Account,
    },
}

impl ReportPhase {
    /// Whether everything that has to be there before the processes start is there.
    pub fn is_prepared(&self) -> bool {
        !matches!(self, Self::Preparing { .. })
    }
}

/// How a job ended on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "verdict"
)]
pub enum Outcome {
    /// Every primary process here ended well, or there was none.
    Completed,
    /// A step or a process failed.
    Failed {
        /// The exit code to report, if a process gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        /// What failed: node, step, command, status, last lines of stderr.
        error: ErrorRecord,
    },
    /// It was stopped because the leader said so.
    Stopped,
    /// It could not go on, and not for a reason of its own: the machine was restarted, or a GPU
    /// failed.
    Lost {
        /// What is known, in a sentence.
        reason: String,
        /// What it is called, if it is more than the loss of a node: the error of the job if it
        /// is not started again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorRecord>,
    },
}
