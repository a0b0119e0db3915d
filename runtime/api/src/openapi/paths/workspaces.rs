//! Workspaces.

use super::{Described, SUBSCRIPTION, tagged, workspace, workspaces};
use crate::openapi::schemas::workspace::{
    LoteWorkspaceCreateParameters, Workspace, WorkspaceCreateParameters, WorkspaceListResult,
    WorkspaceUpdateParameters,
};

pub(crate) fn all() -> Vec<Described> {
    let one = || workspace("");
    tagged(
        "workspaces",
        [
            Described::get(
                "Workspaces_List",
                format!("{SUBSCRIPTION}/workspaces"),
                "Lists all workspaces",
            )
            .lists::<WorkspaceListResult>(),
            Described::get(
                "Workspaces_ListByResourceGroup",
                workspaces(""),
                "Lists the workspaces of a group",
            )
            .lists::<WorkspaceListResult>(),
            Described::put("Workspaces_Create", one(), "Creates a workspace")
                .takes::<WorkspaceCreateParameters>()
                .twin_takes::<LoteWorkspaceCreateParameters>()
                .answers::<Workspace>("The workspace.")
                .accepted(),
            Described::patch(
                "Workspaces_Update",
                one(),
                "Changes the tags of a workspace",
            )
            .takes::<WorkspaceUpdateParameters>()
            .answers::<Workspace>("The workspace."),
            Described::delete(
                "Workspaces_Delete",
                one(),
                "Deletes a workspace and everything in it",
            ),
            Described::get("Workspaces_Get", one(), "Reads a workspace")
                .answers::<Workspace>("The workspace."),
        ],
    )
}
