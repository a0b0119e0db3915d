//! Reading and changing records of the store.

use jiff::Timestamp;
use lote_model::key;
use lote_model::name::GroupName;
use lote_model::path::{ChildPath, IdStyle, JobPath, WorkspacePath};
use lote_model::state::ProvisioningState;
use lote_model::workspace::{ExperimentRecord, GroupRecord, WorkspaceRecord};
use lote_store::{Commit, Entry, Store, Transaction, get_json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::ApiError;

/// How often a change is tried again when others change the same keys. Of all
/// that collide at least one succeeds each time.
pub(crate) const ATTEMPTS_MAX: usize = 64;

/// The kinds of resources that users name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Group,
    Workspace,
    Cluster,
    FileServer,
    Experiment,
    Job,
}

impl Kind {
    /// As part of codes: `JobNotFound`.
    fn word(self) -> &'static str {
        match self {
            Self::Group => "ResourceGroup",
            Self::Workspace => "Workspace",
            Self::Cluster => "Cluster",
            Self::FileServer => "FileServer",
            Self::Experiment => "Experiment",
            Self::Job => "Job",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Group => "resource group",
            Self::Workspace => "workspace",
            Self::Cluster => "cluster",
            Self::FileServer => "file server",
            Self::Experiment => "experiment",
            Self::Job => "job",
        }
    }

    /// 404 with the words of the original service.
    pub(crate) fn missing(self, name: &impl std::fmt::Display) -> ApiError {
        let message = format!("The specified {} {name} is not found", self.noun());
        ApiError::not_found(&format!("{}NotFound", self.word()), message)
    }

    /// 409: it is going away.
    pub(crate) fn being_deleted(self, name: &impl std::fmt::Display) -> ApiError {
        let message = format!(
            "the {} {name} is being deleted; wait until it is gone",
            self.noun()
        );
        ApiError::conflict(&format!("{}BeingDeleted", self.word()), message)
    }

    /// 409: it exists with another body.
    pub(crate) fn exists(self, name: &impl std::fmt::Display, advice: &str) -> ApiError {
        let message = format!(
            "the {} {name} exists already and differs from this request; {advice}",
            self.noun()
        );
        ApiError::conflict(&format!("{}AlreadyExists", self.word()), message)
    }
}

/// 409: others changed the same keys again and again.
pub(crate) fn contended() -> ApiError {
    let message = "the resource is being changed by others all the time; try again";
    ApiError::conflict("ConcurrentChange", message)
}

/// The workspace, which must exist.
pub(crate) async fn workspace(
    store: &dyn Store,
    path: &WorkspacePath,
) -> Result<Entry<WorkspaceRecord>, ApiError> {
    match get_json(store, &key::workspace(path)).await? {
        Some(found) => Ok(found),
        None => Err(missing_workspace(store, path).await),
    }
}

/// 404 of the workspace, or of the group when that is what is missing.
pub(crate) async fn missing_workspace(store: &dyn Store, path: &WorkspacePath) -> ApiError {
    let error = Kind::Workspace.missing(&path.workspace);
    group(store, &path.group).await.err().unwrap_or(error)
}

/// The group, which must exist.
pub(crate) async fn group(
    store: &dyn Store,
    name: &GroupName,
) -> Result<Entry<GroupRecord>, ApiError> {
    get_json(store, &key::group(name))
        .await?
        .ok_or_else(|| Kind::Group.missing(name))
}

/// The workspace, which must exist and stay.
pub(crate) async fn lasting_workspace(
    store: &dyn Store,
    path: &WorkspacePath,
) -> Result<Entry<WorkspaceRecord>, ApiError> {
    let found = workspace(store, path).await?;
    match found.value.delete_requested_at {
        Some(_) => Err(Kind::Workspace.being_deleted(&path.workspace)),
        None => Ok(found),
    }
}

/// The experiment, which must exist.
pub(crate) async fn experiment(
    store: &dyn Store,
    path: &ChildPath,
) -> Result<Entry<ExperimentRecord>, ApiError> {
    match get_json(store, &key::experiment(path)).await? {
        Some(found) => Ok(found),
        None => {
            Err(missing_child(store, &path.workspace, Kind::Experiment.missing(&path.name)).await)
        }
    }
}

/// 404 of the child, or of the workspace when that is what is missing.
pub(crate) async fn missing_child(
    store: &dyn Store,
    parent: &WorkspacePath,
    error: ApiError,
) -> ApiError {
    workspace(store, parent).await.err().unwrap_or(error)
}

/// 404 of the job, or of what should hold it.
pub(crate) async fn missing_job(store: &dyn Store, path: &JobPath) -> ApiError {
    let parent = path.workspace.child(path.experiment.clone());
    experiment(store, &parent)
        .await
        .err()
        .unwrap_or_else(|| Kind::Job.missing(&path.job))
}

/// Changes one record. `change` says whether it changed anything; what it
/// refuses is returned. None if there is no such record.
pub(crate) async fn update<T, F>(
    store: &dyn Store,
    key: &str,
    change: F,
) -> Result<Option<Entry<T>>, ApiError>
where
    T: Serialize + DeserializeOwned,
    F: Fn(&mut T) -> Result<bool, ApiError>,
{
    for _ in 0..ATTEMPTS_MAX {
        let Some(mut entry) = get_json::<T>(store, key).await? else {
            return Ok(None);
        };
        if !change(&mut entry.value)? {
            return Ok(Some(entry));
        }
        let transaction = Transaction::new()
            .require_revision(key, entry.mod_revision)
            .put_json(key, &entry.value)?;
        if let Commit::Applied { revision } = store.commit(transaction).await? {
            entry.mod_revision = revision;
            return Ok(Some(entry));
        }
    }
    Err(contended())
}

/// Sets a mark that is set only once; says whether it was not set yet.
pub(crate) fn mark(mark: &mut Option<Timestamp>, now: Timestamp) -> bool {
    let unset = mark.is_none();
    mark.get_or_insert(now);
    unset
}

/// The three members that every resource has about its coming and going.
pub(crate) fn provisioning(
    created_at: Timestamp,
    delete_requested_at: Option<Timestamp>,
) -> serde_json::Map<String, Value> {
    let (state, since) = match delete_requested_at {
        Some(at) => (ProvisioningState::Deleting, at),
        None => (ProvisioningState::Succeeded, created_at),
    };
    [
        ("creationTime", json!(created_at)),
        ("provisioningState", json!(state)),
        ("provisioningStateTransitionTime", json!(since)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The subscription segment of output paths; none outside the resource manager.
pub(crate) fn subscription(style: &IdStyle) -> Option<&str> {
    match style {
        IdStyle::ResourceManager { subscription } => Some(subscription),
        IdStyle::Lote => None,
    }
}
