//! What a job asks for and this version cannot do yet: it is accepted and waits like any
//! other, and fails when it would start, before anything of it runs.

use lote_model::job::{ErrorRecord, JobProperties};
use lote_model::mount_volumes::MountVolumes;

/// The exit code of a job whose surroundings could not be made (capabilities §5.1).
pub(crate) const EXIT_CODE: i32 = -1;

/// The code of a file share that was not mounted.
pub const FILE_SHARE: &str = "AZFMountError";
/// The code of a container of blobs that was not mounted.
pub const BLOBS: &str = "BFSMountError";
/// The code of a file server that was not mounted.
pub const FILE_SERVER: &str = "FileServerMountError";
/// The code of a file system of the user's own that was not mounted.
pub const UNMANAGED: &str = "UnmanagedFileSystemMountError";
/// The code of a container that was not started.
pub const CONTAINER: &str = "FailedStartingContainer";

/// Why the job cannot be started, in the order in which its surroundings are made:
/// mounts, then the container.
pub(crate) fn obstacle(job: &JobProperties) -> Option<ErrorRecord> {
    job.mount_volumes
        .as_ref()
        .and_then(mount)
        .or_else(|| container(job))
}

fn mount(volumes: &MountVolumes) -> Option<ErrorRecord> {
    let share = volumes.azure_file_shares.first().map(|share| {
        let what = "Unable to mount Azure File: this version of Lote cannot mount file shares yet";
        error(FILE_SHARE, what, &share.relative_mount_path)
            .with("accountName", &share.account_name)
            .with("azureFileUrl", &share.azure_file_url)
    });
    let blobs = volumes.azure_blob_file_systems.first().map(|blobs| {
        let what =
            "Unable to mount blob fuse: this version of Lote cannot mount containers of blobs yet";
        error(BLOBS, what, &blobs.relative_mount_path)
            .with("accountName", &blobs.account_name)
            .with("containerName", &blobs.container_name)
    });
    let server = volumes.file_servers.first().map(|server| {
        let what =
            "Unable to mount file server: this version of Lote cannot mount file servers yet";
        error(FILE_SERVER, what, &server.relative_mount_path)
            .with("fileServer", &server.file_server.id)
    });
    let unmanaged = volumes.unmanaged_file_systems.first().map(|unmanaged| {
        let what =
            "Unable to mount file system: this version of Lote cannot run mount commands yet";
        error(UNMANAGED, what, &unmanaged.relative_mount_path)
    });
    share.or(blobs).or(server).or(unmanaged)
}

fn error(code: &str, what: &str, relative_mount_path: &str) -> ErrorRecord {
    let message = format!(
        "{what}; submit the job without mountVolumes, with paths that its nodes have already"
    );
    ErrorRecord::new(code, message)
        .with("step", "mount")
        .with("relativeMountPath", relative_mount_path)
}

fn container(job: &JobProperties) -> Option<ErrorRecord> {
    let container = job.container_settings.as_ref()?;
    let message = "Failed to start the container: this version of Lote cannot run containers yet; \
         submit the job without containerSettings, to run it directly on its nodes";
    Some(
        ErrorRecord::new(CONTAINER, message)
            .with("step", "container")
            .with("imageName", &container.image_source_registry.image),
    )
}

#[cfg(test)]
mod tests;
