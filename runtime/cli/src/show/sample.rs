//! What jobs do, and what workspaces have used.

use jiff::Timestamp;
use lote_model::quantity::format_bytes;
use lote_model::sample::{GpuSample, JobSample};

use crate::answer::{NodeSeries, WorkspaceDay};
use crate::output::{Style, Table, seconds};

/// How many columns the course of the utilisation takes.
const COURSE_COLUMNS: usize = 30;

/// Heights of a column, the lowest first.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What the nodes of a job do now, and how their GPUs came there.
pub fn job_samples(job: &str, nodes: &[NodeSeries], style: Style) -> String {
    let mut table = Table::new(&[
        "NODE",
        "CPUS",
        "MEMORY",
        "GPU",
        "UTIL",
        "GPU MEMORY",
        "POWER",
        "TEMP",
        "COURSE",
    ]);
    let mut notes = Vec::new();
    for node in nodes {
        notes.extend(
            node.error
                .as_ref()
                .map(|why| format!("{}: {why}\n", node.node)),
        );
        let Some(last) = node.samples.last() else {
            continue;
        };
        let cpus = cpus(&node.samples).map(|cpus| format!("{cpus:.1}"));
        let memory = last.memory_bytes.map(format_bytes);
        let mut first = [
            node.node.clone(),
            cpus.unwrap_or_default(),
            memory.unwrap_or_default(),
        ];
        if last.gpus.is_empty() {
            let [node, cpus, memory] = first.clone();
            let none = String::new;
            table.row(
                [
                    node,
                    cpus,
                    memory,
                    none(),
                    none(),
                    none(),
                    none(),
                    none(),
                    none(),
                ]
                .map(Into::into),
            );
        }
        for (uuid, gpu) in &last.gpus {
            let [node_name, cpus, memory] = std::mem::take(&mut first);
            let row = [
                node_name,
                cpus,
                memory,
                short(uuid),
                percent(gpu.utilization),
                gpu_memory(gpu),
                gpu.power_milliwatts
                    .map_or_else(String::new, |power| format!("{} W", power / 1000)),
                gpu.temperature_celsius
                    .map_or_else(String::new, |degrees| format!("{degrees} °C")),
                course(&node.samples, uuid),
            ];
            table.row(row.map(Into::into));
        }
    }
    let nothing = format!("nothing is measured of job '{job}': it does not run");
    notes.insert(0, table.omit_empty_columns().render(style, &nothing));
    notes.concat()
}

/// Enough of a UUID to tell GPUs apart, as drivers accept it.
pub(super) fn short(uuid: &str) -> String {
    uuid.chars().take(12).collect()
}

fn percent(value: Option<u32>) -> String {
    value.map_or_else(String::new, |value| format!("{value} %"))
}

fn gpu_memory(gpu: &GpuSample) -> String {
    match (gpu.memory_used_bytes, gpu.memory_free_bytes) {
        (Some(used), Some(free)) => {
            format!("{} of {}", format_bytes(used), format_bytes(used + free))
        }
        (Some(used), None) => format_bytes(used),
        (None, _) => String::new(),
    }
}

/// How many processors worked between the last two samples.
fn cpus(samples: &[JobSample]) -> Option<f64> {
    let [.., before, last] = samples else {
        return None;
    };
    let time = span(before.at, last.at);
    (time > 0.0).then_some((last.cpu_seconds? - before.cpu_seconds?).max(0.0) / time)
}

fn span(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// The utilisation of a GPU over the time of its samples, each column the mean of its part.
fn course(samples: &[JobSample], uuid: &str) -> String {
    let known: Vec<(Timestamp, u32)> = samples
        .iter()
        .filter_map(|sample| Some((sample.at, sample.gpus.get(uuid)?.utilization?)))
        .collect();
    let (Some((first, _)), Some((last, _))) = (known.first(), known.last()) else {
        return String::new();
    };
    let columns = COURSE_COLUMNS.min(known.len());
    let whole = span(*first, *last);
    let mut sums = vec![(0_u32, 0_u32); columns];
    for (at, utilization) in &known {
        let part = if whole > 0.0 {
            span(*first, *at) / whole
        } else {
            0.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and the number of columns"
        )]
        let column = ((part * columns as f64) as usize).min(columns - 1);
        let (sum, count) = &mut sums[column];
        *sum += utilization;
        *count += 1;
    }
    sums.into_iter()
        .map(|(sum, count)| match sum.checked_div(count) {
            None => ' ',
            Some(mean) => HEIGHTS[(mean.min(100) as usize * (HEIGHTS.len() - 1)).div_ceil(100)],
        })
        .collect()
}

