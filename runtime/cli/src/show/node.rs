//! Nodes.

use lote_model::gpu::Gpu;
use lote_model::node::Condition;
use lote_model::quantity::format_bytes;

use super::state_colour;
use crate::answer::{Node, NodeMembers};
use crate::output::{Cell, Colour, Details, Style, Table, day_and_time};

/// Many nodes.
pub fn node_table(nodes: &[Node], style: Style) -> String {
    let mut table = Table::new(&[
        "NAME", "STATE", "LEADS", "SIZE", "CLUSTER", "JOBS", "CPUS", "MEMORY", "GPUS", "ADDRESS",
        "LABELS", "VERSION",
    ]);
    for node in nodes {
        let members = &node.properties;
        table.row([
            node.name.as_str().into(),
            Cell::coloured(members.state.as_str(), state_colour(&members.state)),
            members.leads_since.map_or("", |_| "yes").into(),
            members.vm_size.as_str().into(),
            members.cluster.as_deref().unwrap_or_default().into(),
            members.jobs.to_string().into(),
            members.cpu_cores.to_string().into(),
            format_bytes(members.memory_bytes).into(),
            members.gpus.len().to_string().into(),
            members.address.as_str().into(),
            labels(members, " ").unwrap_or_default().into(),
            members.version.as_str().into(),
        ]);
    }
    table.omit_empty_columns().render(style, "no nodes")
}

/// One node: what it has, what is in force there, what is wrong with it.
pub fn node_details(node: &Node, style: Style) -> String {
    let members = &node.properties;
    let mut details = Details::default();
    details
        .add("node", node.name.as_str())
        .add("state", state(members))
        .add_some("leads since", members.leads_since.map(day_and_time))
        .add("size", members.vm_size.as_str())
        .add_some("cluster", members.cluster.as_deref())
        .add("jobs", members.jobs.to_string())
        .add("address", members.address.as_str())
        .add_some("peers", members.peer_address.as_deref())
        .add_some("mac", members.mac_address.as_deref())
        .add_some("power", power(members))
        .add_some("labels", labels(members, "\n"))
        .add("version", members.version.as_str())
        .add_some("up since", members.started_at.map(day_and_time))
        .add("processors", members.cpu_cores.to_string())
        .add("memory", format_bytes(members.memory_bytes))
        .add_some("numa", numa(members))
        .add("gpus", gpus(members))
        .add_some("driver", driver(members))
        .add("work", members.work_directory.as_str());
    let mut text = details.render(style);
    if !members.isolation.is_empty() {
        text.push_str("\nIn force\n");
        text.push_str(&isolation(members, style));
    }
    if members.gpu_distances.len() > 1 {
        text.push_str("\nBetween GPUs\n");
        text.push_str(&distances(members, style));
    }
    let wrong = conditions(members, style);
    if !wrong.is_empty() {
        text.push_str("\nWrong\n");
        text.push_str(&wrong);
    }
    text
}

