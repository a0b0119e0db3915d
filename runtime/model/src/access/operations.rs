//! Which route and method need which permission.
//!
//! The patterns are those of the API's router. Names in braces say what a
//! request concerns. A route that is missing here is refused to everybody.

use super::permission::Permission as P;
use super::scope::Target;
use crate::name::{GroupName, ResourceName};
use crate::path::WorkspacePath;
use crate::problem::Problem;

/// How the target of a request follows from its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anyone may, without a token.
    Public,
    /// [`Target::Shared`]: the handler filters, or there is nothing to hide.
    Shared,
    /// [`Target::Installation`].
    Installation,
    /// [`Target::Group`] of `{group}`.
    Group,
    /// [`Target::WithinGroup`] of `{group}`.
    WithinGroup,
    /// [`Target::Workspace`] of `{group}` and `{workspace}`.
    Workspace,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The HTTP method, in capitals. GET stands for HEAD as well.
    pub method: &'static str,
    /// The route, as the router has it.
    pub pattern: &'static str,
    /// What it needs.
    pub permission: P,
    /// What it concerns.
    pub reach: Reach,
}

macro_rules! table {
    ($($reach:ident $pattern:expr => { $($method:ident $permission:ident),* $(,)? })*) => {
        &[$($(Operation {
            method: stringify!($method),
            pattern: $pattern,
            permission: P::$permission,
            reach: Reach::$reach,
        },)*)*]
    };
}

macro_rules! ws {
    ($rest:literal) => {
        concat!("/v1/groups/{group}/workspaces/{workspace}", $rest)
    };
}

macro_rules! job {
    ($rest:literal) => {
        concat!(
            "/v1/groups/{group}/workspaces/{workspace}/experiments/{experiment}/jobs/{job}",
            $rest
        )
    };
}

macro_rules! accounts {
    ($rest:literal) => {
        concat!(
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/{namespace}/storageaccounts",
            $rest
        )
    };
}

