//! The node's GPUs. Names, units and labels are those of NVIDIA's DCGM exporter, so that dashboards
//! made for it work; `hpc_job` is its label for the job that has the GPU.

use std::collections::HashMap;

use lote_model::allocation::Allocation;
use lote_model::node::NodeRecord;
use lote_model::sample::{GpuSample, NodeSample};
use prometheus::Error;

use super::{Page, count_up, number};

const LABELS: [&str; 6] = ["gpu", "UUID", "device", "modelName", "Hostname", "hpc_job"];

/// What the driver tells of one moment: name, help and how to read it, in DCGM's units.
type Reading = (&'static str, &'static str, fn(&GpuSample) -> Option<f64>);

/// In MiB.
fn mebibytes(bytes: Option<u64>) -> Option<f64> {
    Some(number(bytes? >> 20))
}

const GAUGES: [Reading; 9] = [
    ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", |it| {
        Some(it.utilization?.into())
    }),
    (
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "Memory utilization (in %).",
        |it| Some(it.memory_utilization?.into()),
    ),
    (
        "DCGM_FI_DEV_FB_USED",
        "Framebuffer memory used (in MiB).",
        |it| mebibytes(it.memory_used_bytes),
    ),
    (
        "DCGM_FI_DEV_FB_FREE",
        "Framebuffer memory free (in MiB).",
        |it| mebibytes(it.memory_free_bytes),
    ),
    ("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", |it| {
        Some(f64::from(it.power_milliwatts?) / 1000.0)
    }),
    ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).", |it| {
        Some(it.temperature_celsius?.into())
    }),
    (
        "DCGM_FI_DEV_SM_CLOCK",
        "SM clock frequency (in MHz).",
        |it| Some(it.sm_clock_mhz?.into()),
    ),
    (
        "DCGM_FI_DEV_MEM_CLOCK",
        "Memory clock frequency (in MHz).",
        |it| Some(it.memory_clock_mhz?.into()),
    ),
    (
        "DCGM_FI_DEV_XID_ERRORS",
        "Value of the last XID error encountered.",
        |it| Some(number(it.last_xid?)),
    ),
];

const COUNTERS: [Reading; 3] = [
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "Total energy consumption since boot (in mJ).",
        |it| Some(number(it.energy_millijoules?)),
    ),
    (
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
        "Total number of single-bit volatile ECC errors.",
        |it| Some(number(it.ecc_corrected?)),
    ),
    (
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "Total number of double-bit volatile ECC errors.",
        |it| Some(number(it.ecc_uncorrected?)),
    ),
];

/// The GPUs of a node; what its driver does not tell is left out.
pub(super) fn add(
    page: &Page,
    node: &NodeRecord,
    sample: Option<&NodeSample>,
    allocations: &[Allocation],
) -> Result<(), Error> {
    let jobs = holders(allocations);
    let seen: Vec<(Vec<String>, &GpuSample)> = node
        .gpus
        .iter()
        .enumerate()
        .filter_map(|(index, gpu)| {
            let seen = sample?.gpus.get(&gpu.uuid)?;
            let job = jobs.get(gpu.uuid.as_str()).cloned().unwrap_or_default();
            let labels = vec![
                index.to_string(),
                gpu.uuid.clone(),
                format!("nvidia{}", gpu.minor),
                gpu.model.clone(),
                node.name.to_string(),
                job,
            ];
            Some((labels, seen))
        })
        .collect();
    for (name, help, read) in GAUGES {
        let gauge = page.gauge(name, help, &LABELS)?;
        for (labels, seen) in &seen {
            if let Some(value) = read(seen) {
                gauge.with_label_values(labels).set(value);
            }
        }
    }
    for (name, help, read) in COUNTERS {
        let counter = page.counter(name, help, &LABELS)?;
        for (labels, seen) in &seen {
            if let Some(value) = read(seen) {
                count_up(&counter.with_label_values(labels), value);
            }
        }
    }
    conditions(page, node)
}

fn conditions(page: &Page, node: &NodeRecord) -> Result<(), Error> {
    let help =
        "Something is wrong with the node, or with one of its GPUs; 2 if it keeps jobs away.";
    let gauge = page.gauge("lote_condition", help, &["node", "UUID", "code"])?;
    let of_gpus = node.gpus.iter().flat_map(|gpu| {
        let conditions = gpu.conditions.iter();
        conditions.map(|condition| (gpu.uuid.as_str(), condition))
    });
    let of_node = node.conditions.iter().map(|condition| ("", condition));
    for (uuid, condition) in of_node.chain(of_gpus) {
        let labels = [node.name.as_str(), uuid, condition.code.as_str()];
        let value = if condition.blocks_jobs { 2.0 } else { 1.0 };
        gauge.with_label_values(&labels).set(value);
    }
    Ok(())
}

/// Which job has which GPU.
fn holders(allocations: &[Allocation]) -> HashMap<&str, String> {
    let mut holders = HashMap::new();
    for Allocation { job, grant, .. } in allocations {
        let gpus = grant.gpus.iter();
        holders.extend(gpus.map(|gpu| (gpu.uuid.as_str(), job.to_string())));
    }
    holders
}
