//! What a plan shows of mounts: where from, and where below the job's mount roots.

use lote_model::export::{ExportPoint, ExportReport, ExportState};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::key;
use lote_model::mount_volumes::{FileServerMount, MountVolumes};
use lote_model::path::ChildPath;
use lote_model::planned_mount::{
    GangShare, MountSource, PlannedMount, PlannedMounts, source_directory,
};
use lote_store::{Store, get_json};
use serde_json::{Value, json};

use crate::error::ApiError;

/// Whose mounts they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Those that the cluster has for all its jobs.
    Cluster,
    /// Those of the job itself.
    Job,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Job => "job",
        }
    }

    /// The variable with the directory below which they are.
    fn root(self) -> &'static str {
        match self {
            Self::Cluster => "$AZ_BATCHAI_MOUNT_ROOT",
            Self::Job => "$AZ_BATCHAI_JOB_MOUNT_ROOT",
        }
    }

    fn shown(
        self,
        path: &str,
        kind: &str,
        source: &str,
        address: Option<&str>,
        options: Option<&str>,
    ) -> Value {
        json!({
            "level": self.word(),
            "path": format!("{}/{path}", self.root()),
            "kind": kind,
            "source": source,
            "address": address,
            "options": options,
        })
    }
}

/// The mounts of a stored plan.
pub(crate) fn planned(mounts: &PlannedMounts) -> Vec<Value> {
    let of_cluster = mounts.cluster.iter().map(|mount| (Level::Cluster, mount));
    let of_job = mounts.job.iter().map(|mount| (Level::Job, mount));
    of_cluster
        .chain(of_job)
        .map(|(level, mount)| planned_one(level, mount))
        .collect()
}

/// What the nodes of a gang share beside that.
pub(crate) fn shared_directory(share: &GangShare) -> Value {
    match share {
        GangShare::None => Value::Null,
        GangShare::Lacks(why) => json!({"address": null, "lacks": why}),
        GangShare::Directory(source) => json!({"address": source.remote(), "lacks": null}),
    }
}

fn planned_one(level: Level, mount: &PlannedMount) -> Value {
    let path = &mount.relative_path;
    match &mount.source {
        // Not among the mounts that are listed: see `shared_directory`.
        MountSource::FileServer(server) | MountSource::GangShare(server) => level.shown(
            path,
            "fileServer",
            &server.name,
            Some(&server.remote()),
            server.options.as_deref(),
        ),
        MountSource::FileShare(share) => level.shown(path, "fileShare", &share.url, None, None),
        MountSource::Blobs(blobs) => {
            let source = format!("{}/{}", blobs.account, blobs.container);
            level.shown(path, "blobs", &source, None, blobs.options.as_deref())
        }
        MountSource::Command(command) => level.shown(path, "command", command, None, None),
    }
}

/// The mounts that a plan would have. A file server need not be ready for that: it has no address
/// then.
pub(crate) async fn imagined(
    store: &dyn Store,
    level: Level,
    volumes: &MountVolumes,
) -> Result<Vec<Value>, ApiError> {
    let others = MountVolumes {
        file_servers: Vec::new(),
        ..volumes.clone()
    };
    let planned = lote_model::planned_mount::plan_mounts(&others, |_| Err(()));
    let planned = planned.unwrap_or_default();
    let mut shown: Vec<_> = planned.iter().map(|it| planned_one(level, it)).collect();
    for mount in &volumes.file_servers {
        let path = ChildPath::parse_id(&mount.file_server.id, "fileServers")?;
        let address = address(store, &path, mount).await?;
        shown.push(level.shown(
            &mount.relative_mount_path,
            "fileServer",
            path.name.as_str(),
            address.as_deref(),
            mount.mount_options.as_deref(),
        ));
    }
    Ok(shown)
}

/// Where a file server is mounted from, if it is served now.
async fn address(
    store: &dyn Store,
    path: &ChildPath,
    mount: &FileServerMount,
) -> Result<Option<String>, ApiError> {
    let Some((address, point)) = served(store, path).await? else {
        return Ok(None);
    };
    let export = point.remote(&address);
    Ok(Some(match source_directory(mount) {
        Some(directory) => format!("{export}/{directory}"),
        None => export,
    }))
}

/// The address of its node, and how it is reached there.
async fn served(
    store: &dyn Store,
    path: &ChildPath,
) -> Result<Option<(String, ExportPoint)>, ApiError> {
    let record = get_json::<FileServerRecord>(store, &key::file_server(path)).await?;
    let status = get_json::<FileServerStatus>(store, &key::file_server_status(path)).await?;
    let (Some(record), Some(status)) = (record, status) else {
        return Ok(None);
    };
    let (record, status) = (record.value, status.value);
    let (Some(node), Some(settings)) = (&status.node, status.mount_settings) else {
        return Ok(None);
    };
    if status.uid != record.uid {
        return Ok(None);
    }
    let report = get_json::<ExportReport>(store, &key::exported(node, &record.uid)).await?;
    Ok(match report.map(|report| report.value.state) {
        Some(ExportState::Serving(point)) => Some((settings.file_server_internal_ip, point)),
        _ => None,
    })
}
