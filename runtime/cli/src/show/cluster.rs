//! Clusters.

use super::{error_block, state_colour};
use crate::answer::{Cluster, Scale};
use crate::output::{Cell, Details, Style, Table, day_and_time};

/// Many clusters: what they are and what their nodes do.
pub fn cluster_table(clusters: &[Cluster], style: Style) -> String {
    let mut table = Table::new(&[
        "NAME",
        "SIZE",
        "STATE",
        "NODES",
        "SCALE",
        "IDLE",
        "RUNNING",
        "PREPARING",
        "LEAVING",
        "UNUSABLE",
    ]);
    for cluster in clusters {
        let members = &cluster.properties;
        let counts = &members.node_state_counts;
        let state = state(cluster);
        table.row([
            cluster.name.as_str().into(),
            members.vm_size.as_str().into(),
            Cell::coloured(state, state_colour(state)),
            members.current_node_count.to_string().into(),
            scale(&members.scale_settings).into(),
            counts.idle_node_count.to_string().into(),
            counts.running_node_count.to_string().into(),
            counts.preparing_node_count.to_string().into(),
            counts.leaving_node_count.to_string().into(),
            counts.unusable_node_count.to_string().into(),
        ]);
    }
    table.render(style, "no clusters")
}

/// One cluster.
pub fn cluster_details(cluster: &Cluster, style: Style) -> String {
    let members = &cluster.properties;
    let counts = &members.node_state_counts;
    let mut details = Details::default();
    details
        .add("cluster", cluster.name.as_str())
        .add("state", state(cluster))
        .add("size", members.vm_size.as_str())
        .add_some("priority", members.vm_priority.as_deref())
        .add("scale", scale(&members.scale_settings))
        .add(
            "nodes",
            format!(
                "{}: {} idle, {} running, {} preparing, {} leaving, {} unusable",
                members.current_node_count,
                counts.idle_node_count,
                counts.running_node_count,
                counts.preparing_node_count,
                counts.leaving_node_count,
                counts.unusable_node_count
            ),
        )
        .add_some("created", members.creation_time.map(day_and_time))
        .add("id", cluster.id.as_str());
    let mut text = details.render(style);
    for error in &members.errors {
        text.push('\n');
        text.push_str(&error_block(error));
        text.push('\n');
    }
    text
}

fn state(cluster: &Cluster) -> &str {
    let members = &cluster.properties;
    if members.provisioning_state == "succeeded" {
        &members.allocation_state
    } else {
        &members.provisioning_state
    }
}

fn scale(scale: &Scale) -> String {
    match (&scale.manual, &scale.auto_scale) {
        (Some(manual), _) => format!("{} fixed", manual.target_node_count),
        (None, Some(auto)) => format!("{} to {}", auto.minimum_node_count, auto.maximum_node_count),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    fn clusters() -> Vec<Cluster> {
        read(&json!([
            {"id": "/v1/groups/g/workspaces/w/clusters/local", "name": "local", "properties": {
                "vmSize": "cpu", "vmPriority": "dedicated", "provisioningState": "succeeded", "allocationState": "steady",
                "currentNodeCount": 1, "creationTime": "2026-08-04T10:15:30Z", "errors": null,
                "nodeStateCounts": {"idleNodeCount": 0, "runningNodeCount": 1, "preparingNodeCount": 0,
                                    "unusableNodeCount": 0, "leavingNodeCount": 0},
                "scaleSettings": {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 1, "initialNodeCount": 0}}}},
            {"id": "/v1/groups/g/workspaces/w/clusters/gpu", "name": "gpu", "properties": {
                "vmSize": "GPU8-H100", "provisioningState": "deleting", "allocationState": "resizing", "currentNodeCount": 3,
                "scaleSettings": {"manual": {"targetNodeCount": 4, "nodeDeallocationOption": "requeue"}},
                "errors": [{"code": "NotEnoughNodes", "message": "the pool has 3 nodes of this size",
                            "details": [{"name": "size", "value": "gpu8-h100"}]}]}}]))
        .unwrap()
    }

    #[test]
    fn clusters_in_a_list_and_alone() {
        insta::assert_snapshot!(cluster_table(&clusters(), Style::Plain));
        insta::assert_snapshot!(cluster_details(&clusters()[1], Style::Plain));
    }
}
