//! What a job would run, or runs: `GET` and `POST …/jobs/{job}/plan`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use lote_model::access::Permission;
use lote_model::allocation::{GangMember, NodePlan};
use lote_model::cluster::{ClusterRecord, ClusterStatus};
use lote_model::environment::{SharedScratch, mount_roots, peer_launcher_path, scratch_path};
use lote_model::framework::{PlanError, PlannedLaunch};
use lote_model::gang_share;
use lote_model::id::{JobUid, NodeName, UnixId};
use lote_model::job::{ErrorRecord, ResourceRequest};
use lote_model::key;
use lote_model::mount_volumes::{FileServerMount, MountVolumes};
use lote_model::node::NodeRecord;
use lote_model::path::JobPath;
use lote_model::plan::{AllocatedGpu, AllocatedNode, AllocationInput, JobInput, LaunchPlan};
use lote_model::planned_mount::{GangShare, PlannedMounts, mounts_for_plugin};
use lote_model::problem::Problem;
use lote_store::{ListRequest, get_json, list_json};
use serde_json::{Value, json};

use super::Job;
use super::create::{Accepted, CLUSTER_ID, accept, job_input, parse, require_mounts};
use super::mounts::{self, Level};
use crate::auth::Principal;
use crate::error::{Answer, ApiError};
use crate::fleet::Fleet;
use crate::records;
use crate::request::{At, Body, Caller};
use crate::state::ApiState;

/// How many ports a node of an imagined allocation has.
const IMAGINED_PORTS: u16 = 16;

/// Where scratch directories lie on imagined nodes.
const IMAGINED_WORK_DIRECTORY: &str = "/var/lib/lote/work";

/// The stored plan of the latest attempt.
pub(crate) async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    At(path): At<JobPath>,
) -> Answer {
    let job = Job::read(state.store(), &path).await?;
    let attempt = job.status().map_or(0, |status| status.attempt);
    let plans = stored(&state, &job, attempt).await?;
    let Some(first) = plans.first() else {
        let message = format!(
            "the job {} has no plan yet: it has not been given nodes",
            path.job
        );
        return Err(ApiError::not_found("PlanNotFound", message));
    };
    let mounts = mounts::planned(&first.mounts);
    let id = job.record.value.path.id(&caller.style);
    Ok(answer(&id, first, &joined(&plans), &mounts, false))
}

/// The node plans of one attempt in rank order.
pub(crate) async fn stored(
    state: &ApiState,
    job: &Job,
    attempt: u32,
) -> Result<Vec<NodePlan>, ApiError> {
    let prefix = key::plans_of_attempt(&job.record.value.uid, attempt);
    let listing = list_json::<NodePlan>(state.store(), ListRequest::prefix(prefix)).await?;
    Ok(listing.items.into_iter().map(|entry| entry.value).collect())
}

/// The plan of the whole job from the shares of its nodes. Variables, and files
/// that go to every node, stand in every share.
fn joined(plans: &[NodePlan]) -> LaunchPlan {
    let mut whole = plans
        .first()
        .map(|plan| plan.launch.clone())
        .unwrap_or_default();
    for plan in plans.iter().skip(1) {
        whole.files.extend(
            plan.launch
                .files
                .iter()
                .filter(|file| file.node.is_some())
                .cloned(),
        );
        whole
            .processes
            .extend(plan.launch.processes.iter().cloned());
        whole.finish.extend(plan.launch.finish.iter().cloned());
    }
    whole
}

fn answer(
    id: &str,
    about: &NodePlan,
    launch: &LaunchPlan,
    mounts: &[Value],
    imagined: bool,
) -> Response {
    let nodes: Vec<Value> = about
        .gang
        .iter()
        .enumerate()
        .map(|(rank, member)| json!({"rank": rank, "name": member.node, "address": member.address}))
        .collect();
    Json(json!({
        "job": id,
        "attempt": about.attempt,
        "imagined": imagined,
        "plugin": about.plugin,
        "nodes": nodes,
        "preparation": about.preparation,
        "workingDirectory": about.working_directory,
        "mounts": mounts,
        "sharedDirectory": mounts::shared_directory(&about.mounts.share),
        "userVariables": about.user_variables,
        "secretVariables": about.secret_variables,
        "variables": launch.variables,
        "files": launch.files,
        "processes": launch.processes,
        "finish": launch.finish,
    }))
    .into_response()
}

