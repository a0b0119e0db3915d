//! PUT of a job: checked by the model, then by its plugin, then stored.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use lote_model::access::Permission;
use lote_model::cluster::ClusterRecord;
use lote_model::framework::ValidatedSettings;
use lote_model::id::JobUid;
use lote_model::job::{FrameworkSettings, JobProperties, JobRecord, JobStatus};
use lote_model::job_request::{self, JobRequest};
use lote_model::key;
use lote_model::path::{ChildPath, IdStyle, JobPath};
use lote_model::plan::JobInput;
use lote_model::secret::Secrets;
use lote_model::workspace::{ExperimentRecord, WorkspaceRecord};
use lote_store::{Entry, Store, Transaction, get_json};

use super::{Job, view};
use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::mounts::require_file_servers;
use crate::records::{self, ATTEMPTS_MAX, Kind, contended, subscription};
use crate::request::{At, Body, Caller};
use crate::secrets;
use crate::state::ApiState;

/// Where a job's body names its cluster.
pub(crate) const CLUSTER_ID: &str = "/properties/cluster/id";

/// A job as its plugin accepted it.
pub(crate) struct Accepted {
    pub(crate) properties: JobProperties,
    pub(crate) cluster: ChildPath,
    pub(crate) framework: FrameworkSettings,
    pub(crate) secrets: Secrets,
}

/// What a job needs, and the revisions at which it was there.
struct Parents {
    experiment: Entry<ExperimentRecord>,
    workspace: Entry<WorkspaceRecord>,
    cluster: Entry<ClusterRecord>,
}

pub(crate) async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    At(path): At<JobPath>,
    Body(request_body): Body,
) -> Answer {
    let request = parse(&state, &request_body)?;
    // The cluster may be one of another workspace.
    principal.require_in(
        Permission::JobsWrite,
        &request.cluster.workspace,
        CLUSTER_ID,
    )?;
    require_mounts(&principal, &request.properties)?;
    let uid = JobUid::new(uuid::Uuid::new_v4().to_string());
    let key = key::job(&path);
    let mut parents = None;
    if state.store().get(&key).await?.is_none() {
        // A name that is wrong is cheaper to find than settings that are.
        parents = Some(Parents::read(state.store(), &path, &request.cluster).await?);
    }
    let accepted = accept(&state, request, uid.as_str()).await?;
    for _ in 0..ATTEMPTS_MAX {
        if let Some(parents) = parents.take() {
            let record = record(&state, &caller, &path, &uid, &accepted, &parents);
            if create(&state, &record, &accepted.secrets, parents).await? {
                return Ok(answer(&state, &caller, &record, None));
            }
        }
        if let Some(found) = get_json::<JobRecord>(state.store(), &key).await? {
            accept_again(&state, &found.value, &accepted).await?;
            let job = Job::with_status(state.store(), found).await?;
            return Ok(answer(&state, &caller, &job.record.value, job.status()));
        }
        parents = Some(Parents::read(state.store(), &path, &accepted.cluster).await?);
    }
    Err(contended())
}

/// The file servers may be of other workspaces as well.
pub(crate) fn require_mounts(
    principal: &Principal,
    properties: &JobProperties,
) -> Result<(), ApiError> {
    let volumes = properties.mount_volumes.as_ref();
    require_file_servers(principal, volumes, "/properties/mountVolumes")
}

fn answer(
    state: &ApiState,
    caller: &Caller,
    record: &JobRecord,
    status: Option<&JobStatus>,
) -> Response {
    Json(view::job(record, status, caller, state.now())).into_response()
}

/// Stores a new job if nothing that it needs has changed. Says whether it did.
async fn create(
    state: &ApiState,
    record: &JobRecord,
    secrets: &Secrets,
    parents: Parents,
) -> Result<bool, ApiError> {
    let Parents {
        experiment,
        workspace,
        cluster,
    } = parents;
    let key = key::job(&record.path);
    let transaction = Transaction::new()
        .require_absent(&key)
        .require_revision(experiment.key, experiment.mod_revision)
        .require_revision(workspace.key, workspace.mod_revision)
        .require_revision(cluster.key, cluster.mod_revision)
        .put_json(key, record)?;
    let secrets_key = key::job_secrets(&record.uid);
    let transaction = secrets::put(state, transaction, &secrets_key, secrets)?;
    Ok(state.store().commit(transaction).await?.is_applied())
}

/// Reads a job's body.
pub(crate) fn parse(state: &ApiState, request_body: &[u8]) -> Result<JobRequest, ApiError> {
    Ok(job_request::parse(
        request_body,
        &state.frameworks.settings_members(),
    )?)
}

