//! Records of file servers.

use jiff::Timestamp;
use lote_model::cluster::UserAccountSettings;
use lote_model::file_server::{
    CachingType, DataDisks, FileServerProperties, FileServerRecord, SshConfiguration,
    StorageAccountType,
};
use lote_model::id::FileServerUid;
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
        properties: FileServerProperties {
            vm_size: "cpu".into(),
            ssh_configuration: SshConfiguration {
                public_ips_to_allow: vec!["*".into()],
                user_account_settings: UserAccountSettings {
                    admin_user_name: "admin".into(),
                    admin_user_ssh_public_key: None,
                    admin_user_password: None,
                },
            },
            data_disks: DataDisks {
                disk_size_in_gb: 10,
                disk_count: 1,
                storage_account_type: StorageAccountType::Standard,
                caching_type: CachingType::None,
            },
            subnet: None,
        },
        delete_requested_at: None,
    }
}