/// The plan that a job would have, on nodes as its cluster would give. Nothing
/// is stored, and neither the experiment nor free nodes are needed.
pub(crate) async fn dry_run(
    State(state): State<ApiState>,
    caller: Caller,
    principal: Principal,
    At(path): At<JobPath>,
    Body(request_body): Body,
) -> Answer {
    let request = parse(&state, &request_body)?;
    principal.require_in(Permission::JobsPlan, &request.cluster.workspace, CLUSTER_ID)?;
    require_mounts(&principal, &request.properties)?;
    let workspace = records::workspace(state.store(), &path.workspace)
        .await?
        .value;
    let target = CLUSTER_ID;
    let cluster = get_json::<ClusterRecord>(state.store(), &key::cluster(&request.cluster)).await?;
    let cluster = cluster.ok_or_else(|| {
        let message = format!(
            "there is no cluster {} in workspace {}",
            request.cluster.name, request.cluster.workspace
        );
        ApiError::bad_request("ClusterNotFound", message).at(target)
    })?;
    let cluster = cluster.value;
    let id = "dry-run";
    let accepted = accept(&state, request, id).await?;
    let nodes = likely_nodes(&state, &cluster).await?;
    let mut allocation = imagine(&accepted, &nodes, workspace.unix_id, id);
    let mut input = job_input(
        &accepted.properties,
        accepted.framework.settings.clone(),
        id,
    );
    let (mount_root, job_mount_root) = mount_roots(
        work_directory(&nodes),
        workspace.unix_id.0,
        accepted.cluster.name.as_str(),
        id,
    );
    let volumes = [
        (Level::Cluster, cluster.properties.mount_volumes().cloned()),
        (Level::Job, accepted.properties.mount_volumes.clone()),
    ];
    let mut shown = Vec::new();
    for (level, volumes) in &volumes {
        let Some(volumes) = volumes else { continue };
        let root = match level {
            Level::Cluster => &mount_root,
            Level::Job => &job_mount_root,
        };
        input
            .mounts
            .extend(mounts_for_plugin(root, volumes.mount_paths()));
        shown.extend(mounts::imagined(state.store(), *level, volumes).await?);
    }
    let mut mounts = PlannedMounts::default();
    if !volumes
        .iter()
        .any(|(_, volumes)| shares_already(volumes.as_ref()))
    {
        mounts.share = likely_share(&accepted, &nodes);
        let shared = SharedScratch {
            work_directory: work_directory(&nodes),
            unix_id: workspace.unix_id.0,
            cluster: accepted.cluster.name.as_str(),
            uid: id,
            attempt: allocation.attempt,
        };
        allocation.shared_scratch = shared.path(&mounts);
    }
    let planned = plan(&state, &accepted, input, &allocation).await?;
    let about = NodePlan {
        mounts,
        ..about(&path, accepted, &allocation, planned.plugin)
    };
    let plan = planned.plan.plan();
    Ok(answer(&path.id(&caller.style), &about, plan, &shown, true))
}

/// Whether a job has a file server to write to, so that its nodes share that.
fn shares_already(volumes: Option<&MountVolumes>) -> bool {
    let mut servers = volumes
        .into_iter()
        .flat_map(|volumes| &volumes.file_servers);
    servers.any(FileServerMount::is_writable)
}

/// What the nodes of a gang would share; unknown while some of them are only imagined.
fn likely_share(accepted: &Accepted, nodes: &[NodeRecord]) -> GangShare {
    let records: Vec<&NodeRecord> = nodes.iter().collect();
    let gang = records.get(..accepted.properties.node_count as usize);
    gang.map_or(GangShare::None, |gang| {
        gang_share::plan(&PlannedMounts::default(), gang, &JobUid::new("dry-run"), 1)
    })
}

async fn plan(
    state: &ApiState,
    accepted: &Accepted,
    input: JobInput,
    allocation: &AllocationInput,
) -> Result<PlannedLaunch, ApiError> {
    let (frameworks, framework, allocation) = (
        state.frameworks.clone(),
        accepted.framework.clone(),
        allocation.clone(),
    );
    let planned =
        tokio::task::spawn_blocking(move || frameworks.plan(&framework, &input, &allocation)).await;
    planned
        .map_err(|error| ApiError::internal(&error))?
        .map_err(|error| match error {
            PlanError::Failed(record) | PlanError::Unsuitable(record) => refused(record).into(),
        })
}

/// An error of a plan in the shape of the envelope.
fn refused(error: ErrorRecord) -> Problem {
    let mut problem = Problem::new(error.code, error.message);
    problem.details = error
        .details
        .into_iter()
        .map(|detail| Problem::new(detail.name, detail.value))
        .collect();
    problem
}

