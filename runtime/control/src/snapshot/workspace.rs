//! Workspaces: what they have used of late, and what they use now.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use lote_model::daily_usage::DailyUsage;
use lote_model::fair_share::Usage;
use lote_model::id::JobUid;
use lote_model::key;
use lote_store::Revision;

use super::{InFlight, LiveJob, Snapshot};
use crate::fair_share::nodes_held;

/// A workspace's place in the store, in the form in which names are compared: `group/workspace`.
pub type WorkspaceKey = Arc<str>;

/// What a workspace uses.
#[derive(Clone, Debug, Default)]
pub struct WorkspaceUse {
    /// The sum of runs that ended and were added up.
    pub total: Option<Usage>,
    /// The revision of the sum; 0 for none.
    pub total_revision: Revision,
    /// Runs that ended since, by the last part of their keys.
    pub ended: BTreeMap<String, Usage>,
    /// Runs that last.
    pub running: BTreeMap<JobUid, Run>,
    /// Whether the sum is being written.
    pub in_flight: bool,
}

/// A job that holds nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Since when.
    pub since: Timestamp,
    /// How many nodes, a part of a node counting as that part.
    pub nodes: f64,
}

impl WorkspaceUse {
    fn is_needless(&self) -> bool {
        self.total.is_none() && self.ended.is_empty() && self.running.is_empty() && !self.in_flight
    }
}

impl Snapshot {
    /// What workspaces use, those that used nothing of late left out.
    pub fn workspaces(&self) -> &BTreeMap<WorkspaceKey, WorkspaceUse> {
        &self.workspaces
    }

    /// What is stored of the days of a workspace, with the revisions, by the keys
    /// below [`key::DAILY_USAGE`].
    pub(crate) fn days_of(
        &self,
        workspace: &str,
    ) -> impl Iterator<Item = (&str, &(DailyUsage, Revision))> {
        let prefix = format!("{workspace}/");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let days = self.days.range::<str, _>(from);
        days.take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, day)| (&**key, day))
    }

    /// What a job holds, or is to hold by a start in progress.
    pub fn run_of(&self, job: &LiveJob) -> Option<Run> {
        let (since, node) = match (&job.in_flight, &job.status) {
            (Some(InFlight::Start { grants, since }), _) => {
                (*since, grants.first().map(|it| &it.0))
            }
            (_, Some(status)) => (status.start_time?, status.nodes.first()),
            (_, None) => return None,
        };
        let record = node.and_then(|name| self.nodes.get(name)?.record.as_deref());
        let nodes = nodes_held(&job.request, record);
        Some(Run { since, nodes })
    }

    pub(super) fn with_workspace(
        &mut self,
        key: &WorkspaceKey,
        change: impl FnOnce(&mut WorkspaceUse),
    ) {
        let workspace = self.workspaces.entry(Arc::clone(key)).or_default();
        change(workspace);
        if workspace.is_needless() {
            self.workspaces.remove(key);
        }
    }

    /// A key below `status/shares/` changed or is gone.
    pub(super) fn set_share(&mut self, rest: &str, usage: Option<Usage>, revision: Revision) {
        let mut parts = rest.splitn(3, '/');
        let (Some(group), Some(workspace)) = (parts.next(), parts.next()) else {
            return;
        };
        let run = parts.next();
        let key = format!("{group}/{workspace}").into();
        self.with_workspace(&key, |workspace| match (run, usage) {
            (None, usage) => {
                workspace.total = usage;
                workspace.total_revision = if usage.is_some() { revision } else { 0 };
            }
            (Some(run), Some(usage)) => {
                workspace.ended.insert(run.to_owned(), usage);
            }
            (Some(run), None) => {
                workspace.ended.remove(run);
            }
        });
    }
}

/// The key of the workspace in which a job is.
pub(super) fn workspace_of(record: &lote_model::job::JobRecord) -> WorkspaceKey {
    let key = key::share(&record.path.workspace);
    key.strip_prefix(key::SHARES).unwrap_or_default().into()
}
