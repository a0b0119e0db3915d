//! From a start that was decided to a plan, and from the plan to transactions.

use jiff::Timestamp;
use lote_model::allocation::{Allocation, AllocationPhase, GangMember, NodePlan, share_of};
use lote_model::environment::{SharedScratch, mount_roots, peer_launcher_path, scratch_path};
use lote_model::framework::PlannedLaunch;
use lote_model::id::NodeName;
use lote_model::job::JobStatus;
use lote_model::key;
use lote_model::plan::{AllocatedNode, AllocationInput, JobInput, LaunchPlan, Part};
use lote_model::planned_mount::{PlannedMount, mounts_for_plugin};
use lote_model::state::ExecutionState;
use lote_store::{StoreError, Transaction, Write};

use crate::actions::{Start, StartNode};
use crate::change::{compare, require_all, split};

/// The job as its plugin sees it.
pub fn job_input(start: &Start) -> JobInput {
    let record = &start.record;
    let (mount_root, job_mount_root) = mount_roots(
        work_directory(start),
        record.unix_id.0,
        record.cluster.name.as_str(),
        record.uid.as_str(),
    );
    let below = |root: &str, mounts: &[PlannedMount]| {
        let paths = mounts.iter().map(|mount| mount.relative_path.as_str());
        mounts_for_plugin(root, paths)
    };
    let mut mounts = below(&mount_root, &start.mounts.cluster);
    mounts.extend(below(&job_mount_root, &start.mounts.job));
    JobInput {
        id: record.uid.to_string(),
        node_count: record.properties.node_count,
        settings: record.framework.settings.clone(),
        mounts,
        variables: record.properties.environment_variables.clone(),
    }
}

/// The nodes as the job's plugin sees them.
pub fn allocation_input(start: &Start) -> AllocationInput {
    let record = &start.record;
    AllocationInput {
        nodes: (0..)
            .zip(&start.nodes)
            .map(|(rank, node)| allocated_node(rank, node))
            .collect(),
        shared_scratch: shared_scratch(start),
        local_scratch: scratch_path(work_directory(start), record.unix_id.0, record.uid.as_str()),
        peer_launcher: starts_remotely(start).then(|| {
            peer_launcher_path(work_directory(start), record.unix_id.0, record.uid.as_str())
        }),
        attempt: start.attempt,
    }
}

/// Whether the processes of a gang can start others on its nodes: all of them offer it, and have
/// the program in the same place. Launchers pass its path on.
fn starts_remotely(start: &Start) -> bool {
    let offers = |node: &StartNode| {
        node.record.starts_remotely() && node.record.work_directory == work_directory(start)
    };
    start.nodes.len() > 1 && start.nodes.iter().all(offers)
}

/// What a gang shares, on one of its file servers. A job on one node needs none.
fn shared_scratch(start: &Start) -> Option<String> {
    let record = &start.record;
    let scratch = SharedScratch {
        work_directory: work_directory(start),
        unix_id: record.unix_id.0,
        cluster: record.cluster.name.as_str(),
        uid: record.uid.as_str(),
        attempt: start.attempt,
    };
    let is_gang = start.nodes.len() > 1;
    is_gang.then(|| scratch.path(&start.mounts)).flatten()
}

/// The plugin is told one path for all nodes, so the work directories must agree.
fn work_directory(start: &Start) -> &str {
    let first = start.nodes.first();
    first.map_or("", |node| node.record.work_directory.as_str())
}

fn allocated_node(rank: u32, node: &StartNode) -> AllocatedNode {
    AllocatedNode {
        rank,
        name: node.record.name.to_string(),
        address: node.record.address.clone(),
        gpus: node.grant.gpus.clone(),
        cpu_cores: node.grant.cpu_millis.div_ceil(1000).max(1),
        ports: node.grant.ports.clone(),
    }
}