/// The nodes that the cluster holds, then others of its size.
async fn likely_nodes(
    state: &ApiState,
    cluster: &ClusterRecord,
) -> Result<Vec<NodeRecord>, ApiError> {
    let status =
        get_json::<ClusterStatus>(state.store(), &key::cluster_status(&cluster.path)).await?;
    let held = status.map(|status| status.value.nodes).unwrap_or_default();
    let fleet = Fleet::read(state.store()).await?;
    let size = &cluster.properties.vm_size;
    let (own, others): (Vec<_>, Vec<_>) = fleet
        .nodes
        .into_values()
        .filter(|node| held.contains(&node.name) || node.size.eq_ignore_ascii_case(size))
        .partition(|node| held.contains(&node.name));
    Ok(own.into_iter().chain(others).collect())
}

/// An allocation like the one the job would get. Where there are too few nodes,
/// others like the last one stand in for those that will come.
fn imagine(
    accepted: &Accepted,
    nodes: &[NodeRecord],
    unix_id: UnixId,
    id: &str,
) -> AllocationInput {
    let resources = accepted.properties.lote.resources.as_ref();
    // Nodes that will come are like those that are there.
    let starts_remotely = accepted.properties.node_count > 1
        && !nodes.is_empty()
        && nodes.iter().all(NodeRecord::starts_remotely);
    AllocationInput {
        nodes: (0..accepted.properties.node_count)
            .map(|rank| match nodes.get(rank as usize) {
                Some(node) => allocated(
                    rank,
                    node.name.as_str(),
                    &node.address,
                    Some(node),
                    resources,
                ),
                None => allocated(
                    rank,
                    &format!("node-{rank}"),
                    &format!("node-{rank}"),
                    nodes.last(),
                    resources,
                ),
            })
            .collect(),
        shared_scratch: None,
        local_scratch: scratch_path(work_directory(nodes), unix_id.0, id),
        peer_launcher: starts_remotely
            .then(|| peer_launcher_path(work_directory(nodes), unix_id.0, id)),
        attempt: 1,
    }
}

/// Where nodes keep what belongs to jobs.
fn work_directory(nodes: &[NodeRecord]) -> &str {
    let first = nodes.first();
    first.map_or(IMAGINED_WORK_DIRECTORY, |node| &node.work_directory)
}

fn allocated(
    rank: u32,
    name: &str,
    address: &str,
    like: Option<&NodeRecord>,
    resources: Option<&ResourceRequest>,
) -> AllocatedNode {
    let has = like.map_or(&[][..], |node| &node.gpus);
    // Whole nodes, unless the job asks for a share.
    let wanted = resources.map_or(has.len(), |share| share.gpus_per_node.unwrap_or(0) as usize);
    let gpus = has.iter().take(wanted);
    let first = like.map_or(20_000, |node| node.ports_first);
    let whole = like.map_or(1, |node| node.cpu_cores);
    AllocatedNode {
        rank,
        name: name.to_owned(),
        address: address.to_owned(),
        gpus: gpus
            .map(|gpu| AllocatedGpu {
                uuid: gpu.uuid.clone(),
                minor: gpu.minor,
                memory_mib: gpu.memory_mib,
            })
            .collect(),
        cpu_cores: resources.map_or(whole, |share| share.cpu_millis().div_ceil(1_000)),
        ports: (0..IMAGINED_PORTS)
            .map(|offset| first.saturating_add(offset))
            .collect(),
    }
}

/// A node plan that says what the answer needs besides the launch plan.
fn about(
    path: &JobPath,
    accepted: Accepted,
    allocation: &AllocationInput,
    plugin: String,
) -> NodePlan {
    let Accepted {
        properties,
        cluster,
        ..
    } = accepted;
    let member = |node: &AllocatedNode| GangMember {
        node: NodeName::new(&node.name),
        address: node.address.clone(),
    };
    NodePlan {
        job: path.clone(),
        uid: JobUid::new("dry-run"),
        attempt: 1,
        rank: 0,
        gang: allocation.nodes.iter().map(member).collect(),
        plugin,
        launch: LaunchPlan::default(),
        primaries_elsewhere: false,
        mounts: PlannedMounts::default(),
        container: None,
        user_variables: properties.environment_variables,
        secret_variables: properties
            .secrets
            .into_iter()
            .map(|secret| secret.name)
            .collect(),
        master_port: None,
        peer_launcher: allocation.peer_launcher.is_some(),
        preparation: properties
            .job_preparation
            .map(|preparation| preparation.command_line),
        std_out_err_path_prefix: properties.std_out_err_path_prefix,
        input_directories: properties.input_directories,
        output_directories: properties.output_directories,
        output_segment: String::new(),
        working_directory: properties.lote.working_directory,
        unix_id: UnixId::FIRST,
        cluster: cluster.name.to_string(),
        grace_period: lote_model::job::GRACE_PERIOD_DEFAULT,
        previous_node: None,
    }
}