/// Every operation of the API.
pub const OPERATIONS: &[Operation] = table! {
    Public "/healthz" => { GET Public }
    Public "/readyz" => { GET Public }
    Public "/files/{token}/{name}" => { GET Public }

    // What clients call before they have a token: to get one, or to find out where.
    Public "/{tenant}/oauth2/token" => { POST Public }
    Public "/{tenant}/oauth2/v2.0/token" => { POST Public }
    Public "/{tenant}/.well-known/openid-configuration" => { GET Public }
    Public "/{tenant}/v2.0/.well-known/openid-configuration" => { GET Public }
    Public "/metadata/endpoints" => { GET Public }

    Shared "/v1/groups" => { GET GroupsRead }
    WithinGroup "/v1/groups/{group}" => { GET GroupsRead, PUT GroupsWrite }
    Group "/v1/groups/{group}" => { DELETE GroupsDelete }
    Shared "/v1/workspaces" => { GET WorkspacesRead }
    WithinGroup "/v1/groups/{group}/workspaces" => { GET WorkspacesRead }
    Workspace ws!("") => {
        GET WorkspacesRead, PUT WorkspacesWrite, PATCH WorkspacesWrite, DELETE WorkspacesDelete,
    }

    Workspace ws!("/clusters") => { GET ClustersRead }
    Workspace ws!("/clusters/{cluster}") => {
        GET ClustersRead, PUT ClustersWrite, PATCH ClustersWrite, DELETE ClustersDelete,
    }
    Workspace ws!("/clusters/{cluster}/listremotelogininformation") => { POST ClustersRemoteLogin }
    Workspace ws!("/fileservers") => { GET FileServersRead }
    Workspace ws!("/fileservers/{fileServer}") => {
        GET FileServersRead, PUT FileServersWrite, DELETE FileServersDelete,
    }
    Workspace ws!("/fileservers/{fileServer}/files") => {
        GET FileServersRead, DELETE FileServersFilesWrite,
    }
    Workspace ws!("/fileservers/{fileServer}/content") => {
        GET FileServersRead, PUT FileServersFilesWrite,
    }
    Workspace ws!("/fileservers/{fileServer}/directories") => { PUT FileServersFilesWrite }
    Workspace ws!("/fileservers/{fileServer}/links") => { PUT FileServersFilesWrite }
    Workspace ws!("/fileservers/{fileServer}/uploads/{upload}") => {
        GET FileServersRead, PUT FileServersFilesWrite, POST FileServersFilesWrite,
        DELETE FileServersFilesWrite,
    }

    Workspace ws!("/experiments") => { GET ExperimentsRead }
    Workspace ws!("/experiments/{experiment}") => {
        GET ExperimentsRead, PUT ExperimentsWrite, DELETE ExperimentsDelete,
    }
    Workspace ws!("/experiments/{experiment}/jobs") => { GET JobsRead }
    Workspace job!("") => { GET JobsRead, PUT JobsWrite, DELETE JobsDelete }
    Workspace job!("/terminate") => { POST JobsTerminate }
    Workspace job!("/listoutputfiles") => { POST JobsFiles }
    Workspace job!("/plan") => { GET JobsRead, POST JobsPlan }
    Workspace job!("/events") => { GET JobsRead }
    Workspace job!("/logs") => { GET JobsFiles }
    Workspace job!("/samples") => { GET JobsRead }
    Workspace job!("/listremotelogininformation") => { POST JobsRemoteLogin }

    Shared "/v1/nodes" => { GET NodesRead }
    Shared "/v1/nodes/{node}" => { GET NodesRead }
    Installation "/v1/nodes/{node}" => { DELETE NodesDelete }
    Installation "/v1/nodes/{node}/drain" => { POST NodesWrite }
    Installation "/v1/nodes/{node}/resume" => { POST NodesWrite }
    Installation "/v1/join" => { POST NodesJoin }
    Installation "/v1/export" => { POST StateExport }
    Shared "/v1/plugins" => { GET PluginsRead }
    Shared "/v1/version" => { GET DescriptionsRead }
    Shared "/v1/events" => { GET JobsRead }
    Shared "/v1/catalogue" => { GET DescriptionsRead }
    Shared "/v1/usages" => { GET UsagesRead }
    Shared "/v1/usage" => { GET UsagesRead }
    Installation "/metrics" => { GET NodesRead }
    Shared "/v1/openapi.json" => { GET DescriptionsRead }
    // The id is signed and known to the caller of the operation alone.
    Shared "/v1/operations/{id}" => { GET OperationResultsRead }
    Shared "/v1/operations/{id}/result" => { GET OperationStatusesRead }

    // Neighbours of Batch AI. Storage accounts belong to no group of ours.
    Shared "/tenants" => { GET SubscriptionsRead }
    Shared "/subscriptions" => { GET SubscriptionsRead }
    Shared "/subscriptions/{subscription}" => { GET SubscriptionsRead }
    Shared "/subscriptions/{subscription}/providers" => { GET SubscriptionsRead }
    Shared "/subscriptions/{subscription}/providers/{namespace}" => { GET SubscriptionsRead }
    Shared "/subscriptions/{subscription}/providers/{namespace}/register" => { POST Register }
    Shared "/subscriptions/{subscription}/providers/{namespace}/storageaccounts" => {
        GET StorageRead,
    }
    Shared accounts!("") => { GET StorageRead }
    Shared accounts!("/{account}") => { GET StorageRead }
    Installation accounts!("/{account}/listkeys") => { POST StorageKeys }

    // Scoped administrators see, make and revoke tokens within their own scope.
    Shared "/v1/tokens" => { GET TokensRead, POST TokensWrite }
    Shared "/v1/tokens/{token}" => { GET TokensRead, DELETE TokensDelete }
};

/// The row for a route and method; none if nobody may.
pub fn find(method: &str, pattern: &str) -> Option<&'static Operation> {
    let method = if method == "HEAD" { "GET" } else { method };
    OPERATIONS
        .iter()
        .find(|row| row.method == method && is_same(row.pattern, pattern))
}

/// Whether two patterns fit the same paths, whatever they call the names in them.
fn is_same(one: &str, other: &str) -> bool {
    let is_name = |part: &str| part.starts_with('{');
    one.split('/').count() == other.split('/').count()
        && one
            .split('/')
            .zip(other.split('/'))
            .all(|(one, other)| one == other || (is_name(one) && is_name(other)))
}

