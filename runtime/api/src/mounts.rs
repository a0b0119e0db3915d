//! What a body mounts must be within reach of whoever sends it.

use lote_model::access::Permission;
use lote_model::mount_volumes::MountVolumes;
use lote_model::path::ChildPath;

use crate::auth::Principal;
use crate::error::ApiError;

/// 403 unless the caller may read the file server behind every mount, whichever
/// workspace it is of. `base` points at the volumes.
pub(crate) fn require_file_servers(
    principal: &Principal,
    volumes: Option<&MountVolumes>,
    base: &str,
) -> Result<(), ApiError> {
    let mounts = volumes
        .into_iter()
        .flat_map(|volumes| &volumes.file_servers);
    for (index, mount) in mounts.enumerate() {
        let pointer = format!("{base}/fileServers/{index}/fileServer/id");
        let server = ChildPath::parse_id(&mount.file_server.id, "fileServers")
            .map_err(|problem| problem.at(&pointer))?;
        principal.require_in(Permission::FileServersRead, &server.workspace, &pointer)?;
    }
    Ok(())
}