/// Everything that starts a job: plans, then allocations, then its status. It runs once all is
/// there: one node starts at once, several wait for each other, and the leader for its status.
pub fn transactions(
    start: &Start,
    launch: &PlannedLaunch,
    now: Timestamp,
) -> Result<Vec<Transaction>, StoreError> {
    let record = &start.record;
    let mut writes = Vec::with_capacity(start.nodes.len() * 2 + 2);
    if start.attempt > 1 {
        writes.push(Write::delete_prefix(key::plans_of_attempt(
            &record.uid,
            start.attempt - 1,
        )));
    }
    for (rank, _) in (0..).zip(&start.nodes) {
        let plan = node_plan(start, launch, rank);
        writes.push(Write::put_json(
            key::plan(&record.uid, start.attempt, rank),
            &plan,
        )?);
    }
    for (rank, node) in (0..).zip(&start.nodes) {
        let allocation = allocation(start, node, rank, now);
        writes.push(Write::put_json(
            key::allocation(&node.record.name, &record.uid),
            &allocation,
        )?);
    }
    let status_key = key::job_status(&record.path);
    writes.push(Write::put_json(&status_key, &status(start, now))?);
    let compares = [
        compare(key::job(&record.path), start.record_revision),
        compare(status_key, start.status_revision),
    ];
    Ok(require_all(split(writes), &compares))
}

fn status(start: &Start, now: Timestamp) -> JobStatus {
    JobStatus {
        uid: start.record.uid.clone(),
        state: ExecutionState::Running,
        state_since: now,
        attempt: start.attempt,
        nodes: start.node_names().cloned().collect::<Vec<NodeName>>(),
        previous_nodes: start.previous_nodes.clone(),
        requeued: start.requeued.clone(),
        uncounted_attempts: start.uncounted_attempts,
        start_time: Some(now),
        ..JobStatus::queued(&start.record)
    }
}

fn allocation(start: &Start, node: &StartNode, rank: u32, now: Timestamp) -> Allocation {
    Allocation {
        job: start.record.path.clone(),
        uid: start.record.uid.clone(),
        attempt: start.attempt,
        rank,
        phase: if start.nodes.len() == 1 {
            AllocationPhase::Run
        } else {
            AllocationPhase::Prepare
        },
        grant: node.grant.clone(),
        granted_at: now,
        boot_id: node.record.boot_id.clone(),
    }
}

fn node_plan(start: &Start, launch: &PlannedLaunch, rank: u32) -> NodePlan {
    let (record, properties) = (&start.record, &start.record.properties);
    let member = |node: &StartNode| GangMember {
        node: node.record.name.clone(),
        address: node.record.address.clone(),
    };
    NodePlan {
        job: record.path.clone(),
        uid: record.uid.clone(),
        attempt: start.attempt,
        rank,
        gang: start.nodes.iter().map(member).collect(),
        plugin: launch.plugin.clone(),
        launch: share_of(&launch.plan, rank),
        primaries_elsewhere: has_primaries_elsewhere(&launch.plan, rank),
        mounts: start.mounts.clone(),
        user_variables: properties.environment_variables.clone(),
        secret_variables: properties
            .secrets
            .iter()
            .map(|secret| secret.name.clone())
            .collect(),
        // Plugins use ports from the first one on.
        master_port: start
            .nodes
            .first()
            .and_then(|node| node.grant.ports.last().copied()),
        peer_launcher: starts_remotely(start),
        preparation: properties
            .job_preparation
            .as_ref()
            .map(|step| step.command_line.clone()),
        std_out_err_path_prefix: properties.std_out_err_path_prefix.clone(),
        input_directories: properties.input_directories.clone(),
        output_directories: properties.output_directories.clone(),
        output_segment: record.output_segment.clone(),
        working_directory: properties.lote.working_directory.clone(),
        unix_id: record.unix_id,
        cluster: record.cluster.name.to_string(),
        grace_period: record.grace_period(),
        previous_node: start.previous_nodes.get(rank as usize).cloned(),
    }
}

fn has_primaries_elsewhere(plan: &LaunchPlan, rank: u32) -> bool {
    plan.processes
        .iter()
        .any(|process| process.part == Part::Primary && process.node != rank)
}
