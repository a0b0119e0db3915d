//! Records of file servers.

use jiff::Timestamp;
use lote_model::cluster::UserAccountSettings;
use lote_model::export::{ExportPoint, ExportState, NfsServer, SizeLimit};
use lote_model::file_server::{
    CachingType, DataDisks, FileServerProperties, FileServerRecord, LoteFileServerProperties,
    SshConfiguration, StorageAccountType,
};
use lote_model::id::{FileServerUid, UnixId};
use lote_model::job::{ErrorRecord, ResourceReference};
use lote_model::mount_volumes::{FileServerMount, MountVolumes};
use lote_model::name::ResourceName;

use super::workspace;

/// A file server with one disk, with this name and id.
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "names in tests are literals"
)]
pub fn file_server(name: &str, uid: &str) -> FileServerRecord {
    FileServerRecord {
        path: workspace().child(ResourceName::new(name).expect("a valid name")),
        uid: FileServerUid::new(uid),
        created_at: Timestamp::UNIX_EPOCH,
        unix_id: Some(UnixId::FIRST),
        properties: FileServerProperties {
            vm_size: "cpu".into(),
            ssh_configuration: SshConfiguration {
                public_ips_to_allow: vec!["*".into()],
                user_account_settings: UserAccountSettings {
                    admin_user_name: "admin".into(),
                    admin_user_ssh_public_key: None,
                },
            },
            data_disks: DataDisks {
                disk_size_in_gb: 10,
                disk_count: 1,
                storage_account_type: StorageAccountType::Standard,
                caching_type: CachingType::None,
            },
            subnet: None,
            lote: LoteFileServerProperties::default(),
        },
        delete_requested_at: None,
        erase_data: false,
    }
}

/// What a node says of one that it serves.
pub fn serving() -> ExportState {
    ExportState::Serving(ExportPoint {
        server: NfsServer::Ganesha,
        path: "/srv/f".into(),
        nfs_port: 2049,
        mount_port: Some(2050),
        versions: vec!["4.2".into(), "3".into()],
        size_limit: SizeLimit {
            in_force: false,
            note: "no quota here".into(),
        },
    })
}

/// What a node says of one that it cannot serve.
pub fn not_serving() -> ExportState {
    ExportState::Failed(ErrorRecord::new("ExportFailed", "the disk is on fire"))
}

/// Volumes with one file server of the workspace of tests, mounted below its name.
pub fn mounting(name: &str) -> MountVolumes {
    let id = format!("/v1/groups/lab/workspaces/ws/fileServers/{name}");
    MountVolumes {
        file_servers: vec![FileServerMount {
            file_server: ResourceReference { id },
            source_directory: None,
            relative_mount_path: name.to_owned(),
            mount_options: None,
        }],
        ..MountVolumes::default()
    }
}
