//! File servers.

use lote_model::quantity::format_bytes;

use super::{error_block, state_colour};
use crate::answer::{
    Disks, FileServer, FileServerExtensions, FileServerLimit, ServerFile, ServerFileKind,
};
use crate::output::{Cell, Details, Style, Table, day_and_time};

/// Many file servers: how they fare, how full they are and where they are mounted from.
pub fn file_server_table(servers: &[FileServer], style: Style) -> String {
    let mut table = Table::new(&[
        "NAME",
        "SIZE",
        "STATE",
        "NODE",
        "USED",
        "FREE",
        "ADDRESS",
        "MOUNT POINT",
    ]);
    for server in servers {
        let members = &server.properties;
        let state = members.provisioning_state.as_str();
        let mount = members.mount_settings.as_ref();
        let (lote, usage) = (&members.lote, members.lote.usage);
        table.row([
            server.name.as_str().into(),
            members.vm_size.as_str().into(),
            Cell::coloured(state, state_colour(state)),
            lote.node.as_deref().unwrap_or_default().into(),
            usage
                .map(|usage| format_bytes(usage.used_bytes))
                .unwrap_or_default()
                .into(),
            usage
                .map(|usage| format_bytes(usage.free_bytes))
                .unwrap_or_default()
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
    let lote = &members.lote;
    let disks = disks(&members.data_disks);
    let kind = &members.data_disks.storage_account_type;
    let caching = &members.data_disks.caching_type;
    let mount = members.mount_settings.as_ref();
    let on_disks = (!lote.disks.is_empty()).then(|| lote.disks.join("\n"));
    let mut details = Details::default();
    details
        .add("file server", server.name.as_str())
        .add("state", members.provisioning_state.as_str())
        .add("size", members.vm_size.as_str())
        .add_some("node", lote.node.as_deref())
        .add_some("directory", lote.directory.as_deref())
        .add_some("on", on_disks)
        .add("disks", format!("{disks}, {kind}, caching {caching}"))
        .add_some("limit", lote.size_limit.as_ref().map(limit))
        .add_some("used", lote.usage.map(|it| format_bytes(it.used_bytes)))
        .add_some("free", lote.usage.map(|it| format_bytes(it.free_bytes)))
        .add_some("served by", served_by(lote))
        .add_some(
            "address",
            mount.map(|mount| mount.file_server_internal_ip.as_str()),
        )
        .add_some("mount point", mount.map(|mount| mount.mount_point.as_str()))
        .add_some("mount with", lote.mount_command.as_deref())
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

fn served_by(lote: &FileServerExtensions) -> Option<String> {
    let server = lote.server.as_deref()?;
    let versions = lote.versions.join(", ");
    let port = lote.nfs_port.unwrap_or_default();
    Some(format!("{server}, NFS {versions}, port {port}"))
}

fn limit(limit: &FileServerLimit) -> String {
    let bytes = format_bytes(limit.bytes);
    let note = limit.note.as_deref().unwrap_or_default();
    match limit.in_force {
        None => bytes,
        Some(true) => format!("{bytes}, in force: {note}"),
        Some(false) => format!("{bytes}, not in force: {note}"),
    }
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
                "mountSettings": {"mountPoint": "/data", "fileServerPublicIP": "10.0.0.7", "fileServerInternalIP": "10.0.0.7"},
                "lote": {"errors": [], "node": "nas-1", "server": "ganesha", "versions": ["4.2", "3"], "nfsPort": 2049,
                         "mountCommand": "mount -t nfs -o vers=4.2,port=2049 10.0.0.7:/data /mnt",
                         "sizeLimit": {"bytes": 200_u64 << 30, "inForce": false, "note": "no project quota on ext4"},
                         "usage": {"usedBytes": 1_u64 << 30, "freeBytes": 50_u64 << 30}}}},
            {"id": "/v1/groups/g/workspaces/w/fileservers/b", "name": "b", "properties": {
                "vmSize": "CPU", "provisioningState": "failed",
                "dataDisks": {"diskCount": 1, "diskSizeInGB": 5, "storageAccountType": "Premium_LRS", "cachingType": "readonly"},
                "lote": {"disks": ["/dev/sdb", "/dev/sdc"], "sizeLimit": {"bytes": 5_u64 << 30},
                         "errors": [{"code": "FileServerNodeNotFound", "message": "there is no such node",
                                     "details": [{"name": "node", "value": "nas"}]}]}}}]))
        .unwrap();
        insta::assert_snapshot!(file_server_table(&servers, Style::Plain));
        insta::assert_snapshot!(file_server_details(&servers[0], Style::Plain));
        insta::assert_snapshot!(file_server_details(&servers[1], Style::Plain));
    }
}