/// What workspaces have used, day by day.
pub fn daily_usage_table(days: &[WorkspaceDay], style: Style) -> String {
    let mut table = Table::new(&[
        "WORKSPACE",
        "DAY",
        "RUNS",
        "NODE TIME",
        "GPU TIME",
        "CPU TIME",
        "GPU ENERGY",
    ]);
    for day in days {
        let amounts = &day.usage.amounts;
        let energy = amounts.gpu_energy_joules;
        table.row([
            format!("{}/{}", day.group, day.workspace).into(),
            day.day.to_string().into(),
            day.usage.runs_ended.to_string().into(),
            seconds(amounts.node_seconds).into(),
            if amounts.gpu_seconds > 0.0 {
                seconds(amounts.gpu_seconds).into()
            } else {
                "".into()
            },
            seconds(amounts.cpu_seconds).into(),
            energy.map_or_else(String::new, watt_hours).into(),
        ]);
    }
    table.omit_empty_columns().render(style, "nothing was used")
}

/// Energy as bills have it.
pub(super) fn watt_hours(joules: f64) -> String {
    let watt_hours = joules / 3600.0;
    if watt_hours < 1000.0 {
        format!("{watt_hours:.1} Wh")
    } else {
        format!("{:.1} kWh", watt_hours / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::answer::read;

    fn sample(second: u32, cpu: f64, utilization: u32) -> Value {
        json!({"at": format!("2026-11-27T10:00:{second:02}Z"), "cpuSeconds": cpu, "memoryBytes": 2_147_483_648_u64,
            "gpus": {
                "GPU-8f1c2d3e-aaaa": {"utilization": utilization, "memoryUsedBytes": 1_073_741_824_u64,
                    "memoryFreeBytes": 84_825_604_096_u64, "powerMilliwatts": 412_900, "temperatureCelsius": 61},
                "GPU-91aa0000-bbbb": {"memoryUsedBytes": 4_194_304}}})
    }

    #[test]
    fn nodes_and_gpus_of_a_job() {
        let samples = vec![
            sample(0, 10.0, 0),
            sample(1, 12.0, 50),
            sample(2, 15.5, 100),
        ];
        let nodes: Vec<NodeSeries> = read(&json!([
            {"node": "gpu1", "samples": samples},
            {"node": "gpu2", "samples": [], "error": "node gpu2 cannot be reached"},
            {"node": "cpu1", "samples": [{"at": "2026-11-27T10:00:00Z", "memoryBytes": 1_048_576}]}]))
        .unwrap();
        insta::assert_snapshot!(job_samples("train", &nodes, Style::Plain));
        insta::assert_snapshot!(job_samples("train", &[], Style::Plain));
    }

    #[test]
    fn the_course_has_the_mean_of_each_part() {
        let samples: Vec<JobSample> = (0..60)
            .map(|second| read(&sample(second, 0.0, if second < 30 { 0 } else { 100 })).unwrap())
            .collect();
        let drawn = course(&samples, "GPU-8f1c2d3e-aaaa");
        assert_eq!(drawn, format!("{}{}", "▁".repeat(15), "█".repeat(15)));
        assert_eq!(course(&samples, "GPU-91aa0000-bbbb"), "");
    }

    #[test]
    fn days_of_workspaces() {
        let days: Vec<WorkspaceDay> = read(&json!([
            {"group": "lab", "workspace": "vision", "day": "2026-11-26", "runsEnded": 3, "nodeSeconds": 7200.0,
                "gpuSeconds": 57600.0, "cpuSeconds": 120.5, "gpuEnergyJoules": 7_200_000.0},
            {"group": "lab", "workspace": "text", "day": "2026-11-27", "runsEnded": 1, "nodeSeconds": 3.0,
                "gpuSeconds": 0.0, "cpuSeconds": 2.0}]))
        .unwrap();
        insta::assert_snapshot!(daily_usage_table(&days, Style::Plain));
        insta::assert_snapshot!(daily_usage_table(&[], Style::Plain));
    }
}