/// With since when, and why if somebody said it.
fn state(members: &NodeMembers) -> String {
    let mut text = members.state.clone();
    if let Some(since) = members.state_since {
        text.push_str(" since ");
        text.push_str(&day_and_time(since));
    }
    let drain = members.drain.as_ref();
    if let Some(reason) = drain.and_then(|drain| drain.reason.as_deref()) {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// What did not work when it was switched, or that it never is.
fn power(members: &NodeMembers) -> Option<String> {
    let error = members.power.as_ref().and_then(|power| {
        let times = match power.failures {
            0 | 1 => String::new(),
            failures => format!(" ({failures} times)"),
        };
        Some(format!("{}{times}", power.error.as_deref()?))
    });
    error.or_else(|| members.always_on.then(|| "never switched off".to_owned()))
}

fn labels(members: &NodeMembers, between: &str) -> Option<String> {
    let labels = members.labels.iter();
    let lines: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    (!lines.is_empty()).then(|| lines.join(between))
}

fn gpus(members: &NodeMembers) -> String {
    if members.gpus.is_empty() {
        return "none".into();
    }
    let lines: Vec<String> = members
        .gpus
        .iter()
        .enumerate()
        .map(|(index, gpu)| gpu_line(index, gpu))
        .collect();
    lines.join("\n")
}

fn gpu_line(index: usize, gpu: &Gpu) -> String {
    let mut parts = vec![index.to_string(), gpu.model.clone()];
    parts.extend(gpu.mig.as_ref().map(|mig| format!("MIG {}", mig.profile)));
    parts.push(format_bytes(gpu.memory_mib << 20));
    parts.extend(gpu.bus_id.clone());
    parts.extend(gpu.numa_node.map(|node| format!("NUMA {node}")));
    parts.push(gpu.uuid.clone());
    if !gpu.is_schedulable() {
        parts.push("out of service".into());
    }
    parts.join("  ")
}

/// As `nvidia-smi topo -m` shows them: row by row, the GPUs by their place in the list.
fn distances(members: &NodeMembers, style: Style) -> String {
    let count = members.gpu_distances.len();
    let names: Vec<String> = (0..count).map(|index| format!("GPU{index}")).collect();
    let head: Vec<&str> = std::iter::once("")
        .chain(names.iter().map(String::as_str))
        .collect();
    let mut table = Table::new(&head);
    for (name, row) in names.iter().zip(&members.gpu_distances) {
        let cells = row.iter().map(|distance| Cell::from(distance.to_string()));
        table.row(std::iter::once(Cell::from(name.as_str())).chain(cells));
    }
    table.render(style, "")
}

fn driver(members: &NodeMembers) -> Option<String> {
    let driver = members.gpu_driver.as_ref()?;
    Some(format!(
        "{}, CUDA up to {}",
        driver.version, driver.cuda_version
    ))
}

fn numa(members: &NodeMembers) -> Option<String> {
    let nodes = members.numa_nodes.iter().map(|node| {
        let memory = format_bytes(node.memory_bytes);
        format!("{}  {} processors, {memory}", node.id, node.cpu_cores)
    });
    let lines: Vec<String> = nodes.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn isolation(members: &NodeMembers, style: Style) -> String {
    let lines = members.isolation.iter().map(|means| {
        let mark = if means.in_force {
            style.paint(Colour::Green, "yes")
        } else {
            style.paint(Colour::Yellow, "no ")
        };
        format!("  {mark}  {}: {}\n", means.name, means.note)
    });
    lines.collect()
}

/// What is wrong with the node, then with its GPUs.
fn conditions(members: &NodeMembers, style: Style) -> String {
    let of_node = members.conditions.iter().map(|condition| {
        let effect = ("takes no jobs", "takes jobs");
        condition_line("", condition, effect, style)
    });
    let of_gpus = members.gpus.iter().enumerate().flat_map(|(index, gpu)| {
        let conditions = gpu.conditions.iter();
        conditions.map(move |condition| {
            let effect = ("not given out", "given out");
            condition_line(&format!("GPU{index} "), condition, effect, style)
        })
    });
    of_node.chain(of_gpus).collect()
}

fn condition_line(
    of: &str,
    condition: &Condition,
    (blocked, not_blocked): (&str, &str),
    style: Style,
) -> String {
    let effect = if condition.blocks_jobs {
        style.paint(Colour::Red, blocked)
    } else {
        not_blocked.into()
    };
    let since = day_and_time(condition.since);
    let (code, message) = (&condition.code, &condition.message);
    format!("  {of}{code}: {message} ({effect}, since {since})\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    fn node() -> Node {
        read(&json!({"id": "/v1/nodes/gpu1", "name": "gpu1", "type": "Lote/nodes", "properties": {
            "vmSize": "gpu2-h100", "state": "unhealthy", "address": "10.0.0.1", "version": "0.1.0", "cpuCores": 64,
            "memoryBytes": 549_755_813_888_u64, "workDirectory": "/var/lib/lote/work", "startedAt": "2026-08-04T10:15:30Z",
            "jobs": 1,
            "gpus": [{"uuid": "GPU-1", "model": "H100", "minor": 0, "memoryMib": 81920, "busId": "00000000:1b:00.0",
                      "numaNode": 0, "conditions": [{"code": "GpuMemoryHeld", "message": "12g are not free",
                      "blocksJobs": true, "since": "2026-08-04T11:30:00Z"}]},
                     {"uuid": "MIG-2", "model": "H100", "minor": 1, "memoryMib": 10240, "mig": {"parent": "GPU-2",
                      "gpuInstance": 7, "computeInstance": 0, "profile": "1g.10gb"}}],
            "gpuDistances": [["X", "NV18"], ["NV18", "X"]],
            "gpuDriver": {"version": "580.159.04", "cudaVersion": "13.0"},
            "numaNodes": [{"id": 0, "cpuCores": 32, "memoryBytes": 274_877_906_944_u64},
                          {"id": 1, "cpuCores": 32, "memoryBytes": 274_877_906_944_u64}],
            "isolation": [{"name": "memory limit", "inForce": true, "note": "cgroup v1"},
                          {"name": "NVML", "inForce": false, "note": "libnvidia-ml.so.1 is not there"}],
            "conditions": [{"code": "GpuXid", "message": "GPU 1 reported XID 79; it is taken out of use",
                            "blocksJobs": true, "since": "2026-08-04T11:00:00Z"}]}}))
        .unwrap()
    }

    fn drained() -> Node {
        read(&json!({"id": "/v1/nodes/cpu7", "name": "cpu7", "type": "Lote/nodes", "properties": {
            "vmSize": "cpu", "state": "drained", "stateSince": "2026-08-04T12:00:00Z", "address": "10.0.0.7",
            "peerAddress": "10.0.0.7:8472", "cluster": "lab/vision/small", "version": "0.1.0", "cpuCores": 8,
            "memoryBytes": 17_179_869_184_u64, "labels": {"rack": "r1", "switch": "s 2"}, "jobs": 0,
            "workDirectory": "/var/lib/lote/work",
            "drain": {"reason": "new disk", "requestedAt": "2026-08-04T12:00:00Z"}}}))
        .unwrap()
    }

    #[test]
    fn what_is_wrong_with_its_power_is_shown() {
        let node: Node = read(&json!({"id": "/v1/nodes/cpu7", "name": "cpu7", "type": "Lote/nodes", "properties": {
            "vmSize": "cpu", "state": "off", "stateSince": "2026-08-04T12:00:00Z", "address": "10.0.0.7",
            "macAddress": "aa:bb:cc:dd:ee:ff", "version": "0.1.0", "cpuCores": 8, "memoryBytes": 17_179_869_184_u64,
            "jobs": 0, "workDirectory": "/var/lib/lote/work",
            "power": {"state": "off", "since": "2026-08-04T12:00:00Z", "toldDaemonOf": "2026-08-04T10:00:00Z",
                      "failures": 2, "error": "'/opt/on' ended with exit status: 1: no answer from the BMC"}}}))
        .unwrap();
        insta::assert_snapshot!(node_details(&node, Style::Plain));
        let kept: Node = read(
            &json!({"id": "/v1/nodes/cpu7", "name": "cpu7", "type": "Lote/nodes", "properties": {
            "vmSize": "cpu", "state": "ready", "alwaysOn": true}}),
        )
        .unwrap();
        assert!(node_details(&kept, Style::Plain).contains("never switched off"));
    }

    #[test]
    fn nodes_in_a_list_and_alone() {
        insta::assert_snapshot!(node_table(&[node()], Style::Plain));
        insta::assert_snapshot!(node_details(&node(), Style::Plain));
        insta::assert_snapshot!(node_table(&[node(), drained()], Style::Plain));
        insta::assert_snapshot!(node_details(&drained(), Style::Plain));
    }
}
