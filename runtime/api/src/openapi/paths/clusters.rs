//! Clusters.

use super::{Described, tagged, workspace};
use crate::openapi::schemas::cluster::{
    Cluster, ClusterCreateParameters, ClusterListResult, ClusterUpdateParameters,
};
use crate::openapi::schemas::login::RemoteLoginInformationListResult;

pub(crate) fn all() -> Vec<Described> {
    let one = || workspace("/clusters/{clusterName}");
    tagged(
        "clusters",
        [
            Described::get(
                "Clusters_ListByWorkspace",
                workspace("/clusters"),
                "Lists the clusters of a workspace",
            )
            .lists::<ClusterListResult>(),
            Described::put("Clusters_Create", one(), "Creates a cluster")
                .takes::<ClusterCreateParameters>()
                .answers::<Cluster>("The cluster; its nodes come later.")
                .accepted(),
            Described::patch("Clusters_Update", one(), "Changes the size of a cluster")
                .takes::<ClusterUpdateParameters>()
                .answers::<Cluster>("The cluster; its nodes come and go later."),
            Described::delete(
                "Clusters_Delete",
                one(),
                "Deletes a cluster; jobs on it are ended",
            ),
            Described::get("Clusters_Get", one(), "Reads a cluster")
                .answers::<Cluster>("The cluster."),
            Described::post(
                "Clusters_ListRemoteLoginInformation",
                workspace("/clusters/{clusterName}/listRemoteLoginInformation"),
                "Lists where the nodes of a cluster can be logged in",
            )
            .lists_all::<RemoteLoginInformationListResult>(),
        ],
    )
}
