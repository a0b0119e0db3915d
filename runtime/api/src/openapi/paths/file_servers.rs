//! File servers.

use super::{Described, tagged, workspace};
use crate::openapi::parameters;
use crate::openapi::schemas::file_server::{
    FileServer, FileServerCreateParameters, FileServerListResult,
};

pub(crate) fn all() -> Vec<Described> {
    let one = || workspace("/fileServers/{fileServerName}");
    tagged(
        "file servers",
        [
            Described::get(
                "FileServers_ListByWorkspace",
                workspace("/fileServers"),
                "Lists the file servers of a workspace",
            )
            .lists::<FileServerListResult>(),
            Described::put("FileServers_Create", one(), "Creates a file server")
                .takes::<FileServerCreateParameters>()
                .answers::<FileServer>("The file server.")
                .accepted(),
            Described::delete(
                "FileServers_Delete",
                one(),
                "Deletes a file server, once no job mounts it; its files are kept unless told otherwise",
            )
            .parameter(parameters::erase_data()),
            Described::get("FileServers_Get", one(), "Reads a file server")
                .answers::<FileServer>("The file server."),
        ],
    )
}
