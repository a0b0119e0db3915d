//! File servers.

use lote_model::quantity::format_bytes;

use super::{error_block, state_colour};
use crate::answer::{Disks, FileServer, ServerFile, ServerFileKind};
use crate::output::{Cell, Details, Style, Table, day_and_time};

/// Many file servers: what they are and where they are mounted from.
pub fn file_server_table(servers: &[FileServer], style: Style) -> String {
    let mut table = Table::new(&[
        "NAME",
        "SIZE",
        "STATE",
        "DISKS",
        "PUBLIC IP",
        "INTERNAL IP",
        "MOUNT POINT",
    ]);
    for server in servers {
        let members = &server.properties;
        let state = members.provisioning_state.as_str();
        let mount = members.mount_settings.as_ref();
        table.row([
            server.name.as_str().into(),
            members.vm_size.as_str().into(),
            Cell::coloured(state, state_colour(state)),
            disks(&members.data_disks).into(),
            mount
                .map_or("", |mount| &mount.file_server_public_ip)
                .into(),
            mount
                .map_or("", |mount| &mount.file_server_internal_ip)
                .into(),
            mount.map_or("", |mount| &mount.mount_point).into(),
        ]);
    }
    table.render(style, "no file servers")
}

/// What is in a directory of a file server: names, or with `long` all about them.
pub fn server_files(files: &[ServerFile], long: bool, style: Style) -> String {
    if !long {
        return files.iter().map(|file| shown_name(file) + "\n").collect();
    }
    let mut table = Table::new(&["MODE", "SIZE", "MODIFIED", "NAME"]);
    for file in files {
        let name = match &file.target {
            Some(target) => format!("{} -> {target}", shown_name(file)),
            None => shown_name(file),
        };
        table.row([
            file.mode.as_str().into(),
            file.size.map(format_bytes).unwrap_or_default().into(),
            day_and_time(file.modified).into(),
            name.into(),
        ]);
    }
    table.render(style, "nothing in it")
}

/// A name on one line, with a mark at what is no file.
fn shown_name(file: &ServerFile) -> String {
    let name = file.name.chars();
    let name = name.map(|c| if c.is_control() { '?' } else { c });
    let mark = match file.kind {
        ServerFileKind::Directory => "/",
        ServerFileKind::Link => "@",
        ServerFileKind::File | ServerFileKind::Other => "",
    };
    name.chain(mark.chars()).collect()
}

/// One file server.
pub fn file_server_details(server: &FileServer, style: Style) -> String {
    let members = &server.properties;
    let disks = disks(&members.data_disks);
    let kind = &members.data_disks.storage_account_type;
    let caching = &members.data_disks.caching_type;
    let mount = members.mount_settings.as_ref();
    let mut details = Details::default();
    details
        .add("file server", server.name.as_str())
        .add("state", members.provisioning_state.as_str())
        .add("size", members.vm_size.as_str())
        .add("disks", format!("{disks}, {kind}, caching {caching}"))
        .add_some(
            "public ip",
            mount.map(|mount| mount.file_server_public_ip.as_str()),
        )
        .add_some(
            "internal ip",
            mount.map(|mount| mount.file_server_internal_ip.as_str()),
        )
        .add_some("mount point", mount.map(|mount| mount.mount_point.as_str()))
        .add_some("created", members.creation_time.map(day_and_time))
        .add("id", server.id.as_str());
    let mut text = details.render(style);
    for error in &members.lote.errors {
        text.push('\n');
        text.push_str(&error_block(error));
        text.push('\n');
    }
    text
}

fn disks(disks: &Disks) -> String {
    format!("{} x {} GB", disks.disk_count, disks.disk_size_in_gb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    #[test]
    fn file_servers_in_a_list_and_alone() {
        let servers: Vec<FileServer> = read(&json!([
            {"id": "/v1/groups/g/workspaces/w/fileservers/a", "name": "a", "properties": {
                "vmSize": "CPU", "provisioningState": "succeeded", "creationTime": "2026-08-04T10:15:30Z",
                "dataDisks": {"diskCount": 2, "diskSizeInGB": 100, "storageAccountType": "Standard_LRS", "cachingType": "none"},
                "mountSettings": {"mountPoint": "/data", "fileServerPublicIP": "192.0.2.7", "fileServerInternalIP": "10.0.0.7"}}},
            {"id": "/v1/groups/g/workspaces/w/fileservers/b", "name": "b", "properties": {
                "vmSize": "CPU", "provisioningState": "failed",
                "dataDisks": {"diskCount": 1, "diskSizeInGB": 5, "storageAccountType": "Premium_LRS", "cachingType": "readonly"},
                "lote": {"errors": [{"code": "FileServerNotSupported", "message": "no node can share its disks",
                                     "details": [{"name": "vmSize", "value": "cpu"}]}]}}}]))
        .unwrap();
        insta::assert_snapshot!(file_server_table(&servers, Style::Plain));
        insta::assert_snapshot!(file_server_details(&servers[0], Style::Plain));
        insta::assert_snapshot!(file_server_details(&servers[1], Style::Plain));
    }
}
