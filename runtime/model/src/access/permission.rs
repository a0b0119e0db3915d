//! What can be allowed, under the names of the authorisation catalogue
//! (capabilities §4.7) and, where Batch AI has no name, under our own.

use std::fmt;

use super::role::Role;

/// What a permission lets one do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Looking; nothing is changed.
    Read,
    /// Changing what belongs to users.
    Change,
    /// Changing who may what, and the installation.
    Administer,
    /// Becoming a part of the installation.
    Join,
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:ident;)*) => {
        /// What can be allowed. Every request needs one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Permission {
            $($(#[$doc])* $variant,)*
        }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in the catalogue, in messages and in the audit log.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it lets one do.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }
        }
    };
}

permissions! {
    /// Read resource groups.
    GroupsRead = "groups/read", Read;
    /// Ask for a resource group that may exist already; a new one also needs [`Self::GroupsCreate`].
    GroupsWrite = "groups/write", Change;
    /// Make a resource group.
    GroupsCreate = "groups/create", Administer;
    /// Delete a resource group.
    GroupsDelete = "groups/delete", Administer;
    /// Read workspaces.
    WorkspacesRead = "workspaces/read", Read;
    /// Change a workspace; a new one also needs [`Self::WorkspacesCreate`].
    WorkspacesWrite = "workspaces/write", Change;
    /// Make a workspace in a group.
    WorkspacesCreate = "workspaces/create", Change;
    /// Delete a workspace with everything in it.
    WorkspacesDelete = "workspaces/delete", Change;
    /// Read experiments.
    ExperimentsRead = "workspaces/experiments/read", Read;
    /// Make experiments.
    ExperimentsWrite = "workspaces/experiments/write", Change;
    /// Delete experiments with their jobs.
    ExperimentsDelete = "workspaces/experiments/delete", Change;
    /// Read jobs, their events and plans.
    JobsRead = "workspaces/experiments/jobs/read", Read;
    /// Submit jobs.
    JobsWrite = "workspaces/experiments/jobs/write", Change;
    /// Delete jobs.
    JobsDelete = "workspaces/experiments/jobs/delete", Change;
    /// End jobs.
    JobsTerminate = "workspaces/experiments/jobs/terminate/action", Change;
    /// Ask what a job would run, without submitting it.
    JobsPlan = "workspaces/experiments/jobs/plan/action", Read;
    /// List and read output files.
    JobsFiles = "workspaces/experiments/jobs/listoutputfiles/action", Read;
    /// See where a job's nodes can be logged in to.
    JobsRemoteLogin = "workspaces/experiments/jobs/remoteLoginInformation/action", Read;
    /// Read clusters.
    ClustersRead = "workspaces/clusters/read", Read;
    /// Make and resize clusters.
    ClustersWrite = "workspaces/clusters/write", Change;
    /// Delete clusters.
    ClustersDelete = "workspaces/clusters/delete", Change;
    /// See where a cluster's nodes can be logged in to.
    ClustersRemoteLogin = "workspaces/clusters/remoteLoginInformation/action", Read;
    /// Read file servers.
    FileServersRead = "workspaces/fileservers/read", Read;
    /// Make file servers.
    FileServersWrite = "workspaces/fileservers/write", Change;
    /// Delete file servers.
    FileServersDelete = "workspaces/fileservers/delete", Change;
    /// Write and remove files of file servers.
    FileServersFilesWrite = "workspaces/fileservers/files/write", Change;
    /// Read quotas and what is used of them.
    UsagesRead = "locations/usages/read", Read;
    /// See how far a long-running operation is.
    OperationResultsRead = "locations/operationresults/read", Read;
    /// See what a long-running operation came to.
    OperationStatusesRead = "locations/operationstatuses/read", Read;
    /// Register the provider with a subscription, which changes nothing here.
    Register = "register/action", Read;
    /// Read the catalogue of operations, the version and the API's description.
    DescriptionsRead = "operations/read", Read;
    /// Read subscriptions, which are only echoed.
    SubscriptionsRead = "subscriptions/read", Read;
    /// Read storage accounts, which stand for local directories.
    StorageRead = "storageAccounts/read", Read;
    /// Read the keys of storage accounts: whoever has them may use them.
    StorageKeys = "storageAccounts/listKeys/action", Change;
    /// Read nodes.
    NodesRead = "nodes/read", Read;
    /// Drain and resume nodes.
    NodesWrite = "nodes/write", Administer;
    /// Remove nodes that are gone.
    NodesDelete = "nodes/delete", Administer;
    /// Join the cluster as a node, and be given its secrets.
    NodesJoin = "nodes/join/action", Join;
    /// Read the whole state, hashes of tokens and sealed secrets included.
    StateExport = "export/action", Administer;
    /// Read the list of framework plugins.
    PluginsRead = "plugins/read", Read;
    /// See which tokens there are.
    TokensRead = "tokens/read", Administer;
    /// Make tokens.
    TokensWrite = "tokens/write", Administer;
    /// Revoke tokens.
    TokensDelete = "tokens/delete", Administer;
    /// What needs no token: health, signed links, login endpoints.
    Public = "public", Read;
}

impl Permission {
    /// The least role that has it; of [`Kind::Join`] the only one.
    pub fn needs(self) -> Role {
        match self.kind() {
            Kind::Join => Role::Node,
            Kind::Read => Role::Reader,
            Kind::Change => Role::Contributor,
            Kind::Administer => Role::Admin,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: BTreeSet<&str> = Permission::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), Permission::ALL.len());
    }

    #[test]
    fn what_is_called_write_or_delete_is_not_a_readers() {
        for permission in Permission::ALL {
            let word = permission.name().rsplit('/').next().unwrap();
            if ["write", "create", "delete"].contains(&word) {
                assert!(permission.needs() > Role::Reader, "{permission}");
            }
        }
    }
}
