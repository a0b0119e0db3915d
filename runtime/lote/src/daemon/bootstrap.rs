//! What a first start makes, so that one machine works without any set-up: group
//! `default`, workspace `default`, cluster `local` of this machine's size.

use jiff::Timestamp;
use lote_model::cluster::{
    AutoScale, ClusterProperties, ClusterRecord, LoteClusterProperties, ScaleSettings,
    UserAccountSettings, VmPriority, default_image,
};
use lote_model::id::{ClusterUid, UnixId};
use lote_model::key;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::WorkspacePath;
use lote_model::problem::Problem;
use lote_model::workspace::{GroupRecord, WorkspaceRecord};
use lote_store::{Commit, Store, StoreError, Transaction, Write};

/// The name of the group and of the workspace.
const DEFAULT: &str = "default";

/// The name of the cluster.
const LOCAL: &str = "local";

/// The default resources could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BootstrapError {
    /// A name here breaks the rules of names.
    #[error("a default resource has a bad name")]
    Name(#[from] Problem),
    /// The store failed.
    #[error("cannot store the default resources")]
    Store(#[from] StoreError),
}

/// Makes the default resources if this store has never had a group. What a user
/// deleted later does not come back.
pub(super) async fn default_resources(
    store: &dyn Store,
    size: &str,
    now: Timestamp,
) -> Result<(), BootstrapError> {
    let group = GroupName::new(DEFAULT)?;
    let path = WorkspacePath {
        group: group.clone(),
        workspace: ResourceName::new(DEFAULT)?,
    };
    let workspace = WorkspaceRecord {
        path: path.clone(),
        location: LOCAL.to_owned(),
        tags: std::collections::BTreeMap::new(),
        unix_id: UnixId::FIRST,
        created_at: now,
        delete_requested_at: None,
    };
    let cluster = ClusterRecord {
        path: path.child(ResourceName::new(LOCAL)?),
        uid: ClusterUid::new(uuid::Uuid::new_v4().to_string()),
        created_at: now,
        properties: local_cluster(size),
        setup_output_suffix: None,
        delete_requested_at: None,
    };
    let next = UnixId(UnixId::FIRST.0 + 1);
    let transaction = Transaction::new()
        .require_absent(key::NEXT_UNIX_ID)
        .require_absent(key::group(&group))
        .write(Write::put_json(key::NEXT_UNIX_ID, &next)?)
        .write(Write::put_json(
            key::group(&group),
            &GroupRecord {
                name: group.clone(),
                created_at: now,
            },
        )?)
        .write(Write::put_json(key::workspace(&path), &workspace)?)
        .write(Write::put_json(key::cluster(&cluster.path), &cluster)?);
    match store.commit(transaction).await? {
        Commit::Applied { .. } => tracing::info!(
            size,
            "first start: made workspace default/default with cluster local"
        ),
        Commit::Conflict { .. } => {}
    }
    Ok(())
}

/// Grows from nothing to this one machine when there is work, and gives it back
/// at once, so that it never keeps the machine from a cluster of the user's own.
fn local_cluster(size: &str) -> ClusterProperties {
    ClusterProperties {
        vm_size: size.to_owned(),
        vm_priority: VmPriority::Dedicated,
        scale_settings: ScaleSettings::AutoScale(AutoScale {
            minimum_node_count: 0,
            maximum_node_count: 1,
            initial_node_count: 0,
        }),
        virtual_machine_configuration: default_image(),
        node_setup: None,
        user_account_settings: UserAccountSettings {
            admin_user_name: "lote".to_owned(),
            admin_user_ssh_public_key: None,
        },
        subnet: None,
        lote: LoteClusterProperties::default(),
    }
}
