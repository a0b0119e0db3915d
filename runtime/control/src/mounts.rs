//! What jobs mount: which file servers, how they are reached, and what keeps a job from them.

use std::collections::BTreeSet;

use lote_model::cluster::ClusterRecord;
use lote_model::export::ExportState;
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::job::{ErrorRecord, JobProperties};
use lote_model::mount_volumes::{FileServerMount, MountVolumes};
use lote_model::path::ChildPath;
use lote_model::planned_mount::{
    FILE_SERVER_ERROR, FileServerSource, GangShare, PlannedMount, PlannedMounts, plan_mounts,
    source_directory,
};
use lote_model::state::ProvisioningState;

use crate::snapshot::{
    Availability, FileServerPlace, FileServerState, LiveJob, Snapshot, place_of,
};

/// How the resource ids of file servers name them.
const COLLECTION: &str = "fileServers";

/// The file servers that a job mounts, or its cluster for it.
pub(crate) fn file_servers(
    job: &JobProperties,
    cluster: Option<&ClusterRecord>,
) -> BTreeSet<FileServerPlace> {
    let of_cluster = cluster.and_then(|cluster| cluster.properties.mount_volumes());
    let volumes = of_cluster.into_iter().chain(&job.mount_volumes);
    let mounts = volumes.flat_map(|volumes| &volumes.file_servers);
    let paths = mounts.filter_map(|it| ChildPath::parse_id(&it.file_server.id, COLLECTION).ok());
    paths.map(|path| place_of(&path)).collect()
}

/// Everything that is mounted for a job, or why it can never be.
pub(crate) fn plan(snapshot: &Snapshot, job: &LiveJob) -> Result<PlannedMounts, ErrorRecord> {
    let cluster = snapshot.clusters().get(&job.cluster);
    let cluster = cluster.and_then(|cluster| cluster.record.as_ref());
    let all = |volumes: Option<&MountVolumes>| -> Result<Vec<PlannedMount>, ErrorRecord> {
        let source = |mount: &FileServerMount| source(snapshot, mount);
        volumes.map_or(Ok(Vec::new()), |volumes| plan_mounts(volumes, source))
    };
    Ok(PlannedMounts {
        cluster: all(cluster.and_then(|cluster| cluster.properties.mount_volumes()))?,
        job: all(job.record.properties.mount_volumes.as_ref())?,
        // Depends on the nodes, which nobody knows yet.
        share: GangShare::None,
    })
}

fn source(snapshot: &Snapshot, mount: &FileServerMount) -> Result<FileServerSource, ErrorRecord> {
    let path = ChildPath::parse_id(&mount.file_server.id, COLLECTION)
        .map_err(|problem| failure(mount, &problem.message))?;
    let state = snapshot.file_servers().get(&place_of(&path));
    let found = state.and_then(|state| Some((state, state.record.as_ref()?)));
    let Some((state, record)) = found else {
        let what = format!(
            "there is no file server '{}' in workspace {}: create it, or submit the job without it",
            path.name, path.workspace
        );
        return Err(failure(mount, &what));
    };
    let name = &record.path.name;
    if record.delete_requested_at.is_some() {
        let what = format!("file server '{name}' is being deleted");
        return Err(failure(mount, &what));
    }
    let status = state.own_status();
    if let Some(status) = status.filter(|status| status.state == ProvisioningState::Failed) {
        let why = status.errors.first();
        let why = why.map_or_else(String::new, |error| format!(": {}", error.message));
        return Err(failure(
            mount,
            &format!("file server '{name}' has failed{why}"),
        ));
    }
    let known = status.and_then(|status| reached(snapshot, record, status, mount));
    known.ok_or_else(|| failure(mount, &format!("file server '{name}' is not ready")))
}

/// How a file server that is served is reached.
fn reached(
    snapshot: &Snapshot,
    record: &FileServerRecord,
    status: &FileServerStatus,
    mount: &FileServerMount,
) -> Option<FileServerSource> {
    let node = status.node.as_ref()?;
    let ExportState::Serving(point) = &snapshot.exported(&record.uid, node)?.value.state else {
        return None;
    };
    Some(FileServerSource {
        name: record.path.name.to_string(),
        uid: record.uid.clone(),
        node: node.clone(),
        address: snapshot.node(node)?.record.as_ref()?.address.clone(),
        point: point.clone(),
        directory: source_directory(mount),
        options: mount.mount_options.clone(),
    })
}

fn failure(mount: &FileServerMount, what: &str) -> ErrorRecord {
    ErrorRecord::new(
        FILE_SERVER_ERROR,
        format!("Unable to mount file server: {what}"),
    )
    .with("step", "mount")
    .with("relativeMountPath", &mount.relative_mount_path)
    .with("fileServer", &mount.file_server.id)
}

/// For which file server a job waits, and what that lacks; none if it waits for none.
pub(crate) fn why_it_waits(snapshot: &Snapshot, job: &LiveJob) -> Option<String> {
    let places = job.file_servers().iter();
    let mut pending = places.filter(|place| snapshot.availability(place) == Availability::Pending);
    let state = snapshot.file_servers().get(pending.next()?)?;
    let record = state.record.as_ref()?;
    let more = match pending.count() {
        0 => String::new(),
        more => format!("; and for {more} more"),
    };
    Some(format!(
        "waits for file server '{}' of workspace {}: {}{more}",
        record.path.name,
        record.path.workspace,
        lack(snapshot, state, record)
    ))
}

/// What a file server that is no failure lacks.
fn lack(snapshot: &Snapshot, state: &FileServerState, record: &FileServerRecord) -> String {
    let status = state.own_status();
    let Some(name) = status.and_then(|status| status.node.as_ref()) else {
        let why = status.and_then(|status| status.errors.first());
        return why.map_or_else(
            || "it is being created".to_owned(),
            |error| error.message.clone(),
        );
    };
    let node = snapshot.node(name);
    if node.is_none_or(|node| node.record.is_none()) {
        return format!("its node '{name}' was removed");
    }
    if node.is_some_and(|node| node.absent_since.is_some()) {
        return format!("its node '{name}' is not heard of");
    }
    match snapshot
        .exported(&record.uid, name)
        .map(|it| &it.value.state)
    {
        Some(ExportState::Failed(error)) => error.message.clone(),
        _ => format!("its node '{name}' does not serve it yet"),
    }
}

#[cfg(test)]
mod tests;
