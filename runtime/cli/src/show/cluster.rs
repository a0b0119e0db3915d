//! Clusters.

use std::time::Duration;

use lote_model::duration::Seconds;
use lote_model::money::Money;
use lote_model::spending::Budget;

use super::{error_block, state_colour};
use crate::answer::{Cluster, ClusterSpending, Scale};
use crate::output::{Cell, Details, Style, Table, day_and_time, seconds};

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
        "SPENT",
    ]);
    for cluster in clusters {
        let members = &cluster.properties;
        let counts = &members.node_state_counts;
        let state = state(cluster);
        let spent = members.lote.spending.as_ref();
        let spent = spent.map_or_else(String::new, |spending| spending.spent.to_string());
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
            spent.into(),
        ]);
    }
    table.omit_empty_columns().render(style, "no clusters")
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
        .add_some("idle delay", members.lote.idle_delay.map(idle_delay))
        .add_some("price", members.lote.price_per_node_hour.map(price))
        .add_some("budget", members.lote.budget.as_ref().map(budget))
        .add_some("spent", members.lote.spending.as_ref().map(spent))
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

fn idle_delay(delay: Seconds) -> String {
    seconds(Duration::from_secs(delay.0).as_secs_f64())
}

fn price(price: Money) -> String {
    format!("{price} per node and hour")
}

fn budget(budget: &Budget) -> String {
    format!("{} {}", budget.amount, budget.period.words())
}

/// What was spent, for how much, and what is left until when.
fn spent(spending: &ClusterSpending) -> String {
    let rest = spending.rest.map(|rest| format!(", {rest} left"));
    let end = spending
        .period_end
        .map(|end| format!(" until {}", day_and_time(end)));
    format!(
        "{} for {} hours of nodes{}{}",
        spending.spent,
        spending.node_hours,
        rest.unwrap_or_default(),
        end.unwrap_or_default()
    )
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
    fn a_cluster_with_a_budget() {
        let mut clusters = clusters();
        clusters[0].properties.lote = serde_json::from_value(json!({
            "idleDelay": "PT5M", "pricePerNodeHour": 2.5, "budget": {"amount": 100, "period": "month"},
            "nodes": ["n1"], "leaving": [],
            "spending": {"spent": 12.345_678, "rest": 87.654_322, "nodeHours": 4.938, "period": "month",
                         "periodStart": "2026-08-01T00:00:00Z", "periodEnd": "2026-09-01T00:00:00Z"}}))
        .unwrap();
        insta::assert_snapshot!(cluster_table(&clusters, Style::Plain));
        insta::assert_snapshot!(cluster_details(&clusters[0], Style::Plain));
    }

    #[test]
    fn clusters_in_a_list_and_alone() {
        insta::assert_snapshot!(cluster_table(&clusters(), Style::Plain));
        insta::assert_snapshot!(cluster_details(&clusters()[1], Style::Plain));
    }
}
