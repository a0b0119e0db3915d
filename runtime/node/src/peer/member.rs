//! A job's part here, as far as remote starts are concerned.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lote_model::allocation::GangMember;
use lote_model::id::{JobUid, NodeName};
use lote_rsh::protocol::{Start, StartId};
use tokio::sync::{RwLock, RwLockReadGuard, watch};
use tokio_util::sync::CancellationToken;

use super::process::{self, Process};
use super::{Members, PeerCalls, door, hang_up};
use crate::launch::{Attached, Launcher, ProcessSpec, attach};

/// How many commands one attempt of a job may start on one node: each leaves a run record until
/// the job's end.
const STARTS_MAX: usize = 65_536;

/// What is to be started, as the specification of a process needs it.
#[derive(Debug)]
pub(crate) struct RemoteStart<'a> {
    /// The run record.
    pub(crate) record: PathBuf,
    /// The node whose process asks.
    pub(crate) from: &'a NodeName,
    /// A line for the shell.
    pub(crate) command: String,
    /// The environment of the process that asks.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether standard input follows.
    pub(crate) has_input: bool,
}

/// Makes the specification of a remotely started process of the job.
pub(crate) type Specify = Box<dyn Fn(RemoteStart<'_>) -> ProcessSpec + Send + Sync>;

/// What a member is made of.
pub(crate) struct MemberParts {
    pub(crate) uid: JobUid,
    pub(crate) attempt: u32,
    /// This node.
    pub(crate) node: NodeName,
    pub(crate) gang: Vec<GangMember>,
    /// What the job sees as its directory for remote starts.
    pub(crate) directory: PathBuf,
    /// Where the run records are.
    pub(crate) records: PathBuf,
    pub(crate) cgroup_procs: Vec<PathBuf>,
    /// The names of the variables with secret values, which no caller sends.
    pub(crate) secret_names: Vec<String>,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) calls: Arc<OnceLock<Arc<dyn PeerCalls>>>,
    pub(crate) specify: Specify,
    /// Whether the leader has said that the whole gang is prepared.
    pub(crate) may_run: Box<dyn Fn() -> bool + Send + Sync>,
}

/// How far the job is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Preparing,
    Running,
    /// It ends: nothing is started any more.
    Over,
}

/// A job's part here. It takes part from [`open`](Self::open) to [`close`](Self::close).
pub(crate) struct Member {
    pub(super) parts: MemberParts,
    members: Arc<Members>,
    stage: watch::Sender<Stage>,
    /// Held for reading while something is started, so that the end can wait for that.
    starting: RwLock<()>,
    /// Who attends to a start now: the latest of them.
    attending: Mutex<HashMap<StartId, CancellationToken>>,
    over: CancellationToken,
}

impl Debug for Member {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Member")
            .field("uid", &self.parts.uid)
            .field("attempt", &self.parts.attempt)
            .finish_non_exhaustive()
    }
}

/// The right to attend to a start until another one does.
#[derive(Debug)]
pub(super) struct Attention {
    pub(super) replaced: CancellationToken,
}

impl Member {
    /// Opens the door in the job's directory. What asks there is told to wait for the end of the
    /// preparation.
    pub(crate) fn open(members: &Arc<Members>, parts: MemberParts) -> std::io::Result<Arc<Self>> {
        let listener = door::listen(&parts.directory)?;
        let member = Arc::new(Self {
            parts,
            members: Arc::clone(members),
            stage: watch::Sender::new(Stage::Preparing),
            starting: RwLock::default(),
            attending: Mutex::default(),
            over: CancellationToken::new(),
        });
        members.add(&member);
        tokio::spawn(door::serve(Arc::clone(&member), listener));
        Ok(member)
    }

    /// From now on processes may be started. What an earlier daemon started is looked after.
    pub(crate) fn run(self: &Arc<Self>) {
        let run = |stage: &mut Stage| {
            let is_first = *stage == Stage::Preparing;
            if is_first {
                *stage = Stage::Running;
            }
            is_first
        };
        if !self.stage.send_if_modified(run) {
            return;
        }
        for (id, record) in process::records_in(&self.parts.records) {
            if let Ok(Attached::Running(_)) = attach(&record) {
                hang_up::unless_attended(self, id);
            }
        }
    }

    /// Starts nothing any more, and returns when nothing is on its way. What runs is the job's
    /// end to end.
    pub(crate) async fn close(&self) {
        self.stage.send_replace(Stage::Over);
        drop(self.starting.write().await);
        self.over.cancel();
        self.members.remove(self);
    }

    pub(super) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until the preparation is over.
    pub(super) async fn prepared(&self) {
        let mut stage = self.stage.subscribe();
        stage
            .wait_for(|stage| *stage != Stage::Preparing)
            .await
            .ok();
    }

    /// Done when the job's part here is.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Starts what is asked for, or finds it started.
    pub(super) async fn start(&self, from: &NodeName, start: &Start) -> Result<Process, String> {
        let _starting = self.may_start().await?;
        process::ensure(self, from, start).await
    }

    async fn may_start(&self) -> Result<RwLockReadGuard<'_, ()>, String> {
        let starting = self.starting.read().await;
        match self.stage() {
            Stage::Running => Ok(starting),
            Stage::Preparing => Err(PREPARING.into()),
            Stage::Over => Err(format!(
                "the job ends on node {}, so nothing is started there any more",
                self.parts.node
            )),
        }
    }

    /// Takes over a start from whoever attends to it.
    pub(super) fn attend(&self, id: StartId) -> Attention {
        let replaced = CancellationToken::new();
        if let Some(before) = self.attending().insert(id, replaced.clone()) {
            before.cancel();
        }
        Attention { replaced }
    }

    /// Nobody needs to attend to a start any more.
    pub(super) fn leave(&self, id: &StartId, attention: &Attention) {
        if !attention.replaced.is_cancelled() {
            self.attending().remove(id);
        }
    }

    /// Whether there is room for the record of another start.
    pub(super) fn has_room(records: &Path) -> bool {
        process::records_in(records).take(STARTS_MAX).count() < STARTS_MAX
    }

    fn attending(&self) -> MutexGuard<'_, HashMap<StartId, CancellationToken>> {
        self.attending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that an address or a name means.
    pub(super) fn node_at(&self, address: &[u8]) -> Option<&NodeName> {
        let text = std::str::from_utf8(address).ok()?;
        let is_meant = |member: &&GangMember| {
            member.address.eq_ignore_ascii_case(text)
                || member.node.as_str().eq_ignore_ascii_case(text)
        };
        Some(&self.parts.gang.iter().find(is_meant)?.node)
    }
}

/// What is said while the job is being prepared somewhere.
pub(super) const PREPARING: &str =
    "the job is still being prepared; its processes can start others once all nodes are prepared";