/// Asks the plugin. It runs foreign code, so it goes to the blocking pool.
pub(crate) async fn accept(
    state: &ApiState,
    request: JobRequest,
    id: &str,
) -> Result<Accepted, ApiError> {
    let JobRequest {
        properties,
        cluster,
        plugin: request,
        settings,
        secrets,
    } = request;
    let input = job_input(&properties, settings, id);
    let frameworks = state.frameworks.clone();
    let asked = request.clone();
    let validated = tokio::task::spawn_blocking(move || frameworks.validate(&asked, &input)).await;
    let ValidatedSettings {
        tool_type,
        settings,
        plugin,
        starts_peers,
    } = validated.map_err(|error| ApiError::internal(&error))??;
    Ok(Accepted {
        properties,
        cluster,
        framework: FrameworkSettings {
            member: request.member,
            tool_type,
            settings,
            asked: request.plugin,
            plugin: Some(plugin),
            starts_peers,
        },
        secrets,
    })
}

/// The job as plugins see it.
pub(crate) fn job_input(
    properties: &JobProperties,
    settings: serde_json::Value,
    id: &str,
) -> JobInput {
    JobInput {
        id: id.to_owned(),
        node_count: properties.node_count,
        settings,
        mounts: Vec::new(),
        variables: properties.environment_variables.clone(),
    }
}

/// A second PUT answers the first one's job, unless it wants another one.
async fn accept_again(
    state: &ApiState,
    found: &JobRecord,
    wanted: &Accepted,
) -> Result<(), ApiError> {
    let name = &found.path.job;
    if found.delete_requested_at.is_some() {
        return Err(Kind::Job.being_deleted(name));
    }
    // The cluster's id may be spelled in another way.
    let properties = JobProperties {
        cluster: found.properties.cluster.clone(),
        ..wanted.properties.clone()
    };
    let is_same = found.cluster == wanted.cluster
        && found.framework.asks_the_same(&wanted.framework)
        && found.properties == properties;
    let secrets_key = key::job_secrets(&found.uid);
    if is_same && secrets::are_stored(state, &secrets_key, &wanted.secrets).await? {
        return Ok(());
    }
    Err(Kind::Job.exists(
        name,
        "jobs cannot be changed: take another name, or delete it first",
    ))
}

impl Parents {
    async fn read(
        store: &dyn Store,
        path: &JobPath,
        cluster: &ChildPath,
    ) -> Result<Self, ApiError> {
        let experiment =
            records::experiment(store, &path.workspace.child(path.experiment.clone())).await?;
        if experiment.value.delete_requested_at.is_some() {
            return Err(Kind::Experiment.being_deleted(&path.experiment));
        }
        let workspace = records::lasting_workspace(store, &path.workspace).await?;
        let found = get_json::<ClusterRecord>(store, &key::cluster(cluster)).await?;
        let target = CLUSTER_ID;
        let Some(found) = found else {
            let message = format!(
                "there is no cluster {} in workspace {}",
                cluster.name, cluster.workspace
            );
            return Err(ApiError::bad_request("ClusterNotFound", message).at(target));
        };
        if found.value.delete_requested_at.is_some() {
            return Err(Kind::Cluster.being_deleted(&cluster.name).at(target));
        }
        Ok(Self {
            experiment,
            workspace,
            cluster: found,
        })
    }
}

fn record(
    state: &ApiState,
    caller: &Caller,
    path: &JobPath,
    uid: &JobUid,
    accepted: &Accepted,
    parents: &Parents,
) -> JobRecord {
    JobRecord {
        path: path.clone(),
        uid: uid.clone(),
        cluster: parents.cluster.value.path.clone(),
        created_at: state.now(),
        output_segment: output_segment(path, uid, &caller.style),
        unix_id: parents.workspace.value.unix_id,
        properties: accepted.properties.clone(),
        framework: accepted.framework.clone(),
        terminate_requested_at: None,
        delete_requested_at: None,
    }
}

/// `jobOutputDirectoryPathSegment` (capabilities §7.3). Outside the resource
/// manager there is no subscription to begin with.
fn output_segment(path: &JobPath, uid: &JobUid, style: &IdStyle) -> String {
    let JobPath {
        workspace,
        experiment,
        job,
    } = path;
    let tail = format!(
        "{}/workspaces/{}/experiments/{experiment}/jobs/{job}/{uid}",
        workspace.group, workspace.workspace
    );
    subscription(style).map_or_else(
        || tail.clone(),
        |subscription| format!("{subscription}/{tail}"),
    )
}