impl Operation {
    /// What a request concerns. `parameter` gives the names in its path.
    pub fn target<'a>(&self, parameter: impl Fn(&str) -> &'a str) -> Result<Target, Problem> {
        let group = || {
            GroupName::new(parameter("group")).map_err(|problem| problem.at("resourceGroupName"))
        };
        let workspace = || -> Result<WorkspacePath, Problem> {
            let name = ResourceName::new(parameter("workspace"));
            Ok(WorkspacePath {
                group: group()?,
                workspace: name.map_err(|problem| problem.at("workspaceName"))?,
            })
        };
        Ok(match self.reach {
            Reach::Public | Reach::Shared => Target::Shared,
            Reach::Installation => Target::Installation,
            Reach::Group => Target::Group(group()?),
            Reach::WithinGroup => Target::WithinGroup(group()?),
            Reach::Workspace => Target::Workspace(workspace()?),
        })
    }
}

/// Whether anyone may send this request without a token. `path` is in the form
/// of the routes.
pub fn is_public(method: &str, path: &str) -> bool {
    let method = if method == "HEAD" { "GET" } else { method };
    OPERATIONS
        .iter()
        .filter(|row| row.reach == Reach::Public && row.method == method)
        .any(|row| fits(row.pattern, path))
}

fn fits(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let all = pattern.split('/').all(|wanted| {
        parts
            .next()
            .is_some_and(|part| wanted == part || (wanted.starts_with('{') && !part.is_empty()))
    });
    all && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::permission::Kind;
    use super::*;

    #[test]
    fn rows_are_distinct() {
        let rows: BTreeSet<_> = OPERATIONS
            .iter()
            .map(|row| (row.method, row.pattern))
            .collect();
        assert_eq!(rows.len(), OPERATIONS.len());
    }

    #[test]
    fn a_reach_finds_its_names_in_the_pattern() {
        for row in OPERATIONS {
            let needs: &[&str] = match row.reach {
                Reach::Public | Reach::Shared | Reach::Installation => &[],
                Reach::Group | Reach::WithinGroup => &["{group}"],
                Reach::Workspace => &["{group}", "{workspace}"],
            };
            for name in needs {
                assert!(row.pattern.contains(name), "{row:?}");
            }
            // And nothing below a workspace is open to tokens of other ones.
            let below = row.pattern.contains("{workspace}");
            assert_eq!(below, row.reach == Reach::Workspace, "{row:?}");
        }
    }

    #[test]
    fn methods_that_change_things_are_not_a_readers() {
        for row in OPERATIONS {
            let changes = ["PUT", "PATCH", "DELETE"].contains(&row.method);
            if changes {
                assert_ne!(row.permission.kind(), Kind::Read, "{row:?}");
            }
            if row.method == "GET" && row.permission != P::TokensRead {
                assert_eq!(row.permission.kind(), Kind::Read, "{row:?}");
            }
        }
    }

    #[test]
    fn few_paths_are_public() {
        for path in ["/healthz", "/readyz", "/files/T.t/a%20b"] {
            assert!(is_public("GET", path), "{path}");
            assert!(is_public("HEAD", path), "{path}");
            assert!(!is_public("PUT", path), "{path}");
        }
        for path in [
            "/",
            "/subscriptions",
            "/tenants",
            "/subscriptions/s/oauth2/token",
            "/v1/groups/oauth2/workspaces/token",
            "/metadata/endpoints/more",
            "/healthz/",
            "/healthz/x",
            "/files",
            "/files/x",
            "/files//x",
            "/files/x/y/z",
            "/v1/groups",
            "/unknown",
        ] {
            assert!(!is_public("GET", path), "{path}");
        }
    }

    #[test]
    fn targets_come_from_the_path() {
        let row = find("HEAD", "/v1/groups/{group}/workspaces/{workspace}").unwrap();
        let target = row
            .target(|name| if name == "group" { "Lab" } else { "ws" })
            .unwrap();
        assert_eq!(target.to_string(), "workspace Lab/ws");
        assert!(row.target(|_| "..").is_err());
        assert!(find("POST", "/v1/groups").is_none());
        assert!(find("GET", "/v1/nodes/{name}").is_some());
        assert!(find("GET", "/v1/nodes/{name}/x").is_none());
        assert!(find("GET", "/v1/{kind}").is_none());
    }
}
