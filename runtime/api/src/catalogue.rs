//! What can be permitted: the provider's operations (capabilities §4.7).

use axum::Json;
use serde_json::{Value, json};

/// The last part of a name, what people call the operation, and on what it acts.
struct Permission {
    name: &'static str,
    operation: &'static str,
    resource: &'static str,
    description: &'static str,
}

const fn permission(
    name: &'static str,
    operation: &'static str,
    resource: &'static str,
    description: &'static str,
) -> Permission {
    Permission {
        name,
        operation,
        resource,
        description,
    }
}

/// The 26 operations, container by container.
#[rustfmt::skip]
const PERMISSIONS: [Permission; 26] = [
    permission("workspaces/read", "Read workspaces", "Workspaces", "Shows one workspace or lists them"),
    permission("workspaces/write", "Write workspaces", "Workspaces", "Creates a workspace or changes its tags"),
    permission("workspaces/delete", "Delete workspaces", "Workspaces", "Deletes a workspace with everything in it"),
    permission("workspaces/experiments/read", "Read experiments", "Experiments", "Shows one experiment or lists them"),
    permission("workspaces/experiments/write", "Write experiments", "Experiments", "Creates an experiment"),
    permission("workspaces/experiments/delete", "Delete experiments", "Experiments", "Deletes an experiment with its jobs"),
    permission("workspaces/experiments/jobs/read", "Read jobs", "Jobs", "Shows one job or lists them"),
    permission("workspaces/experiments/jobs/write", "Write jobs", "Jobs", "Submits a job"),
    permission("workspaces/experiments/jobs/delete", "Delete jobs", "Jobs", "Ends a job if it still runs, and deletes its record"),
    permission("workspaces/experiments/jobs/terminate/action", "Terminate jobs", "Jobs", "Ends a job and keeps its record"),
    permission("workspaces/experiments/jobs/listoutputfiles/action", "List output files", "Jobs", "Lists files of a job with links to them"),
    permission("workspaces/experiments/jobs/remoteLoginInformation/action", "List a job's nodes", "Jobs", "Tells where to log in to the nodes of a job"),
    permission("workspaces/clusters/read", "Read clusters", "Clusters", "Shows one cluster or lists them"),
    permission("workspaces/clusters/write", "Write clusters", "Clusters", "Creates a cluster or changes how it scales"),
    permission("workspaces/clusters/delete", "Delete clusters", "Clusters", "Deletes a cluster and frees its nodes"),
    permission("workspaces/clusters/remoteLoginInformation/action", "List a cluster's nodes", "Clusters", "Tells where to log in to the nodes of a cluster"),
    permission("workspaces/fileservers/read", "Read file servers", "File servers", "Shows one file server or lists them"),
    permission("workspaces/fileservers/write", "Write file servers", "File servers", "Creates a file server"),
    permission("workspaces/fileservers/delete", "Delete file servers", "File servers", "Deletes a file server"),
    permission("clusters/read", "Read clusters outside workspaces", "Clusters", "For clusters from before there were workspaces; Lote has none"),
    permission("fileservers/read", "Read file servers outside workspaces", "File servers", "For file servers from before there were workspaces; Lote has none"),
    permission("locations/usages/read", "Read usages", "Usages", "Tells how much of each quota is used"),
    permission("locations/operationresults/read", "Read the state of an operation", "Operations", "Tells how far a long-running operation is"),
    permission("locations/operationstatuses/read", "Read the result of an operation", "Operations", "Tells whether a long-running operation has ended"),
    permission("register/action", "Register the provider", "Provider", "Lets a subscription use the provider; in Lote every one may"),
    permission("unregister/action", "Unregister the provider", "Provider", "Keeps a subscription from using the provider"),
];

fn view(permission: &Permission) -> Value {
    json!({
        "name": format!("Microsoft.BatchAI/{}", permission.name),
        "display": {
            "provider": "Lote",
            "operation": permission.operation,
            "resource": permission.resource,
            "description": permission.description,
        },
        "origin": "user,system",
    })
}

pub(crate) async fn list() -> Json<Value> {
    Json(json!({"value": PERMISSIONS.iter().map(view).collect::<Vec<_>>()}))
}
